#include "kernels/ops.h"

#include "base/memory.h"
#include "kernels/decode.h"

#include <utility>

namespace kvg {

namespace {

// On the host issuing a step costs nothing that recording it would save.
class Repeated : public Recording {
 public:
  explicit Repeated(std::function<void()> step) : step_(std::move(step)) {}
  void replay() override { step_(); }

 private:
  std::function<void()> step_;
};

}  // namespace

void Ops::upload_all(std::span<const UploadParams> uploads) {
  for (const UploadParams& p : uploads) upload(p.from, p.out);
}

void Ops::gated_linear(const GatedLinearParams& p) {
  linear({p.x, p.weight, Tensor(), p.gate_up});
  swiglu({p.gate_up, p.out});
}

std::unique_ptr<DecodeState> Ops::prepare_decode(DecodePlan plan, std::vector<DecodeCache> caches) {
  return std::make_unique<DecodeState>(std::move(plan), std::move(caches));
}

void Ops::decode_evict(DecodeState& state, const Tensor& positions) {
  composed_decode_evict(*this, state, positions);
}

void Ops::decode_attention(const DecodeAttentionParams& params) {
  composed_decode_attention(*this, params);
}

void Ops::sample(const SampleParams& params) { host_sample(params); }

std::unique_ptr<Recording> Ops::record(std::function<void()> step) {
  return std::make_unique<Repeated>(std::move(step));
}

uint64_t Ops::available_memory() const { return kvg::available_memory(); }

}  // namespace kvg
