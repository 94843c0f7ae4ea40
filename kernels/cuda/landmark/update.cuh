#pragma once

#include "kernels/cuda/landmark/exact.cuh"
#include "kernels/cuda/landmark/order.cuh"
#include "kernels/cuda/landmark/summary.cuh"

#include <cstdint>

namespace kvg::cuda {

// What the update of one bank needs besides its tokens.
struct LandmarkJob {
  const DeviceLandmarkBank* bank;
  const float* eta;            // [kv_heads]
  const int32_t* slow_dims;    // [shape.band]
  bool refresh_units = false;  // as in LandmarkParams
};

// Both banks of one layer and one sequence, from global memory and back.
template <int kDim, typename Source>
class LandmarkUpdate {
 public:
  __device__ LandmarkUpdate(LandmarkWork& work, const LandmarkJob& job, const Source& source)
      : w(work), source_(source), exact_(work, source), summary_(work, source) {
    open(job);
    if (w.has_exact()) {
      if (job.refresh_units) exact_.refresh_units();
      if (w.all_exact_rows()) exact_.load_units(0, w.layout.shape.exact, 0, false);
    }
    if (w.has_summary()) {
      if (job.refresh_units) summary_.refresh_units();
      if (w.all_summary_rows()) summary_.load_units(0, w.layout.shape.summary, 0, false);
    }
    __syncthreads();
  }

  // Tokens [begin, end) of the source leave together.
  __device__ void evict(int begin, int end, bool single) {
    int tokens = end - begin;
    if (w.has_exact()) {
      exact_.start_at(begin);
      const int64_t left = w.rules.sinks - source_.position(begin);
      const int pinned = static_cast<int>(min(max(left, int64_t{0}), int64_t{tokens}));
      if (pinned > 0) exact_.pin(pinned);
      begin += pinned;
      tokens -= pinned;
    }
    const int to_exact = w.has_exact() ? at_most(tokens, w.rules.exact_candidates) : 0;
    const int to_summary = w.has_summary() ? at_most(tokens, w.rules.summary_candidates) : 0;
    const int wanted = max(to_exact, to_summary);
    if (wanted == 0) return;
    exact_.start_at(begin);
    summary_.start_at(begin);
    for (int i = static_cast<int>(threadIdx.x); i < tokens; i += kLandmarkThreads) {
      w.gate()[i] = source_.gate(begin + i);
    }
    const bool whole = tokens <= w.layout.chunk;
    if (whole) compare_all(tokens, to_exact > 0, to_summary > 0);
    __syncthreads();
    put_in_order(tokens, wanted, whole);
    if (to_exact > 0) exact_.offer(to_exact, single, whole);
    if (to_summary > 0) summary_.offer(summary_list(to_summary), to_summary, single, whole);
  }

  // Masks, stamps and counts to `bank`, which may be a snapshot; its null members are left out.
  // Synchronises.
  __device__ void close(const DeviceLandmarkBank& to) const {
    __syncthreads();
    if (w.rank != 0) return;
    const int exact = w.layout.shape.exact;
    const int summary = w.layout.shape.summary;
    copy(w.exact_valid(), to.exact_valid, exact);
    copy(w.stamps(), to.stamps, exact);
    copy(w.summary_valid(), to.summary_valid, summary);
    copy(w.at<float>(w.layout.counts), to.counts, summary);
    copy(w.at<float>(w.layout.log_weight), to.log_weight, summary);
  }

 private:
  template <typename T>
  __device__ static void copy(const T* from, T* to, int count) {
    if (to == nullptr || from == nullptr) return;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kLandmarkThreads) to[i] = from[i];
  }

  __device__ void open(const LandmarkJob& job) {
    const LandmarkLayout& l = w.layout;
    constexpr int kWords = sizeof(DeviceLandmarkBank) / 4;
    for (int i = static_cast<int>(threadIdx.x); i < kWords; i += kLandmarkThreads) {
      w.at<uint32_t>(l.bank)[i] = reinterpret_cast<const uint32_t*>(job.bank)[i];
    }
    for (int i = static_cast<int>(threadIdx.x); i < kDim; i += kLandmarkThreads) {
      w.at<int16_t>(l.band_index)[i] = -1;
    }
    for (int i = static_cast<int>(threadIdx.x); i < l.shape.kv_heads; i += kLandmarkThreads) {
      w.at<float>(l.eta)[i] = w.round(job.eta[i]);
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < l.shape.band; i += kLandmarkThreads) {
      w.at<int16_t>(l.band_index)[job.slow_dims[i]] = static_cast<int16_t>(i);
    }
    const DeviceLandmarkBank& bank = w.bank();
    copy(bank.exact_valid, w.exact_valid(), l.shape.exact);
    copy(bank.stamps, w.stamps(), l.shape.exact);
    copy(bank.summary_valid, w.summary_valid(), l.shape.summary);
    copy(bank.counts, w.at<float>(l.counts), l.shape.summary);
    copy(bank.log_weight, w.at<float>(l.log_weight), l.shape.summary);
    __syncthreads();
  }

  __device__ static int at_most(int tokens, int64_t limit) {
    return limit < tokens ? static_cast<int>(limit) : tokens;
  }

  // All tokens of the eviction as they came, with both banks.
  __device__ void compare_all(int tokens, bool exact, bool summary) {
    const bool kept = exact && exact_.needs_kept();
    if (exact) exact_.load_tokens(nullptr, 0, tokens, kept);
    if (summary) summary_.load_tokens(nullptr, 0, tokens);
    __syncthreads();
    const int between = w.layout.shape.exact + w.layout.chunk;
    if (exact) exact_.score(0, w.layout.shape.exact, kept);
    if (summary) summary_.score(0, w.layout.shape.summary);
    exchange(w, tokens, exact ? 0 : between, summary ? between + w.layout.shape.summary : between);
  }

  __device__ void put_in_order(int tokens, int wanted, bool whole) {
    if (w.rules.order == LandmarkOrder::index) return order_by_index(w, tokens, wanted);
    const bool equal = order_by_gate(w.gate(), w.order(), tokens, nullptr);
    if (!equal || w.rules.tie != LandmarkTie::novelty || !w.has_exact()) return;
    auto* match = w.at<float>(w.layout.match);
    for (int begin = 0; begin < tokens; begin += w.layout.chunk) {
      const int count = min(w.layout.chunk, tokens - begin);
      if (!whole) {
        exact_.load_tokens(nullptr, begin, count, false);
        __syncthreads();
        exact_.score(0, w.layout.shape.exact, false);
        exchange(w, count, 0, w.layout.shape.exact);
      }
      exact_.match_all(match + begin);
      __syncthreads();
    }
    order_by_gate(w.gate(), w.order(), tokens, match);
  }

  // The order selects; averages that take one token at a time take them as they came.
  __device__ const int32_t* summary_list(int count) const {
    if (w.rules.routing != LandmarkRouting::live) return w.order();
    auto* list = w.at<int32_t>(w.layout.list);
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kLandmarkThreads) list[c] = c;
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kLandmarkThreads) {
      int rank = 0;
      for (int other = 0; other < count; ++other) {
        rank += w.order()[other] < w.order()[c] ? 1 : 0;
      }
      list[rank] = w.order()[c];
    }
    __syncthreads();
    return list;
  }

  LandmarkWork& w;
  const Source& source_;
  ExactBank<kDim, Source> exact_;
  SummaryBank<kDim, Source> summary_;
};

}  // namespace kvg::cuda
