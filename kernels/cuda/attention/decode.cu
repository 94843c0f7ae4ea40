#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_tile.cuh"
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/tile.cuh"
#include "kernels/cuda/codec/warp.cuh"

#include <cstddef>

#include <cuda_bf16.h>

namespace kvg::cuda {

namespace {

constexpr int kWarps = kDecodeWarps;
constexpr int kThreads = 32 * kWarps;
constexpr float kLog2E = 1.44269504088896340736f;

// Where this block stands in the grid, and what it reads.
struct Place {
  int32_t sequence, kv_head, chunk;
  int32_t position;
  DecodeSplit split;
};

// A block's shared memory: the pipeline of slots; once they are read, the warps' sums.
template <int kHeadDim, int kColumns>
struct Shared {
  static constexpr int kQueries = 8 * kColumns;
  static constexpr int kSumStride = kHeadDim + 4;  // so that a warp writes to all banks at once
  static constexpr size_t kSums = sizeof(float) * kWarps * kQueries * kSumStride;
  static constexpr size_t kPipeline = sizeof(DecodeStages<kHeadDim>) * kWarps;

  alignas(128) uint8_t memory[kPipeline > kSums ? kPipeline : kSums];
  alignas(16) __nv_bfloat16 q[kQueries * kHeadDim];
  alignas(16) uint8_t cache[sizeof(DeviceDecodeCache)];
  float stats[kWarps][kQueries][2];
  bool last;

  __device__ float* sums(int warp, int query) {
    return reinterpret_cast<float*>(memory) + (warp * kQueries + query) * kSumStride;
  }
};

__device__ const DeviceSlots& group_slots(const DeviceDecodeCache& cache, DecodeGroup group) {
  switch (group) {
    case DecodeGroup::sinks:
      return cache.sinks;
    case DecodeGroup::exact:
      return cache.landmark.exact;
    case DecodeGroup::summary:
      return cache.landmark.summary;
    case DecodeGroup::random:
      return cache.random;
    case DecodeGroup::recent:
      break;
  }
  return cache.recent;
}

// The new token into its slot, by one warp each for K and V. Blocks that share a KV head write the
// same bytes.
template <int kHeadDim>
__device__ void store_token(const DecodeAttentionLaunch& p, const DeviceSlots& slots,
                            int32_t kv_head, int32_t slot, int warp, int lane,
                            const __nv_bfloat16* k, const __nv_bfloat16* v) {
  if (warp >= 2) return;
  const bool value = warp == 1;
  constexpr int kPerLane = kHeadDim / 32;
  const __nv_bfloat16* from = (value ? v : k) + lane * kPerLane;
  float x[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) x[i] = __bfloat162float(from[i]);
  const DeviceCodec& codec = value ? slots.v_codec : slots.k_codec;
  uint16_t* scales = value ? slots.v_scales : slots.k_scales;
  const int64_t index = int64_t{kv_head} * slots.capacity + slot;
  warp_encode<kHeadDim>(codec, p.layer, kv_head, value, x,
                        (value ? slots.v_codes : slots.k_codes) + index * codec.code_bytes,
                        scales != nullptr ? scales + index : nullptr);
}

// The block's slots; in the block that has the newest one, the new token is stored first.
template <int kHeadDim>
__device__ SlotReader<kHeadDim> open_split(const DecodeAttentionLaunch& p, const Place& at,
                                           int32_t newest_end, const DeviceDecodeCache& cache,
                                           const DeviceSlots& slots, int warp, int lane) {
  SlotReader<kHeadDim> reader{&slots, at.kv_head, at.split.begin, at.split.end, 0};
  const DecodeGroup group = at.split.group;
  if (group == DecodeGroup::recent) {
    reader.first = static_cast<int32_t>(
        static_cast<uint32_t>(p.slots.first_recent(at.position) - p.slots.sinks) %
        static_cast<uint32_t>(slots.capacity));
  }
  if (group == DecodeGroup::exact) reader.valid = cache.landmark.exact_valid;
  if (group == DecodeGroup::summary) {
    reader.valid = cache.landmark.summary_valid;
    reader.log_weight = cache.landmark.log_weight;
  }
  const DecodeGroup newest = at.position < p.slots.sinks ? DecodeGroup::sinks : DecodeGroup::recent;
  if (group != newest || at.split.end != newest_end) return reader;
  const int64_t row = (int64_t{at.sequence} * p.kv_heads + at.kv_head) * kHeadDim;
  reader.newest_k = static_cast<const __nv_bfloat16*>(p.k) + row;
  reader.newest_v = static_cast<const __nv_bfloat16*>(p.v) + row;
  store_token<kHeadDim>(p, slots, at.kv_head, reader.slot(at.split.end - 1), warp, lane,
                        reader.newest_k, reader.newest_v);
  if (p.gate != nullptr && blockIdx.y == 0 && threadIdx.x == kThreads - 1) {
    cache.gates[at.position % p.slots.window] = p.gate[at.sequence];
  }
  // What any other codec than a plain one makes of it is read back from where it was stored.
  if (!is_plain(slots.k_codec) || !is_plain(slots.v_codec)) __syncthreads();
  return reader;
}

// The block's queries as they multiply keys of this group, in shared memory as a tile; rows past
// the last head are zero.
template <int kHeadDim, int kColumns>
__device__ void load_queries(const DecodeAttentionLaunch& p, const Place& at,
                             const DeviceCodec& codec, int frame, int warp, int lane,
                             __nv_bfloat16* q) {
  constexpr int kPerLane = kHeadDim / 32;
  const int group_heads = p.heads / p.kv_heads;
  const WarpRotation<kHeadDim> rotation(codec, p.layer, at.kv_head, /*value=*/false);
  for (int n = warp; n < 8 * kColumns; n += kWarps) {
    const int query = at.chunk * 8 * kColumns + n;
    const int head = query / p.streams;
    float x[kPerLane] = {};
    if (head < group_heads) {
      const int64_t row = int64_t{frame} * p.sequences + at.sequence;
      const int64_t index =
          (row * p.streams + query % p.streams) * p.heads + at.kv_head * group_heads + head;
      const auto* from = static_cast<const __nv_bfloat16*>(p.q) + index * kHeadDim;
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) x[i] = __bfloat162float(from[lane * kPerLane + i]);
      rotation.apply(x);
    }
    const int column = lane * kPerLane;
    auto* to = q + tile_chunk<kHeadDim>(n, column / 8) + column % 8;
#pragma unroll
    for (int i = 0; i < kPerLane; i += 2) {
      *reinterpret_cast<uint32_t*>(to + i) = pack_bf16(x[i], x[i + 1]);
    }
  }
}

// Sums of one warp (or of all) over slots: a column is a query.
template <int kHeadDim, int kColumns>
struct Accumulator {
  float out[kHeadDim / 16][kColumns][4];  // V^T p^T, as mma leaves it
  float most[kColumns][2];                // largest logit so far, in units of log 2
  float weight[kColumns][2];              // this lane's part of sum p
};

template <int kColumns>
__device__ void softmax_step(float (&logits)[kColumns][4], float (&most)[kColumns][2],
                             float (&weight)[kColumns][2], float (&rescale)[kColumns][2]) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float largest = fmaxf(logits[c][i], logits[c][i + 2]);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
      }
      largest = fmaxf(largest, most[c][i]);
      // Nothing readable so far: any finite reference gives weights of zero.
      const float reference = largest == -INFINITY ? 0.0f : largest;
      rescale[c][i] = exp2_approx(most[c][i] - reference);
      most[c][i] = largest;
      logits[c][i] = exp2_approx(logits[c][i] - reference);
      logits[c][i + 2] = exp2_approx(logits[c][i + 2] - reference);
      weight[c][i] = weight[c][i] * rescale[c][i] + logits[c][i] + logits[c][i + 2];
    }
  }
}

// One warp's 16 slots: logits^T = K q^T, softmax, out^T += V^T p^T.
template <int kHeadDim, int kColumns>
__device__ void attend(const DecodeStage<kHeadDim>& stage, bool k_scaled, bool v_scaled,
                       float scale, const float (&bias)[2],
                       const uint32_t (&q)[kHeadDim / 16][kColumns][2], int lane,
                       Accumulator<kHeadDim, kColumns>& sum) {
  // Matrices 0 and 1 of ldmatrix are the upper and lower rows, 2 and 3 the next 8 columns.
  const int row = lane % 16;
  const int side = lane / 16;
  float logits[kColumns][4] = {};
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    uint32_t a[4];
    ldmatrix_x4(a, shared_address(stage.k + tile_chunk<kHeadDim>(row, 2 * k + side)));
#pragma unroll
    for (int c = 0; c < kColumns; ++c) mma_m16n8k16(logits[c], a, q[k][c][0], q[k][c][1]);
  }
  const int g = lane / 4;
  const float upper = k_scaled ? scale * stage.k_scales[g] : scale;
  const float lower = k_scaled ? scale * stage.k_scales[g + 8] : scale;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      // Not a product with a mask: what an unreadable slot holds must not matter.
      logits[c][i] = bias[0] == -INFINITY ? -INFINITY : logits[c][i] * upper + bias[0];
      logits[c][i + 2] = bias[1] == -INFINITY ? -INFINITY : logits[c][i + 2] * lower + bias[1];
    }
  }
  float rescale[kColumns][2];
  softmax_step<kColumns>(logits, sum.most, sum.weight, rescale);
  const float v_upper = v_scaled ? stage.v_scales[g] : 1.0f;
  const float v_lower = v_scaled ? stage.v_scales[g + 8] : 1.0f;
  uint32_t weights[kColumns][2];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    // (slot g, query 2t) is wanted as (slot 2t, query g).
    weights[c][0] = movmatrix_trans(pack_bf16(logits[c][0] * v_upper, logits[c][1] * v_upper));
    weights[c][1] = movmatrix_trans(pack_bf16(logits[c][2] * v_lower, logits[c][3] * v_lower));
  }
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    uint32_t a[4];
    // Transposed: matrices are (slots 0-7, d 0-7), (slots 0-7, d 8-15), then slots 8-15.
    ldmatrix_x4_trans(a, shared_address(stage.v + tile_chunk<kHeadDim>(lane % 8 + 8 * side,
                                                                       2 * d + lane / 8 % 2)));
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum.out[d][c][i] *= rescale[c][i % 2];
      mma_m16n8k16(sum.out[d][c], a, weights[c][0], weights[c][1]);
    }
  }
}

// A warp's sums into shared memory, by query.
template <int kHeadDim, int kColumns>
__device__ void keep(Accumulator<kHeadDim, kColumns>& sum, int warp, int lane,
                     Shared<kHeadDim, kColumns>& shared) {
  const int g = lane / 4;
  const int t = lane % 4;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = 8 * c + 2 * t + i;
      float* to = shared.sums(warp, query);
#pragma unroll
      for (int d = 0; d < kHeadDim / 16; ++d) {
        to[16 * d + g] = sum.out[d][c][i];
        to[16 * d + g + 8] = sum.out[d][c][i + 2];
      }
      float weight = sum.weight[c][i];
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        weight += __shfl_xor_sync(0xffffffffu, weight, offset);
      }
      if (g == 0) {
        shared.stats[warp][query][0] = sum.most[c][i];
        shared.stats[warp][query][1] = weight;
      }
    }
  }
}

// One query's partial softmax; a lane has kPerLane neighbouring coordinates of the sum.
template <int kPerLane>
struct Partial {
  float out[kPerLane];
  float most, weight;

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) out[i] = 0;
    most = -INFINITY;
    weight = 0;
  }
  // Adds another partial, which the reference of both weights must not be below.
  __device__ void add(const float* other, float other_most, float other_weight, float reference) {
    const float factor = exp2_approx(other_most - reference);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) out[i] += factor * other[i];
    weight += factor * other_weight;
  }
};

__device__ float finite_reference(float most) { return most == -INFINITY ? 0.0f : most; }

// Row `query` of all warps together, back in the original frame.
template <int kHeadDim, int kColumns>
__device__ Partial<kHeadDim / 32> join_warps(Shared<kHeadDim, kColumns>& shared, int query,
                                             int lane) {
  Partial<kHeadDim / 32> sum;
  sum.clear();
  for (int w = 0; w < kWarps; ++w) sum.most = fmaxf(sum.most, shared.stats[w][query][0]);
  const float reference = finite_reference(sum.most);
  for (int w = 0; w < kWarps; ++w) {
    sum.add(shared.sums(w, query) + lane * (kHeadDim / 32), shared.stats[w][query][0],
            shared.stats[w][query][1], reference);
  }
  return sum;
}

// Index of a query row of this block's KV head among the workspace's.
__device__ int64_t workspace_row(const DecodeAttentionLaunch& p, const Place& at, int split,
                                 int query) {
  const int64_t head = (int64_t{at.sequence} * p.kv_heads + at.kv_head) * p.grid.chunks + at.chunk;
  return (head * p.grid.splits + split) * p.grid.queries + query;
}

// A query's partials of all splits, in their order.
template <int kHeadDim>
__device__ Partial<kHeadDim / 32> join_splits(const DecodeAttentionLaunch& p, const Place& at,
                                              int query, int lane) {
  constexpr int kPerLane = kHeadDim / 32;
  Partial<kPerLane> sum;
  sum.clear();
  for (int s = lane; s < at.split.used; s += 32) {
    sum.most = fmaxf(sum.most, __ldcg(p.workspace.stats + 2 * workspace_row(p, at, s, query)));
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    sum.most = fmaxf(sum.most, __shfl_xor_sync(0xffffffffu, sum.most, offset));
  }
  const float reference = finite_reference(sum.most);
#pragma unroll 4
  for (int s = 0; s < at.split.used; ++s) {
    const int64_t row = workspace_row(p, at, s, query);
    const float2 stats = __ldcg(reinterpret_cast<const float2*>(p.workspace.stats) + row);
    float other[kPerLane];
    load_lane<kPerLane>(p.workspace.sums + row * kHeadDim + lane * kPerLane, other);
    sum.add(other, stats.x, stats.y, reference);
  }
  return sum;
}

// out = o_0 - lambda o_1, head norm, one store.
template <int kHeadDim>
__device__ void finish_head(const DecodeAttentionLaunch& p, const Place& at, int head,
                            const Partial<kHeadDim / 32> (&streams)[2], int lane) {
  constexpr int kPerLane = kHeadDim / 32;
  const int64_t row = int64_t{at.sequence} * p.heads + head;
  const float first = streams[0].weight > 0 ? 1.0f / streams[0].weight : 0.0f;
  float second = 0;
  if (p.streams == 2 && streams[1].weight > 0) second = p.lambda[row] / streams[1].weight;
  float out[kPerLane];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    out[i] = first * streams[0].out[i];
    if (p.streams == 2) out[i] -= second * streams[1].out[i];
    squares += out[i] * out[i];
  }
  if (p.head_norm != nullptr) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      squares += __shfl_xor_sync(0xffffffffu, squares, offset);
    }
    const float factor = rsqrtf(squares / kHeadDim + p.head_norm_eps);
    const auto* weight = static_cast<const __nv_bfloat16*>(p.head_norm) + lane * kPerLane;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) out[i] *= factor * __bfloat162float(weight[i]);
  }
  auto* to = static_cast<__nv_bfloat16*>(p.out) + row * kHeadDim + lane * kPerLane;
#pragma unroll
  for (int i = 0; i < kPerLane; i += 2) {
    *reinterpret_cast<uint32_t*>(to + i) = pack_bf16(out[i], out[i + 1]);
  }
}

// The block's partial goes to the workspace; true in the block that came last, which then sees
// what all the others wrote.
template <int kHeadDim, int kColumns>
__device__ bool hand_in(const DecodeAttentionLaunch& p, const Place& at, const DeviceCodec& codec,
                        int warp, int lane, Shared<kHeadDim, kColumns>& shared) {
  constexpr int kPerLane = kHeadDim / 32;
  const WarpRotation<kHeadDim> rotation(codec, p.layer, at.kv_head, /*value=*/true);
  for (int query = warp; query < 8 * kColumns; query += kWarps) {
    Partial<kPerLane> sum = join_warps(shared, query, lane);
    rotation.apply_transposed(sum.out);
    const int64_t row = workspace_row(p, at, static_cast<int>(blockIdx.x), query);
    store_lane<kPerLane>(p.workspace.sums + row * kHeadDim + lane * kPerLane, sum.out);
    if (lane == 0) {
      reinterpret_cast<float2*>(p.workspace.stats)[row] = make_float2(sum.most, sum.weight);
    }
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* counter = p.workspace.counters +
                        (int64_t{at.sequence} * p.kv_heads + at.kv_head) * p.grid.chunks + at.chunk;
    const unsigned before = atomicAdd(counter, 1u);
    shared.last = before + 1 == static_cast<unsigned>(at.split.used);
    if (shared.last) *counter = 0;
    __threadfence();
  }
  __syncthreads();
  return shared.last;
}

// Every split has been handed in: the heads of this chunk, a warp each.
template <int kHeadDim, int kColumns>
__device__ void finish(const DecodeAttentionLaunch& p, const Place& at, int warp, int lane) {
  const int group_heads = p.heads / p.kv_heads;
  const int chunk_heads = 8 * kColumns / p.streams;
  for (int h = warp; h < chunk_heads; h += kWarps) {
    const int head = at.chunk * chunk_heads + h;
    if (head >= group_heads) break;
    Partial<kHeadDim / 32> streams[2];
    streams[0] = join_splits<kHeadDim>(p, at, h * p.streams, lane);
    streams[1] = streams[0];
    if (p.streams == 2) streams[1] = join_splits<kHeadDim>(p, at, h * 2 + 1, lane);
    finish_head<kHeadDim>(p, at, at.kv_head * group_heads + head, streams, lane);
  }
}

template <int kHeadDim, int kColumns>
__global__ void __launch_bounds__(kThreads, 2)
    decode_attention_kernel(const __grid_constant__ DecodeAttentionLaunch p) {
  extern __shared__ __align__(128) uint8_t raw[];
  auto& shared = *reinterpret_cast<Shared<kHeadDim, kColumns>*>(raw);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Place at;
  at.sequence = static_cast<int32_t>(blockIdx.z);
  at.kv_head = static_cast<int32_t>(blockIdx.y) / p.grid.chunks;
  at.chunk = static_cast<int32_t>(blockIdx.y) % p.grid.chunks;
  static_assert(sizeof(DeviceDecodeCache) % 8 == 0);
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(sizeof(DeviceDecodeCache) / 8);
       i += kThreads) {
    reinterpret_cast<uint64_t*>(shared.cache)[i] =
        reinterpret_cast<const uint64_t*>(p.caches + at.sequence)[i];
  }
  at.position = static_cast<int32_t>(p.positions[at.sequence]);
  const DecodeCounts counts = decode_counts(p.slots, at.position);
  at.split = decode_split(counts, p.grid.splits, static_cast<int32_t>(blockIdx.x));
  if (static_cast<int32_t>(blockIdx.x) >= at.split.used) return;
  const int32_t newest_end =
      at.position < p.slots.sinks ? counts[DecodeGroup::sinks] : counts[DecodeGroup::recent];
  __syncthreads();

  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  const DeviceSlots& slots = group_slots(cache, at.split.group);
  const SlotReader<kHeadDim> reader =
      open_split<kHeadDim>(p, at, newest_end, cache, slots, warp, lane);
  auto& stages = reinterpret_cast<DecodeStages<kHeadDim>*>(shared.memory)[warp];
  constexpr int kAhead = DecodeStages<kHeadDim>::kCount - 1;
  const int32_t steps = reader.steps(warp);
#pragma unroll 1
  for (int32_t i = 0; i < kAhead; ++i) {
    if (i < steps) reader.start(i, warp, lane, stages.stage[i]);
    cp_async_commit();
  }
  const int frame = at.split.group == DecodeGroup::sinks ? p.frames - 1 : 0;
  load_queries<kHeadDim, kColumns>(p, at, slots.k_codec, frame, warp, lane, shared.q);
  __syncthreads();
  uint32_t q[kHeadDim / 16][kColumns][2];
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        q[k][c][i] = *reinterpret_cast<const uint32_t*>(
            shared.q + tile_chunk<kHeadDim>(8 * c + lane / 4, 2 * k + i) + 2 * (lane % 4));
      }
    }
  }

  Accumulator<kHeadDim, kColumns> sum = {};
#pragma unroll
  for (int c = 0; c < kColumns; ++c) sum.most[c][0] = sum.most[c][1] = -INFINITY;
  int stage = 0;
#pragma unroll 1
  for (int32_t i = 0; i < steps; ++i) {
    float bias[2];
    reader.bias(i, warp, lane, bias);
    cp_async_wait<kAhead - 1>();
    __syncwarp();
    attend<kHeadDim, kColumns>(stages.stage[stage], slots.k_codec.scaled, slots.v_codec.scaled,
                               p.scale * kLog2E, bias, q, lane, sum);
    __syncwarp();
    if (i + kAhead < steps) {
      reader.start(i + kAhead, warp, lane, stages.stage[stage == 0 ? kAhead : stage - 1]);
    }
    cp_async_commit();
    stage = stage == kAhead ? 0 : stage + 1;
  }
  cp_async_wait<0>();
  __syncthreads();
  keep(sum, warp, lane, shared);
  __syncthreads();
  if (hand_in(p, at, slots.v_codec, warp, lane, shared)) {
    finish<kHeadDim, kColumns>(p, at, warp, lane);
  }
}

template <int kHeadDim, int kColumns>
cudaError_t launch_shape(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  const auto kernel = decode_attention_kernel<kHeadDim, kColumns>;
  constexpr int kBytes = static_cast<int>(sizeof(Shared<kHeadDim, kColumns>));
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  const dim3 blocks(static_cast<unsigned>(p.grid.splits),
                    static_cast<unsigned>(p.kv_heads * p.grid.chunks),
                    static_cast<unsigned>(p.sequences));
  kernel<<<blocks, kThreads, kBytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  if (p.sequences <= 0 || p.kv_heads <= 0 || p.heads % p.kv_heads != 0 || p.streams < 1 ||
      p.streams > 2 || p.grid.splits < decode_group_count(p.slots) ||
      p.grid.chunks * p.grid.queries < p.heads / p.kv_heads * p.streams) {
    return cudaErrorInvalidValue;
  }
  if (p.head_dim == 64 && p.grid.queries == 8) return launch_shape<64, 1>(p, stream);
  if (p.head_dim == 64 && p.grid.queries == 16) return launch_shape<64, 2>(p, stream);
  if (p.head_dim == 128 && p.grid.queries == 8) return launch_shape<128, 1>(p, stream);
  if (p.head_dim == 128 && p.grid.queries == 16) return launch_shape<128, 2>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
