#pragma once

#include "kernels/cuda/landmark/cluster.cuh"
#include "kernels/cuda/landmark/live_ptx.cuh"
#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/vectors.cuh"

#include <cstdint>

namespace kvg::cuda {

// In the cluster the CTA that decides comes first, then one for each head.
__device__ inline int live_rank(int head) { return head + 1; }
__device__ inline int live_head(int rank) { return rank - 1; }

// How the CTAs of heads send what they know about a tile to the one that decides, the first of the
// cluster (parts, of kFloats floats kStride apart), and how that sends kWords words of decisions
// back to all. Both have two places at their end, which tiles use in turn: a CTA sends the part of
// tile i + 2 when it has the decisions of tile i, which came after the part of tile i was used. It
// may write that part before: the one of tile i - 1 is then gone.
template <int kFloats, int kStride, int kWords>
struct LiveLink {
  static constexpr uint32_t kPartBytes = 4 * kFloats;
  static constexpr uint32_t kDecisionBytes = 4 * kWords;
  static_assert(kPartBytes % 16 == 0 && kStride % 4 == 0 && kWords % 4 == 0);

  // In the shared memory of a CTA that decides, and of one that has a head.
  struct Decider;
  struct Head;
  __device__ static uint32_t phase(int tile) { return static_cast<uint32_t>(tile / 2 % 2); }
};

template <int kFloats, int kStride, int kWords>
struct LiveLink<kFloats, kStride, kWords>::Decider {
  alignas(16) float parts[2][kLiveHeads * kStride];  // of all heads
  uint64_t arrived[2];

  // By one thread, before a cluster barrier. `readers`: threads that call expect().
  __device__ void open(int readers) {
    for (uint64_t& barrier : arrived) hopper::init_barrier(&barrier, readers);
    hopper::fence_barrier_init();
  }
  // Once for every tile, when all here is done with tile - 2, by each of the readers; one of them
  // `counts` the bytes.
  __device__ void expect(int tile, int heads, bool counts) {
    uint64_t* barrier = &arrived[tile % 2];
    if (counts) {
      hopper::arrive_and_expect(barrier, kPartBytes * static_cast<uint32_t>(heads));
    } else {
      hopper::arrive(barrier);
    }
  }
  __device__ float* wait_parts(int tile) {
    mbarrier_wait(&arrived[tile % 2], phase(tile));
    return parts[tile % 2];
  }
  // Word i of the decisions is `word` of lane i, i < 32; one warp. `there`: where all CTAs of heads
  // have it.
  __device__ void broadcast(int tile, int heads, int word, Head& there) {
    hopper::fence_for_async_proxy();
    const int place = tile % 2;
    constexpr int kQuads = kWords / 4;
#pragma unroll
    for (int first = 0; first < kLiveHeads * kQuads; first += 32) {
      const int i = first + lane_id();
      int words[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) words[k] = __shfl_sync(kWarp, word, i % kQuads * 4 + k);
      const int head = i / kQuads;
      if (head >= heads) continue;
      st_async(mapa(there.decisions[place] + i % kQuads * 4, live_rank(head)), words,
               mapa(&there.decided[place], live_rank(head)));
    }
    __syncwarp();
  }
};

template <int kFloats, int kStride, int kWords>
struct LiveLink<kFloats, kStride, kWords>::Head {
  alignas(16) float mine[3][kFloats];
  alignas(16) int decisions[2][kWords];
  uint64_t decided[2];

  // By one thread, before a cluster barrier.
  __device__ void open() {
    for (uint64_t& barrier : decided) hopper::init_barrier(&barrier, 1);
    hopper::fence_barrier_init();
  }
  // By one thread, before the last of a tile's part is sent: makes ready for its decisions.
  __device__ void expect(int tile) {
    hopper::arrive_and_expect(&decided[tile % 2], kDecisionBytes);
  }
  // By one thread, after those who wrote floats [begin, end) of `mine`, multiples of 4, have called
  // hopper::fence_for_async_proxy() and a barrier. `there`: where the first CTA has it.
  __device__ void send(int tile, int head, int begin, int end, Decider& there) {
    const int place = tile % 2;
    cp_async_bulk_to_peer(mapa(there.parts[place] + head * kStride + begin, 0),
                          mine[tile % 3] + begin, static_cast<uint32_t>(4 * (end - begin)),
                          mapa(&there.arrived[place], 0));
  }
  __device__ const int* wait_decisions(int tile) {
    mbarrier_wait(&decided[tile % 2], phase(tile));
    return decisions[tile % 2];
  }
};

}  // namespace kvg::cuda
