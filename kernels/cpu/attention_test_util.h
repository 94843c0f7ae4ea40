#pragma once

#include "kernels/cpu/ops_test_util.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace kvg::ops_test {

// Stores vectors exactly, but reflected (x - 2 u <u, x> with a unit vector u of the site): the
// simplest codec whose frame is not the identity and differs between K, V and heads. An attention
// that forgets a rotation, or takes another site's, is off by O(1).
class ReflectingCodec : public Codec {
 public:
  explicit ReflectingCodec(int head_dim) : Codec({CodecKind::f32}, head_dim) {}
  int64_t code_bytes() const override { return int64_t{head_dim()} * 8; }
  int64_t scale_bytes() const override { return 0; }
  bool rotates() const override { return true; }
  void encode(const CodecSite& site, const float* x, int64_t n, uint8_t* codes,
              uint16_t*) const override {
    put(site, x, n, codes);
  }
  void encode(const CodecSite& site, const double* x, int64_t n, uint8_t* codes,
              uint16_t*) const override {
    put(site, x, n, codes);
  }
  void decode(const uint8_t* codes, const uint16_t*, int64_t n, float* out) const override {
    get(codes, n, out);
  }
  void decode(const uint8_t* codes, const uint16_t*, int64_t n, double* out) const override {
    get(codes, n, out);
  }
  void to_frame(const CodecSite& site, float* x, int64_t n) const override { reflect(site, x, n); }
  void to_frame(const CodecSite& site, double* x, int64_t n) const override { reflect(site, x, n); }
  void from_frame(const CodecSite& site, float* x, int64_t n) const override {
    reflect(site, x, n);
  }
  void from_frame(const CodecSite& site, double* x, int64_t n) const override {
    reflect(site, x, n);
  }

 private:
  template <typename T>
  void reflect(const CodecSite& site, T* x, int64_t n) const {
    Random random(mix_seed({static_cast<uint64_t>(site.layer), static_cast<uint64_t>(site.kv_head),
                            site.value ? 1u : 0u}));
    std::vector<double> u(static_cast<size_t>(head_dim()));
    double norm = 0;
    for (double& component : u) {
      component = random.normal();
      norm += component * component;
    }
    for (int64_t i = 0; i < n; ++i, x += head_dim()) {
      double dot = 0;
      for (size_t d = 0; d < u.size(); ++d) dot += u[d] * static_cast<double>(x[d]);
      for (size_t d = 0; d < u.size(); ++d) x[d] -= static_cast<T>(2 * u[d] * dot / norm);
    }
  }
  template <typename T>
  void put(const CodecSite& site, const T* x, int64_t n, uint8_t* codes) const {
    std::vector<double> copy(x, x + n * head_dim());
    reflect(site, copy.data(), n);
    std::memcpy(codes, copy.data(), copy.size() * sizeof(double));
  }
  template <typename T>
  void get(const uint8_t* codes, int64_t n, T* out) const {
    std::vector<double> copy(static_cast<size_t>(n * head_dim()));
    std::memcpy(copy.data(), codes, copy.size() * sizeof(double));
    for (size_t i = 0; i < copy.size(); ++i) out[i] = static_cast<T>(copy[i]);
  }
};

// Memory for the slots of one group, filled with random K and V through its codecs. Both sets read
// the same codes.
class TestStore {
 public:
  TestStore(const Codec& k_codec, const Codec& v_codec, int kv_heads, int64_t capacity,
            int32_t layer, Random& random, double offset = 0)
      : k_codes_(static_cast<size_t>(kv_heads * capacity * k_codec.code_bytes())),
        v_codes_(static_cast<size_t>(kv_heads * capacity * v_codec.code_bytes())),
        k_scales_(static_cast<size_t>(kv_heads * capacity)),
        v_scales_(static_cast<size_t>(kv_heads * capacity)) {
    store_ = {&k_codec,
              &v_codec,
              capacity,
              k_codes_.data(),
              v_codes_.data(),
              k_codec.scale_bytes() > 0 ? k_scales_.data() : nullptr,
              v_codec.scale_bytes() > 0 ? v_scales_.data() : nullptr};
    const auto reference = make_reference_ops();
    Twin k = Twin::random({capacity, kv_heads, k_codec.head_dim()}, random);
    Twin v = Twin::random({capacity, kv_heads, k_codec.head_dim()}, random, 1, offset);
    reference->store({k.on(*reference), v.on(*reference), layer, store_, 0});
  }
  TestStore(const TestStore&) = delete;
  TestStore& operator=(const TestStore&) = delete;

  const SlotStore& store() const { return store_; }

 private:
  std::vector<uint8_t> k_codes_;
  std::vector<uint8_t> v_codes_;
  std::vector<uint16_t> k_scales_;
  std::vector<uint16_t> v_scales_;
  SlotStore store_;
};

struct Shape {
  int64_t rows = 1;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 64;
  int streams = 1;
  int frames = 1;
  bool head_norm = false;
};

// Queries, lambda and head norm of a shape with an output; blocks are the test's.
struct AttentionCase {
  AttentionCase(const Shape& shape_, Random& random) : shape(shape_) {
    q = Twin::random({shape.frames * shape.rows, shape.streams, shape.heads, shape.head_dim},
                     random, 1.5);
    out = Twin::output({shape.rows, shape.heads, shape.head_dim});
    if (shape.streams == 2) lambda = Twin::random({shape.rows, shape.heads}, random, 0.1, 0.4);
    if (shape.head_norm) head_norm = Twin::random({shape.head_dim}, random, 0.2, 1);
  }

  AttentionParams params(const Ops& ops) {
    AttentionParams p;
    p.q = q.on(ops);
    p.frames = shape.frames;
    p.streams = shape.streams;
    p.heads = shape.heads;
    p.kv_heads = shape.kv_heads;
    p.head_dim = shape.head_dim;
    p.layer = layer;
    p.scale = 1 / std::sqrt(shape.head_dim);
    p.lambda = lambda.on(ops);
    p.head_norm = head_norm.on(ops);
    p.blocks = blocks;
    p.out = out.on(ops);
    return p;
  }
  // The whole batch as one block that starts at `first_position`.
  void one_block(int64_t first_position, std::vector<AttentionGroup> groups) {
    blocks = {{0, shape.rows, first_position, std::move(groups)}};
  }

  static constexpr int32_t layer = 3;
  Shape shape;
  Twin q;
  Twin lambda;
  Twin head_norm;
  Twin out;
  std::vector<AttentionBlock> blocks;
};

}  // namespace kvg::ops_test
