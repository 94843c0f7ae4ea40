// Decode steps against the scan of the same evictions, byte for byte: ragged batches, several
// layers, windows of any codec.

#include "kernels/cuda/codec/store.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/landmark_test_util.h"
#include "kernels/cuda/landmark/step.h"

#include <vector>

namespace kvg::cuda {
namespace {

class CudaLandmarkStepTest : public GpuTest {};

// One layer of one sequence: all its tokens as the window's codec gives them back, the window, and
// the banks.
struct Cache {
  Cache(CudaContext& context, const LandmarkCase& test, const LandmarkCodecs& codecs,
        const Codec& window_codec, int64_t window, int64_t tokens, uint64_t seed)
      : given(random_tokens(test, tokens, seed)),
        k(vector_bytes(test, tokens)),
        v(vector_bytes(test, tokens)),
        all(slots(test, window_codec, tokens)),
        recent(slots(test, window_codec, window)),
        gates(4 * static_cast<size_t>(window)),
        banks(test, codecs, true) {
    k.upload(given.k, DType::bf16);
    v.upload(given.v, DType::bf16);
    banks.set_bytes(initial_bytes(test, codecs));
    cache.recent = recent.store;
    cache.landmark = banks.bank();
    cache.gates = static_cast<float*>(gates.data());
    cache.eta = codecs.eta.data();
    const StoreParams params{tensor(test, k, tokens), tensor(test, v, tokens), test.layer,
                             all.store, 0};
    store(context, params);
    TestBuffer read_k(vector_bytes(test, tokens)), read_v(vector_bytes(test, tokens));
    load(context,
         {tensor(test, read_k, tokens), tensor(test, read_v, tokens), test.layer, all.store, 0});
    KVG_CHECK_CUDA(cudaStreamSynchronize(context.stream()));
    read = given;
    read.k = read_k.download(given.k.size(), DType::bf16);
    read.v = read_v.download(given.v.size(), DType::bf16);
  }

  struct Slots {
    SlotStore store;
    std::unique_ptr<TestBuffer> memory[4];
  };
  static Slots slots(const LandmarkCase& test, const Codec& codec, int64_t capacity) {
    Slots out;
    const auto count = static_cast<size_t>(test.kv_heads * capacity);
    for (int i = 0; i < 4; ++i) {
      out.memory[i] = std::make_unique<TestBuffer>(
          count * static_cast<size_t>(i < 2 ? codec.code_bytes() : codec.scale_bytes()) + 16);
    }
    out.store = {&codec,
                 &codec,
                 capacity,
                 static_cast<uint8_t*>(out.memory[0]->data()),
                 static_cast<uint8_t*>(out.memory[1]->data()),
                 static_cast<uint16_t*>(out.memory[2]->data()),
                 static_cast<uint16_t*>(out.memory[3]->data())};
    if (codec.scale_bytes() == 0) out.store.k_scales = out.store.v_scales = nullptr;
    return out;
  }
  static size_t vector_bytes(const LandmarkCase& test, int64_t tokens) {
    return 2 * static_cast<size_t>(tokens * test.kv_heads * test.head_dim);
  }
  static Tensor tensor(const LandmarkCase& test, const TestBuffer& buffer, int64_t tokens) {
    return {buffer.data(), DType::bf16, Device::cuda, {tokens, test.kv_heads, test.head_dim}};
  }

  // The token of `position` enters the window.
  void enter(CudaContext& context, const LandmarkCase& test, int64_t position) {
    const int64_t tokens = given.tokens();
    store(context,
          {tensor(test, k, tokens).rows(position, 1), tensor(test, v, tokens).rows(position, 1),
           test.layer, recent.store, position % recent.store.capacity});
    KVG_CHECK_CUDA(cudaMemcpyAsync(cache.gates + position % recent.store.capacity,
                                   &given.gate[static_cast<size_t>(position)], sizeof(float),
                                   cudaMemcpyHostToDevice, context.stream()));
  }

  TokenStream given, read;
  TestBuffer k, v;
  Slots all, recent;
  TestBuffer gates;
  BankMemory banks;
  DecodeCache cache;
};

struct StepCase {
  LandmarkCase test;
  CodecSpec window_codec;
  int64_t window = 24, block = 4;
};

DecodePlan plan_of(const StepCase& c, const LandmarkCodecs& codecs, int64_t layers,
                   int64_t sequences) {
  DecodePlan plan;
  plan.sequences = sequences;
  plan.layers = layers;
  plan.max_tokens = 1000;
  plan.heads = plan.kv_heads = c.test.kv_heads;
  plan.head_dim = c.test.head_dim;
  plan.window = c.window;
  plan.block = c.block;
  plan.bank = DecodeBank::landmark;
  plan.rules = c.test.rules;
  plan.single = c.test.single;
  plan.slow_dims = codecs.slow_dims;
  return plan;
}

// The evictions of the steps at positions [begin, end), rows counted from the first of them.
std::vector<LandmarkStep> steps_of(const DecodePlan& plan, int64_t begin, int64_t end) {
  std::vector<LandmarkStep> steps;
  const int64_t first = plan.evict_begin(begin);
  for (int64_t p = begin; p < end; ++p) {
    if (plan.evict_begin(p) == plan.evict_end(p)) continue;
    steps.push_back({plan.evict_begin(p) - first, plan.evict_end(p) - first, plan.single, nullptr});
  }
  return steps;
}

void expect_steps_equal_scan(CudaContext& context, StepCase c, const std::vector<int64_t>& starts,
                             int64_t step_count) {
  constexpr int64_t kLayers = 2;
  const auto sequences = std::ssize(starts);
  const LandmarkCodecs codecs(c.test);
  const auto window_codec = Codec::make(c.window_codec, c.test.head_dim);
  const DecodePlan plan = plan_of(c, codecs, kLayers, sequences);
  std::vector<std::unique_ptr<Cache>> caches;
  std::vector<DecodeCache> views;
  for (int64_t i = 0; i < kLayers * sequences; ++i) {
    c.test.layer = static_cast<int32_t>(i / sequences);
    const int64_t start = starts[static_cast<size_t>(i % sequences)];
    caches.push_back(std::make_unique<Cache>(context, c.test, codecs, *window_codec, c.window,
                                             start + step_count, static_cast<uint64_t>(40 + i)));
    Cache& cache = *caches.back();
    device_scan(context, c.test, codecs, cache.read, 0, steps_of(plan, 0, start),
                cache.banks.bank());
    for (int64_t p = plan.evict_begin(start); p < start; ++p) cache.enter(context, c.test, p);
    views.push_back(cache.cache);
  }
  CudaDecodeState state(context, plan, views);
  TestBuffer positions(8 * starts.size());
  for (int64_t step = 0; step < step_count; ++step) {
    std::vector<int64_t> now = starts;
    for (int64_t& position : now) position += step;
    KVG_CHECK_CUDA(cudaMemcpyAsync(positions.data(), now.data(), 8 * now.size(),
                                   cudaMemcpyHostToDevice, context.stream()));
    landmark_evict(context, state, Tensor(positions.data(), DType::i64, Device::cuda, {sequences}));
    for (int64_t i = 0; i < kLayers * sequences; ++i) {
      c.test.layer = static_cast<int32_t>(i / sequences);
      caches[static_cast<size_t>(i)]->enter(context, c.test,
                                            now[static_cast<size_t>(i % sequences)]);
    }
  }
  KVG_CHECK_CUDA(cudaStreamSynchronize(context.stream()));
  for (int64_t i = 0; i < kLayers * sequences; ++i) {
    c.test.layer = static_cast<int32_t>(i / sequences);
    const int64_t end = starts[static_cast<size_t>(i % sequences)] + step_count;
    BankMemory scanned(c.test, codecs, true);
    scanned.set_bytes(initial_bytes(c.test, codecs));
    const std::vector<LandmarkStep> steps = steps_of(plan, 0, end);
    ASSERT_GE(steps.size(), 2u);
    const Cache& cache = *caches[static_cast<size_t>(i)];
    device_scan(context, c.test, codecs, cache.read, 0, steps, scanned.bank());
    EXPECT_EQ(cache.banks.bytes(), scanned.bytes())
        << c.test.name << " layer " << c.test.layer << " sequence " << i % sequences;
  }
}

TEST_F(CudaLandmarkStepTest, EqualsTheScan) {
  CudaContext context;
  StepCase fixed;
  fixed.test.name = "fixed";
  fixed.test.rules = fixed_rules();
  fixed.test.kv_heads = 3;
  StepCase published;
  published.test = published_case();
  published.test.single = true;
  published.test.head_dim = 128;
  published.block = 1;
  StepCase eden = fixed;
  eden.test.name = "eden";
  eden.window_codec.kind = CodecKind::eden;
  eden.test.exact_codec.kind = CodecKind::eden;
  StepCase token = fixed;
  token.test.name = "fixed, block 1";
  token.block = 1;
  StepCase wide = fixed;
  wide.test.name = "fixed, block 24";
  wide.block = 24;
  wide.test.kv_heads = 8;
  StepCase every = fixed;
  every.test.name = "fixed, all dimensions";
  every.test.band_dims = every.test.head_dim;
  every.test.band = false;
  for (const StepCase& c : {fixed, published, eden, token, wide, every}) {
    expect_steps_equal_scan(context, c, {0, 5, 61}, 60);
  }
}

// Little enough for tools that watch every access (compute-sanitizer).
TEST_F(CudaLandmarkStepTest, FewSteps) {
  CudaContext context;
  StepCase c;
  c.test.name = "few steps";
  c.test.rules = fixed_rules();
  expect_steps_equal_scan(context, c, {23}, 12);
}

}  // namespace
}  // namespace kvg::cuda
