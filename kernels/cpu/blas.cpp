#include "kernels/cpu/blas.h"

#include <algorithm>
#include <chrono>

#include <cblas.h>

namespace kvg::cpu {
namespace {

class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() {
    const auto elapsed = std::chrono::steady_clock::now() - start_;
    seconds_ += std::chrono::duration<double>(elapsed).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

blasint size(int64_t n) { return static_cast<blasint>(n); }

// c += op(b) a, one row of a and c at a time. c is cleared here: with beta = 0 some versions of the
// library compute 0 * c, and NaN would survive.
void multiply_rows(CBLAS_TRANSPOSE transpose, int64_t m, int64_t rows_b, int64_t columns_b,
                   const float* a, int64_t lda, const float* b, int64_t ldb, bool accumulate,
                   float* c, int64_t ldc) {
  const int64_t outputs = transpose == CblasNoTrans ? rows_b : columns_b;
  for (int64_t row = 0; row < m; ++row) {
    if (!accumulate) std::fill_n(c + row * ldc, outputs, 0.0f);
    cblas_sgemv(CblasRowMajor, transpose, size(rows_b), size(columns_b), 1.0f, b, size(ldb),
                a + row * lda, 1, 1.0f, c + row * ldc, 1);
  }
}

}  // namespace

void make_blas_single_threaded() { openblas_set_num_threads(1); }

void Blas::multiply_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                               const float* b, int64_t ldb, bool accumulate, float* c,
                               int64_t ldc) {
  const Stopwatch stopwatch(seconds_);
  if (m <= kFewRows) {
    multiply_rows(CblasNoTrans, m, n, k, a, lda, b, ldb, accumulate, c, ldc);
  } else {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size(m), size(n), size(k), 1.0f, a,
                size(lda), b, size(ldb), accumulate ? 1.0f : 0.0f, c, size(ldc));
  }
}

void Blas::multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                    int64_t ldb, bool accumulate, float* c, int64_t ldc) {
  const Stopwatch stopwatch(seconds_);
  if (m <= kFewRows) {
    multiply_rows(CblasTrans, m, k, n, a, lda, b, ldb, accumulate, c, ldc);
  } else {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size(m), size(n), size(k), 1.0f, a,
                size(lda), b, size(ldb), accumulate ? 1.0f : 0.0f, c, size(ldc));
  }
}

}  // namespace kvg::cpu
