#include "kernels/cuda/landmark/landmark_agreement.h"

#include <algorithm>
#include <cstdio>

namespace kvg::cuda {

namespace {

// How well the device must agree, and what counts as a decision within rounding: one that the
// reference itself changes when its tokens are off by `noise`.
struct Agreement {
  double tolerance = 2e-5;
  double noise = 2e-5;
  int excused_percent = 5;
};

Agreement agreement_of(const LandmarkCase& test) {
  if (test.rules.bf16_arithmetic || test.summary_kind == CodecKind::bf16) {
    return {1e-2, 1e-4, 30};
  }
  // A coordinate within rounding of a threshold may be coded on its other side.
  if (test.exact_codec.kind == CodecKind::eden) return {2e-2, 1e-3, 25};
  return {};
}

bool excused(const LandmarkCase& test, const LandmarkCodecs& codecs, const TokenStream& tokens,
             int64_t begin, const LandmarkStep& step, const std::vector<uint8_t>& before,
             const LandmarkBank& after, const Agreement& agreement) {
  for (uint64_t trial = 0; trial < 6; ++trial) {
    const TokenStream other = perturbed(tokens, agreement.noise, 1000 + trial);
    BankMemory memory(test, codecs, false);
    memory.set_bytes(before);
    reference_scan(test, codecs, other, begin, {step}, memory.bank());
    const BankDifference d = difference(test, memory.bank(), after);
    if (!d.within(std::max(10 * agreement.noise, agreement.tolerance))) return true;
  }
  return false;
}

}  // namespace

void expect_agreement(CudaContext& context, const LandmarkCase& test,
                      const std::vector<int64_t>& sizes, uint64_t seed, int steps,
                      bool equal_gates) {
  const LandmarkCodecs codecs(test);
  const Agreement agreement = agreement_of(test);
  int64_t total = 0;
  for (int i = 0; i < steps; ++i) total += sizes[static_cast<size_t>(i) % sizes.size()];
  TokenStream tokens = random_tokens(test, total, seed);
  if (equal_gates) tokens.gate.assign(tokens.gate.size(), 1.0f);
  BankMemory host(test, codecs, false), device(test, codecs, true), got(test, codecs, false);
  host.set_bytes(initial_bytes(test, codecs));
  int excuses = 0;
  int64_t begin = 0;
  for (int i = 0; i < steps; ++i) {
    const LandmarkStep step{0, sizes[static_cast<size_t>(i) % sizes.size()], test.single, nullptr};
    const std::vector<uint8_t> before = host.bytes();
    device.set_bytes(before);
    device_scan(context, test, codecs, tokens, begin, {step}, device.bank());
    got.set_bytes(device.bytes());
    reference_scan(test, codecs, tokens, begin, {step}, host.bank());
    const BankDifference d = difference(test, got.bank(), host.bank());
    if (!d.within(agreement.tolerance)) {
      ++excuses;
      EXPECT_TRUE(excused(test, codecs, tokens, begin, step, before, host.bank(), agreement))
          << test.name << " step " << i << " of " << step.end << " tokens: " << d.decisions
          << " decisions, exact " << d.exact << ", summary " << d.summary << ", counts " << d.counts
          << ", units " << d.units;
    }
    begin += step.end;
  }
  EXPECT_LE(100 * excuses, agreement.excused_percent * steps) << test.name;
  if (excuses > 0) std::printf("%s: %d of %d steps excused\n", test.name.c_str(), excuses, steps);
}

}  // namespace kvg::cuda
