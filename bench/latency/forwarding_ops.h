#pragma once

#include "kernels/decode.h"
#include "kernels/landmark.h"
#include "kernels/ops.h"

#include <span>
#include <utility>

namespace kvg {

// Another set of operations, as it is: the base of sets that change one thing about it.
class ForwardingOps : public Ops {
 public:
  explicit ForwardingOps(Ops& inner) : inner_(inner) {}

  std::string_view name() const override { return inner_.name(); }
  Device device() const override { return inner_.device(); }
  DType activation() const override { return inner_.activation(); }
  DType weight() const override { return inner_.weight(); }
  std::unique_ptr<Buffer> allocate(size_t bytes) override { return inner_.allocate(bytes); }
  std::unique_ptr<Buffer> allocate_scratch(size_t bytes) override {
    return inner_.allocate_scratch(bytes);
  }
  void upload(const Tensor& from, const Tensor& out) override { inner_.upload(from, out); }
  void upload_all(std::span<const UploadParams> uploads) override { inner_.upload_all(uploads); }
  void copy(void* to, const void* from, size_t bytes) override { inner_.copy(to, from, bytes); }
  void embed(const EmbedParams& params) override { inner_.embed(params); }
  void rms_norm(const RmsNormParams& params) override { inner_.rms_norm(params); }
  void linear(const LinearParams& params) override { inner_.linear(params); }
  void swiglu(const SwigluParams& params) override { inner_.swiglu(params); }
  void gated_linear(const GatedLinearParams& params) override { inner_.gated_linear(params); }
  void prepare_heads(const PrepareHeadsParams& params) override { inner_.prepare_heads(params); }
  void store(const StoreParams& params) override { inner_.store(params); }
  void load(const LoadParams& params) override { inner_.load(params); }
  void copy_slots(const CopySlotsParams& params) override { inner_.copy_slots(params); }
  void attention(const AttentionParams& params) override { inner_.attention(params); }
  void landmark(const LandmarkParams& params) override { inner_.landmark(params); }
  bool landmark_takes_strides(const LandmarkParams& params) const override {
    return inner_.landmark_takes_strides(params);
  }
  bool runs_beside() const override { return inner_.runs_beside(); }
  void nll(const NllParams& params) override { inner_.nll(params); }
  std::unique_ptr<DecodeState> prepare_decode(DecodePlan plan,
                                              std::vector<DecodeCache> caches) override {
    return inner_.prepare_decode(std::move(plan), std::move(caches));
  }
  void decode_evict(DecodeState& state, const Tensor& positions) override {
    inner_.decode_evict(state, positions);
  }
  void decode_attention(const DecodeAttentionParams& params) override {
    inner_.decode_attention(params);
  }
  void sample(const SampleParams& params) override { inner_.sample(params); }
  std::unique_ptr<Recording> record(std::function<void()> step) override {
    return inner_.record(std::move(step));
  }
  void phase(Phase phase, int layer) override { inner_.phase(phase, layer); }
  void trace(const TraceOptions& options) override { inner_.trace(options); }
  PhaseLedger take_ledger() override { return inner_.take_ledger(); }
  double empty_interval_seconds() override { return inner_.empty_interval_seconds(); }
  void synchronize() override { inner_.synchronize(); }
  uint64_t available_memory() const override { return inner_.available_memory(); }
  OpsProfile profile() const override { return inner_.profile(); }
  void reset_profile() override { inner_.reset_profile(); }

 protected:
  Ops& inner_;
};

// Leaves the bank update of prefill out, to measure it by removal: banks stay as they are.
class WithoutBankUpdate : public ForwardingOps {
 public:
  using ForwardingOps::ForwardingOps;
  void landmark(const LandmarkParams&) override {}
};

}  // namespace kvg
