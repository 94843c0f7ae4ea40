#include "base/random.h"
#include "kernels/cuda/fused/sample.h"

// A draw needs the token at which the running sum of weights, from the most probable one on, passes
// a value; so does the edge of the nucleus. Both are found without sorting: tokens have a key that
// grows with the logit and, among equal logits, falls with the id; the key is narrowed down three
// bits a pass over the row, by the mass of the eight parts that a pass splits its range into.
namespace kvg::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kUnroll = 8;  // loads in flight a thread
constexpr int kDigitBits = 3;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kIdBits = 31;
constexpr int kTopShift = 32 + kIdBits - kDigitBits;  // 21 digits
constexpr uint64_t kPurpose = name_seed("sample");

// Mass and number of the tokens under each digit.
struct Digits {
  double mass[kDigits];
  unsigned count[kDigits];
};

struct Shared {
  unsigned long long key[kWarps];
  double mass[kDigits][kWarps];
  unsigned count[kDigits][kWarps];
  Digits top, current;
  unsigned long long found;
};

// Ordered as the logit; NaN is the smallest.
__device__ uint64_t key_of(float logit, int64_t id) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  uint32_t order = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (isnan(logit)) order = 0;
  return static_cast<uint64_t>(order) << kIdBits | (0x7fffffffu - static_cast<uint32_t>(id));
}

__device__ int32_t id_of(uint64_t key) {
  return static_cast<int32_t>(0x7fffffffu - static_cast<uint32_t>(key & 0x7fffffffu));
}

struct Row {
  const float* logits;
  int64_t vocab;
  double largest, temperature;

  __device__ double weight(float logit) const {
    return isnan(logit) ? 0 : exp((static_cast<double>(logit) - largest) / temperature);
  }
};

// function(logit, id) for every token that is this thread's.
template <typename Function>
__device__ void visit(const Row& row, Function function) {
  for (int64_t begin = threadIdx.x; begin < row.vocab; begin += kThreads * kUnroll) {
    float logit[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      const int64_t id = begin + j * kThreads;
      logit[j] = id < row.vocab ? row.logits[id] : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      const int64_t id = begin + j * kThreads;
      if (id < row.vocab) function(logit[j], id);
    }
  }
}

// The key of the most probable token.
__device__ uint64_t largest_key(const Row& row, Shared& shared) {
  unsigned long long key = 0;
  visit(row, [&key](float logit, int64_t id) {
    const unsigned long long other = key_of(logit, id);
    key = other > key ? other : key;
  });
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const unsigned long long other = __shfl_xor_sync(0xffffffffu, key, offset);
    key = other > key ? other : key;
  }
  if (threadIdx.x % 32 == 0) shared.key[threadIdx.x / 32] = key;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) key = max(key, shared.key[warp]);
  return key;
}

// Of the tokens whose key >> (shift + 3) is `prefix`, by the next three bits. Sums in a fixed
// order.
__device__ void split(const Row& row, uint64_t prefix, int shift, Shared& shared, Digits& digits) {
  double mass[kDigits] = {};
  unsigned count[kDigits] = {};
  visit(row, [&](float logit, int64_t id) {
    const uint64_t key = key_of(logit, id) >> shift;
    if (key >> kDigitBits != prefix) return;
    const double weight = row.weight(logit);
#pragma unroll
    for (int d = 0; d < kDigits; ++d) {
      const bool mine = static_cast<int>(key % kDigits) == d;
      mass[d] += mine ? weight : 0;
      count[d] += mine ? 1 : 0;
    }
  });
#pragma unroll
  for (int d = 0; d < kDigits; ++d) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      mass[d] += __shfl_xor_sync(0xffffffffu, mass[d], offset);
    }
    count[d] = __reduce_add_sync(0xffffffffu, count[d]);
    if (threadIdx.x % 32 == 0) {
      shared.mass[d][threadIdx.x / 32] = mass[d];
      shared.count[d][threadIdx.x / 32] = count[d];
    }
  }
  __syncthreads();
  if (threadIdx.x < kDigits) {
    double sum = 0;
    unsigned tokens = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      sum += shared.mass[threadIdx.x][warp];
      tokens += shared.count[threadIdx.x][warp];
    }
    digits.mass[threadIdx.x] = sum;
    digits.count[threadIdx.x] = tokens;
  }
  __syncthreads();
}

// The token whose key >> shift is `prefix`; there is one.
__device__ uint64_t find(const Row& row, uint64_t prefix, int shift, Shared& shared) {
  visit(row, [&](float logit, int64_t id) {
    const uint64_t key = key_of(logit, id);
    if (key >> shift == prefix) shared.found = key;
  });
  __syncthreads();
  const uint64_t key = shared.found;
  __syncthreads();
  return key;
}

struct Passed {
  uint64_t key;
  double mass;  // running sum, this token included
};

// The first token, from the most probable on, at which the running sum of weights passes `limit`
// (`at_limit`: or meets it); when rounding lets none, the last of any weight.
__device__ Passed pass(const Row& row, double limit, bool at_limit, Shared& shared) {
  uint64_t prefix = 0;
  double before = 0;
  for (int shift = kTopShift;; shift -= kDigitBits) {
    if (shift != kTopShift) split(row, prefix, shift, shared, shared.current);
    const Digits& digits = shift == kTopShift ? shared.top : shared.current;
    int chosen = 0;
    double mass = before;
    for (int d = kDigits - 1; d >= 0; --d) {
      if (digits.mass[d] == 0) continue;
      chosen = d;
      before = mass;
      mass += digits.mass[d];
      if (mass > limit || (at_limit && mass == limit)) break;
    }
    prefix = prefix << kDigitBits | static_cast<uint64_t>(chosen);
    if (shift == 0 || digits.count[chosen] == 1) return {find(row, prefix, shift, shared), mass};
  }
}

__device__ int32_t draw(const Row& row, const SampleLaunch& p, int64_t position, Shared& shared) {
  split(row, 0, kTopShift, shared, shared.top);
  double total = 0;
  for (int d = kDigits - 1; d >= 0; --d) total += shared.top.mass[d];
  Passed edge{0, total};
  if (p.top_p < 1) edge = pass(row, p.top_p * total, true, shared);
  Random random(mix_seed({p.seed, kPurpose, static_cast<uint64_t>(position + 1)}));
  const Passed drawn = pass(row, random.uniform() * edge.mass, false, shared);
  return id_of(drawn.key > edge.key ? drawn.key : edge.key);
}

__device__ void record(const SampleLaunch& p, int64_t row, int32_t token) {
  p.tokens[row] = token;
  const int64_t position = p.positions[row];
  if (p.history != nullptr) {
    const int64_t column = position - p.first_positions[row];
    if (column >= 0 && column < p.columns) p.history[row * p.columns + column] = token;
  }
  if (!p.advance) return;
  p.positions[row] = position + 1;
  if (p.bank_positions != nullptr) p.bank_positions[row] = min(position + 1, p.bank_limit);
}

// One block a row.
__global__ void __launch_bounds__(kThreads, 1)
    sample_kernel(const __grid_constant__ SampleLaunch p) {
  __shared__ Shared shared;
  Row row{p.logits + blockIdx.x * p.vocab, p.vocab, 0, p.temperature};
  const int64_t position = p.positions[blockIdx.x];
  const uint64_t key = largest_key(row, shared);
  const float largest = row.logits[id_of(key)];
  int32_t token = -1;
  if (isfinite(largest)) {
    row.largest = static_cast<double>(largest);
    token = p.temperature > 0 ? draw(row, p, position, shared) : id_of(key);
  }
  __syncthreads();
  if (threadIdx.x == 0) record(p, blockIdx.x, token);
}

}  // namespace

cudaError_t launch(const SampleLaunch& p, cudaStream_t stream) {
  if (p.rows < 0 || p.rows > 0x7fffffff || p.vocab <= 0 || p.vocab > 0x7fffffff) {
    return cudaErrorInvalidValue;
  }
  if (p.rows == 0) return cudaSuccess;
  sample_kernel<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace kvg::cuda
