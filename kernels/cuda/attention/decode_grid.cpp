#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_launch.h"

#include <algorithm>

namespace kvg::cuda {

namespace {

// Blocks a multiprocessor that have enough under way to fill its share of the bandwidth: as many as
// fit at once.
constexpr int64_t busy_blocks(DecodeKernel kernel) {
  return kernel == DecodeKernel::plain || kernel == DecodeKernel::mixed ? 3 : 2;
}
// With more blocks than fit at once, the last ones to run should be few beside the others ...
constexpr int64_t kWaves = 4;
// ... but a block should also read much more than it takes to start and to hand in its sums.
constexpr int64_t kLeastTiles = 16;

int64_t round_up(int64_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t workspace_rows(const DeviceDecodePlan& plan, const DecodeGrid& grid) {
  return plan.sequences * plan.kv_heads * grid.chunks * grid.splits * grid.queries;
}

}  // namespace

DecodeGrid decode_grid(const DeviceDecodePlan& plan, const DecodeSlots& slots, DecodeKernel kernel,
                       int multiprocessors, bool clusters) {
  const int32_t queries = plan.heads / plan.kv_heads * plan.streams;
  DecodeGrid grid;
  grid.queries = queries <= 8 ? 8 : 16;
  grid.chunks = (queries + grid.queries - 1) / grid.queries;
  const DecodeCounts counts = decode_counts(slots, static_cast<int32_t>(plan.max_tokens - 1));
  const int64_t tiles = decode_tiles(counts);
  const int64_t at_once = busy_blocks(kernel) * multiprocessors;
  const int64_t heads = plan.sequences * plan.kv_heads * grid.chunks;
  if (kernel == DecodeKernel::bank) {
    // Every warp has a KV head, or its share of one: with two it loses as much at their ends as it
    // hides.
    grid.blocks = multiprocessors;
    grid.splits = 1;
    while (grid.splits < kBankWarps && 2 * grid.splits * heads <= kBankWarps * multiprocessors) {
      grid.splits *= 2;
    }
    return grid;
  }
  int64_t splits = std::min(tiles, at_once / heads);
  if (splits < 2) {
    splits = std::min((kWaves * at_once + heads - 1) / heads, tiles / kLeastTiles);
  }
  grid.splits = static_cast<int32_t>(std::max<int64_t>(splits, 1));
  // Blocks of a cluster start together, so clusters of several waves would wait for room.
  grid.clustered =
      clusters && grid.splits <= kMostInCluster && heads * grid.splits <= multiprocessors;
  return grid;
}

size_t decode_workspace_bytes(const DeviceDecodePlan& plan, const DecodeGrid& grid) {
  const int64_t rows = workspace_rows(plan, grid);
  const int64_t counters = plan.sequences * plan.kv_heads * grid.chunks;
  return static_cast<size_t>(round_up(4 * counters) + round_up(8 * rows) +
                             4 * rows * plan.head_dim);
}

DecodeWorkspace decode_workspace(const DeviceDecodePlan& plan, const DecodeGrid& grid,
                                 void* memory) {
  const int64_t rows = workspace_rows(plan, grid);
  auto* bytes = static_cast<uint8_t*>(memory);
  DecodeWorkspace workspace;
  workspace.counters = reinterpret_cast<unsigned*>(bytes);
  bytes += round_up(4 * plan.sequences * plan.kv_heads * grid.chunks);
  workspace.stats = reinterpret_cast<float*>(bytes);
  bytes += round_up(8 * rows);
  workspace.sums = reinterpret_cast<float*>(bytes);
  return workspace;
}

int64_t decode_bytes(const DecodeAttentionLaunch& p, std::span<const int64_t> slot_bytes,
                     int64_t position) {
  const DecodeCounts counts = decode_counts(p.slots, static_cast<int32_t>(position));
  // The new token is read as a row of K and V; its slot is written instead of read.
  int64_t bytes = p.kv_heads * 4 * p.head_dim;
  for (size_t g = 0; g < kDecodeGroups; ++g) bytes += p.kv_heads * slot_bytes[g] * counts.of[g];
  return bytes + 2 * (p.streams * p.frames + 1) * int64_t{p.heads} * p.head_dim;
}

int64_t decode_flops(const DecodeAttentionLaunch& p, int64_t position) {
  const DecodeCounts counts = decode_counts(p.slots, static_cast<int32_t>(position));
  int64_t slots = 0;
  for (const int32_t count : counts.of) slots += count;
  return 4 * p.streams * int64_t{p.heads} * p.head_dim * slots;
}

cudaError_t launch(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  if (p.sequences <= 0 || p.kv_heads <= 0 || p.heads % p.kv_heads != 0 || p.streams < 1 ||
      p.streams > 2 || p.grid.splits < 1 ||
      p.grid.chunks * p.grid.queries < p.heads / p.kv_heads * p.streams ||
      (p.grid.clustered && p.grid.splits > kMostInCluster)) {
    return cudaErrorInvalidValue;
  }
  if (p.kernel == DecodeKernel::bank) {
    const bool serves = p.head_dim == 128 && p.frames == 1 && p.grid.queries == 8 &&
                        p.grid.chunks == 1 && p.grid.blocks > 0;
    return serves ? launch_decode_bank_hd128(p, stream) : cudaErrorInvalidValue;
  }
  const bool any = p.kernel == DecodeKernel::plain || p.kernel == DecodeKernel::mixed;
  if (p.head_dim == 64) {
    return any ? launch_decode_hd64(p, stream) : launch_decode_stream_hd64(p, stream);
  }
  if (p.head_dim == 128) {
    return any ? launch_decode_hd128(p, stream) : launch_decode_stream_hd128(p, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
