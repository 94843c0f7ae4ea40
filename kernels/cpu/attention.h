#pragma once

#include "kernels/cpu/team.h"
#include "kernels/ops.h"

#include <cstdint>
#include <vector>

namespace kvg::cpu {

// Softmax attention by tiles. A tile is a run of rows of one block with all queries that share one
// KV head (heads / kv_heads of them, in every stream), packed as the rows of one matrix. Keys and
// values are decoded kTileSlots at a time into scratch, once for the whole tile; logits and
// weighted values are matrix products; the softmax is online, so that memory does not depend on the
// context.
//
// Pass 1 leaves for each query the triple (m, l, o): largest logit, sum of exp(logit - m), sum of
// exp(logit - m) v, over a part of the slots. Tiles with few queries (decode) are cut into parts so
// that a long cache keeps all cores busy. Pass 2 merges the parts, o / l, and finishes heads.
// Groups whose value codec rotates are accumulated in its frame on their own, then brought back and
// merged.
class Attention {
 public:
  void run(const AttentionParams& p, Team& team);

 private:
  // Rows [row_begin, row_begin + rows) of a block for one KV head.
  struct Tile {
    const AttentionBlock* block;
    int32_t kv_head;
    int64_t row_begin;  // in the packed rows of the batch
    int64_t rows;
    int64_t first_partial;  // index of the first query's triple of part 0
    int64_t parts;
  };
  // Slots [slot_begin, slot_end) of a tile's groups, laid end to end.
  struct Part {
    int64_t tile;
    int64_t index;
    int64_t slot_begin;
    int64_t slot_end;
  };

  void plan(const AttentionParams& p);
  void add_parts(Tile tile, int64_t queries);
  void finish(const AttentionParams& p, const Tile& tile);

  std::vector<Tile> tiles_;
  std::vector<Part> parts_;
  int64_t partials_ = 0;
  double work_ = 0;
  Scratch<float> m_;
  Scratch<float> l_;
  Scratch<float> o_;  // [partials, head_dim]
};

}  // namespace kvg::cpu
