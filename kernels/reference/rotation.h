#pragma once

#include "base/random.h"
#include "kernels/codec.h"

#include <cstdint>
#include <initializer_list>
#include <memory>

namespace kvg {

inline constexpr int kMaxRotatedHeadDim = 1024;

// The random stream of one stage of a site's rotation: D1 of a Hadamard rotation and the matrix of
// a Haar rotation are stage 0, D2 is stage 1. Host and device implementations draw from here.
constexpr uint64_t rotation_stream(uint64_t seed, const CodecSite& site, int stage) {
  return seed ^ mix_seed({static_cast<uint64_t>(site.layer), static_cast<uint64_t>(site.kv_head),
                          uint64_t{site.value}, static_cast<uint64_t>(stage)});
}

// 64 random signs of a stage: bit j of word w set means that coordinate 64 w + j changes its sign.
constexpr uint64_t rotation_sign_word(uint64_t stream, uint64_t word) {
  return splitmix64(stream + word * 0x9e3779b97f4a7c15ULL);
}

// The orthogonal matrix P of every site:
//   hd    P = d^-1/2 H D1
//   hdhd  P = d^-1 H D2 H D1
//   haar  P uniform among orthogonal matrices
// H is the Sylvester-Hadamard matrix of order d = head_dim, D1 and D2 are diagonals of random
// signs. Thread-safe. Hadamard rotations keep no state; a Haar matrix is drawn at the first use of
// its site (about 4 head_dim^3 FLOPs) and kept (head_dim^2 elements of the type it is used with).
class Rotator {
 public:
  virtual ~Rotator() = default;

  // Throws Error unless head_dim is a multiple of 8, at most kMaxRotatedHeadDim and, for hd and
  // hdhd, a power of two.
  static std::unique_ptr<Rotator> make(Rotation rotation, int head_dim, uint64_t seed);

  // x <- P x, in place, for the n vectors of x [n, head_dim].
  virtual void apply(const CodecSite& site, float* x, int64_t n) const = 0;
  virtual void apply(const CodecSite& site, double* x, int64_t n) const = 0;
  // x <- P^T x
  virtual void apply_transposed(const CodecSite& site, float* x, int64_t n) const = 0;
  virtual void apply_transposed(const CodecSite& site, double* x, int64_t n) const = 0;
};

std::unique_ptr<Rotator> make_hadamard_rotator(int blocks, int head_dim, uint64_t seed);
std::unique_ptr<Rotator> make_haar_rotator(int head_dim, uint64_t seed);

}  // namespace kvg
