// Sets of operations that change one thing about the GPU's, and nothing about the results.
#include "bench/latency/forwarding_ops.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gpu_test.h"
#include "model/checkpoint.h"
#include "model/forward.h"
#include "model/session.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

// Lets the bank update read the tokens that leave from the slots they lie in, or only copies.
class BankInputOps : public ForwardingOps {
 public:
  BankInputOps(Ops& inner, bool in_slots) : ForwardingOps(inner), in_slots_(in_slots) {}
  bool landmark_takes_strides(const LandmarkParams& params) const override {
    return in_slots_ && inner_.landmark_takes_strides(params);
  }
  void landmark(const LandmarkParams& params) override {
    from_slots_ += is_packed(params) ? 0 : 1;
    inner_.landmark(params);
  }
  int from_slots() const { return from_slots_; }

 private:
  bool in_slots_;
  int from_slots_ = 0;
};

// Final hidden states of two sequences in one call, then of more tokens in the same sequences: a
// few, one, and many.
std::vector<uint16_t> hidden_states(const Weights& weights, Ops& ops, const std::string& method) {
  constexpr int64_t kMostTokens = 2200;
  const auto policy = make_policy(Method::parse(method));
  Forward forward(weights, *policy, ops, 2 * kMostTokens);
  const CacheGeometry geometry = cache_geometry(weights.config);
  std::vector<SequenceState> states(2);
  for (SequenceState& state : states) {
    for (int layer = 0; layer < geometry.layers; ++layer) {
      state.layers.push_back(policy->make_layer(ops, geometry, layer, 2 * kMostTokens));
    }
  }
  std::vector<uint16_t> values;
  int32_t token = 1;
  for (const auto& [a, b] : {std::pair{1500, 700}, {40, 3}, {1, 1}, {30, 1200}}) {
    std::vector<std::vector<int32_t>> tokens = {std::vector<int32_t>(static_cast<size_t>(a)),
                                                std::vector<int32_t>(static_cast<size_t>(b))};
    std::vector<SequenceInput> inputs;
    for (size_t i = 0; i < states.size(); ++i) {
      for (int32_t& t : tokens[i]) t = token = (token * 7919 + 31) % 500;
      inputs.push_back({&states[i], tokens[i]});
    }
    const Tensor hidden = forward.run(inputs);
    const size_t before = values.size();
    values.resize(before + static_cast<size_t>(hidden.elements()));
    ops.copy(values.data() + before, hidden.data, hidden.bytes());
  }
  return values;
}

class ForwardingOnGpu : public cuda::GpuTest {};

TEST_F(ForwardingOnGpu, BankUpdateFromSlotsIsTheSame) {
  const auto ops = make_cuda_ops();
  const Weights weights = Weights::load(*Checkpoint::open("preset:kvg-tiny"), *ops);
  for (const std::string method : {"landmark(window=64,exact=32,summary=32)",
                                   "landmark(window=50,exact=8,summary=16,block=32)",
                                   "landmark(window=40,exact=16,summary=16)+window:int8"}) {
    BankInputOps in_slots(*ops, true), copied(*ops, false);
    const std::vector<uint16_t> expected = hidden_states(weights, copied, method);
    EXPECT_TRUE(hidden_states(weights, in_slots, method) == expected) << method;
    EXPECT_EQ(copied.from_slots(), 0);
    EXPECT_EQ(in_slots.from_slots() > 0, method.find("int8") == std::string::npos) << method;
  }
}

}  // namespace
}  // namespace kvg
