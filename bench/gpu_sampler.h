#pragma once

#include "bench/gpu_monitor.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace kvg {

// How a GPU ran during a stretch of work. What the driver does not tell is absent.
struct GpuStretch {
  std::optional<double> sm_mhz;       // mean of the samples
  std::optional<double> power_watts;  // mean
  // Share of the samples in which clocks were held back, 0 to 1, and by what, as far as any sample
  // said.
  std::optional<double> held_back;
  std::string held_back_by;
};

// Of readings that were taken at equal distances.
GpuStretch summarize(std::span<const GpuReading> readings);

// Reads a GPU from a thread of its own while work goes on, every kInterval.
//
// Caveats. Samples count idle time in between as well. Power is taken from the driver's count of
// energy for stretches of kEnergySeconds or more, and is the mean of the samples of shorter ones.
// The board renews that reading ten to fifty times a second, so that stretches below kPowerSeconds
// have none.
class GpuSampler {
 public:
  static constexpr std::chrono::milliseconds kInterval{10};
  static constexpr double kEnergySeconds = 1, kPowerSeconds = 0.1;

  // Starts. The monitor must outlive it. Off: nothing is read, and nothing will be told.
  explicit GpuSampler(const GpuMonitor& monitor, bool on = true);
  ~GpuSampler();
  GpuSampler(const GpuSampler&) = delete;
  GpuSampler& operator=(const GpuSampler&) = delete;

  // Ends the stretch. Once.
  GpuStretch stop();

 private:
  using Clock = std::chrono::steady_clock;
  void sample();
  void join();

  const GpuMonitor& monitor_;
  bool on_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::vector<GpuReading> readings_;
  std::optional<double> joules_;
  Clock::time_point begin_ = Clock::now();
  std::thread thread_;
};

}  // namespace kvg
