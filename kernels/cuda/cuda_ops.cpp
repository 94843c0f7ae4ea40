#include "kernels/cuda/cuda_ops.h"

#include "base/error.h"
#include "kernels/cuda/attention/prefill.h"
#include "kernels/cuda/codec/store.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/fused/ops.h"
#include "kernels/cuda/gemm/linear.h"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/scan.h"
#include "kernels/cuda/transfer.h"
#include "kernels/decode.h"
#include "kernels/landmark.h"
#include "kernels/ops_check.h"

#include <span>
#include <string>
#include <utility>

namespace kvg {
namespace {

void check_head_dim(int head_dim) {
  if (head_dim != 64 && head_dim != 128) {
    throw Error("operations cuda", "head_dim", std::to_string(head_dim), "64 or 128");
  }
}

// Every operation is a function of its own file; here they get their checks.
class CudaOps : public Ops {
 public:
  explicit CudaOps(const CudaOpsOptions& options) : context_(options.device), linear_(context_) {
    context_.profile(options.ranges);
  }

  std::string_view name() const override { return "cuda"; }
  Device device() const override { return Device::cuda; }
  DType activation() const override { return DType::bf16; }
  DType weight() const override { return DType::bf16; }

  std::unique_ptr<Buffer> allocate(size_t bytes) override { return context_.allocate(bytes); }
  std::unique_ptr<Buffer> allocate_scratch(size_t bytes) override {
    return context_.allocate_scratch(bytes);
  }
  void upload(const Tensor& from, const Tensor& out) override { cuda::upload(context_, from, out); }
  void upload_all(std::span<const UploadParams> uploads) override {
    cuda::upload_all(context_, uploads);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    cuda::copy(context_, to, from, bytes);
  }

  void embed(const EmbedParams& p) override {
    check(p, DType::bf16);
    cuda::embed(context_, p);
  }
  void rms_norm(const RmsNormParams& p) override {
    check(p, DType::bf16);
    cuda::rms_norm(context_, p);
  }
  void linear(const LinearParams& p) override {
    check(p, DType::bf16);
    linear_.run(p);
  }
  void swiglu(const SwigluParams& p) override {
    check(p, DType::bf16);
    cuda::swiglu(context_, p);
  }
  void gated_linear(const GatedLinearParams& p) override {
    check(p, DType::bf16);
    if (!linear_.run(p)) Ops::gated_linear(p);
  }
  void prepare_heads(const PrepareHeadsParams& p) override {
    check_head_dim(p.head_dim);
    check(p, DType::bf16);
    cuda::prepare_heads(context_, p);
  }
  void store(const StoreParams& p) override {
    check(p, DType::bf16);
    cuda::store(context_, p);
  }
  void load(const LoadParams& p) override {
    check(p, DType::bf16);
    cuda::load(context_, p);
  }
  void copy_slots(const CopySlotsParams& p) override {
    check(p);
    cuda::copy_slots(context_, p);
  }
  void attention(const AttentionParams& p) override {
    check_head_dim(p.head_dim);
    check(p, DType::bf16);
    context_.wait_beside(p.layer, Phase::attention);
    cuda::prefill_attention(context_, p);
  }
  void landmark(const LandmarkParams& p) override {
    check(p, DType::bf16);
    cuda::landmark_scan(context_, p);
  }
  bool landmark_takes_strides(const LandmarkParams& p) const override {
    return cuda::live_scan_fits(context_, p);
  }
  bool runs_beside() const override { return true; }
  void nll(const NllParams& p) override {
    check(p, DType::bf16);
    cuda::nll(context_, p);
  }

  std::unique_ptr<DecodeState> prepare_decode(DecodePlan plan,
                                              std::vector<DecodeCache> caches) override {
    check_head_dim(plan.head_dim);
    return std::make_unique<cuda::CudaDecodeState>(context_, std::move(plan), std::move(caches));
  }
  void decode_evict(DecodeState& state, const Tensor& positions) override {
    auto* own = dynamic_cast<cuda::CudaDecodeState*>(&state);
    KVG_CHECK(own != nullptr, "a state that this set prepared");
    cuda::decode_evict(context_, *own, positions);
  }
  void decode_attention(const DecodeAttentionParams& p) override {
    cuda::decode_attention(context_, p);
  }
  void sample(const SampleParams& p) override { cuda::sample(context_, p); }
  std::unique_ptr<Recording> record(std::function<void()> step) override {
    return context_.record(step);
  }

  void phase(Phase phase, int layer) override { context_.phase(phase, layer); }
  void trace(const TraceOptions& options) override { context_.trace(options); }
  PhaseLedger take_ledger() override { return context_.take_ledger(); }
  double empty_interval_seconds() override { return context_.empty_interval_seconds(); }
  void synchronize() override { context_.synchronize(); }
  uint64_t available_memory() const override { return context_.available_memory(); }

  OpsProfile profile() const override { return {}; }
  void reset_profile() override {}

  cuda::CudaContext& context() { return context_; }

 private:
  cuda::CudaContext context_;
  cuda::Linear linear_;
};

}  // namespace

std::unique_ptr<Ops> make_cuda_ops(const CudaOpsOptions& options) {
  return std::make_unique<CudaOps>(options);
}

std::unique_ptr<Ops> make_cuda_ops(int device) { return make_cuda_ops({.device = device}); }

cuda::CudaContext* cuda_context(Ops& ops) {
  auto* own = dynamic_cast<CudaOps*>(&ops);
  return own != nullptr ? &own->context() : nullptr;
}

}  // namespace kvg
