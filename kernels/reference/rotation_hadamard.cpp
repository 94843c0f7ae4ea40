#include "kernels/reference/rotation.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kvg {
namespace {

// Eight neighbours at once: y = H_8 x as eight multiples of the (symmetric) columns of H_8, which
// fills whole vector registers where butterflies would shuffle inside them.
template <typename T>
void transform_eight(T* x) {
  static constexpr T kH8[8][8] = {{1, 1, 1, 1, 1, 1, 1, 1},     {1, -1, 1, -1, 1, -1, 1, -1},
                                  {1, 1, -1, -1, 1, 1, -1, -1}, {1, -1, -1, 1, 1, -1, -1, 1},
                                  {1, 1, 1, 1, -1, -1, -1, -1}, {1, -1, 1, -1, -1, 1, -1, 1},
                                  {1, 1, -1, -1, -1, -1, 1, 1}, {1, -1, -1, 1, -1, 1, 1, -1}};
  T y[8] = {};
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 8; ++j) y[j] += x[i] * kH8[i][j];
  }
  for (int j = 0; j < 8; ++j) x[j] = y[j];
}

// x <- H x, not normalised: H H = head_dim. The fast Walsh-Hadamard transform, log2(head_dim)
// stages.
template <typename T>
void transform(T* x, int head_dim) {
  for (int i = 0; i < head_dim; i += 8) transform_eight(x + i);
  for (int half = 8; half < head_dim; half *= 2) {
    for (int begin = 0; begin < head_dim; begin += 2 * half) {
      T* const low = x + begin;
      T* const high = low + half;
      for (int j = 0; j < half; ++j) {
        const T a = low[j];
        const T b = high[j];
        low[j] = a + b;
        high[j] = a - b;
      }
    }
  }
}

template <typename T>
void multiply(T* x, const T* factor, int head_dim) {
  for (int j = 0; j < head_dim; ++j) x[j] *= factor[j];
}

class HadamardRotator final : public Rotator {
 public:
  HadamardRotator(int blocks, int head_dim, uint64_t seed)
      : blocks_(blocks), head_dim_(head_dim), seed_(seed) {}

  void apply(const CodecSite& site, float* x, int64_t n) const override { forward(site, x, n); }
  void apply(const CodecSite& site, double* x, int64_t n) const override { forward(site, x, n); }
  void apply_transposed(const CodecSite& site, float* x, int64_t n) const override {
    backward(site, x, n);
  }
  void apply_transposed(const CodecSite& site, double* x, int64_t n) const override {
    backward(site, x, n);
  }

 private:
  template <typename T>
  using Diagonal = std::array<T, kMaxRotatedHeadDim>;

  // Drawn anew at each call: for one vector that costs less than a lock around a table.
  template <typename T>
  void draw(const CodecSite& site, int stage, double magnitude, Diagonal<T>& diagonal) const {
    const uint64_t stream = rotation_stream(seed_, site, stage);
    const T values[2] = {static_cast<T>(magnitude), static_cast<T>(-magnitude)};
    for (int begin = 0; begin < head_dim_; begin += 64) {
      uint64_t word = rotation_sign_word(stream, static_cast<uint64_t>(begin / 64));
      for (int j = begin; j < std::min(begin + 64, head_dim_); ++j, word >>= 1) {
        diagonal[static_cast<size_t>(j)] = values[word & 1];
      }
    }
  }
  // Both diagonals; the first also carries the normalisation (1/d is exact).
  template <typename T>
  void draw(const CodecSite& site, Diagonal<T>& first, Diagonal<T>& second) const {
    draw(site, 0, blocks_ == 2 ? 1.0 / head_dim_ : 1.0 / std::sqrt(head_dim_), first);
    if (blocks_ == 2) draw(site, 1, 1.0, second);
  }

  template <typename T>
  void forward(const CodecSite& site, T* x, int64_t n) const {
    Diagonal<T> first;
    Diagonal<T> second;
    draw(site, first, second);
    for (int64_t v = 0; v < n; ++v, x += head_dim_) {
      multiply(x, first.data(), head_dim_);
      transform(x, head_dim_);
      if (blocks_ == 1) continue;
      multiply(x, second.data(), head_dim_);
      transform(x, head_dim_);
    }
  }
  template <typename T>
  void backward(const CodecSite& site, T* x, int64_t n) const {
    Diagonal<T> first;
    Diagonal<T> second;
    draw(site, first, second);
    for (int64_t v = 0; v < n; ++v, x += head_dim_) {
      if (blocks_ == 2) {
        transform(x, head_dim_);
        multiply(x, second.data(), head_dim_);
      }
      transform(x, head_dim_);
      multiply(x, first.data(), head_dim_);
    }
  }

  int blocks_;
  int head_dim_;
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Rotator> make_hadamard_rotator(int blocks, int head_dim, uint64_t seed) {
  return std::make_unique<HadamardRotator>(blocks, head_dim, seed);
}

}  // namespace kvg
