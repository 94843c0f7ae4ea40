#include "bench/peers/attention_ops.h"

#include "base/error.h"
#include "base/random.h"
#include "bench/latency/forwarding_ops.h"
#include "bench/peers/peer.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/dtype.h"

#include <array>
#include <cmath>
#include <initializer_list>
#include <map>
#include <vector>

namespace kvg {

namespace {

constexpr const char* kExpected = "one dense causal bf16 group a block, and one stream";

[[noreturn]] void refuse(const std::string& found) {
  throw Error("attention by cuDNN", "", found, kExpected);
}

void require_plain(const AttentionParams& p) {
  if (p.streams != 1) refuse(std::to_string(p.streams) + " streams");
  if (p.frames != 1) refuse(std::to_string(p.frames) + " frames of queries");
  if (p.head_norm) refuse("a norm of the heads");
  const double usual = 1 / std::sqrt(static_cast<double>(p.head_dim));
  if (std::abs(p.scale - usual) > 1e-6 * usual) refuse("scale " + std::to_string(p.scale));
}

void require_dense(const AttentionBlock& block) {
  if (block.groups.size() != 1) refuse(std::to_string(block.groups.size()) + " groups in a block");
  const AttentionGroup& group = block.groups.front();
  if (group.store.k_codec->spec().kind != CodecKind::bf16 ||
      group.store.v_codec->spec().kind != CodecKind::bf16) {
    refuse("slots of another codec");
  }
  if (group.valid != nullptr || group.log_weight != nullptr) refuse("slots with gaps or weights");
  if (group.window > 0) refuse("a window");
  // The causal edge of the last row is the last slot, and no slot lies around the end of the store.
  if (group.first_position < 0 || group.first_position > block.first_position ||
      group.first_position + group.count != block.first_position + block.rows) {
    refuse("a group that does not end with the block");
  }
  if (group.first_slot + group.count > group.store.capacity) refuse("slots around an end");
}

// Queries and outputs, keys and values, each once.
int64_t bytes_of(const AttentionParams& p, const AttentionBlock& block) {
  const int64_t vectors =
      2 * (block.rows * p.heads + block.groups.front().count * int64_t{p.kv_heads});
  return vectors * p.head_dim * 2;
}

int64_t flops_of(const AttentionParams& p, const AttentionBlock& block) {
  const int64_t oldest = block.groups.front().count - block.rows + 1;  // keys of the first row
  const int64_t visible = block.rows * (oldest + block.groups.front().count) / 2;
  return 4 * int64_t{p.heads} * p.head_dim * visible;
}

class CudnnAttentionOps : public ForwardingOps {
 public:
  CudnnAttentionOps(Ops& inner, cuda::CudaContext& context)
      : ForwardingOps(inner), context_(context) {}

  void attention(const AttentionParams& p) override {
    require_plain(p);
    for (const AttentionBlock& block : p.blocks) {
      require_dense(block);
      run(p, block);
    }
  }

 private:
  void run(const AttentionParams& p, const AttentionBlock& block) {
    const AttentionGroup& group = block.groups.front();
    PeerAttention& peer =
        find({block.rows, p.heads, p.kv_heads, p.head_dim, group.count, group.store.capacity});
    const int64_t vector = p.head_dim * int64_t{2};  // bytes
    const auto row = [&](const Tensor& tensor) {
      return static_cast<char*>(tensor.data) + block.row_begin * p.heads * vector;
    };
    context_.declare(bytes_of(p, block), flops_of(p, block));
    peer.run(row(p.q), group.store.k_codes + group.first_slot * vector,
             group.store.v_codes + group.first_slot * vector, row(p.out), context_.stream());
  }

  PeerAttention& find(const PeerAttentionShape& shape) {
    auto& peer = peers_[{shape.rows, shape.heads, shape.kv_heads, shape.head_dim, shape.keys,
                         shape.capacity}];
    if (!peer) {
      PeerResult made = make_cudnn_attention(shape);
      if (!made.peer) throw Error("attention by cuDNN", "", made.absent, "a plan for its shape");
      peer = std::move(made.peer);
    }
    return *peer;
  }

  cuda::CudaContext& context_;
  std::map<std::array<int64_t, 6>, std::unique_ptr<PeerAttention>> peers_;
};

// Uniform numbers in [-scale, scale) on the device.
Tensor random_tensor(Ops& ops, const Buffer& memory, std::initializer_list<int64_t> shape,
                     float scale, Random* random) {
  const Tensor tensor(memory.data(), ops.activation(), ops.device(), shape);
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  for (float& value : values) value = scale * (2 * static_cast<float>(random->uniform()) - 1);
  ops.upload(Tensor(values.data(), DType::f32, Device::cpu, shape), tensor);
  return tensor;
}

// The end of a prompt after a prefix in a store with room, by both: |a - b| / |b|.
double difference(Ops& peer, Ops& ours) {
  constexpr int64_t kRows = 192, kKeys = 320, kCapacity = 384;
  constexpr int kHeads = 8, kKvHeads = 2, kHeadDim = 128;
  const auto codec = Codec::make({}, kHeadDim);
  Random random(7);
  constexpr size_t kVector = kHeadDim * 2;  // bytes
  const auto q = ours.allocate(kRows * kHeads * kVector);
  const auto k = ours.allocate(kKeys * kKvHeads * kVector), v = ours.allocate(k->bytes());
  const auto slots = ours.allocate(2 * kCapacity * kKvHeads * kVector);
  SlotStore store{codec.get(), codec.get(), kCapacity, static_cast<uint8_t*>(slots->data())};
  store.v_codes = store.k_codes + slots->bytes() / 2;
  ours.store({random_tensor(ours, *k, {kKeys, kKvHeads, kHeadDim}, 1, &random),
              random_tensor(ours, *v, {kKeys, kKvHeads, kHeadDim}, 1, &random), 0, store, 0});
  AttentionGroup group;
  group.store = store;
  group.count = kKeys;
  group.first_position = 0;
  const AttentionBlock block{0, kRows, kKeys - kRows, {group}};
  AttentionParams p;
  p.q = random_tensor(ours, *q, {kRows, 1, kHeads, kHeadDim}, 3, &random);
  p.heads = kHeads;
  p.kv_heads = kKvHeads;
  p.head_dim = kHeadDim;
  p.scale = 1 / std::sqrt(static_cast<double>(kHeadDim));
  p.blocks = {&block, 1};
  const auto result = [&](Ops& ops) {
    const auto out = ours.allocate(q->bytes());
    p.out = Tensor(out->data(), ours.activation(), ours.device(), {kRows, kHeads, kHeadDim});
    ops.attention(p);
    std::vector<uint16_t> values(static_cast<size_t>(p.out.elements()));
    ours.copy(values.data(), out->data(), out->bytes());
    return values;
  };
  const std::vector<uint16_t> theirs = result(peer), expected = result(ours);
  double sum = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double right = bf16_to_float(expected[i]);
    sum += std::pow(bf16_to_float(theirs[i]) - right, 2);
    norm += right * right;
  }
  return std::sqrt(sum / norm);
}

}  // namespace

std::string attention_peer_absent(const std::string& name) {
  if (name != "cudnn") return "'" + name + "' is not known";
  const std::string version = cudnn_version(), absent = "absent: ";
  return version.starts_with(absent) ? version.substr(absent.size()) : "";
}

std::unique_ptr<Ops> make_attention_peer(const std::string& name, Ops& inner, Ops& device_ops) {
  if (const std::string absent = attention_peer_absent(name); !absent.empty()) {
    throw Error("attention by a peer", "", absent, "cudnn");
  }
  cuda::CudaContext* context = cuda_context(device_ops);
  if (context == nullptr) {
    throw Error("attention by a peer", "operations", std::string(device_ops.name()), "cuda");
  }
  auto peer = std::make_unique<CudnnAttentionOps>(inner, *context);
  if (const double error = difference(*peer, inner); !(error < 1e-2)) {
    throw Error("attention by cuDNN", "",
                "results that differ from ours by " + std::to_string(error),
                "at most 1 % of their norm");
  }
  return peer;
}

}  // namespace kvg
