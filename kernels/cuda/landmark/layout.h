#pragma once

#include <algorithm>
#include <cstdint>

namespace kvg::cuda {

// How the bank update of one layer and one sequence is spread over a cluster of CTAs, and what each
// of them keeps in shared memory. A CTA owns the slots of some KV heads; similarities, which are
// means over all heads, are exchanged. Everything that is the same for all heads (validity, stamps,
// counts, decisions) is worked out by every CTA alike.
struct LandmarkShape {
  int32_t kv_heads = 0, head_dim = 0;
  int32_t band = 0;                // slow dimensions
  int32_t exact = 0, summary = 0;  // slots
  int32_t most_tokens = 0;         // of one eviction
  int32_t ctas = 1;                // of a cluster
};

inline constexpr int kLandmarkThreads = 256;
inline constexpr int kLandmarkCtas = 8;    // of a cluster, where there are clusters
inline constexpr int kLandmarkChunk = 16;  // tokens that are compared with the banks together
inline constexpr int kLandmarkHeads = 16;  // KV heads at most
inline constexpr int kLandmarkTokens =
    4096;  // of one eviction at most: their order is shared memory

// Offsets in bytes into the shared memory of a CTA.
struct LandmarkLayout {
  LandmarkShape shape;
  int32_t heads = 0;       // KV heads a CTA
  int32_t chunk = 0;       // tokens compared at a time, a multiple of 4, at most kLandmarkChunk
  int32_t exact_rows = 0;  // unit vectors kept at a time: all slots, or as many as fit
  int32_t summary_rows = 0;
  // Rows of unit vectors are a multiple of four floats apart, an odd one: eight rows lie in all
  // banks.
  int32_t value_stride = 0, key_stride = 0;
  // Of a row of similarities: exact slots, tokens of the chunk as the exact bank would keep them,
  // summary slots.
  int32_t columns = 0;

  uint32_t bank = 0;           // DeviceLandmarkBank
  uint32_t eta = 0;            // [kv_heads] f32
  uint32_t band_index = 0;     // [head_dim] i16, place among the slow dimensions or -1
  uint32_t token_value = 0;    // [heads, chunk, value_stride] f32 unit vectors
  uint32_t token_kept = 0;     // the same, read back from the exact bank's codec
  uint32_t token_key = 0;      // [heads, chunk, key_stride]
  uint32_t exact_unit = 0;     // [heads, exact_rows, value_stride]
  uint32_t summary_unit = 0;   // [heads, summary_rows, key_stride]
  uint32_t part[2] = {};       // [chunk, columns] f32, sums over the CTA's heads
  uint32_t score = 0;          // [chunk, columns] f32, means over all heads
  uint32_t stamps = 0;         // [exact] i64
  uint32_t touches = 0;        // [exact] i64
  uint32_t counts = 0;         // [summary] f32
  uint32_t log_weight = 0;     // [summary] f32
  uint32_t victims = 0;        // [exact] i32
  uint32_t exact_valid = 0;    // [exact] u8
  uint32_t summary_valid = 0;  // [summary] u8
  uint32_t gate = 0;           // [most_tokens] f32
  uint32_t match = 0;          // [most_tokens] f32, similarity to the exact bank
  uint32_t order = 0;          // [most_tokens] i32
  uint32_t target = 0;         // [most_tokens] i32, slot that a token is written to, or -1
  uint32_t list = 0;           // [most_tokens] i32, tokens for the summary bank
  uint32_t staging = 0;        // [warps, 4 head_dim + 16] codes and a scale
  uint32_t decision = 0;       // i32[4]
  uint32_t bytes = 0;
};

// Of a bank of `bank_bytes` = sizeof(DeviceLandmarkBank). `bytes` is more than `limit` when the
// banks are too large even with the smallest chunk and a few rows at a time.
LandmarkLayout landmark_layout(const LandmarkShape& shape, uint32_t bank_bytes, uint32_t limit);

}  // namespace kvg::cuda
