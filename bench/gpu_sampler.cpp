#include "bench/gpu_sampler.h"

#include <algorithm>

namespace kvg {

namespace {

// Mean of what some readings tell, if any does.
std::optional<double> mean(std::span<const GpuReading> readings,
                           std::optional<double> GpuReading::*value) {
  double sum = 0;
  int count = 0;
  for (const GpuReading& reading : readings) {
    if (!(reading.*value)) continue;
    sum += *(reading.*value);
    ++count;
  }
  if (count == 0) return std::nullopt;
  return sum / count;
}

}  // namespace

GpuStretch summarize(std::span<const GpuReading> readings) {
  GpuStretch stretch;
  stretch.sm_mhz = mean(readings, &GpuReading::sm_mhz);
  stretch.power_watts = mean(readings, &GpuReading::power_watts);
  if (!stretch.sm_mhz) return stretch;
  double held_back = 0;
  for (const GpuReading& reading : readings) {
    if (reading.held_back_by.empty()) continue;
    ++held_back;
    size_t begin = 0;
    while (begin < reading.held_back_by.size()) {  // the reasons lie between commas
      const size_t end =
          std::min(reading.held_back_by.find(", ", begin), reading.held_back_by.size());
      const std::string reason = reading.held_back_by.substr(begin, end - begin);
      if (stretch.held_back_by.find(reason) == std::string::npos) {
        stretch.held_back_by += (stretch.held_back_by.empty() ? "" : ", ") + reason;
      }
      begin = end + 2;
    }
  }
  stretch.held_back = held_back / static_cast<double>(readings.size());
  return stretch;
}

GpuSampler::GpuSampler(const GpuMonitor& monitor, bool on)
    : monitor_(monitor), on_(on && monitor.absent().empty()) {
  if (!on_) return;
  joules_ = monitor_.joules();
  thread_ = std::thread([this] { sample(); });
}

GpuSampler::~GpuSampler() { join(); }

GpuStretch GpuSampler::stop() {
  join();
  GpuStretch stretch = summarize(readings_);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  if (seconds < kPowerSeconds) stretch.power_watts.reset();
  const std::optional<double> joules = on_ ? monitor_.joules() : std::nullopt;
  if (joules && joules_ && seconds >= kEnergySeconds) {
    stretch.power_watts = (*joules - *joules_) / seconds;
  }
  return stretch;
}

void GpuSampler::sample() {
  std::unique_lock lock(mutex_);
  do {
    readings_.push_back(monitor_.read());
  } while (!ended_.wait_for(lock, kInterval, [this] { return end_; }));
}

void GpuSampler::join() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

}  // namespace kvg
