#pragma once

#include "base/random.h"
#include "kernels/codec.h"

#include <cmath>
#include <cstdint>
#include <vector>

namespace kvg {

template <typename T = double>
std::vector<T> normals(int64_t count, uint64_t seed, double sigma = 1.0) {
  Random random(seed);
  std::vector<T> x(static_cast<size_t>(count));
  for (T& value : x) value = static_cast<T>(sigma * random.normal());
  return x;
}

// Encoded vectors as a cache would hold them.
struct Encoded {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
};

template <typename T>
Encoded encode(const Codec& codec, const CodecSite& site, const std::vector<T>& x) {
  const auto n = static_cast<int64_t>(x.size()) / codec.head_dim();
  Encoded encoded;
  encoded.codes.resize(static_cast<size_t>(n * codec.code_bytes()));
  encoded.scales.resize(codec.scale_bytes() == 0 ? 0 : static_cast<size_t>(n));
  codec.encode(site, x.data(), n, encoded.codes.data(),
               encoded.scales.empty() ? nullptr : encoded.scales.data());
  return encoded;
}

// Decoded vectors, back in the frame of the input.
template <typename T>
std::vector<T> decode(const Codec& codec, const CodecSite& site, const Encoded& encoded) {
  const auto n = static_cast<int64_t>(encoded.codes.size()) / codec.code_bytes();
  std::vector<T> x(static_cast<size_t>(n * codec.head_dim()));
  codec.decode(encoded.codes.data(), encoded.scales.empty() ? nullptr : encoded.scales.data(), n,
               x.data());
  codec.from_frame(site, x.data(), n);
  return x;
}

template <typename T>
std::vector<T> round_trip(const Codec& codec, const CodecSite& site, const std::vector<T>& x) {
  return decode<T>(codec, site, encode(codec, site, x));
}

template <typename T>
double inner_product(const T* a, const T* b, int n) {
  double sum = 0;
  for (int j = 0; j < n; ++j) sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
  return sum;
}

// |decoded - x|^2 / |x|^2 of one vector.
template <typename T>
double relative_error(const T* x, const T* decoded, int n) {
  double error = 0;
  for (int j = 0; j < n; ++j) {
    const double difference = static_cast<double>(decoded[j]) - static_cast<double>(x[j]);
    error += difference * difference;
  }
  return error / inner_product(x, x, n);
}

}  // namespace kvg
