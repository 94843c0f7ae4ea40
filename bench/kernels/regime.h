#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// How hard the device is kept at work while a row is timed. Contenders take turns, in an order of
// their own every round.
struct Regime {
  std::string_view name;      // "": no regime, rows as comparable as short batches make them
  double turn_seconds = 0;    // of launches in a turn, at least about
  double settle_seconds = 0;  // of rounds before those that count
  double alone_seconds = 0;   // of a stretch of each contender by itself, for its energy; 0: none
  double rest = 0;            // the device idles after a turn, so many times as long
  int rounds = 0;             // that count, and more until
  double seconds = 0;         // they have taken so long

  bool plain() const { return name.empty(); }
};

// Batches of 0.4 ms, until three in a row agree.
Regime plain_regime();
// "busy" and "cool" by name, separated by commas, in that order; "" is the plain one. Throws Error.
std::vector<Regime> parse_regimes(const std::string& text);

}  // namespace kvg
