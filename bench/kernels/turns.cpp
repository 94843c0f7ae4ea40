#include "bench/kernels/turns.h"

#include "kernels/cuda/error.h"
#include "kernels/decode.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

namespace kvg {

namespace {

constexpr int kMostLaunches = 64;  // of a batch, before it is repeated
constexpr int kMostCopies = 48;    // of the tensors, to rotate through
constexpr int kFlushedLaunches = 16;
constexpr int kMostWarmUps = 40;

}  // namespace

// One batch of launches, ready to be enqueued.
class Turns::Batch {
 public:
  // `launches` of the works in rotation, `repeats` times. With `flush_bytes` as much memory is
  // written before each launch, and the time of the writes alone is taken off.
  Batch(Workbench& bench, std::vector<Work> rotation, int launches, int repeats, size_t flush_bytes)
      : bench_(bench), rotation_(std::move(rotation)), launches_(launches), repeats_(repeats) {
    if (flush_bytes > 0) flush_ = bench.context.allocate(flush_bytes);
    if (!recordable()) return;
    recording_ = bench_.context.record([this] { enqueue(true); });
    if (flush_) flushes_ = bench_.context.record([this] { enqueue(false); });
  }

  // Seconds a launch.
  double seconds() {
    double sum = timed([this] { run(); });
    if (flush_) sum -= timed([this] { flushes_->replay(); });
    return sum / launches();
  }
  int launches() const { return launches_ * repeats_; }

 private:
  bool recordable() const { return rotation_.front().recordable; }
  double timed(const std::function<void()>& once) {
    // More than a stream takes in at once must not wait for its own end.
    const Hold hold = recordable() && repeats_ == 1 ? Hold::whole : Hold::brief;
    return bench_.timer.seconds(
        [this, &once] {
          for (int i = 0; i < repeats_; ++i) once();
        },
        hold);
  }
  void run() {
    if (recording_) {
      recording_->replay();
    } else {
      enqueue(true);
    }
  }
  void enqueue(bool work) {
    for (int i = 0; i < launches_; ++i) {
      if (flush_) {
        KVG_CHECK_CUDA(
            cudaMemsetAsync(flush_->data(), 0, flush_->bytes(), bench_.context.stream()));
      }
      if (work) rotation_[static_cast<size_t>(i) % rotation_.size()].issue();
    }
  }

  Workbench& bench_;
  std::vector<Work> rotation_;
  int launches_, repeats_;
  std::unique_ptr<Buffer> flush_;
  std::unique_ptr<Recording> recording_, flushes_;
};

Turns::Turns(Workbench& bench, const std::function<Work(Tensors&)>& make, bool cold,
             const Regime& regime)
    : rest_(regime.rest) {
  const auto l2 = static_cast<size_t>(bench.context.device().l2_bytes);
  std::vector<Work> rotation = {add(bench, make)};
  const size_t footprint = std::max<size_t>(memory_.front()->total(), 1);
  size_t flush = 0;
  if (cold) {
    const size_t copies = 2 * l2 / footprint + 1;
    // What is too small for that has its caches swept by a write before each launch; the time of
    // the write alone is taken off.
    if (copies > kMostCopies && rotation.front().recordable) flush = 2 * l2;
    while (flush == 0 && rotation.size() < std::min<size_t>(copies, kMostCopies)) {
      rotation.push_back(add(bench, make));
    }
  }
  for (const Work& work : rotation) work.issue();  // whatever is made on first use
  const double once = bench.timer.seconds(rotation.front().issue, Hold::brief);
  const double enough = std::max(1.0, std::ceil(regime.turn_seconds / once));
  const auto copies = static_cast<int>(rotation.size());
  const int rounds =
      (static_cast<int>(std::min(enough, 1.0 * kMostLaunches)) + copies - 1) / copies;
  const int launches = flush > 0 ? kFlushedLaunches : rounds * copies;
  const int repeats = regime.plain() ? 1 : static_cast<int>(std::ceil(enough / launches));
  swept_ = flush > 0;
  batch_ = std::make_unique<Batch>(bench, std::move(rotation), launches, repeats, flush);
}

Turns::~Turns() = default;

double Turns::next() {
  const double seconds = batch_->seconds();
  if (rest_ > 0) {
    std::this_thread::sleep_for(
        std::chrono::duration<double>(rest_ * seconds * batch_->launches()));
  }
  return seconds;
}

void Turns::warm_up() {
  double last[2] = {0, 0};
  for (int i = 0; i < kMostWarmUps; ++i) {
    const double now = next();
    const auto near = [now](double other) { return std::abs(other - now) <= 0.01 * now; };
    if (near(last[0]) && near(last[1])) return;
    last[0] = last[1];
    last[1] = now;
  }
}

Work Turns::add(Workbench& bench, const std::function<Work(Tensors&)>& make) {
  memory_.push_back(make_device_tensors(bench.context, mix_seed({2, memory_.size()})));
  return make(*memory_.back());
}

}  // namespace kvg
