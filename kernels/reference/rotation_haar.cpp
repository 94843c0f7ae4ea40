#include "base/error.h"
#include "kernels/reference/rotation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

namespace kvg {
namespace {

// Eight partial sums, so that the compiler may keep them in vector registers.
template <typename T>
T dot(const T* a, const T* b, int n) {
  T sums[8] = {};
  for (int j = 0; j < n; j += 8) {
    for (int k = 0; k < 8; ++k) sums[k] += a[j + k] * b[j + k];
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

template <typename T>
void add_multiple(T* y, T factor, const T* x, int n) {
  for (int j = 0; j < n; ++j) y[j] += factor * x[j];
}

// [n, n], row-major: Gram-Schmidt on the rows of a matrix of independent normals, every row twice,
// which leaves it orthogonal to working precision. The diagonal of R (the norms) is positive by
// construction, and that choice of signs is what makes the law uniform.
std::vector<double> draw_haar_matrix(int n, uint64_t stream) {
  Random random(splitmix64(stream));
  std::vector<double> matrix(static_cast<size_t>(n) * static_cast<size_t>(n));
  for (double& value : matrix) value = random.normal();
  for (int i = 0; i < n; ++i) {
    double* const row = matrix.data() + static_cast<ptrdiff_t>(i) * n;
    for (int pass = 0; pass < 2; ++pass) {
      for (const double* done = matrix.data(); done != row; done += n) {
        add_multiple(row, -dot(done, row, n), done, n);
      }
      const double norm = std::sqrt(dot(row, row, n));
      KVG_CHECK(norm > 0, "a random matrix has full rank");
      for (int j = 0; j < n; ++j) row[j] /= norm;
    }
  }
  return matrix;
}

// The matrices used so far, each drawn once by whoever needs it first.
template <typename T>
class HaarMatrices {
 public:
  const T* find(const CodecSite& site, int head_dim, uint64_t seed) {
    Entry* entry = nullptr;
    {
      const std::scoped_lock lock(mutex_);
      entry = &entries_[{site.layer, site.kv_head, site.value}];  // never moves
    }
    std::call_once(entry->drawn, [&] {
      const auto matrix = draw_haar_matrix(head_dim, rotation_stream(seed, site, 0));
      entry->matrix.assign(matrix.begin(), matrix.end());
    });
    return entry->matrix.data();
  }

 private:
  struct Entry {
    std::once_flag drawn;
    std::vector<T> matrix;
  };
  std::mutex mutex_;
  std::map<std::tuple<int32_t, int32_t, bool>, Entry> entries_;
};

class HaarRotator final : public Rotator {
 public:
  HaarRotator(int head_dim, uint64_t seed) : head_dim_(head_dim), seed_(seed) {}

  void apply(const CodecSite& site, float* x, int64_t n) const override {
    forward(floats_.find(site, head_dim_, seed_), x, n);
  }
  void apply(const CodecSite& site, double* x, int64_t n) const override {
    forward(doubles_.find(site, head_dim_, seed_), x, n);
  }
  void apply_transposed(const CodecSite& site, float* x, int64_t n) const override {
    backward(floats_.find(site, head_dim_, seed_), x, n);
  }
  void apply_transposed(const CodecSite& site, double* x, int64_t n) const override {
    backward(doubles_.find(site, head_dim_, seed_), x, n);
  }

 private:
  template <typename T>
  void forward(const T* matrix, T* x, int64_t n) const {
    std::array<T, kMaxRotatedHeadDim> y;
    for (int64_t v = 0; v < n; ++v, x += head_dim_) {
      for (int i = 0; i < head_dim_; ++i) {
        y[static_cast<size_t>(i)] =
            dot(matrix + static_cast<ptrdiff_t>(i) * head_dim_, x, head_dim_);
      }
      std::copy_n(y.data(), head_dim_, x);
    }
  }
  template <typename T>
  void backward(const T* matrix, T* x, int64_t n) const {
    std::array<T, kMaxRotatedHeadDim> y;
    for (int64_t v = 0; v < n; ++v, x += head_dim_) {
      std::fill_n(y.data(), head_dim_, T{0});
      for (int i = 0; i < head_dim_; ++i) {
        add_multiple(y.data(), x[i], matrix + static_cast<ptrdiff_t>(i) * head_dim_, head_dim_);
      }
      std::copy_n(y.data(), head_dim_, x);
    }
  }

  int head_dim_;
  uint64_t seed_;
  mutable HaarMatrices<float> floats_;
  mutable HaarMatrices<double> doubles_;
};

}  // namespace

std::unique_ptr<Rotator> make_haar_rotator(int head_dim, uint64_t seed) {
  return std::make_unique<HaarRotator>(head_dim, seed);
}

}  // namespace kvg
