#pragma once

#include <cstdint>

namespace kvg {

// How the codes of one eden vector lie in memory. A code is sign-magnitude,
//   code = sign << (bits-1) | cell,   value = (sign ? -1 : 1) * magnitude[cell],
// so that the sign alone is the 1-bit code. Little-endian within bytes, for head_dim d:
//   bits 1, 2, 4  coordinate j in bits [bits (j mod 8/bits), + bits) of byte j bits / 8
//   bits 3        two planes: the cells as 2-bit codes (d/4 B), then the signs as 1-bit codes (d/8
//   B),
//                 which keeps every load aligned
// d is a multiple of 8. Any byte address will do for the packed codes.
constexpr int64_t packed_bytes(int bits, int head_dim) { return int64_t{head_dim} * bits / 8; }

namespace packing {

// One plane of kBits-wide fields, 1, 2 or 4.
template <int kBits>
void pack_plane(const uint8_t* fields, int count, uint8_t* packed) {
  constexpr int kPerByte = 8 / kBits;
  for (int i = 0; i < count / kPerByte; ++i) {
    unsigned byte = 0;
    for (int k = 0; k < kPerByte; ++k) {
      byte |= static_cast<unsigned>(fields[i * kPerByte + k]) << (k * kBits);
    }
    packed[i] = static_cast<uint8_t>(byte);
  }
}

template <int kBits>
void unpack_plane(const uint8_t* packed, int count, uint8_t* fields) {
  constexpr int kPerByte = 8 / kBits;
  for (int i = 0; i < count; ++i) {
    const unsigned field = static_cast<unsigned>(packed[i / kPerByte]) >> (i % kPerByte * kBits);
    fields[i] = static_cast<uint8_t>(field & ((1u << kBits) - 1));
  }
}

}  // namespace packing

// codes [head_dim], each below 2^kBits -> packed [packed_bytes(kBits, head_dim)].
template <int kBits>
void pack_codes(const uint8_t* codes, int head_dim, uint8_t* packed) {
  if constexpr (kBits == 3) {
    uint8_t* const signs = packed + head_dim / 4;
    for (int j = 0; j < head_dim; j += 8) {
      uint8_t cell[8];
      uint8_t sign[8];
      for (int k = 0; k < 8; ++k) {
        cell[k] = codes[j + k] & 3;
        sign[k] = static_cast<uint8_t>(codes[j + k] >> 2);
      }
      packing::pack_plane<2>(cell, 8, packed + j / 4);
      packing::pack_plane<1>(sign, 8, signs + j / 8);
    }
  } else {
    packing::pack_plane<kBits>(codes, head_dim, packed);
  }
}

// The inverse of pack_codes.
template <int kBits>
void unpack_codes(const uint8_t* packed, int head_dim, uint8_t* codes) {
  if constexpr (kBits == 3) {
    const uint8_t* const signs = packed + head_dim / 4;
    for (int j = 0; j < head_dim; j += 8) {
      uint8_t sign[8];
      packing::unpack_plane<2>(packed + j / 4, 8, codes + j);
      packing::unpack_plane<1>(signs + j / 8, 8, sign);
      for (int k = 0; k < 8; ++k) codes[j + k] = static_cast<uint8_t>(codes[j + k] | sign[k] << 2);
    }
  } else {
    packing::unpack_plane<kBits>(packed, head_dim, codes);
  }
}

}  // namespace kvg
