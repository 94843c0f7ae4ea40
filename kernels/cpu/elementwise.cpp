#include "kernels/cpu/elementwise.h"

#include "kernels/cpu/simd_math.h"
#include "kernels/reference/slots.h"

#include <algorithm>
#include <cmath>

namespace kvg::cpu {
namespace {

constexpr int64_t kChunkRows = 32;

// function(row) for every row, `work` units of work each.
template <typename Function>
void for_each_row(Team& team, int64_t rows, int64_t work, Function function) {
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  const double total = static_cast<double>(rows) * static_cast<double>(work);
  team.for_each(chunks, total, [&](Worker&, int64_t chunk) {
    const int64_t end = std::min(rows, (chunk + 1) * kChunkRows);
    for (int64_t row = chunk * kChunkRows; row < end; ++row) function(row);
  });
}

// function(worker, site, begin, count) for chunks of rows of K and of V of every KV head. Encoding
// is many operations an element in some codecs, hence the weight.
template <typename Function>
void for_each_slot_chunk(Team& team, const Tensor& k, int32_t layer, Function function) {
  const int64_t rows = k.size(0);
  const int64_t kv_heads = k.size(1);
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  const double work = 16.0 * static_cast<double>(k.elements());
  team.for_each(chunks * kv_heads * 2, work, [&](Worker& worker, int64_t i) {
    const CodecSite site{layer, static_cast<int32_t>(i / 2 % kv_heads), i % 2 == 1};
    const int64_t begin = i / 2 / kv_heads * kChunkRows;
    function(worker, site, begin, std::min(kChunkRows, rows - begin));
  });
}

float sum_of_squares(const float* x, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

double log_sum_exp(const float* logits, int64_t n) {
  float largest = logits[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = logits[i] > largest ? logits[i] : largest;
  const double shift = largest;
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += fast_exp(static_cast<double>(logits[i]) - shift);
  return shift + std::log(sum);
}

}  // namespace

void embed(const EmbedParams& p, Team& team) {
  const int32_t* tokens = p.tokens.as<int32_t>();
  const int64_t hidden = p.table.size(1);
  for_each_row(team, p.tokens.size(0), hidden, [&](int64_t row) {
    std::copy_n(p.table.row<float>(tokens[row]), hidden, p.out.row<float>(row));
  });
}

void rms_norm(const RmsNormParams& p, Team& team) {
  const int64_t hidden = p.x.size(1);
  const float* weight = p.weight.as<float>();
  for_each_row(team, p.x.size(0), 3 * hidden, [&](int64_t row) {
    float* x = p.x.row<float>(row);
    float* out = p.out.row<float>(row);
    if (p.delta) {
      const float* delta = p.delta.row<float>(row);
      for (int64_t i = 0; i < hidden; ++i) x[i] += delta[i];
    }
    const double mean =
        static_cast<double>(sum_of_squares(x, hidden)) / static_cast<double>(hidden);
    const auto scale = static_cast<float>(1 / std::sqrt(mean + p.eps));
    for (int64_t i = 0; i < hidden; ++i) out[i] = x[i] * scale * weight[i];
  });
}

void swiglu(const SwigluParams& p, Team& team) {
  const int64_t ffn = p.out.size(1);
  for_each_row(team, p.out.size(0), 8 * ffn, [&](int64_t row) {
    const float* gate = p.gate_up.row<float>(row);
    const float* up = gate + ffn;
    float* out = p.out.row<float>(row);
#pragma omp simd
    for (int64_t i = 0; i < ffn; ++i) out[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
  });
}

void prepare_heads(const PrepareHeadsParams& p, Team& team, reference::ThetaTurns<float>& theta) {
  const reference::RopeAngles angles(p.rope, p.head_dim);
  theta.fill(p.theta);
  const int64_t work = 4 * p.fused.size(1) + 100 * p.head_dim;  // the latter for sines and cosines
  for_each_row(team, p.fused.size(0), work,
               [&](int64_t row) { reference::prepare_heads_row(p, angles, theta, row); });
}

void store(const StoreParams& p, Team& team) {
  for_each_slot_chunk(
      team, p.k, p.layer, [&](Worker& worker, const CodecSite& site, int64_t begin, int64_t count) {
        reference::store_rows(reference::slot_array(p.store, site.kv_head, site.value), site,
                              p.first_slot, site.value ? p.v : p.k, begin, count,
                              worker.floats.reserve(kChunkRows * p.k.size(2)));
      });
}

void load(const LoadParams& p, Team& team) {
  for_each_slot_chunk(
      team, p.k, p.layer, [&](Worker& worker, const CodecSite& site, int64_t begin, int64_t count) {
        reference::load_rows(reference::slot_array(p.store, site.kv_head, site.value), site,
                             p.first_slot, site.value ? p.v : p.k, begin, count,
                             worker.floats.reserve(kChunkRows * p.k.size(2)));
      });
}

void nll(const NllParams& p, Team& team) {
  const int64_t vocab = p.logits.size(1);
  const int32_t* targets = p.targets.as<int32_t>();
  for_each_row(team, p.logits.size(0), 20 * vocab, [&](int64_t row) {
    const float* logits = p.logits.row<float>(row);
    p.nll.as<double>()[row] =
        log_sum_exp(logits, vocab) - static_cast<double>(logits[targets[row]]);
  });
}

}  // namespace kvg::cpu
