#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace kvg {

// What a GPU is, for records.
struct GpuFacts {
  std::string name;
  std::string driver;                       // "580.65.06"
  std::optional<int64_t> memory;            // bytes
  std::optional<double> power_limit_watts;  // enforced
  std::optional<int> processes;             // that hold memory on it, this one included
};

// How it runs at one moment. What the driver does not tell is absent.
struct GpuReading {
  std::optional<double> sm_mhz, memory_mhz, power_watts, celsius;
  std::string held_back_by;  // reasons for which clocks are below what they could be; "" none
};

// Reads one GPU through NVML, the driver's own library, found at run time; changes nothing.
class GpuMonitor {
 public:
  // The GPU that CUDA counts first (the first entry of CUDA_VISIBLE_DEVICES, if set).
  GpuMonitor();
  ~GpuMonitor();
  GpuMonitor(GpuMonitor&&) noexcept;
  GpuMonitor& operator=(GpuMonitor&&) noexcept;

  // Why nothing can be read, in one line; "" when it can.
  const std::string& absent() const { return absent_; }
  GpuFacts facts() const;
  GpuReading read() const;
  // What it has used since the driver was loaded; the driver brings it up to date every 20 to 100
  // ms.
  std::optional<double> joules() const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
  std::string absent_;
};

}  // namespace kvg
