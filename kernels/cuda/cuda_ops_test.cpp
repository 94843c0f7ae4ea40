#include "kernels/cuda/cuda_ops.h"

#include "base/error.h"
#include "kernels/cuda/cross_test.h"
#include "kernels/decode.h"

#include <numeric>
#include <string>

namespace kvg::cuda {
namespace {

constexpr double kTolerance = 5e-3;  // bf16 results of fp32 sums

class CudaOpsTest : public GpuTest {};

std::vector<int32_t> random_tokens(size_t n, int32_t limit, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens(n);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random.below(static_cast<uint64_t>(limit)));
  }
  return tokens;
}

TEST_F(CudaOpsTest, SaysWhatItIs) {
  const auto ops = make_cuda_ops();
  EXPECT_EQ(ops->name(), "cuda");
  EXPECT_EQ(ops->device(), Device::cuda);
  EXPECT_EQ(ops->activation(), DType::bf16);
  EXPECT_EQ(ops->weight(), DType::bf16);
  EXPECT_GT(ops->available_memory(), 0);
  EXPECT_THROW(make_cuda_ops(99), Error);
}

TEST_F(CudaOpsTest, UploadConvertsFromEveryHostType) {
  const auto ops = make_cuda_ops();
  const size_t n = (size_t{1} << 22) + 3;  // more than is converted at a time
  const std::vector<double> values = random_values(n, DType::bf16, 5);
  for (const DType from : {DType::f64, DType::f32, DType::bf16}) {
    std::vector<uint8_t> raw(n * dtype_size(from));
    for (size_t i = 0; i < n; ++i) {
      const auto single = static_cast<float>(values[i]);
      const uint16_t half = float_to_bf16(single);
      if (from == DType::f64) std::memcpy(raw.data() + 8 * i, &values[i], 8);
      if (from == DType::f32) std::memcpy(raw.data() + 4 * i, &single, 4);
      if (from == DType::bf16) std::memcpy(raw.data() + 2 * i, &half, 2);
    }
    const auto buffer = ops->allocate(2 * n);
    const auto count = static_cast<int64_t>(n);
    ops->upload({raw.data(), from, Device::cpu, {count}},
                {buffer->data(), DType::bf16, Device::cuda, {count}});
    std::fill(raw.begin(), raw.end(), uint8_t{0xff});  // the call may not look at it any more
    std::vector<uint16_t> halves(n);
    ops->copy(halves.data(), buffer->data(), 2 * n);
    size_t wrong = 0;
    for (size_t i = 0; i < n; ++i) wrong += bf16_to_float(halves[i]) != values[i];
    EXPECT_EQ(wrong, 0) << dtype_name(from);
  }
}

TEST_F(CudaOpsTest, UploadConvertsOnTheDevice) {
  CrossSets sets;
  const CrossTensor half = CrossTensor::random(sets, DType::bf16, {37, 5}, 6);
  CrossTensor single(sets, DType::f32, {37, 5}), back(sets, DType::bf16, {37, 5});
  sets.cuda->upload(half.device(), single.device());
  sets.cuda->upload(single.device(), back.device());
  EXPECT_EQ(single.result(), half.expected());
  EXPECT_EQ(back.result(), half.expected());
}

// More than a launch takes, of different lengths (also none, and more than one pass of the blocks),
// and among them what is converted, comes from the host, or is no whole number of words.
TEST_F(CudaOpsTest, SeveralUploadsAtOnce) {
  CrossSets sets;
  std::vector<CrossTensor> from, to;
  int64_t seed = 80;
  for (const int64_t n : {1, 300, 7, 0, 400001, 2, 64, 1000, 3, 31, 5000}) {
    from.push_back(CrossTensor::random(sets, DType::f32, {n}, static_cast<uint64_t>(seed++)));
    to.push_back(CrossTensor(sets, DType::f32, {n}));
  }
  for (const int64_t n : {64, 5}) {
    from.push_back(CrossTensor::random(sets, DType::bf16, {n}, static_cast<uint64_t>(seed++)));
    to.push_back(CrossTensor(sets, DType::bf16, {n}));
  }
  from.push_back(CrossTensor::random(sets, DType::bf16, {9}, static_cast<uint64_t>(seed)));
  to.push_back(CrossTensor(sets, DType::f32, {9}));
  std::vector<UploadParams> uploads;
  for (size_t i = 0; i < from.size(); ++i) uploads.push_back({from[i].device(), to[i].device()});
  std::vector<float> host = {1, 2, 3};
  const auto buffer = sets.cuda->allocate(12);
  uploads.insert(uploads.begin() + 3, {Tensor(host.data(), DType::f32, Device::cpu, {3}),
                                       Tensor(buffer->data(), DType::f32, Device::cuda, {3})});
  sets.cuda->upload_all(uploads);
  for (size_t i = 0; i < from.size(); ++i) EXPECT_EQ(to[i].result(), from[i].expected()) << i;
  std::vector<float> back(3);
  sets.cuda->copy(back.data(), buffer->data(), 12);
  EXPECT_EQ(back, host);
  sets.cuda->upload_all({});
  const UploadParams uneven{from[1].device(), to[2].device()};
  EXPECT_THROW(sets.cuda->upload_all({&uneven, 1}), std::logic_error);
}

TEST_F(CudaOpsTest, UploadRefusesTypesThatDoNotConvert) {
  const auto ops = make_cuda_ops();
  const auto buffer = ops->allocate(16);
  std::vector<int32_t> tokens = {1, 2};
  const Tensor out(buffer->data(), DType::bf16, Device::cuda, {2});
  EXPECT_THROW(ops->upload({tokens.data(), DType::i32, Device::cpu, {2}}, out), Error);
  EXPECT_THROW(ops->upload({tokens.data(), DType::f32, Device::cpu, {1}}, out), std::logic_error);
}

TEST_F(CudaOpsTest, CopiesBetweenAnyTwoMemories) {
  const auto ops = make_cuda_ops();
  const auto a = ops->allocate(1000), b = ops->allocate(1000);
  std::vector<uint8_t> from(999), to(999);
  std::iota(from.begin(), from.end(), uint8_t{1});
  ops->copy(a->data(), from.data(), 999);
  ops->copy(b->data(), a->data(), 999);
  ops->copy(to.data(), b->data(), 999);
  EXPECT_EQ(to, from);
  std::fill(to.begin(), to.end(), uint8_t{0});
  ops->copy(to.data(), from.data(), 999);
  EXPECT_EQ(to, from);
  ops->copy(nullptr, nullptr, 0);
}

TEST_F(CudaOpsTest, SaysHowMuchMemoryWasMissing) {
  const auto ops = make_cuda_ops();
  try {
    const auto buffer = ops->allocate(size_t{4000} << 30);
    FAIL() << "granted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("4.3 TB needed"), std::string::npos) << error.what();
  }
}

TEST_F(CudaOpsTest, RefusesOtherHeadDims) {
  const auto ops = make_cuda_ops();
  PrepareHeadsParams heads;
  heads.head_dim = 32;
  EXPECT_THROW(ops->prepare_heads(heads), Error);
  AttentionParams attention;
  attention.head_dim = 256;
  EXPECT_THROW(ops->attention(attention), Error);
  DecodePlan plan;
  plan.head_dim = 96;
  EXPECT_THROW(ops->prepare_decode(plan, {}), Error);
}

TEST_F(CudaOpsTest, RefusesTensorsOfOtherTypesAndShapes) {
  CrossSets sets;
  const CrossTensor x = CrossTensor::random(sets, DType::f32, {3, 64}, 1);
  const CrossTensor w = CrossTensor::random(sets, DType::bf16, {16, 64}, 2);
  const CrossTensor out(sets, DType::bf16, {3, 16});
  EXPECT_THROW(sets.cuda->linear({x.device(), w.device(), {}, out.device()}), std::logic_error);
  EXPECT_THROW(sets.cuda->linear({out.device(), w.device(), {}, out.device()}), std::logic_error);
}

TEST_F(CudaOpsTest, PointwiseOperationsMatchTheReference) {
  CrossSets sets;
  constexpr int64_t kRows = 129, kWidth = 264, kVocab = 301;
  CrossNumbers<int32_t> tokens(sets, random_tokens(kRows, kVocab, 1));
  CrossTensor table = CrossTensor::random(sets, DType::bf16, {kVocab, kWidth}, 2);
  CrossTensor x(sets, DType::bf16, {kRows, kWidth});
  CrossTensor delta = CrossTensor::random(sets, DType::bf16, {kRows, kWidth}, 3);
  CrossTensor weight = CrossTensor::random(sets, DType::bf16, {kWidth}, 4);
  CrossTensor normed(sets, DType::bf16, {kRows, kWidth});
  CrossTensor gate_up = CrossTensor::random(sets, DType::bf16, {kRows, 2 * kWidth}, 5);
  CrossTensor activated(sets, DType::bf16, {kRows, kWidth});
  CrossTensor logits = CrossTensor::random(sets, DType::f32, {kRows, kVocab}, 6);
  CrossNumbers<double> nll(sets, std::vector<double>(kRows, -1));
  for (Ops* ops : {sets.reference.get(), sets.cuda.get()}) {
    const Ops& set = *ops;
    ops->embed({tokens.on(set), table.on(set), x.on(set)});
    ops->rms_norm({x.on(set), delta.on(set), weight.on(set), 1e-5, normed.on(set)});
    ops->swiglu({gate_up.on(set), activated.on(set)});
    ops->nll({logits.on(set), tokens.on(set), nll.on(set)});
  }
  EXPECT_LT(x.error(), kTolerance);
  EXPECT_LT(normed.error(), kTolerance);
  EXPECT_LT(activated.error(), kTolerance);
  EXPECT_LT(relative_norm(nll.result(), nll.values()), 1e-5);
}

// Below, among and beyond the rows that have a kernel that does both; a width that no tile divides,
// and one that only separate kernels serve.
TEST_F(CudaOpsTest, GatedLinearMatchesTheReference) {
  CrossSets sets;
  for (const int64_t rows : {1, 9, 31, 64, 100, 255, 300}) {
    for (const auto& [in, ffn] : {std::pair{264, 328}, {1032, 72}, {100, 40}}) {
      CrossTensor x = CrossTensor::random(sets, DType::bf16, {rows, in}, 1);
      CrossTensor weight = CrossTensor::random(sets, DType::bf16, {2 * ffn, in}, 2);
      CrossTensor gate_up(sets, DType::bf16, {rows, 2 * ffn});
      CrossTensor out(sets, DType::bf16, {rows, ffn});
      for (Ops* ops : {sets.reference.get(), sets.cuda.get()}) {
        const Ops& set = *ops;
        ops->gated_linear({x.on(set), weight.on(set), gate_up.on(set), out.on(set)});
      }
      EXPECT_LT(out.error(), 2 * kTolerance) << rows << " x " << in << " x " << ffn;
    }
  }
}

TEST_F(CudaOpsTest, SlotsAndAttentionMatchTheReference) {
  CrossSets sets;
  constexpr int64_t kRows = 70;
  constexpr int kHeads = 4, kKvHeads = 2, kHeadDim = 64;
  for (const CodecKind kind : {CodecKind::bf16, CodecKind::fp8, CodecKind::int8, CodecKind::eden}) {
    const auto codec = Codec::make({.kind = kind, .seed = 9}, kHeadDim);
    CrossStore store(sets, *codec, kRows + 3, kKvHeads), copied(sets, *codec, kRows, kKvHeads);
    CrossTensor k = CrossTensor::random(sets, DType::bf16, {kRows, kKvHeads, kHeadDim}, 21);
    CrossTensor v = CrossTensor::random(sets, DType::bf16, {kRows, kKvHeads, kHeadDim}, 22);
    CrossTensor q = CrossTensor::random(sets, DType::bf16, {kRows, 1, kHeads, kHeadDim}, 23);
    CrossTensor out(sets, DType::bf16, {kRows, kHeads, kHeadDim});
    CrossTensor loaded_k(sets, DType::bf16, {kRows, kKvHeads, kHeadDim});
    CrossTensor loaded_v(sets, DType::bf16, {kRows, kKvHeads, kHeadDim});
    for (Ops* ops : {sets.reference.get(), sets.cuda.get()}) {
      const Ops& set = *ops;
      ops->store({k.on(set), v.on(set), 1, store.on(set), 40});
      ops->copy_slots({store.on(set), copied.on(set), kKvHeads, 40, 5, kRows});
      ops->load({loaded_k.on(set), loaded_v.on(set), 1, copied.on(set), 5});
      AttentionGroup group{store.on(set), 40, kRows, 0};
      const std::vector<AttentionBlock> blocks = {{0, kRows, 0, {group}}};
      AttentionParams attention;
      attention.q = q.on(set);
      attention.heads = kHeads;
      attention.kv_heads = kKvHeads;
      attention.head_dim = kHeadDim;
      attention.layer = 1;
      attention.scale = 0.125;
      attention.blocks = blocks;
      attention.out = out.on(set);
      ops->attention(attention);
    }
    EXPECT_LT(loaded_k.error(), kTolerance) << static_cast<int>(kind);
    EXPECT_LT(loaded_v.error(), kTolerance) << static_cast<int>(kind);
    EXPECT_LT(out.error(), 2 * kTolerance) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace kvg::cuda
