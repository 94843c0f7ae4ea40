#pragma once

#include "kernels/codec.h"

namespace kvg {

// The part that codecs without a rotation have in common: their frame is the identity, and float
// and double go through the same templates. `Derived` has
//   template <typename T> void put(const T* x, int64_t n, uint8_t* codes, uint16_t* scales) const;
//   template <typename T> void get(const uint8_t* codes, const uint16_t* scales, int64_t n, T* out)
//   const;
template <typename Derived>
class UnrotatedCodec : public Codec {
 public:
  bool rotates() const final { return false; }

  void encode(const CodecSite&, const float* x, int64_t n, uint8_t* codes,
              uint16_t* scales) const final {
    self().put(x, n, codes, scales);
  }
  void encode(const CodecSite&, const double* x, int64_t n, uint8_t* codes,
              uint16_t* scales) const final {
    self().put(x, n, codes, scales);
  }
  void decode(const uint8_t* codes, const uint16_t* scales, int64_t n, float* out) const final {
    self().get(codes, scales, n, out);
  }
  void decode(const uint8_t* codes, const uint16_t* scales, int64_t n, double* out) const final {
    self().get(codes, scales, n, out);
  }
  void to_frame(const CodecSite&, float*, int64_t) const final {}
  void to_frame(const CodecSite&, double*, int64_t) const final {}
  void from_frame(const CodecSite&, float*, int64_t) const final {}
  void from_frame(const CodecSite&, double*, int64_t) const final {}

 protected:
  using Codec::Codec;

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }
};

}  // namespace kvg
