#pragma once

#include "kernels/ops.h"
#include "model/weights.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace kvg {

// The gates every method passes before a number of it is published: proofs that a baseline is not
// crippled by its implementation. `kvgauge selftest` runs them on any model; tests run them on
// small ones.
//   whole      with room for every token, logits equal those of the full cache
//   text       with room for every token, the greedy text is that of the full cache
//   chunks     prefill cut into chunks of 1, 7, 64 and everything gives the same logits
//   ragged     a batch of sequences of different lengths gives what each gives alone
//   clone      a copy of a sequence continues like the original, and does not disturb it
//   decode     continuing by decode steps is the same as appending token by token
//   recorded   replayed decode steps give the bits of steps issued one by one
//   repeat     the same call twice gives the same bits
//   bytes      what the cache says it occupies is what the formula says
// All but the last three compare two ways up to rounding; in single precision they store what they
// are given exactly, whatever the codec: a difference in rounding could move a coordinate into the
// next cell of a lossy codec. In double precision they run with the codecs as they are.
struct GateResult {
  std::string gate;
  std::string method;
  bool passed = false;
  double value = 0;  // relative error, or a count
  double limit = 0;
};

struct GateOptions {
  // Methods with budgets well below the text; each is also tried with room for all of it.
  std::vector<std::string> methods;
  // Largest relative error (max |a-b| / max |b|) between ways that must agree up to rounding;
  // gate_tolerance() of the operations.
  double tolerance = 1e-4;
};

// Runs every gate on `tokens` (at least 64; the first is BOS), reporting each result as it comes.
void run_gates(const Weights& weights, Ops& ops, std::span<const int32_t> tokens,
               const GateOptions& options, const std::function<void(const GateResult&)>& report);

// What rounding alone may do: 1e-9 in double and 1e-4 in single precision. Where activations are
// rounded to bf16 (8 bits of mantissa) every step of a layer is off by up to 0.2 %, and products of
// another shape are summed in another order: logits after random tokens were seen to differ by
// 6e-2, so 1e-1.
double gate_tolerance(DType activation);

// Methods the gates are run on by default: every retention with a small budget, and codecs.
std::vector<std::string> gate_methods();

}  // namespace kvg
