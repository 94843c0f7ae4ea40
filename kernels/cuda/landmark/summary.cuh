#pragma once

#include "kernels/cuda/landmark/score.cuh"
#include "kernels/cuda/landmark/select.cuh"

#include <cstdint>

namespace kvg::cuda {

// The summary bank while evictions are worked through (kernels/reference/landmark_summary.h);
// otherwise as ExactBank. Averages are read from their slots where they change.
template <int kDim, typename Source>
class SummaryBank {
 public:
  using Lanes = LaneVector<kDim>;

  __device__ SummaryBank(LandmarkWork& work, const Source& source)
      : w(work),
        source_(source),
        scale_(work.rules.energy_scale
                   ? sqrtf(static_cast<float>(kDim) / static_cast<float>(work.layout.shape.band))
                   : 1.0f) {}

  __device__ void start_at(int row) { first_row_ = row; }

  __device__ void load_units(int first, int count, int row, bool refresh) {
    for (int task = warp_id(); task < count * w.heads; task += kLandmarkWarps) {
      const int head = task / count;
      const int i = task % count;
      read_unit(head, first + i, refresh, w.summary_unit(head, row + i));
    }
  }
  __device__ void refresh_units() {
    for (int task = warp_id(); task < w.layout.shape.summary * w.heads; task += kLandmarkWarps) {
      read_unit(task / w.layout.shape.summary, task % w.layout.shape.summary, true, nullptr);
    }
  }

  // Keys of tokens list[first + i] (null: first + i), i < count, into the chunk.
  __device__ void load_tokens(const int32_t* list, int first, int count) {
    in_chunk_ = count;
    for (int task = warp_id(); task < count * w.heads; task += kLandmarkWarps) {
      const int head = task / count;
      const int i = task % count;
      Lanes x = load(list != nullptr ? list[first + i] : first + i, head, false);
      keep_band<kDim>(w, x);
      warp_normalize(w.round, x);
      store_band<kDim>(w, w.token_key(head, i), x);
    }
  }

  // The chunk against slots [begin, end).
  __device__ void score(int begin, int end) {
    const int count = in_chunk_;
    const int rows = w.layout.summary_rows;
    const int column = w.layout.shape.exact + w.layout.chunk;
    if (w.all_summary_rows()) {
      score_rows(w, false, count, {w.summary_unit(0, 0), rows, begin, end - begin}, column + begin);
      return;
    }
    for (int first = begin; first < end; first += rows) {
      const int n = min(rows, end - first);
      load_units(first, n, 0, false);
      __syncthreads();
      score_rows(w, false, count, {w.summary_unit(0, 0), rows, 0, n}, column + first);
      __syncthreads();
    }
  }

  // Tokens list[0 .. count). `whole`: the chunk has all tokens of the eviction as they came, and
  // has been scored.
  __device__ void offer(const int32_t* list, int count, bool single, bool whole) {
    const bool means = w.rules.routing != LandmarkRouting::live && !single;
    int next_free = 0;
    for (int begin = 0; begin < count; begin += w.layout.chunk) {
      const int n = min(w.layout.chunk, count - begin);
      if (!whole) compare(list, begin, n);
      if (means) {
        if (warp_id() == 0) route_all(list, begin, n, whole, &next_free);
        __syncthreads();
      } else {
        take_each(list, begin, n, whole, single || w.rules.gated_rate);
      }
    }
    if (means) take_means(list, count);
  }

 private:
  __device__ Lanes load(int token, int head, bool value) const {
    return source_.template load<kDim>(first_row_ + token, w.first_head + head, value);
  }
  __device__ bool offered(int token) const {
    return static_cast<double>(w.gate()[token]) >= w.rules.tau_summary;
  }

  // Unit key of a slot; into `row` unless null.
  __device__ void read_unit(int head, int slot, bool refresh, float* row) const {
    const void* resident = w.bank().summary_unit;
    if (resident != nullptr && !refresh) {
      const int band = w.layout.shape.band;
      const int64_t at = resident_at(head, slot);
      for (int i = lane_id(); i < (band + 3) / 4 * 4; i += 32) {
        row[i] = i < band ? resident_element(resident, at + i, w.round) : 0;
      }
      return;
    }
    const SlotPlace place = slot_place(w.bank().summary, w.first_head + head, slot, false);
    Lanes x = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    set_unit(head, slot, x, row);
  }
  __device__ int64_t resident_at(int head, int slot) const {
    return (int64_t{w.first_head + head} * w.layout.shape.summary + slot) * w.layout.shape.band;
  }
  // From the slot's key.
  __device__ void set_unit(int head, int slot, Lanes& x, float* row) const {
    keep_band<kDim>(w, x);
    warp_normalize(w.round, x);
    if (row != nullptr) store_band<kDim>(w, row, x);
    if (w.bank().summary_unit == nullptr) return;
    const int64_t first = resident_at(head, slot);
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) {
      const int at = w.band_index(lane_id() * kLaneWidth<kDim> + i);
      if (at >= 0) set_resident_element(w.bank().summary_unit, first + at, w.round, x[i]);
    }
  }

  __device__ void compare(const int32_t* list, int begin, int count) {
    load_tokens(list, begin, count);
    __syncthreads();
    score(0, w.layout.shape.summary);
    const int column = w.layout.shape.exact + w.layout.chunk;
    exchange(w, count, column, column + w.layout.shape.summary);
  }

  // Slot for the token at this place of the chunk, by one warp. `next_free` is the first slot not
  // yet promised to another token.
  __device__ int route(int at, int* next_free) const {
    const int slots = w.layout.shape.summary;
    const bool compete = w.rules.insert == LandmarkInsert::compete;
    const LandmarkMatch best =
        warp_best(w.summary_score(at), compete ? nullptr : w.summary_valid(), slots);
    if (compete) return best.slot;
    if (best.any && static_cast<double>(best.score) >= w.rules.tau_merge) return best.slot;
    const int open = warp_free_slot(w, *next_free);
    // All slots promised within one eviction and none to compare with: the last one takes the rest.
    if (open == slots) return best.any ? best.slot : slots - 1;
    *next_free = open + 1;
    return open;
  }

  // Published blocks: every token is routed by the averages as they are at the start.
  __device__ void route_all(const int32_t* list, int begin, int count, bool whole, int* next_free) {
    for (int i = 0; i < count; ++i) {
      const int token = list[begin + i];
      const int slot = offered(token) ? route(whole ? token : i, next_free) : -1;
      if (lane_id() == 0) w.target()[begin + i] = slot;
    }
  }

  // One token at a time, each seeing what those before it did.
  __device__ void take_each(const int32_t* list, int begin, int count, bool whole, bool gated) {
    auto* decision = w.at<int32_t>(w.layout.decision);
    for (int i = 0; i < count; ++i) {
      const int token = list[begin + i];
      if (!offered(token)) continue;
      if (warp_id() == 0) {
        int next_free = 0;
        const int slot = route(whole ? token : i, &next_free);
        const bool opens = w.summary_valid()[slot] == 0 && w.rules.overwrite_on_insert;
        __syncwarp();
        if (lane_id() == 0) {
          decision[0] = slot;
          decision[1] = opens ? 1 : 0;
          count_tokens(slot, 1, gated ? w.gate()[token] : 1.0f, gated, opens);
        }
      }
      __syncthreads();
      const int slot = decision[0];
      const bool opens = decision[1] != 0;
      for (int task = warp_id(); task < 2 * w.heads; task += kLandmarkWarps) {
        Lanes x = load(token, task / 2, task % 2 != 0);
        move(slot, task / 2, task % 2 != 0,
             rate(w.first_head + task / 2, w.gate()[token], gated, opens), x);
      }
      __syncthreads();
      if (i + 1 == count) continue;
      const int column = w.layout.shape.exact + w.layout.chunk + slot;
      score(slot, slot + 1);
      exchange(w, in_chunk_, column, column + 1);
    }
  }

  // At which a slot moves; `gate` of its token, or the mean of its tokens.
  __device__ float rate(int kv_head, float gate, bool gated, bool opens) const {
    if (opens) return 1;
    return gated ? w.round(w.eta(kv_head) * w.round(gate)) : w.eta(kv_head);
  }

  // m += rate * (x - m), keys scaled and in the slow dimensions only; written through and read
  // back.
  __device__ void move(int slot, int head, bool value, float rate, Lanes& x) {
    const SlotPlace place = slot_place(w.bank().summary, w.first_head + head, slot, value);
    const Lanes mean = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) {
      const float scaled = value ? x[i] : w.round(x[i] * scale_);
      x[i] = w.round(mean[i] + w.round(rate * w.round(scaled - mean[i])));
    }
    if (!value) keep_band<kDim>(w, x);
    encode_vector<kDim>(*place.codec, {w.layer, w.first_head + head, value}, x, place.codes,
                        place.scale);
    if (value) return;
    __syncwarp();
    x = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    set_unit(head, slot, x, w.all_summary_rows() ? w.summary_unit(head, slot) : nullptr);
  }

  // What a slot held before is forgotten at the rate at which it has just moved, and so are the
  // tokens it stands for. By one thread.
  __device__ void count_tokens(int slot, int tokens, float gate, bool gated, bool opens) {
    if (w.bank().counts != nullptr) {
      float rates = 0;
      for (int head = 0; head < w.layout.shape.kv_heads; ++head) {
        rates += rate(head, gate, gated, opens);
      }
      const float kept = 1 - rates / static_cast<float>(w.layout.shape.kv_heads);
      float& count = w.at<float>(w.layout.counts)[slot];
      const float before = w.summary_valid()[slot] != 0 ? count : 0;
      count = kept * before + static_cast<float>(tokens);
      w.at<float>(w.layout.log_weight)[slot] = logf(count);
    }
    w.summary_valid()[slot] = 1;
  }

  // Calls function(candidate) for the candidates below `count` that go to this slot, in order, with
  // all lanes of a warp together.
  template <typename Function>
  __device__ void for_each_of(int slot, int count, Function function) const {
    for (int base = 0; base < count; base += 32) {
      const int c = base + lane_id();
      unsigned mine = __ballot_sync(kWarp, c < count && w.target()[c] == slot);
      for (; mine != 0; mine &= mine - 1) function(base + __ffs(static_cast<int>(mine)) - 1);
    }
  }

  struct Group {
    int tokens = 0;
    float weight = 0;  // sum of their gates
  };
  __device__ Group group_of(const int32_t* list, int slot, int count) const {
    Group group;
    for_each_of(slot, count, [&](int c) {
      ++group.tokens;
      group.weight = w.round(group.weight + w.round(w.gate()[list[c]]));
    });
    return group;
  }
  __device__ bool opens(int slot) const {
    return w.summary_valid()[slot] == 0 && w.rules.overwrite_on_insert;
  }

  // Each slot moves once, towards the gate-weighted mean of its tokens.
  __device__ void take_means(const int32_t* list, int count) {
    const int slots = w.layout.shape.summary;
    for (int task = warp_id(); task < slots * w.heads * 2; task += kLandmarkWarps) {
      const int slot = task / (2 * w.heads);
      const int head = task / 2 % w.heads;
      const bool value = task % 2 != 0;
      const Group group = group_of(list, slot, count);
      if (!(group.weight > 0)) continue;
      Lanes mean;
      weighted_mean(list, slot, count, group.weight, head, value, mean);
      const float gate = group.weight / static_cast<float>(group.tokens);
      move(slot, head, value, rate(w.first_head + head, gate, w.rules.gated_rate, opens(slot)),
           mean);
    }
    __syncthreads();
    for (int slot = warp_id(); slot < slots; slot += kLandmarkWarps) {
      const Group group = group_of(list, slot, count);
      if (!(group.weight > 0)) continue;
      const float gate = group.weight / static_cast<float>(group.tokens);
      const bool opened = opens(slot);
      __syncwarp();
      if (lane_id() == 0) count_tokens(slot, group.tokens, gate, w.rules.gated_rate, opened);
    }
    __syncthreads();
  }

  __device__ void weighted_mean(const int32_t* list, int slot, int count, float weight, int head,
                                bool value, Lanes& mean) const {
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) mean[i] = 0;
    for_each_of(slot, count, [&](int c) {
      const float gate = w.round(w.gate()[list[c]]);
      const Lanes x = load(list[c], head, value);
#pragma unroll
      for (int i = 0; i < kLaneWidth<kDim>; ++i) {
        mean[i] = w.round(mean[i] + w.round(x[i] * gate));
      }
    });
    const float divisor = fmaxf(weight, 1e-6f);
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) mean[i] = w.round(mean[i] / divisor);
  }

  LandmarkWork& w;
  const Source& source_;
  float scale_;  // of keys
  int first_row_ = 0;
  int in_chunk_ = 0;  // tokens in the chunk
};

}  // namespace kvg::cuda
