#pragma once

#include "kernels/cuda/landmark/cluster.cuh"
#include "kernels/cuda/landmark/live_ptx.cuh"

#include <cstdint>

namespace kvg::cuda {

// How the CTAs of a cluster send what they know about a tile to the first one (parts, of kFloats
// floats kStride apart), and how it sends kWords words of decisions back to all. Both have two
// places there, which tiles use in turn: a CTA sends the part of tile i + 2 when it has the
// decisions of tile i, which came after the part of tile i was used. It may write that part before:
// the one of tile i - 1 is then gone.
template <int kFloats, int kStride, int kHeads, int kWords>
struct LiveLink {
  static constexpr uint32_t kPartBytes = 4 * kFloats;
  static constexpr uint32_t kDecisionBytes = 4 * kWords;
  static_assert(kPartBytes % 16 == 0 && kStride % 4 == 0 && kWords % 4 == 0);

  alignas(16) float mine[3][kFloats];
  alignas(16) float parts[2][kHeads * kStride];  // of all heads, in the first CTA
  alignas(16) int decisions[2][kWords];
  uint64_t arrived[2], decided[2];

  // By one thread, before a cluster barrier.
  __device__ void open() {
    for (int i = 0; i < 2; ++i) {
      hopper::init_barrier(&arrived[i], 1);
      hopper::init_barrier(&decided[i], 1);
    }
    hopper::fence_barrier_init();
  }

  // By `threads` threads that share `barrier`, each after it has written its share of `mine`. Also
  // makes ready for the decisions.
  __device__ void send(int tile, int head, int threads, int barrier) {
    const int place = tile % 2;
    const float* from = mine[tile % 3];
    if (head != 0) hopper::fence_for_async_proxy();
    bar_sync(barrier, threads);
    if (head == 0) {  // a bulk copy to the own CTA is not meant to be
      const auto* source = reinterpret_cast<const int4*>(from);
      for (int i = static_cast<int>(threadIdx.x); i < kFloats / 4; i += threads) {
        const int words[4] = {source[i].x, source[i].y, source[i].z, source[i].w};
        st_async(mapa(parts[place] + 4 * i, 0), words, mapa(&arrived[place], 0));
      }
    }
    if (threadIdx.x != 0) return;
    hopper::arrive_and_expect(&decided[place], kDecisionBytes);
    if (head != 0) {
      cp_async_bulk_to_peer(mapa(parts[place] + head * kStride, 0), from, kPartBytes,
                            mapa(&arrived[place], 0));
    }
  }
  // By one thread of the first CTA, once for every tile, when all there is done with the decisions
  // of tile - 2.
  __device__ void expect(int tile, int heads) {
    hopper::arrive_and_expect(&arrived[tile % 2], kPartBytes * static_cast<uint32_t>(heads));
  }
  __device__ float* wait_parts(int tile) {
    mbarrier_wait(&arrived[tile % 2], static_cast<uint32_t>(tile / 2 % 2));
    return parts[tile % 2];
  }

  // Word i of the decisions is `word` of lane i, i < 32; one warp of the first CTA.
  __device__ void broadcast(int tile, int ctas, int word) {
    hopper::fence_for_async_proxy();
    const int place = tile % 2;
    constexpr int kQuads = kWords / 4;
#pragma unroll
    for (int first = 0; first < 8 * kQuads; first += 32) {
      const int i = first + static_cast<int>(threadIdx.x % 32);
      int words[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) words[k] = __shfl_sync(0xffffffffu, word, i % kQuads * 4 + k);
      const int rank = i / kQuads;
      if (rank >= ctas) continue;
      st_async(mapa(decisions[place] + i % kQuads * 4, rank), words, mapa(&decided[place], rank));
    }
    __syncwarp();
  }
  __device__ const int* wait_decisions(int tile) {
    mbarrier_wait(&decided[tile % 2], static_cast<uint32_t>(tile / 2 % 2));
    return decisions[tile % 2];
  }
};

}  // namespace kvg::cuda
