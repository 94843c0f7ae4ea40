#include "kernels/cuda/trace.h"

#include <array>
#include <string>

#include <nvtx3/nvtx3.hpp>

namespace kvg::cuda {

namespace {

nvtxEventAttributes_t attributes(nvtxStringHandle_t message, int64_t payload) {
  nvtxEventAttributes_t result{};
  result.version = NVTX_VERSION;
  result.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  result.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
  result.message.registered = message;
  result.payloadType = NVTX_PAYLOAD_TYPE_INT64;
  result.payload.llValue = payload;
  return result;
}

}  // namespace

struct TraceRanges::Domain {
  nvtxDomainHandle_t handle = nvtxDomainCreateA("kvgauge");
  std::array<nvtxStringHandle_t, kPhases> phases{};
  std::array<nvtxStringHandle_t, kPhases> step_phases{};
  nvtxStringHandle_t replay = nvtxDomainRegisterStringA(handle, "replay");

  Domain() {
    for (size_t i = 0; i < kPhases; ++i) {
      const std::string name(phase_name(static_cast<Phase>(i)));
      phases[i] = nvtxDomainRegisterStringA(handle, name.c_str());
      step_phases[i] = nvtxDomainRegisterStringA(handle, ("step." + name).c_str());
    }
  }
  ~Domain() { nvtxDomainDestroy(handle); }
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;
};

TraceRanges::TraceRanges() = default;
TraceRanges::~TraceRanges() { end(); }

void TraceRanges::turn(bool on) {
  end();
  if (on == (domain_ != nullptr)) return;
  domain_ = on ? std::make_unique<Domain>() : nullptr;
}

void TraceRanges::begin_phase(Phase phase, int layer) {
  end();
  const auto& names = in_step_ ? domain_->step_phases : domain_->phases;
  const nvtxEventAttributes_t range = attributes(names[static_cast<size_t>(phase)], int64_t{layer});
  nvtxDomainRangePushEx(domain_->handle, &range);
  open_ = true;
}

void TraceRanges::begin_replay() {
  end();
  const nvtxEventAttributes_t range = attributes(domain_->replay, 0);
  nvtxDomainRangePushEx(domain_->handle, &range);
  open_ = true;
}

void TraceRanges::end() {
  if (!open_) return;
  nvtxDomainRangePop(domain_->handle);
  open_ = false;
}

}  // namespace kvg::cuda
