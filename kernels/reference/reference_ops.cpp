#include "kernels/convert.h"
#include "kernels/host_buffer.h"
#include "kernels/ops.h"
#include "kernels/ops_check.h"
#include "kernels/phase_clock.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/embed.h"
#include "kernels/reference/landmark.h"
#include "kernels/reference/linear.h"
#include "kernels/reference/nll.h"
#include "kernels/reference/prepare_heads.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/slots.h"
#include "kernels/reference/swiglu.h"

#include <cstring>
#include <memory>

namespace kvg {
namespace {

// Every operation as its definition in this folder, in double precision, on one core.
class ReferenceOps : public Ops {
 public:
  std::string_view name() const override { return "reference"; }
  Device device() const override { return Device::cpu; }
  DType activation() const override { return DType::f64; }
  DType weight() const override { return DType::f64; }

  std::unique_ptr<Buffer> allocate(size_t bytes) override { return allocate_host(bytes); }
  void upload(const Tensor& from, const Tensor& out) override { convert(from, out); }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  void embed(const EmbedParams& p) override { checked(p, reference::embed<double>); }
  void rms_norm(const RmsNormParams& p) override { checked(p, reference::rms_norm<double>); }
  void linear(const LinearParams& p) override { checked(p, reference::linear<double>); }
  void swiglu(const SwigluParams& p) override { checked(p, reference::swiglu<double>); }
  void prepare_heads(const PrepareHeadsParams& p) override {
    checked(p, reference::prepare_heads<double>);
  }
  void store(const StoreParams& p) override { checked(p, reference::store<double>); }
  void load(const LoadParams& p) override { checked(p, reference::load<double>); }
  void copy_slots(const CopySlotsParams& p) override {
    check(p);
    reference::copy_slots(p);
  }
  void attention(const AttentionParams& p) override { checked(p, reference::attention<double>); }
  void nll(const NllParams& p) override { checked(p, reference::nll<double>); }
  void landmark(const LandmarkParams& p) override {
    checked(p, reference::landmark_absorb<double>);
  }

  void phase(Phase phase, int layer) override { clock_.phase(phase, layer); }
  void trace(const TraceOptions& options) override { clock_.trace(options); }
  PhaseLedger take_ledger() override { return clock_.take(); }

  // BLAS has no part in this.
  OpsProfile profile() const override { return {}; }
  void reset_profile() override {}

 private:
  template <typename Params>
  static void checked(const Params& params, void (*operation)(const Params&)) {
    check(params, DType::f64);
    operation(params);
  }

  PhaseClock clock_;
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops() { return std::make_unique<ReferenceOps>(); }

}  // namespace kvg
