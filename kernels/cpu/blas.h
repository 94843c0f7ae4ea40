#pragma once

#include <cstdint>

namespace kvg::cpu {

// Restricts OpenBLAS to the calling thread, for the whole process. The operations split their work
// over threads themselves (team.h): two thread pools would fight for the cores, and results would
// depend on how the library happened to split.
void make_blas_single_threaded();

// BLAS for one thread, and the time spent in it. All matrices are row-major and dense in their last
// dimension. Products with at most kFewRows rows on the left are done row by row as matrix times
// vector, which is bound by reading b and, on such shapes, faster than the library's matrix
// product.
class Blas {
 public:
  static constexpr int64_t kFewRows = 4;

  // c [m, n] (+)= a [m, k] b^T, with b [n, k]
  void multiply_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                           const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc);
  // c [m, n] (+)= a [m, k] b, with b [k, n]
  void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                int64_t ldb, bool accumulate, float* c, int64_t ldc);

  double seconds() const { return seconds_; }
  void reset() { seconds_ = 0; }

 private:
  double seconds_ = 0;
};

}  // namespace kvg::cpu
