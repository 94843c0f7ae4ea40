#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/gpu_test.h"

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace kvg::cuda {

enum class Kept : uint8_t { full, window, sinks, landmark, random };

// A decode step to test: small banks and windows of odd sizes, so that all of them wrap around.
struct DecodeCase {
  std::string name;
  Kept kept = Kept::full;
  CodecSpec window_codec;
  CodecSpec bank_codec;
  int head_dim = 128;
  int group = 4;  // query heads of a KV head
  int streams = 2;
  bool head_norm = true;
  std::vector<int64_t> positions;  // a sequence each
  int64_t block = 1;
  int64_t window = 0;      // 0: the default of the retention
  bool stretches = false;  // landmark: slow coordinates in stretches, as of a model; or every other
};

// Memory on both sides with the same bytes.
class Mirror {
 public:
  explicit Mirror(size_t bytes) : host(bytes), device(std::max<size_t>(bytes, 1)) {}
  void push() const;
  std::vector<uint8_t> pull() const;

  std::vector<uint8_t> host;
  TestBuffer device;
};

// The caches of a batch, filled at random as after `positions` tokens, for the reference (double)
// on the host and for the CUDA step; slots that nothing may read hold NaN.
class DecodeScene {
 public:
  static constexpr int64_t kLayers = 2;
  static constexpr int kKvHeads = 2;
  static constexpr int64_t kSteps = 20;  // positions may advance by as much

  DecodeScene(CudaContext& context, const DecodeCase& test, uint64_t seed);

  const DecodePlan& plan() const { return host_->plan(); }
  CudaDecodeState& state() { return *device_; }
  const Tensor& positions() const { return device_positions_; }

  // New queries, keys, values, gates and lambdas in the same memory; poisons the output.
  void draw_inputs(uint64_t seed);
  void set_value(size_t index, double value);  // of the new tokens' values [sequences, kv_heads, d]
  void advance();

  DecodeAttentionParams device_params(int32_t layer);
  std::vector<double> expected(int32_t layer);  // changes the host's caches
  void expect_evict();                          // likewise
  std::vector<double> result() const;
  std::vector<uint8_t> result_bytes() const { return out_->pull(); }
  // What both sides' stores hold, slot by slot, as the codecs decode it: |device - host| / |host|
  // over all slots that are finite on the host.
  double store_error(bool random_bank) const;
  // Bytes of all caches on the device.
  std::vector<uint8_t> cache_bytes() const;
  void poison_output() const;

 private:
  struct Sides {
    SlotStore host, device;
  };
  struct Input {
    std::vector<double> values;
    std::unique_ptr<Mirror> device;
    Tensor host_tensor, device_tensor;
    DType dtype = DType::bf16;
  };

  Mirror& memory(size_t bytes);
  Sides make_store(const Codec* k, const Codec* v, int64_t capacity);
  void fill(const Sides& store, int32_t layer, uint64_t seed);
  void make_cache(int32_t layer, int64_t sequence);
  void make_landmark(int32_t layer, DecodeCache* host, DecodeCache* device);
  void forget_unreadable(const SlotStore& store, int64_t position);
  Input make_input(DType dtype, std::initializer_list<int64_t> shape);
  void set_positions();

  CudaContext& context_;
  DecodeCase test_;
  DecodePlan plan_;
  uint64_t seed_;
  std::unique_ptr<Ops> ops_;
  std::vector<std::unique_ptr<Codec>> codecs_;
  std::list<Mirror> mirrors_;
  std::vector<double> eta_;
  std::vector<DecodeCache> host_caches_, device_caches_;
  std::unique_ptr<DecodeState> host_;
  std::unique_ptr<CudaDecodeState> device_;
  std::vector<int64_t> at_;
  Tensor host_positions_, device_positions_;
  std::unique_ptr<Mirror> positions_;
  Input q_, k_, v_, gate_, lambda_, norm_;
  std::unique_ptr<Mirror> out_;
};

// Every codec of the project.
std::vector<CodecSpec> decode_test_codecs();

}  // namespace kvg::cuda
