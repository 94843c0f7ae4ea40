#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvg {

// The parts of a forward pass that the latency ledger tells apart. The norm before a product counts
// with the product.
enum class Phase : uint8_t {
  embed,
  qkv,        // norm and the fused projection
  rope,       // RoPE, the learned rotation, K and V into the cache
  bank,       // tokens that leave the window are offered to the banks (scan in prefill, step in
              // decode)
  attention,  // everything that may be read, both streams, until the heads' outputs
  output,     // output projection
  mlp,        // norm, gate and up, SwiGLU, down
  head,       // final norm and logits
  sample,     // choice of the next token
};
inline constexpr size_t kPhases = 9;

constexpr std::string_view phase_name(Phase phase) {
  constexpr std::array<std::string_view, kPhases> kNames = {
      "embed", "qkv", "rope", "bank", "attention", "output", "mlp", "head", "sample"};
  return kNames[static_cast<size_t>(phase)];
}

// What a phase took, and what its launches declared. `bytes` is the least traffic to device memory
// (each input read once, each output written once).
struct PhaseWork {
  double seconds = 0;
  int64_t intervals = 0;  // how many stretches of time `seconds` is the sum of
  int64_t launches = 0;
  int64_t bytes = 0;
  int64_t flops = 0;
};
using PhaseLedger = std::array<PhaseWork, kPhases>;

// Which layers are timed. Timing costs about a microsecond an interval on a GPU, which a decode
// step of one sequence would notice if every layer paid it: with stride n only layers with
// layer % n == offset are timed, and what belongs to no layer with offset 0. The sum of the ledgers
// of all n offsets is that of one whole pass.
struct TraceOptions {
  bool times = false;
  int stride = 1;
  int offset = 0;

  bool covers(int layer) const {  // layer -1: no layer
    return times && (layer < 0 ? offset == 0 : layer % stride == offset);
  }
};

}  // namespace kvg
