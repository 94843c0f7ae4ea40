#include "kernels/cuda/context.h"

#include "base/error.h"
#include "kernels/cuda/codec_table.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/timeline.h"
#include "kernels/cuda/trace.h"
#include "kernels/decode.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kvg::cuda {

namespace {

DeviceInfo usable_device(int index) {
  const std::vector<DeviceInfo> all = devices();
  const std::string expected = "an NVIDIA GPU of compute capability 8.0 or later";
  if (all.empty()) throw Error("operations cuda", "device", "no GPU", expected);
  if (index < 0 || static_cast<size_t>(index) >= all.size()) {
    throw Error("operations cuda", "device", std::to_string(index),
                "0 to " + std::to_string(all.size() - 1));
  }
  const DeviceInfo& info = all[static_cast<size_t>(index)];
  if (info.compute_major < 8) throw Error("operations cuda", "device", info.name, expected);
  KVG_CHECK_CUDA(cudaSetDevice(index));
  keep_freed_memory(index);
  return info;
}

void add(PhaseWork& sum, const PhaseWork& work) {
  sum.seconds += work.seconds;
  sum.intervals += work.intervals;
  sum.launches += work.launches;
  sum.bytes += work.bytes;
  sum.flops += work.flops;
}

}  // namespace

Scratch::Scratch(size_t bytes, cudaStream_t stream)
    : data_(allocate_async(bytes, stream)), bytes_(bytes), stream_(stream) {}

Scratch::~Scratch() {
  if (data_ != nullptr) (void)cudaFreeAsync(data_, stream_);
}

Scratch::Scratch(Scratch&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_), stream_(other.stream_) {}

Scratch& Scratch::operator=(Scratch&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(stream_, other.stream_);
  return *this;
}

struct CudaContext::Impl {
  explicit Impl(int device)
      : info(usable_device(device)),
        stream(std::make_shared<Stream>()),
        eager(events, stream->get(), false) {}

  PhaseTimeline& timeline() { return recorded ? *recorded : eager; }

  class GraphRecording;
  class IssuedStep;

  DeviceInfo info;
  std::shared_ptr<Stream> stream;
  EventPool events;
  CodecTable codecs;
  TraceRanges ranges;
  TraceOptions options;
  PhaseTimeline eager;                                   // what is not recorded
  std::shared_ptr<PhaseTimeline> recorded;               // while recording: of that step
  std::vector<std::shared_ptr<PhaseTimeline>> replayed;  // since the ledger was last taken
  std::optional<double> empty_interval;
  std::unique_ptr<Buffer> work_counter;
  TableRing tables;

  // Work beside the stream that nobody has waited for.
  struct Beside {
    int layer = 0;
    cudaEvent_t done = nullptr;
  };
  std::vector<std::unique_ptr<Stream>> beside;
  size_t beside_turn = 0;  // of the latest
  std::vector<Beside> pending;
};

class CudaContext::Impl::GraphRecording : public Recording {
 public:
  GraphRecording(Impl& context, const std::function<void()>& step)
      : context_(context), timeline_(context.recorded), graph_(context.stream->get(), [&] {
          step();
          timeline_->close();
        }) {}
  // The events of the last replay may be pending, and will be used again.
  ~GraphRecording() override { (void)cudaStreamSynchronize(context_.stream->get()); }
  GraphRecording(const GraphRecording&) = delete;
  GraphRecording& operator=(const GraphRecording&) = delete;

  void replay() override {
    KVG_CHECK(context_.recorded == nullptr, "no replay within a recording");
    context_.eager.close();
    context_.ranges.replay();
    graph_.launch(context_.stream->get());
    context_.ranges.end();
    auto& replayed = context_.replayed;
    if (std::find(replayed.begin(), replayed.end(), timeline_) == replayed.end()) {
      replayed.push_back(timeline_);
    }
  }

 private:
  Impl& context_;
  std::shared_ptr<PhaseTimeline> timeline_;
  Graph graph_;
};

// A step whose operations are issued anew each time. A graph would hide from Nsight which phase its
// kernels belong to.
class CudaContext::Impl::IssuedStep : public Recording {
 public:
  IssuedStep(Impl& context, std::function<void()> step)
      : context_(context), step_(std::move(step)) {}

  void replay() override {
    KVG_CHECK(context_.recorded == nullptr, "no replay within a recording");
    context_.ranges.step(true);
    step_();
    context_.ranges.step(false);
  }

 private:
  Impl& context_;
  std::function<void()> step_;
};

CudaContext::CudaContext(int device) : impl_(std::make_unique<Impl>(device)) {}
CudaContext::~CudaContext() {
  for (const auto& beside : impl_->beside) (void)cudaStreamSynchronize(beside->get());
  (void)cudaStreamSynchronize(stream());
}

cudaStream_t CudaContext::stream() const { return impl_->stream->get(); }
const DeviceInfo& CudaContext::device() const { return impl_->info; }
int CudaContext::compute_capability() const {
  return impl_->info.compute_major * 10 + impl_->info.compute_minor;
}

std::unique_ptr<Buffer> CudaContext::allocate(size_t bytes) {
  KVG_CHECK(!recording(), "no allocation while a step is being recorded");
  return allocate_buffer(bytes, impl_->stream);
}

std::unique_ptr<Buffer> CudaContext::allocate_scratch(size_t bytes) {
  KVG_CHECK(!recording(), "no allocation while a step is being recorded");
  return allocate_scratch_buffer(bytes, impl_->stream);
}

uint64_t CudaContext::available_memory() const { return cuda::available_memory(impl_->info.index); }

void CudaContext::synchronize() { KVG_CHECK_CUDA(cudaStreamSynchronize(stream())); }

const DeviceCodec& CudaContext::codec(const Codec& codec, int32_t layer, int kv_heads) {
  return impl_->codecs.find(codec, layer, kv_heads, !recording());
}

DeviceSlots CudaContext::slots(const SlotStore& store, int32_t layer, int kv_heads) {
  DeviceSlots slots;
  if (store.k_codec != nullptr) slots.k_codec = codec(*store.k_codec, layer, kv_heads);
  if (store.v_codec != nullptr) slots.v_codec = codec(*store.v_codec, layer, kv_heads);
  slots.capacity = store.capacity;
  slots.k_codes = store.k_codes;
  slots.v_codes = store.v_codes;
  slots.k_scales = store.k_scales;
  slots.v_scales = store.v_scales;
  return slots;
}

int32_t* CudaContext::work_counter() {
  if (!impl_->work_counter) impl_->work_counter = allocate(2 * sizeof(int32_t));
  return static_cast<int32_t*>(impl_->work_counter->data());
}

cudaStream_t CudaContext::begin_beside() {
  KVG_CHECK(!recording(), "nothing runs beside a step that is being recorded");
  // More would leave the products too few multiprocessors.
  constexpr size_t kStreams = 4;
  auto& streams = impl_->beside;
  while (streams.size() < kStreams) streams.push_back(std::make_unique<Stream>(/*urgent=*/true));
  impl_->beside_turn = (impl_->beside_turn + 1) % kStreams;
  const cudaStream_t beside = streams[impl_->beside_turn]->get();
  const cudaEvent_t issued = impl_->events.take();
  KVG_CHECK_CUDA(cudaEventRecord(issued, stream()));
  KVG_CHECK_CUDA(cudaStreamWaitEvent(beside, issued));
  impl_->events.give(issued);
  return beside;
}

void CudaContext::end_beside(int layer) {
  const cudaEvent_t done = impl_->events.take();
  KVG_CHECK_CUDA(cudaEventRecord(done, impl_->beside[impl_->beside_turn]->get()));
  impl_->pending.push_back({layer, done});
}

int CudaContext::multiprocessors_beside() const {
  // A bank update: a cluster of nine thread blocks (landmark/live_scan.h), and products go by twos.
  constexpr int kEach = 10;
  const size_t at_once = std::min(impl_->pending.size(), impl_->beside.size());
  return kEach * static_cast<int>(at_once);
}

void CudaContext::wait_beside(int layer, Phase phase) {
  auto& pending = impl_->pending;
  const auto of_layer = [layer](const Impl::Beside& work) { return work.layer == layer; };
  if (std::none_of(pending.begin(), pending.end(), of_layer)) return;
  this->phase(Phase::bank, layer);
  for (const Impl::Beside& work : pending) {
    if (!of_layer(work)) continue;
    KVG_CHECK_CUDA(cudaStreamWaitEvent(stream(), work.done));
    impl_->events.give(work.done);
  }
  std::erase_if(pending, of_layer);
  this->phase(phase, layer);
}

Scratch CudaContext::scratch(size_t bytes) {
  KVG_CHECK(!recording(), "no scratch while a step is being recorded");
  return Scratch(bytes, stream());
}

DeviceTable CudaContext::table(std::span<const std::byte> bytes, cudaStream_t stream) {
  KVG_CHECK(!recording(), "no tables while a step is being recorded");
  return impl_->tables.carry(bytes, stream);
}

void CudaContext::declare(int64_t bytes, int64_t flops) { impl_->timeline().declare(bytes, flops); }

void CudaContext::phase(Phase phase, int layer) {
  impl_->timeline().phase(phase, impl_->options.covers(layer));
  impl_->ranges.phase(phase, layer);
}

void CudaContext::trace(const TraceOptions& options) {
  KVG_CHECK(!recording(), "a ledger starts before a step is recorded");
  impl_->options = options;
  impl_->eager.clear();
  impl_->replayed.clear();
  constexpr size_t kEvents = 1024;  // several passes of a deep model
  if (options.times) impl_->events.reserve(kEvents);
}

PhaseLedger CudaContext::take_ledger() {
  KVG_CHECK(!recording(), "a ledger is taken after a step is recorded");
  impl_->eager.close();
  synchronize();
  PhaseLedger sum = impl_->eager.ledger();
  for (const auto& timeline : impl_->replayed) {
    const PhaseLedger ledger = timeline->ledger();
    for (size_t i = 0; i < kPhases; ++i) add(sum[i], ledger[i]);
  }
  impl_->eager.clear();
  impl_->replayed.clear();
  return sum;
}

double CudaContext::empty_interval_seconds() {
  KVG_CHECK(!recording(), "measured before a step is recorded");
  if (!impl_->empty_interval) {
    impl_->empty_interval = measure_empty_stretch(impl_->events, stream());
  }
  return *impl_->empty_interval;
}

void CudaContext::profile(bool on) { impl_->ranges.turn(on); }

bool CudaContext::recording() const { return impl_->recorded != nullptr; }

std::unique_ptr<Recording> CudaContext::record(const std::function<void()>& step) {
  KVG_CHECK(!recording(), "one step is recorded at a time");
  Impl& impl = *impl_;
  if (impl.ranges.on()) return std::make_unique<Impl::IssuedStep>(impl, step);
  impl.recorded = std::make_shared<PhaseTimeline>(impl.events, stream(), true);
  impl.recorded->phase(impl.eager.current(), false);
  std::unique_ptr<Recording> recording;
  try {
    recording = std::make_unique<Impl::GraphRecording>(impl, step);
  } catch (...) {
    impl.recorded = nullptr;
    impl.ranges.end();
    throw;
  }
  impl.recorded = nullptr;
  impl.ranges.end();
  return recording;
}

}  // namespace kvg::cuda
