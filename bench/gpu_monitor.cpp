#include "bench/gpu_monitor.h"

#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <dlfcn.h>

namespace kvg {

namespace {

// The part of NVML's C interface that is used here (docs.nvidia.com/deploy/nvml-api). Declared by
// hand so that a build needs no header of the driver.
using NvmlDevice = void*;
using NvmlResult = int;
constexpr NvmlResult kSuccess = 0;
constexpr NvmlResult kInsufficientSize = 7;
constexpr unsigned kClockSm = 1, kClockMemory = 2;
constexpr unsigned kTemperatureGpu = 0;

struct NvmlMemory {
  unsigned long long total, free, used;
};
constexpr unsigned kPowerInstant = 186;  // NVML_FI_DEV_POWER_INSTANT, milliwatts
struct NvmlField {
  unsigned id, scope;
  long long timestamp, latency;
  unsigned type;
  NvmlResult result;
  union {
    unsigned number;
    unsigned long long wide;
  };
};
struct NvmlProcess {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
};

struct Reason {
  unsigned long long bit;
  std::string_view text;
};
// nvmlClocksEventReasons; idle (0x1) and application clocks (0x2) are no reason to worry.
constexpr std::array kReasons = {
    Reason{0x4, "power cap"},
    Reason{0x8, "hardware slowdown"},
    Reason{0x10, "sync boost"},
    Reason{0x20, "thermal slowdown (software)"},
    Reason{0x40, "thermal slowdown (hardware)"},
    Reason{0x80, "power brake"},
};

}  // namespace

struct GpuMonitor::Library {
  void* handle = nullptr;
  NvmlDevice device = nullptr;
  NvmlResult (*shutdown)() = nullptr;

  ~Library() {
    if (shutdown != nullptr) shutdown();
    if (handle != nullptr) dlclose(handle);
  }

  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(dlsym(handle, name));
  }
  // Calls `name(device, arguments...)`; false when the library lacks it or it fails.
  template <typename... Arguments>
  bool ask(const char* name, Arguments... arguments) const {
    const auto function = find<NvmlResult (*)(NvmlDevice, Arguments...)>(name);
    return function != nullptr && function(device, arguments...) == kSuccess;
  }

  bool open_device() {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    const std::string_view list = visible != nullptr ? visible : "";
    const std::string first(list.substr(0, list.find(',')));
    if (first.starts_with("GPU-") || first.starts_with("MIG-")) {
      const auto by_uuid =
          find<NvmlResult (*)(const char*, NvmlDevice*)>("nvmlDeviceGetHandleByUUID");
      return by_uuid != nullptr && by_uuid(first.c_str(), &device) == kSuccess;
    }
    const unsigned index =
        first.empty() ? 0 : static_cast<unsigned>(std::strtoul(first.c_str(), nullptr, 10));
    const auto by_index =
        find<NvmlResult (*)(unsigned, NvmlDevice*)>("nvmlDeviceGetHandleByIndex_v2");
    return by_index != nullptr && by_index(index, &device) == kSuccess;
  }

  std::optional<double> number(const char* name) const {
    unsigned value = 0;
    if (!ask(name, &value)) return std::nullopt;
    return value;
  }
  std::optional<double> clock(unsigned domain) const {
    unsigned value = 0;
    if (!ask("nvmlDeviceGetClockInfo", domain, &value)) return std::nullopt;
    return value;
  }
  std::optional<double> watts() const;
};

// What the board draws now; what nvmlDeviceGetPowerUsage gives is a mean over the last second, on
// all but old ones.
std::optional<double> GpuMonitor::Library::watts() const {
  NvmlField field{};
  field.id = kPowerInstant;
  if (ask("nvmlDeviceGetFieldValues", 1, &field) && field.result == kSuccess && field.number > 0) {
    return field.number / 1000.0;
  }
  const auto milliwatts = number("nvmlDeviceGetPowerUsage");
  if (!milliwatts) return std::nullopt;
  return *milliwatts / 1000;
}

GpuMonitor::GpuMonitor() : library_(std::make_unique<Library>()) {
  library_->handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library_->handle == nullptr) {
    absent_ = "clocks and power are not known: no NVML (libnvidia-ml.so.1) on this machine";
    return;
  }
  const auto init = library_->find<NvmlResult (*)()>("nvmlInit_v2");
  if (init == nullptr || init() != kSuccess) {
    absent_ = "clocks and power are not known: NVML does not start";
    return;
  }
  library_->shutdown = library_->find<NvmlResult (*)()>("nvmlShutdown");
  if (!library_->open_device()) absent_ = "clocks and power are not known: NVML finds no such GPU";
}

GpuMonitor::~GpuMonitor() = default;
GpuMonitor::GpuMonitor(GpuMonitor&&) noexcept = default;
GpuMonitor& GpuMonitor::operator=(GpuMonitor&&) noexcept = default;

GpuFacts GpuMonitor::facts() const {
  GpuFacts facts;
  if (!absent_.empty()) return facts;
  std::array<char, 96> text{};
  const auto length = static_cast<unsigned>(text.size());
  if (library_->ask("nvmlDeviceGetName", text.data(), length)) facts.name = text.data();
  const auto driver = library_->find<NvmlResult (*)(char*, unsigned)>("nvmlSystemGetDriverVersion");
  if (driver != nullptr && driver(text.data(), length) == kSuccess) facts.driver = text.data();
  NvmlMemory memory{};
  if (library_->ask("nvmlDeviceGetMemoryInfo", &memory)) {
    facts.memory = static_cast<int64_t>(memory.total);
  }
  if (const auto milliwatts = library_->number("nvmlDeviceGetEnforcedPowerLimit")) {
    facts.power_limit_watts = *milliwatts / 1000;
  }
  unsigned count = 0;
  const auto processes = library_->find<NvmlResult (*)(NvmlDevice, unsigned*, NvmlProcess*)>(
      "nvmlDeviceGetComputeRunningProcesses_v3");
  if (processes != nullptr) {
    const NvmlResult result = processes(library_->device, &count, nullptr);
    if (result == kSuccess || result == kInsufficientSize) {
      facts.processes = static_cast<int>(count);
    }
  }
  return facts;
}

GpuReading GpuMonitor::read() const {
  GpuReading reading;
  if (!absent_.empty()) return reading;
  reading.sm_mhz = library_->clock(kClockSm);
  reading.memory_mhz = library_->clock(kClockMemory);
  reading.power_watts = library_->watts();
  unsigned celsius = 0;
  if (library_->ask("nvmlDeviceGetTemperature", kTemperatureGpu, &celsius)) {
    reading.celsius = celsius;
  }
  unsigned long long reasons = 0;
  if (library_->ask("nvmlDeviceGetCurrentClocksThrottleReasons", &reasons)) {
    for (const Reason& reason : kReasons) {
      if ((reasons & reason.bit) == 0) continue;
      if (!reading.held_back_by.empty()) reading.held_back_by += ", ";
      reading.held_back_by += reason.text;
    }
  }
  return reading;
}

std::optional<double> GpuMonitor::joules() const {
  unsigned long long millijoules = 0;
  if (!absent_.empty() || !library_->ask("nvmlDeviceGetTotalEnergyConsumption", &millijoules)) {
    return std::nullopt;
  }
  return static_cast<double>(millijoules) / 1000;
}

}  // namespace kvg
