#include "kernels/cuda/decode_state.h"

#include "base/error.h"
#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/error.h"

#include <array>
#include <limits>
#include <optional>
#include <string>

namespace kvg::cuda {

namespace {

int32_t narrow(int64_t value) {
  KVG_CHECK(value >= 0 && value <= std::numeric_limits<int32_t>::max(), "decode: 31-bit sizes");
  return static_cast<int32_t>(value);
}

// Device memory with a copy of `from`, complete when this returns.
template <typename T>
std::unique_ptr<Buffer> upload(CudaContext& context, const std::vector<T>& from) {
  if (from.empty()) return nullptr;
  auto buffer = context.allocate(from.size() * sizeof(T));
  KVG_CHECK_CUDA(cudaMemcpyAsync(buffer->data(), from.data(), from.size() * sizeof(T),
                                 cudaMemcpyHostToDevice, context.stream()));
  KVG_CHECK_CUDA(cudaStreamSynchronize(context.stream()));
  return buffer;
}

template <typename T>
T* data(const std::unique_ptr<Buffer>& buffer) {
  return buffer != nullptr ? static_cast<T*>(buffer->data()) : nullptr;
}

DeviceDecodePlan device_plan(const DecodePlan& plan, const int32_t* slow_dims) {
  DeviceDecodePlan out;
  out.sequences = plan.sequences;
  out.layers = plan.layers;
  out.max_tokens = plan.max_tokens;
  out.heads = plan.heads;
  out.kv_heads = plan.kv_heads;
  out.head_dim = plan.head_dim;
  out.streams = plan.streams;
  out.frames = plan.frames();
  out.sinks = plan.sinks;
  out.window = plan.window;
  out.block = plan.block;
  out.bank = plan.bank;
  out.single = plan.single;
  out.rules = plan.rules;
  out.slow_dims = slow_dims;
  out.slow_count = narrow(std::ssize(plan.slow_dims));
  out.seed = plan.seed;
  return out;
}

DeviceDecodeCache device_cache(CudaContext& context, const DecodePlan& plan,
                               const DecodeCache& cache, const float* eta) {
  const auto slots = [&](const SlotStore& store) {
    return store.k_codec != nullptr ? context.slots(store, narrow(plan.layers - 1), plan.kv_heads)
                                    : DeviceSlots();
  };
  DeviceDecodeCache out;
  out.recent = slots(cache.recent);
  if (plan.sinks > 0) out.sinks = slots(cache.sinks);
  if (plan.bank == DecodeBank::random) out.random = slots(cache.random);
  if (plan.bank != DecodeBank::landmark) return out;
  const LandmarkBank& bank = cache.landmark;
  out.landmark = {slots(bank.exact),  slots(bank.summary), bank.exact_valid,
                  bank.summary_valid, bank.log_weight,     bank.counts,
                  bank.stamps,        bank.exact_unit,     bank.summary_unit};
  out.gates = cache.gates;
  out.eta = eta;
  return out;
}

DecodeSlots decode_slots(const DecodeState& state) {
  const DecodePlan& plan = state.plan();
  DecodeSlots slots;
  slots.sinks = narrow(plan.sinks);
  slots.window = narrow(plan.window);
  slots.block = narrow(plan.block);
  slots.bank = plan.bank;
  for (int64_t l = 0; l < plan.layers; ++l) {
    for (int64_t s = 0; s < plan.sequences; ++s) {
      const DecodeCache& cache = state.cache(l, s);
      const int32_t exact = narrow(cache.landmark.exact.capacity);
      const int32_t summary = narrow(cache.landmark.summary.capacity);
      const int32_t random = narrow(cache.random.capacity);
      const bool first = l == 0 && s == 0;
      KVG_CHECK(
          first || (exact == slots.exact && summary == slots.summary && random == slots.random),
          "decode: banks of one size");
      slots.exact = exact;
      slots.summary = summary;
      slots.random = random;
    }
  }
  return slots;
}

void check_plan(const DecodePlan& plan) {
  if (plan.head_dim != 64 && plan.head_dim != 128) {
    throw Error("cuda", "head_dim", std::to_string(plan.head_dim), "64 or 128");
  }
  KVG_CHECK(plan.streams == 1 || plan.streams == 2, "decode: one or two streams");
  KVG_CHECK(plan.kv_heads > 0 && plan.heads % plan.kv_heads == 0, "decode: heads of a KV head");
  KVG_CHECK(plan.layers > 0 && plan.sequences > 0 && plan.max_tokens > 0, "decode: empty plan");
}

DecodeKernel kernel_of(const Codec& codec) {
  const CodecSpec& spec = codec.spec();
  if (spec.kind == CodecKind::fp8) return DecodeKernel::fp8;
  if (spec.kind == CodecKind::int8) return DecodeKernel::int8;
  if (spec.kind != CodecKind::eden) return DecodeKernel::plain;
  if (spec.bits == 4) return DecodeKernel::eden4;
  return spec.bits == 2 ? DecodeKernel::eden2 : DecodeKernel::mixed;
}

// The kernel for all stores of a state: of codes only where all have the same.
DecodeKernel choose_kernel(const DecodeState& state) {
  std::optional<CodecSpec> common;
  DecodeKernel kernel = DecodeKernel::plain;
  const auto add = [&](const Codec* codec) {
    if (codec == nullptr) return;
    const DecodeKernel own = kernel_of(*codec);
    const bool same = common.value_or(codec->spec()) == codec->spec();
    if (!common) {
      kernel = own;
    } else if (kernel != own || (own != DecodeKernel::plain && !same)) {
      kernel = DecodeKernel::mixed;
    }
    common = codec->spec();
  };
  for (int64_t i = 0; i < state.plan().layers * state.plan().sequences; ++i) {
    const DecodeCache& cache = state.cache(i / state.plan().sequences, i % state.plan().sequences);
    for (const SlotStore* store : {&cache.recent, &cache.sinks, &cache.landmark.exact,
                                   &cache.landmark.summary, &cache.random}) {
      add(store->k_codec);
      add(store->v_codec);
    }
  }
  return kernel;
}

int64_t bytes_of_slot(const SlotStore& store) {
  if (store.k_codec == nullptr) return 0;
  return store.k_codec->code_bytes() + store.k_codec->scale_bytes() + store.v_codec->code_bytes() +
         store.v_codec->scale_bytes();
}

// Of f32 attention takes the upper words.
int64_t bytes_read(const SlotStore& store) {
  int64_t bytes = bytes_of_slot(store);
  for (const Codec* codec : {store.k_codec, store.v_codec}) {
    if (codec != nullptr && codec->spec().kind == CodecKind::f32) bytes -= codec->code_bytes() / 2;
  }
  return bytes;
}

}  // namespace

struct CudaDecodeState::Memory {
  std::unique_ptr<Buffer> slow_dims;
  std::unique_ptr<Buffer> eta;
  std::unique_ptr<Buffer> caches;
  std::unique_ptr<Buffer> workspace;
  DecodeAttentionLaunch attention;
  std::array<int64_t, kDecodeGroups> slot_bytes, read_bytes;
};

CudaDecodeState::CudaDecodeState(CudaContext& context, DecodePlan plan,
                                 std::vector<DecodeCache> caches)
    : DecodeState(std::move(plan), std::move(caches)), memory_(std::make_unique<Memory>()) {
  check_plan(this->plan());
  memory_->slow_dims = upload(context, this->plan().slow_dims);
  device_plan_ = kvg::cuda::device_plan(this->plan(), data<int32_t>(memory_->slow_dims));
  upload_caches(context);
  prepare_attention(context);
}

CudaDecodeState::~CudaDecodeState() = default;

void CudaDecodeState::upload_caches(CudaContext& context) {
  const auto kv_heads = static_cast<size_t>(plan().kv_heads);
  std::vector<float> eta;
  if (plan().bank == DecodeBank::landmark) {
    for (int64_t l = 0; l < plan().layers; ++l) {
      for (int64_t s = 0; s < plan().sequences; ++s) {
        const double* from = cache(l, s).eta;
        KVG_CHECK(from != nullptr && cache(l, s).gates != nullptr, "decode: gates and eta");
        for (size_t h = 0; h < kv_heads; ++h) eta.push_back(static_cast<float>(from[h]));
      }
    }
  }
  memory_->eta = upload(context, eta);
  const float* eta_of_cache = data<float>(memory_->eta);
  std::vector<DeviceDecodeCache> table;
  for (int64_t l = 0; l < plan().layers; ++l) {
    for (int64_t s = 0; s < plan().sequences; ++s) {
      table.push_back(device_cache(context, plan(), cache(l, s), eta_of_cache));
      if (eta_of_cache != nullptr) eta_of_cache += kv_heads;
    }
  }
  memory_->caches = upload(context, table);
}

void CudaDecodeState::prepare_attention(CudaContext& context) {
  DecodeAttentionLaunch& launch = memory_->attention;
  launch.slots = decode_slots(*this);
  (void)narrow(plan().max_tokens);
  launch.kernel = choose_kernel(*this);
  const int multiprocessors = context.device().multiprocessors;
  if (runs_sm90_code() && bank_serves(*this, launch.slots, multiprocessors, &launch.summaries)) {
    launch.kernel = DecodeKernel::bank;
  }
  launch.grid =
      decode_grid(device_plan_, launch.slots, launch.kernel, multiprocessors, runs_sm90_code());
  memory_->workspace = context.allocate(decode_workspace_bytes(device_plan_, launch.grid));
  launch.workspace = decode_workspace(device_plan_, launch.grid, memory_->workspace->data());
  // What comes before in a step (prepare_heads) meets the condition.
  launch.overlaps = runs_sm90_code();
  launch.sequences = narrow(plan().sequences);
  launch.heads = plan().heads;
  launch.kv_heads = plan().kv_heads;
  launch.head_dim = plan().head_dim;
  launch.streams = plan().streams;
  launch.frames = plan().frames();
  const DecodeCache& first = cache(0, 0);
  const SlotStore* const stores[kDecodeGroups] = {
      &first.sinks, &first.landmark.summary, &first.landmark.exact, &first.random, &first.recent};
  for (size_t g = 0; g < kDecodeGroups; ++g) {
    memory_->slot_bytes[g] = bytes_of_slot(*stores[g]);
    memory_->read_bytes[g] = bytes_read(*stores[g]);
  }
}

const DeviceDecodeCache* CudaDecodeState::device_caches() const {
  return static_cast<const DeviceDecodeCache*>(memory_->caches->data());
}

void* CudaDecodeState::attention_workspace() const { return memory_->workspace->data(); }

const DecodeAttentionLaunch& CudaDecodeState::attention_launch() const {
  return memory_->attention;
}

int64_t CudaDecodeState::slot_bytes(DecodeGroup group) const {
  return memory_->slot_bytes[static_cast<size_t>(group)];
}

std::span<const int64_t> CudaDecodeState::read_bytes() const { return memory_->read_bytes; }

DecodeAttentionLaunch decode_attention_launch(const DecodeAttentionParams& p) {
  const auto& state = static_cast<const CudaDecodeState&>(*p.state);
  DecodeAttentionLaunch launch = state.attention_launch();
  KVG_CHECK(p.layer >= 0 && p.layer < state.plan().layers, "decode: layer");
  KVG_CHECK(launch.streams == 1 || p.lambda, "decode: lambda of two streams");
  launch.caches = state.device_caches() + p.layer * state.plan().sequences;
  launch.layer = p.layer;
  launch.positions = static_cast<const int64_t*>(p.positions.data);
  launch.q = p.q.data;
  launch.k = p.k.data;
  launch.v = p.v.data;
  if (state.plan().bank == DecodeBank::landmark) {
    launch.gate = static_cast<const float*>(p.gate.data);
  }
  launch.lambda = static_cast<const float*>(p.lambda.data);
  launch.head_norm = p.head_norm.data;
  launch.head_norm_eps = static_cast<float>(p.head_norm_eps);
  launch.scale = static_cast<float>(p.scale);
  launch.out = p.out.data;
  return launch;
}

void decode_attention(CudaContext& context, const DecodeAttentionParams& p) {
  const auto& state = static_cast<const CudaDecodeState&>(*p.state);
  const DecodeAttentionLaunch launch = decode_attention_launch(p);
  int64_t bytes = 0;
  int64_t flops = 0;
  for (const int64_t position : p.known_positions) {
    KVG_CHECK(position < state.plan().max_tokens, "decode: the sequence outgrows its cache");
    bytes += decode_bytes(launch, state.read_bytes(), position);
    flops += decode_flops(launch, position);
  }
  context.declare(bytes, flops);
  KVG_CHECK_CUDA(kvg::cuda::launch(launch, context.stream()));
}

}  // namespace kvg::cuda
