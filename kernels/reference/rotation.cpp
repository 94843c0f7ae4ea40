#include "kernels/reference/rotation.h"

#include "base/error.h"

#include <bit>
#include <string>

namespace kvg {

std::unique_ptr<Rotator> Rotator::make(Rotation rotation, int head_dim, uint64_t seed) {
  const bool hadamard = rotation != Rotation::haar;
  const bool in_range = head_dim >= 8 && head_dim % 8 == 0 && head_dim <= kMaxRotatedHeadDim;
  if (!in_range || (hadamard && !std::has_single_bit(static_cast<unsigned>(head_dim)))) {
    throw Error("codec", hadamard ? "head_dim of a Hadamard rotation" : "head_dim of a rotation",
                std::to_string(head_dim),
                (hadamard ? "a power of two from 8 to " : "a multiple of 8 from 8 to ") +
                    std::to_string(kMaxRotatedHeadDim));
  }
  switch (rotation) {
    case Rotation::hd:
      return make_hadamard_rotator(1, head_dim, seed);
    case Rotation::hdhd:
      return make_hadamard_rotator(2, head_dim, seed);
    case Rotation::haar:
      break;
  }
  return make_haar_rotator(head_dim, seed);
}

}  // namespace kvg
