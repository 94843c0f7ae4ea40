#include "kernels/cuda/landmark/layout.h"

namespace kvg::cuda {

namespace {

class Placer {
 public:
  // Place of `count` elements of `size` bytes, 16-byte aligned.
  uint32_t take(int64_t count, int64_t size) {
    const uint32_t at = used_;
    used_ += static_cast<uint32_t>((count * size + 15) / 16 * 16);
    return at;
  }
  uint32_t used() const { return used_; }

 private:
  uint32_t used_ = 0;
};

int32_t odd_quads(int32_t width) { return 4 * (((width + 3) / 4) | 1); }

void place_vectors(LandmarkLayout* l, Placer* placer) {
  const int64_t heads = l->heads;
  const int64_t values = heads * l->value_stride;
  const int64_t keys = heads * l->key_stride;
  l->token_value = placer->take(l->shape.exact > 0 ? values * l->chunk : 0, 4);
  l->token_kept = placer->take(l->shape.exact > 0 ? values * l->chunk : 0, 4);
  l->token_key = placer->take(l->shape.summary > 0 ? keys * l->chunk : 0, 4);
  l->exact_unit = placer->take(values * l->exact_rows, 4);
  l->summary_unit = placer->take(keys * l->summary_rows, 4);
  for (uint32_t& part : l->part) part = placer->take(int64_t{l->chunk} * l->columns, 4);
  l->score = placer->take(int64_t{l->chunk} * l->columns, 4);
}

void place(LandmarkLayout* l, uint32_t bank_bytes) {
  Placer placer;
  const LandmarkShape& s = l->shape;
  l->bank = placer.take(1, bank_bytes);
  l->eta = placer.take(s.kv_heads, 4);
  l->band_index = placer.take(s.head_dim, 2);
  place_vectors(l, &placer);
  l->stamps = placer.take(s.exact, 8);
  l->touches = placer.take(s.exact, 8);
  l->counts = placer.take(s.summary, 4);
  l->log_weight = placer.take(s.summary, 4);
  l->victims = placer.take(s.exact, 4);
  l->exact_valid = placer.take(s.exact, 1);
  l->summary_valid = placer.take(s.summary, 1);
  for (uint32_t* list : {&l->gate, &l->match, &l->order, &l->target, &l->list}) {
    *list = placer.take(s.most_tokens, 4);
  }
  l->staging = placer.take(kLandmarkThreads / 32, 4 * s.head_dim + 16);
  l->decision = placer.take(4, 4);
  l->bytes = placer.used();
}

}  // namespace

LandmarkLayout landmark_layout(const LandmarkShape& shape, uint32_t bank_bytes, uint32_t limit) {
  LandmarkLayout l;
  l.shape = shape;
  l.heads = (shape.kv_heads + shape.ctas - 1) / shape.ctas;
  l.value_stride = odd_quads(shape.head_dim);
  l.key_stride = odd_quads(shape.band);
  constexpr int32_t kFewRows = 8;
  l.chunk = 4;
  while (l.chunk < kLandmarkChunk && l.chunk < shape.most_tokens) l.chunk *= 2;
  for (;; l.chunk /= 2) {
    l.columns = (shape.exact + l.chunk + shape.summary + 3) / 4 * 4;
    l.exact_rows = shape.exact;
    l.summary_rows = shape.summary;
    place(&l, bank_bytes);
    while (l.bytes > limit && std::max(l.exact_rows, l.summary_rows) > kFewRows) {
      l.exact_rows = std::min(shape.exact, std::max(kFewRows, l.exact_rows / 2));
      l.summary_rows = std::min(shape.summary, std::max(kFewRows, l.summary_rows / 2));
      place(&l, bank_bytes);
    }
    if (l.bytes <= limit || l.chunk == 4) return l;
  }
}

}  // namespace kvg::cuda
