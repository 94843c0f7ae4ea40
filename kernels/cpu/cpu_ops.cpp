#include "kernels/convert.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/team.h"
#include "kernels/host_buffer.h"
#include "kernels/landmark.h"
#include "kernels/ops.h"
#include "kernels/ops_check.h"
#include "kernels/phase_clock.h"
#include "kernels/reference/landmark.h"
#include "kernels/reference/slots.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

namespace kvg {
namespace {

int hardware_threads() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

class CpuOps : public Ops {
 public:
  explicit CpuOps(int threads) : team_(threads > 0 ? threads : hardware_threads()) {
    cpu::make_blas_single_threaded();
  }

  std::string_view name() const override { return "cpu"; }
  Device device() const override { return Device::cpu; }
  DType activation() const override { return DType::f32; }
  DType weight() const override { return DType::f32; }

  std::unique_ptr<Buffer> allocate(size_t bytes) override { return allocate_host(bytes); }
  void upload(const Tensor& from, const Tensor& out) override { convert(from, out); }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  void embed(const EmbedParams& p) override {
    run(p, [&] { cpu::embed(p, team_); });
  }
  void rms_norm(const RmsNormParams& p) override {
    run(p, [&] { cpu::rms_norm(p, team_); });
  }
  void linear(const LinearParams& p) override {
    run(p, [&] { cpu::linear(p, team_); });
  }
  void swiglu(const SwigluParams& p) override {
    run(p, [&] { cpu::swiglu(p, team_); });
  }
  void prepare_heads(const PrepareHeadsParams& p) override {
    run(p, [&] { cpu::prepare_heads(p, team_, theta_); });
  }
  void store(const StoreParams& p) override {
    run(p, [&] { cpu::store(p, team_); });
  }
  void load(const LoadParams& p) override {
    run(p, [&] { cpu::load(p, team_); });
  }
  void copy_slots(const CopySlotsParams& p) override {
    check(p);
    reference::copy_slots(p);
  }
  void attention(const AttentionParams& p) override {
    KVG_CHECK(!p.log_sum, "attention: the host set gives no log_sum");
    profile_.attention += run(p, [&] { attention_.run(p, team_); });
  }
  void nll(const NllParams& p) override {
    run(p, [&] { cpu::nll(p, team_); });
  }
  void landmark(const LandmarkParams& p) override {
    run(p, [&] { reference::landmark_absorb<float>(p); });
  }

  void phase(Phase phase, int layer) override { clock_.phase(phase, layer); }
  void trace(const TraceOptions& options) override { clock_.trace(options); }
  PhaseLedger take_ledger() override { return clock_.take(); }

  OpsProfile profile() const override {
    OpsProfile profile = profile_;
    profile.gemm = team_.blas_seconds();
    return profile;
  }
  void reset_profile() override {
    profile_ = {};
    team_.reset();
  }

 private:
  // Checks, runs, and returns the seconds it took.
  template <typename Params, typename Function>
  double run(const Params& params, Function function) {
    const auto start = std::chrono::steady_clock::now();
    check(params, DType::f32);
    function();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    profile_.total += elapsed.count();
    return elapsed.count();
  }

  cpu::Team team_;
  cpu::Attention attention_;
  reference::ThetaTurns<float> theta_;
  PhaseClock clock_;
  OpsProfile profile_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(int threads) { return std::make_unique<CpuOps>(threads); }

}  // namespace kvg
