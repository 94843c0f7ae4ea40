#pragma once

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/gemm/silu.cuh"
#include "kernels/cuda/hopper/barrier.cuh"
#include "kernels/cuda/hopper/cluster.cuh"
#include "kernels/cuda/hopper/wgmma_columns.cuh"

#include <cstdint>

#include <cuda.h>
#include <cuda_bf16.h>

namespace kvg::cuda {

inline constexpr int kGatedRows = 256;  // of x, whether it has them or not
inline constexpr int kGatedUnits = 2;   // warpgroups, 128 rows each
inline constexpr int kGatedThreads = 128 * kGatedUnits;
inline constexpr int kGatedStep = 64;    // columns of x and W that a stage holds
inline constexpr int kGatedCluster = 2;  // thread blocks that share x
// W comes from memory, x from the second-level cache, which answers sooner.
inline constexpr int kGatedWeightStages = 4;
inline constexpr int kGatedXStages = 3;
static_assert(kGatedXStages <= kGatedWeightStages);

// kColumns: of out, so as many rows of G and of U. As many accumulators has a thread for each 64 of
// its unit's rows: with 112, all registers but the thirty that everything else takes.
template <int kColumns>
struct GatedShared {
  __nv_bfloat16 weight[kGatedWeightStages][2][kColumns][kGatedStep];
  __nv_bfloat16 x[kGatedXStages][kGatedRows][kGatedStep];
  uint64_t full_weight[kGatedWeightStages];
  uint64_t full_x[kGatedXStages];
  uint64_t done[kGatedXStages];  // with a step, in both thread blocks
};

// A launch as the kernel sees it. Thread block i has columns [i * kColumns, (i + 1) * kColumns).
struct GatedParams {
  CUtensorMap weight, x;
  __nv_bfloat16* result;  // [rows, out]
  int32_t rows, out;
  int32_t steps;
};

// Drives the copy engine: one thread, which multiplies as well, for there are no registers left
// for a warp that only loads.
template <int kColumns>
class GatedLoader {
 public:
  __device__ GatedLoader(const GatedParams& p, GatedShared<kColumns>& shared)
      : p_(p), shared_(shared) {}

  // Weights are on their way before the previous launch is done.
  __device__ void start() const {
    for (int step = 0; step < min(kGatedWeightStages, p_.steps); ++step) load_weight(step);
    wait_for_previous_launch();
    for (int step = 0; step < min(kGatedXStages, p_.steps); ++step) load_x(step, step);
  }
  // What may come once both blocks are done with `step`, whose x is in `stage`: at least the x of
  // three steps later.
  __device__ void refill(int step, int stage, uint32_t parity) const {
    hopper::wait(&shared_.done[stage], parity);
    if (step + kGatedWeightStages < p_.steps) load_weight(step + kGatedWeightStages);
    load_x(step + kGatedXStages, stage);
  }

 private:
  __device__ void load_weight(int step) const {
    const int stage = step % kGatedWeightStages;
    uint64_t* full = &shared_.full_weight[stage];
    hopper::arrive_and_expect(full, sizeof(shared_.weight[0]));
    const uint64_t policy = hopper::evict_first();
    const int row = static_cast<int>(blockIdx.x) * kColumns;
    hopper::copy_box(hopper::shared_u32(shared_.weight[stage][0]), &p_.weight, full,
                     step * kGatedStep, row, policy);
    hopper::copy_box(hopper::shared_u32(shared_.weight[stage][1]), &p_.weight, full,
                     step * kGatedStep, p_.out + row, policy);
  }
  // Each block of the cluster brings half of x to both.
  __device__ void load_x(int step, int stage) const {
    constexpr int kOwn = kGatedRows / kGatedCluster;
    const int row = kOwn * hopper::cluster_rank();
    hopper::arrive_and_expect(&shared_.full_x[stage], sizeof(shared_.x[0]));
    hopper::copy_box_to_blocks(hopper::shared_u32(shared_.x[stage][row]), &p_.x,
                               &shared_.full_x[stage], step * kGatedStep, row,
                               (1 << kGatedCluster) - 1, hopper::evict_last());
  }

  const GatedParams& p_;
  GatedShared<kColumns>& shared_;
};

// One warpgroup: 128 rows of the tile. Whatever the other block of the cluster sends here, copies
// and arrivals, is waited for, so that neither can find the other gone.
template <int kColumns>
class GatedUnit {
 public:
  __device__ GatedUnit(const GatedParams& p, GatedShared<kColumns>& shared, int warp)
      : p_(p), shared_(shared), unit_(warp / 4), warp_(warp % 4) {}

  __device__ __forceinline__ void run(const GatedLoader<kColumns>& loader) {
    // For the upper and the lower 64 rows: of a gate in [i], of its up in [i + kColumns / 2].
    float sums[2][kColumns];
    for (int step = 0; step < p_.steps; ++step) {
      multiply(sums, step);
      hopper::wait_for_products<1>();
      if (step > 0 && step + kGatedXStages - 1 < p_.steps) release(loader, step - 1);
      if (++stage_ == kGatedXStages) {
        stage_ = 0;
        parity_ ^= 1;
      }
    }
    allow_next_launch();
    hopper::wait_for_products<0>();
    hopper::pin_registers(sums[0]);
    hopper::pin_registers(sums[1]);
    // This unit's rows of x serve nobody else, and nothing is on its way to them.
    hopper::named_barrier_wait(1 + unit_, 128);
    __nv_bfloat16* memory = shared_.x[0][128 * unit_ + 32 * warp_];
    write(sums[0], 0, memory);
    __syncwarp();
    write(sums[1], 1, memory);
  }

 private:
  // A step whose x is in stage_.
  __device__ __forceinline__ void multiply(float (&sums)[2][kColumns], int step) const {
    constexpr int kHalfBytes = 64 * kGatedStep * 2;
    const int weight_stage = step % kGatedWeightStages;
    hopper::wait(&shared_.full_weight[weight_stage], step / kGatedWeightStages % 2);
    hopper::wait(&shared_.full_x[stage_], parity_);
    const hopper::DescriptorLow a =
        hopper::along_columns(hopper::shared_u32(shared_.x[stage_][128 * unit_]));
    const hopper::DescriptorLow b =
        hopper::along_columns(hopper::shared_u32(shared_.weight[weight_stage]));
    hopper::begin_products();
#pragma unroll
    for (int k = 0; k < kGatedStep / 16; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        hopper::multiply_columns(
            sums[half], hopper::descriptor(hopper::offset_by(a, half * kHalfBytes + 32 * k)),
            hopper::descriptor(hopper::offset_by(b, 32 * k)), step > 0 || k > 0);
      }
    }
    hopper::commit_products();
  }
  // The step before the one whose x is in stage_ is done.
  __device__ __forceinline__ void release(const GatedLoader<kColumns>& loader, int step) const {
    const int stage = stage_ == 0 ? kGatedXStages - 1 : stage_ - 1;
    const int thread = static_cast<int>(threadIdx.x) % 128;
    if (thread < kGatedCluster) hopper::arrive_at(&shared_.done[stage], thread);
    if (threadIdx.x == 0) loader.refill(step, stage, stage_ == 0 ? parity_ ^ 1 : parity_);
    __syncwarp();
  }

  // A warp's 16 rows of a half, through shared memory, so that they leave 16 bytes at a time.
  // `memory`: of this warp, 4096 bytes.
  __device__ __forceinline__ void write(const float (&sums)[kColumns], int half,
                                        __nv_bfloat16* memory) const {
    constexpr int kChunks = kColumns / 8;  // of 16 bytes
    // Odd chunks: rows below each other do not meet in a bank.
    constexpr int kPitch = (kChunks | 1) * 8;
    static_assert(16 * kPitch * 2 <= 4096);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    __nv_bfloat16* to = memory + lane / 4 * kPitch + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kColumns / 2; i += 4) {
      const float* gate = sums + i;
      const float* up = sums + kColumns / 2 + i;
      *reinterpret_cast<__nv_bfloat162*>(to + 2 * i) =
          __floats2bfloat162_rn(silu_gated(gate[0], up[0]), silu_gated(gate[1], up[1]));
      *reinterpret_cast<__nv_bfloat162*>(to + 2 * i + 8 * kPitch) =
          __floats2bfloat162_rn(silu_gated(gate[2], up[2]), silu_gated(gate[3], up[3]));
    }
    __syncwarp();
    const int first_row = 128 * unit_ + 64 * half + 16 * warp_;
    const int first_column = static_cast<int>(blockIdx.x) * kColumns;
#pragma unroll
    for (int i = lane; i < 16 * kChunks; i += 32) {
      const int row = i / kChunks;
      const int column = i % kChunks * 8;
      if (first_row + row >= p_.rows || first_column + column >= p_.out) continue;
      *reinterpret_cast<uint4*>(p_.result + int64_t{first_row + row} * p_.out + first_column +
                                column) =
          *reinterpret_cast<const uint4*>(memory + row * kPitch + column);
    }
  }

  const GatedParams& p_;
  GatedShared<kColumns>& shared_;
  int unit_, warp_;
  int stage_ = 0;  // of x
  uint32_t parity_ = 0;
};

template <int kColumns>
__global__ void __launch_bounds__(kGatedThreads, 1)
    gated_product_kernel(const __grid_constant__ GatedParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<GatedShared<kColumns>*>(raw);
  const GatedLoader<kColumns> loader(p, shared);
  if (threadIdx.x == 0) {
    if (hopper::shared_u32(raw) % 1024 != 0) __trap();
    for (uint64_t& full : shared.full_weight) hopper::init_barrier(&full, 1);
    for (uint64_t& full : shared.full_x) hopper::init_barrier(&full, 1);
    for (uint64_t& done : shared.done) hopper::init_barrier(&done, kGatedUnits * kGatedCluster);
    hopper::fence_barrier_init();
  }
  hopper::sync_cluster();
  if (threadIdx.x == 0) loader.start();
  __syncwarp();
  // The same for all lanes of a warp, and the compiler may know it.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  GatedUnit<kColumns>(p, shared, warp).run(loader);
#endif
}

}  // namespace kvg::cuda
