#pragma once

#include "kernels/cuda/landmark/score.cuh"
#include "kernels/cuda/landmark/select.cuh"

#include <cstdint>

namespace kvg::cuda {

// The exact bank while evictions are worked through (kernels/reference/landmark_exact.h). Members
// without a word on threads are for all of the CTA, and for all CTAs of the cluster alike.
//
// `Source` has the tokens that leave:
//   load<kDim>(row, kv_head, value)  one vector, to one warp
//   gate(row), position(row)
template <int kDim, typename Source>
class ExactBank {
 public:
  using Lanes = LaneVector<kDim>;

  __device__ ExactBank(LandmarkWork& work, const Source& source) : w(work), source_(source) {}

  // Tokens count from this row of the source.
  __device__ void start_at(int row) { first_row_ = row; }

  // Unit vectors of slots [first, first + count) into rows from `row` on. With `refresh`, resident
  // ones are worked out again.
  __device__ void load_units(int first, int count, int row, bool refresh) {
    for (int task = warp_id(); task < count * w.heads; task += kLandmarkWarps) {
      const int head = task / count;
      const int i = task % count;
      Lanes x;
      read_unit(head, first + i, refresh, x);
      store_lanes(w.exact_unit(head, row + i), x);
    }
  }
  // For all slots, where not all of them have rows.
  __device__ void refresh_units() {
    for (int task = warp_id(); task < w.layout.shape.exact * w.heads; task += kLandmarkWarps) {
      Lanes x;
      read_unit(task / w.layout.shape.exact, task % w.layout.shape.exact, true, x);
    }
  }

  // Values of tokens list[first + i] (null: first + i), i < count, into the chunk; `kept` also as
  // the bank would keep them.
  __device__ void load_tokens(const int32_t* list, int first, int count, bool kept) {
    in_chunk_ = count;
    for (int task = warp_id(); task < count * w.heads; task += kLandmarkWarps) {
      const int head = task / count;
      const int i = task % count;
      Lanes x = load(list != nullptr ? list[first + i] : first + i, head, true);
      if (kept && !copies_tokens()) store_kept(head, i, x);
      const DeviceCodec& codec = w.bank().exact.v_codec;
      if (codec.rotates) x = rotate_vector<kDim>(codec, site(head, true), x, false);
      warp_normalize(w.round, x);
      store_lanes(w.token_value(head, i), x);
    }
  }

  // The chunk against slots [begin, end), and against itself as the bank would keep it.
  __device__ void score(int begin, int end, bool kept) {
    const int count = in_chunk_;
    const int rows = w.layout.exact_rows;
    if (w.all_exact_rows()) {
      score_rows(w, true, count, {w.exact_unit(0, 0), rows, begin, end - begin}, begin);
    } else {
      for (int first = begin; first < end; first += rows) {
        const int n = min(rows, end - first);
        load_units(first, n, 0, false);
        __syncthreads();
        score_rows(w, true, count, {w.exact_unit(0, 0), rows, 0, n}, first);
        __syncthreads();
      }
    }
    if (!kept) return;
    const float* chunk = copies_tokens() ? w.token_value(0, 0) : w.token_kept(0, 0);
    score_rows(w, true, count, {chunk, w.layout.chunk, 0, count}, w.layout.shape.exact);
  }

  // Whether decisions need what the tokens themselves would be in the bank: where later tokens see
  // earlier ones, and what is written is known before it is decided where.
  __device__ bool needs_kept() const {
    return w.rules.routing == LandmarkRouting::live && !w.rules.delta_copy;
  }

  // Similarities of the chunk's tokens with the bank.
  __device__ void match_all(float* out) {
    for (int i = warp_id(); i < in_chunk_; i += kLandmarkWarps) {
      const LandmarkMatch best = match(i);
      if (lane_id() == 0) out[i] = best.score;
    }
  }

  // The first `count` tokens are of positions below `sinks`: each into the slot that is its own.
  __device__ void pin(int count) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kLandmarkThreads) {
      const int64_t position = source_.position(first_row_ + i);
      w.order()[i] = i;
      w.target()[i] = static_cast<int32_t>(position);
      w.stamps()[position] = position;
      w.exact_valid()[position] = 1;
    }
    __syncthreads();
    commit(0, count);
  }

  // Tokens order[0 .. count). `whole`: the chunk has all tokens of the eviction as they came, and
  // has been scored.
  __device__ void offer(int count, bool single, bool whole) {
    if (w.rules.routing == LandmarkRouting::live) return offer_live(count, whole);
    const bool triton = w.rules.routing == LandmarkRouting::triton && !single;
    if (!triton) list_victims();
    int rank = 0;
    for (int begin = 0; begin < count; begin += w.layout.chunk) {
      const int n = min(w.layout.chunk, count - begin);
      if (!whole) compare(begin, n);
      if (warp_id() == 0) {
        for (int i = 0; i < n; ++i) {
          const int at = whole ? w.order()[begin + i] : i;
          triton ? choose_triton(begin + i, at) : choose_torch(begin + i, at, &rank);
        }
      }
      __syncthreads();
    }
    commit(0, count);
    if (!triton) apply_touches(count);
  }

 private:
  // Tokens are bf16, so these codecs give them back as they are.
  __device__ bool copies_tokens() const {
    const CodecKind kind = w.bank().exact.v_codec.kind;
    return kind == CodecKind::bf16 || kind == CodecKind::f32;
  }
  __device__ CodecSite site(int head, bool value) const {
    return {w.layer, w.first_head + head, value};
  }
  __device__ Lanes load(int token, int head, bool value) const {
    return source_.template load<kDim>(first_row_ + token, w.first_head + head, value);
  }
  __device__ int64_t position(int token) const { return source_.position(first_row_ + token); }

  __device__ void read_unit(int head, int slot, bool refresh, Lanes& x) const {
    const void* resident = w.bank().exact_unit;
    if (resident != nullptr && !refresh) {
      const int64_t at = resident_at(head, slot);
#pragma unroll
      for (int i = 0; i < kLaneWidth<kDim>; ++i) x[i] = resident_element(resident, at + i, w.round);
      return;
    }
    const SlotPlace place = slot_place(w.bank().exact, w.first_head + head, slot, true);
    x = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    warp_normalize(w.round, x);
    if (resident != nullptr) set_resident(head, slot, x);
  }
  __device__ int64_t resident_at(int head, int slot) const {
    return (int64_t{w.first_head + head} * w.layout.shape.exact + slot) * kDim +
           lane_id() * kLaneWidth<kDim>;
  }
  __device__ void set_resident(int head, int slot, const Lanes& x) const {
    const int64_t at = resident_at(head, slot);
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) {
      set_resident_element(w.bank().exact_unit, at + i, w.round, x[i]);
    }
  }

  __device__ void store_kept(int head, int i, const Lanes& x) {
    const DeviceCodec& codec = w.bank().exact.v_codec;
    unsigned char* codes = w.at<unsigned char>(w.layout.staging) + warp_id() * (4 * kDim + 16);
    auto* scale = reinterpret_cast<uint16_t*>(codes + 4 * kDim);
    encode_vector<kDim>(codec, site(head, true), x, codes, scale);
    __syncwarp();
    Lanes kept = decode_vector<kDim>(codec, codes, scale);
    __syncwarp();
    warp_normalize(w.round, kept);
    store_lanes(w.token_kept(head, i), kept);
  }

  // Brings tokens order[begin .. begin + count) into the chunk and compares them.
  __device__ void compare(int begin, int count) {
    const bool kept = needs_kept();
    load_tokens(w.order(), begin, count, kept);
    __syncthreads();
    score(0, w.layout.shape.exact, kept);
    exchange(w, count, 0, w.layout.shape.exact + (kept ? count : 0));
  }

  // Of one warp, `at` is the token's place in the chunk.
  __device__ LandmarkMatch match(int at) const {
    return warp_best(w.exact_score(at), w.exact_valid(), w.layout.shape.exact);
  }
  __device__ bool offered(int candidate) const {
    return static_cast<double>(w.gate()[w.order()[candidate]]) >= w.rules.tau_gate;
  }
  __device__ bool novel(const LandmarkMatch& match) const {
    return !match.any || static_cast<double>(match.score) < w.rules.tau_novel;
  }
  __device__ bool hit(const LandmarkMatch& match) const {
    return match.any && static_cast<double>(match.score) >= w.rules.tau_match;
  }

  // One candidate, by one warp; returns the slot to write, or -1.
  __device__ int choose_live(int candidate, int at) {
    int target = -1;
    if (offered(candidate)) {
      const LandmarkMatch best = match(at);
      const bool is_novel = novel(best);
      const int slot = is_novel ? warp_victim(w) : best.slot;
      if (slot >= 0) {
        if (is_novel || (w.rules.refresh_on_hit && hit(best))) target = slot;
        const int64_t newest = position(w.order()[candidate]);
        __syncwarp();
        if (lane_id() == 0) {
          int64_t& stamp = w.stamps()[slot];
          stamp = is_novel ? newest : max(stamp, newest);
          if (target >= 0) w.exact_valid()[slot] = 1;
        }
      }
    }
    if (lane_id() == 0) w.target()[candidate] = target;
    __syncwarp();
    return target;
  }

  // All decisions against the bank at the start; victims() in turn.
  __device__ void choose_torch(int candidate, int at, int* rank) {
    int target = -1;
    if (offered(candidate)) {
      const LandmarkMatch best = match(at);
      const bool is_novel = novel(best);
      int slot = best.slot;
      if (is_novel) {
        slot = *rank < w.layout.shape.exact - static_cast<int>(w.rules.sinks)
                   ? w.at<int32_t>(w.layout.victims)[(*rank)++]
                   : -1;
      }
      if (slot >= 0) {
        if (is_novel || (w.rules.refresh_on_hit && hit(best))) target = slot;
        int64_t& touch = w.at<int64_t>(w.layout.touches)[slot];
        if (lane_id() == 0) touch = max(touch, position(w.order()[candidate]));
      }
    }
    if (lane_id() == 0) w.target()[candidate] = target;
    __syncwarp();
  }

  // Values as they were at the start, slots and stamps as they become.
  __device__ void choose_triton(int candidate, int at) {
    int target = -1;
    if (offered(candidate)) {
      const LandmarkMatch best = match(at);
      const bool is_novel = novel(best);
      const bool is_hit = hit(best);
      const int slot = is_novel ? warp_victim(w) : best.slot;
      if ((is_novel || is_hit) && slot >= 0) {
        if (is_novel || w.rules.refresh_on_hit) target = slot;
        __syncwarp();
        if (lane_id() == 0) {
          if (is_novel) w.exact_valid()[slot] = 1;
          w.stamps()[slot] = position(w.order()[candidate]);
        }
      }
    }
    if (lane_id() == 0) w.target()[candidate] = target;
    __syncwarp();
  }

  __device__ void offer_live(int count, bool whole) {
    const bool kept = needs_kept();
    for (int begin = 0; begin < count; begin += w.layout.chunk) {
      const int n = min(w.layout.chunk, count - begin);
      if (!whole) compare(begin, n);
      if (kept) {
        if (warp_id() == 0) choose_kept(begin, n, whole);
        __syncthreads();
        commit(begin, begin + n);
      } else {
        offer_each(begin, n, whole);
      }
    }
  }

  // A written slot is then like the token that it holds.
  __device__ void choose_kept(int begin, int count, bool whole) {
    for (int i = 0; i < count; ++i) {
      const int at = whole ? w.order()[begin + i] : i;
      const int slot = choose_live(begin + i, at);
      if (slot < 0) continue;
      for (int t = lane_id(); t < in_chunk_; t += 32) {
        w.exact_score(t)[slot] = w.kept_score(t)[at];
      }
      __syncwarp();
    }
  }

  // What a slot holds after a write depends on what it held: written, then compared again.
  __device__ void offer_each(int begin, int count, bool whole) {
    for (int i = 0; i < count; ++i) {
      if (warp_id() == 0) choose_live(begin + i, whole ? w.order()[begin + i] : i);
      __syncthreads();
      const int slot = w.target()[begin + i];
      if (slot < 0) continue;
      commit(begin + i, begin + i + 1);
      if (i + 1 == count) continue;
      score(slot, slot + 1, false);
      exchange(w, in_chunk_, slot, slot + 1);
    }
  }

  // Slots in the order in which they are given up.
  __device__ void list_victims() {
    const int sinks = static_cast<int>(w.rules.sinks);
    const int slots = w.layout.shape.exact;
    for (int m = static_cast<int>(threadIdx.x); m < slots; m += kLandmarkThreads) {
      w.at<int64_t>(w.layout.touches)[m] = -1;
      if (m < sinks) continue;
      int rank = 0;
      for (int other = sinks; other < slots; ++other) {
        const int64_t difference = slot_age(w, other) - slot_age(w, m);
        rank += difference < 0 || (difference == 0 && other < m) ? 1 : 0;
      }
      w.at<int32_t>(w.layout.victims)[rank] = m;
    }
    __syncthreads();
  }
  __device__ void apply_touches(int count) {
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kLandmarkThreads) {
      if (w.target()[c] >= 0) w.exact_valid()[w.target()[c]] = 1;
    }
    for (int m = static_cast<int>(threadIdx.x); m < w.layout.shape.exact; m += kLandmarkThreads) {
      const int64_t touch = w.at<int64_t>(w.layout.touches)[m];
      if (touch >= 0) w.stamps()[m] = touch;
    }
    __syncthreads();
  }

  // Writes the targets of candidates [begin, end), K and V of the CTA's heads. Of several for one
  // slot a copy takes the last; a published delta copy adds the changes of all.
  __device__ void commit(int begin, int end) {
    const int tasks = (end - begin) * w.heads * 2;
    for (int task = warp_id(); task < tasks; task += kLandmarkWarps) {
      const int candidate = begin + task / (2 * w.heads);
      const int slot = w.target()[candidate];
      if (slot < 0) continue;
      const bool delta = w.rules.delta_copy;
      if (delta ? targeted(slot, begin, candidate) : targeted(slot, candidate + 1, end)) continue;
      write(slot, candidate, end, task / 2 % w.heads, task % 2 != 0);
    }
    __syncthreads();
  }
  __device__ bool targeted(int slot, int begin, int end) const {
    for (int base = begin; base < end; base += 32) {
      const int c = base + lane_id();
      if (__any_sync(kWarp, c < end && w.target()[c] == slot)) return true;
    }
    return false;
  }

  __device__ void write(int slot, int candidate, int end, int head, bool value) {
    const SlotPlace place = slot_place(w.bank().exact, w.first_head + head, slot, value);
    Lanes x;
    if (w.rules.delta_copy) {
      add_deltas(place, slot, candidate, end, head, value, x);
    } else {
      x = load(w.order()[candidate], head, value);
    }
    encode_vector<kDim>(*place.codec, site(head, value), x, place.codes, place.scale);
    if (!value) return;
    __syncwarp();
    x = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    warp_normalize(w.round, x);
    if (w.bank().exact_unit != nullptr) set_resident(head, slot, x);
    if (w.all_exact_rows()) store_lanes(w.exact_unit(head, slot), x);
  }

  __device__ void add_deltas(const SlotPlace& place, int slot, int candidate, int end, int head,
                             bool value, Lanes& x) const {
    x = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    __syncwarp();
    if (place.codec->rotates) x = rotate_vector<kDim>(*place.codec, site(head, value), x, true);
    Lanes change = {};
    for (int c = candidate; c < end; ++c) {
      if (w.target()[c] != slot) continue;
      const Lanes token = load(w.order()[c], head, value);
#pragma unroll
      for (int i = 0; i < kLaneWidth<kDim>; ++i) {
        change[i] = w.round(change[i] + w.round(token[i] - x[i]));
      }
    }
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) x[i] = w.round(x[i] + change[i]);
  }

  LandmarkWork& w;
  const Source& source_;
  int first_row_ = 0;
  int in_chunk_ = 0;  // tokens in the chunk
};

}  // namespace kvg::cuda
