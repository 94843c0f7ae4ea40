#pragma once

#include "base/error.h"

#include <array>
#include <cstddef>

namespace kvg {

// The Lloyd-Max quantiser of a standard normal coordinate: of all quantisers with 2^bits points the
// one with the least mean squared error. It is symmetric, so only the positive half is kept; cell i
// reaches from threshold[i - 1] (0 for the first) to threshold[i], the midpoint of its neighbours,
// and its point is the mean of the normal law over the cell.
// Plain constants, so that host and device code can share them. At head_dim 128 the exact law of a
// rotated coordinate would lower the error by 0.1 % at most, at 32 by 1.7 %.
struct Codebook {
  int bits;
  std::array<double, 8> magnitude;  // the first 2^(bits-1) are used, ascending
  std::array<double, 7> threshold;  // the first 2^(bits-1) - 1 are used, ascending
  double mse;                       // D_b, of a standard normal coordinate

  constexpr int cells() const { return 1 << (bits - 1); }  // of one half
};

inline constexpr int kMaxCodebookBits = 4;

inline constexpr std::array<Codebook, kMaxCodebookBits> kGaussianCodebooks = {{
    {1, {0.79788456080286535588}, {}, 0.36338022763241865692},
    {2,
     {0.45278003463649200941, 1.51041760849909540239},
     {0.98159882156779370590},
     0.11748184782932928712},
    {3,
     {0.24509417894422166819, 0.75600528120587727482, 1.34390927850499987518,
      2.15194570453698728535},
     {0.50054973007504947151, 1.04995727985543857500, 1.74792749152099358026},
     0.03454776078850373028},
    {4,
     {0.12839502985114701005, 0.38804829949029019659, 0.65675911853246338086,
      0.94234045648696137093, 1.25623119734717715246, 1.61804638602188262722,
      2.06901722653138657957, 2.73258957099516306902},
     {0.25822166467071860332, 0.52240370901137678873, 0.79954978750971237589,
      1.09928582691706926170, 1.43713879168452988984, 1.84353180627663460340,
      2.40080339876327482430},
     0.00950100800819188611},
}};

// bits: 1..4.
constexpr const Codebook& gaussian_codebook(int bits) {
  KVG_CHECK(bits >= 1 && bits <= kMaxCodebookBits, "a codebook has 1 to 4 bits");
  return kGaussianCodebooks[static_cast<size_t>(bits - 1)];
}

}  // namespace kvg
