#pragma once

#include <cstdint>

#include <cuda.h>
#include <cuda_bf16.h>

// What a product of wide_sm90.h is cut into, and its shared memory.
namespace kvg::cuda {

enum class WideResult : uint8_t { bf16, f32, gated };

inline constexpr int kWideStep = 64;    // columns of W that a stage of the ring holds
inline constexpr int kWideUnits = 2;    // warpgroups that multiply, 64 rows of W each
inline constexpr int kWideCluster = 2;  // thread blocks that share x
inline constexpr int kWideThreads = 128 * (kWideUnits + 1);
// Of a thread, in multiples of 8 that the 65536 of a multiprocessor hold.
inline constexpr int kWideLoaderRegisters = 40;
inline constexpr int kWideConsumerRegisters = 232;

// By the width of the product's B: more rows of x than there are cost nothing but time.
template <int kRows_>
struct WideTile {
  static constexpr int kRows = kRows_;     // of x
  static constexpr int kSums = kRows / 2;  // accumulators of a thread
  // What clusters share of a tile's sums, and what of a result is written at a time: rows of x.
  static constexpr int kParts = 4;
  static constexpr int kPartRows = kRows / kParts;
  static constexpr int kPartSums = kSums / kParts;
  static constexpr int kStageBytes = (kRows + 64 * kWideUnits) * kWideStep * 2;
  static constexpr int kResultBytes = kPartRows * 64 * 4;  // of a unit: f32, or two parts of bf16
  static constexpr int kRoom = 226 * 1024 - kWideUnits * kResultBytes;
  // Eight are more than the memory's latency asks for.
  static constexpr int kStages = kRoom / kStageBytes < 8 ? kRoom / kStageBytes : 8;
};

template <typename Tile>
struct WideShared {
  __nv_bfloat16 weight[Tile::kStages][64 * kWideUnits][kWideStep];
  __nv_bfloat16 x[Tile::kStages][Tile::kRows][kWideStep];
  uint8_t result[kWideUnits][Tile::kResultBytes];
  uint64_t full[Tile::kStages];
  uint64_t empty[Tile::kStages];
};

// A launch as the kernel sees it. A tile is `tile_rows` rows of W.
struct WideParams {
  CUtensorMap weight, x;
  const __nv_bfloat16* bias;
  void* result;       // [rows, out]
  int32_t* counters;  // [tiles, units, 2]: parts written, parts added; splits > 1
  float4* parts;      // [blocks, units, kSums / 4, 128 threads]; splits > 1
  int32_t rows, out;
  int32_t tile_rows;
  int32_t groups;  // of kWideCluster tiles
  int32_t steps;   // of a tile
  int32_t splits;  // clusters that share a group; one group a cluster where there are several
};

// What one cluster works on at a time.
struct WideItem {
  int32_t group, split;
  int32_t begin, end;  // steps

  __device__ static WideItem at(const WideParams& p, int32_t index) {
    WideItem item;
    item.group = index / p.splits;
    item.split = index - item.group * p.splits;
    item.begin = item.split * p.steps / p.splits;
    item.end = (item.split + 1) * p.steps / p.splits;
    return item;
  }
};

}  // namespace kvg::cuda
