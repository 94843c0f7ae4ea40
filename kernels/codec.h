#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace kvg {

// How a kept K or V vector is stored. The third axis of a method.
enum class CodecKind : uint8_t {
  // Exact; for proofs, and for running averages. Both words of every coordinate (split_float of
  // kernels/dtype.h): first all upper ones, which alone are the vector in bf16, then all rests.
  f32,
  bf16,  // 2 B an element
  fp8,   // e4m3, 1 B an element
  int8,  // symmetric, 1 B an element and one fp16 scale a vector, absmax/127
  eden,  // rotation + Lloyd-Max codebook + one fp16 scale a vector (DRIVE is bits=1)
};

// Scale of a rotated-codebook vector x (EDEN, ICML 2022, arXiv 2108.08842; TurboQuant, arXiv
// 2504.19874). With z = sqrt(d) P x / |x| and c(z) its quantised coordinates,
//   x_hat = s P^T c(z),  s = |x| S / sqrt(d);  a = <z,c>/d,  g = |c|^2/d
enum class EdenScale : uint8_t {
  unbiased,  // S = 1/a        <x_hat, x> = |x|^2 for every draw of P
  s1,        // S = 1          TurboQuant_mse
  ls,        // S = a/g        least squares
  norm,      // S = 1/sqrt(g)  keeps the norm
};

// The rotation P shared by all tokens of one site (layer, KV head, K or V).
enum class Rotation : uint8_t {
  hdhd,  // two randomised Hadamard blocks; the default
  hd,    // one block; has bad worst cases, kept as an ablation
  haar,  // dense orthogonal matrix, uniform; the quality reference
};

// fp8: one scale for everything (1.0) or absmax/448 a vector, stored in fp16.
enum class Fp8Scale : uint8_t { unit, vector };

// Plain description of a codec; comparable, printable, usable on any device.
struct CodecSpec {
  CodecKind kind = CodecKind::bf16;
  int bits = 4;                           // eden: 1..4
  EdenScale scale = EdenScale::unbiased;  // eden
  Rotation rotation = Rotation::hdhd;     // eden
  Fp8Scale fp8_scale = Fp8Scale::unit;    // fp8
  uint64_t seed = 0;                      // eden: draws the rotations

  friend bool operator==(const CodecSpec&, const CodecSpec&) = default;
};

// Which rotation a vector uses; every site has its own, so that errors do not align across heads.
struct CodecSite {
  int32_t layer = 0;
  int32_t kv_head = 0;
  bool value = false;
};

// The host implementation of a CodecSpec for one head_dim. Vectors are contiguous [n, head_dim];
// codes are [n, code_bytes()], little-endian within bytes; scales are fp16 bit patterns [n]
// (ignored, may be null, when scale_bytes() is 0).
//
// decode() returns vectors in the codec's own frame, P x_hat: attention rotates the query once
// (to_frame), accumulates values in the frame, and brings the result back once (from_frame).
// Codecs that do not rotate have the identity as frame. Thread-safe after construction.
//
// The float and the double methods agree to float rounding; the double ones are the definition. A
// NaN is never hidden: eden decodes a vector that holds one (or an infinity) as NaN throughout,
// int8 one that holds a NaN, the others keep it where it is. Scales saturate at the largest fp16,
// fp8 elements at +-448 * scale, int8 ones at +-127 * scale.
class Codec {
 public:
  virtual ~Codec() = default;

  // Throws Error when head_dim is not supported (Hadamard rotations need a power of two).
  static std::unique_ptr<Codec> make(const CodecSpec& spec, int head_dim);

  const CodecSpec& spec() const { return spec_; }
  int head_dim() const { return head_dim_; }
  virtual int64_t code_bytes() const = 0;   // a vector
  virtual int64_t scale_bytes() const = 0;  // a vector: 0 or 2
  virtual bool rotates() const = 0;

  virtual void encode(const CodecSite& site, const float* x, int64_t n, uint8_t* codes,
                      uint16_t* scales) const = 0;
  virtual void encode(const CodecSite& site, const double* x, int64_t n, uint8_t* codes,
                      uint16_t* scales) const = 0;
  virtual void decode(const uint8_t* codes, const uint16_t* scales, int64_t n,
                      float* out) const = 0;
  virtual void decode(const uint8_t* codes, const uint16_t* scales, int64_t n,
                      double* out) const = 0;
  virtual void to_frame(const CodecSite& site, float* x, int64_t n) const = 0;
  virtual void to_frame(const CodecSite& site, double* x, int64_t n) const = 0;
  virtual void from_frame(const CodecSite& site, float* x, int64_t n) const = 0;
  virtual void from_frame(const CodecSite& site, double* x, int64_t n) const = 0;

 protected:
  Codec(const CodecSpec& spec, int head_dim) : spec_(spec), head_dim_(head_dim) {}

 private:
  CodecSpec spec_;
  int head_dim_;
};

}  // namespace kvg
