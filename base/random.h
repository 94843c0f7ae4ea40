#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>
#include <string_view>

namespace kvg {

// One step of SplitMix64 (Steele, Lea, Flood 2014) as a mixing function.
constexpr uint64_t splitmix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// A seed from several parts; the order matters. Everything random in the project gets its seed
// this way (master seed, purpose, item, layer ...), so that subsets and resumed runs agree.
constexpr uint64_t mix_seed(std::initializer_list<uint64_t> parts) {
  uint64_t seed = 0x6b7667617567650aULL;
  for (const uint64_t part : parts) seed = splitmix64(seed ^ splitmix64(part));
  return seed;
}

// FNV-1a, to turn a name into a part of a seed.
constexpr uint64_t name_seed(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

// Philox4x32-10 (Salmon et al., SC 2011): counter-based, so the CPU and the GPU draw the same
// numbers in any order. Returns the block of 4 words for (key, counter).
constexpr std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter_lo,
                                             uint64_t counter_hi = 0) {
  std::array<uint32_t, 4> c = {
      static_cast<uint32_t>(counter_lo), static_cast<uint32_t>(counter_lo >> 32),
      static_cast<uint32_t>(counter_hi), static_cast<uint32_t>(counter_hi >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

// A sequential generator over one Philox stream.
class Random {
 public:
  explicit constexpr Random(uint64_t seed) : key_(seed) {}

  constexpr uint32_t next_u32() {
    if (used_ == 4) {
      block_ = philox4x32(key_, counter_++);
      used_ = 0;
    }
    return block_[used_++];
  }
  constexpr uint64_t next_u64() {
    const uint64_t high = next_u32();
    return high << 32 | next_u32();
  }
  // Uniform in [0, 1), 53 bits.
  constexpr double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }
  // Uniform integer in [0, n); n > 0. Unbiased (rejection).
  constexpr uint64_t below(uint64_t n) {
    const uint64_t limit = ~uint64_t{0} - (~uint64_t{0} % n + 1) % n;
    uint64_t x = next_u64();
    while (x > limit) x = next_u64();
    return x % n;
  }
  // Standard normal (Box-Muller, one value a call so that streams stay simple to replay).
  double normal() {
    const double u = 1.0 - uniform();
    const double v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
  std::array<uint32_t, 4> block_{};
  uint32_t used_ = 4;
};

}  // namespace kvg
