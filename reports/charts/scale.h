#pragma once

#include <string>
#include <vector>

namespace kvg::reports {

// Maps a range of values to a range of pixels, linearly or by logarithm.
struct Scale {
  double low = 0, high = 1;  // of the values; low < high; both positive when logarithmic
  double pixel_low = 0, pixel_high = 1;
  bool logarithmic = false;

  double operator()(double value) const;
};

struct Tick {
  double value;
  std::string label;
};

// Round values (1, 2, 2.5 or 5 times a power of ten) inside [low, high], about `count` of them; all
// labels carry the same number of decimals.
std::vector<Tick> linear_ticks(double low, double high, int count);

// Powers of ten inside [low, high], with 2 and 5 times them where the range is short; the labels
// are sizes in bytes.
std::vector<Tick> byte_ticks(double low, double high);

}  // namespace kvg::reports
