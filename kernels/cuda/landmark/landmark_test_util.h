#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/landmark.h"
#include "kernels/ops.h"

#include <memory>
#include <string>
#include <vector>

// What the tests of the bank update share: banks on the host and on the device with the same bytes,
// and tokens that make every branch happen.
namespace kvg::cuda {

struct LandmarkCase {
  std::string name;
  LandmarkRules rules;
  int kv_heads = 2, head_dim = 64;
  int64_t exact = 16, summary = 12;
  CodecSpec exact_codec;
  CodecKind summary_kind = CodecKind::f32;
  bool band = true;   // summary keys hold their slow dimensions only
  int band_dims = 0;  // 0: half of head_dim
  bool resident = false;
  bool counts = true;
  bool noise = false;  // banks start as noise
  bool single = false;
  int32_t layer = 1;
};

// The two presets (model/cache/landmark_settings.cpp).
LandmarkRules fixed_rules();
LandmarkRules published_rules();
LandmarkCase published_case();

class LandmarkCodecs {
 public:
  explicit LandmarkCodecs(const LandmarkCase& test);
  std::unique_ptr<Codec> exact, summary_k, summary_v;
  std::unique_ptr<Codec> summary_bf16;  // of snapshots of f32 averages
  std::vector<int32_t> slow_dims;
  std::vector<double> eta;
};

// The memory of a LandmarkBank, one piece, on the host or on the device; a snapshot has no stamps,
// counts or unit vectors, and averages in bf16.
class BankMemory {
 public:
  BankMemory(const LandmarkCase& test, const LandmarkCodecs& codecs, bool on_device,
             bool snapshot = false);
  const LandmarkBank& bank() const { return bank_; }
  std::vector<uint8_t> bytes() const;
  void set_bytes(const std::vector<uint8_t>& bytes);

 private:
  uint8_t* take(int64_t bytes);
  SlotStore store(const Codec& k, const Codec& v, int heads, int64_t capacity);
  void place(const LandmarkCase& test, const LandmarkCodecs& codecs, bool snapshot);

  std::vector<uint8_t> host_;
  std::unique_ptr<TestBuffer> device_;
  uint8_t* base_ = nullptr;
  size_t used_ = 0;
  LandmarkBank bank_;
};

// Zeros, or noise in the slots where the case says so.
std::vector<uint8_t> initial_bytes(const LandmarkCase& test, const LandmarkCodecs& codecs);

// Tokens around a few centres, so that some are alike; exact in bf16.
struct TokenStream {
  std::vector<double> k, v;  // [tokens, kv_heads, head_dim]
  std::vector<float> gate;   // many equal ones
  int64_t tokens() const { return std::ssize(gate); }
};
TokenStream random_tokens(const LandmarkCase& test, int64_t tokens, uint64_t seed);
// k and v off by this much of themselves.
TokenStream perturbed(const TokenStream& stream, double relative, uint64_t seed);

// What landmark_scan() needs for `steps` on tokens [begin, ...) of the stream; stays until it ran.
struct DeviceScan {
  DeviceScan(const LandmarkCase& test, const LandmarkCodecs& codecs, const TokenStream& stream,
             int64_t begin, const std::vector<LandmarkStep>& steps, const LandmarkBank& bank);
  TestBuffer k, v, gate;
  LandmarkParams params;
};

// Runs `steps` on tokens [begin, ...) of the stream; `bank` lives where the operations do. The
// device one through landmark_scan().
void reference_scan(const LandmarkCase& test, const LandmarkCodecs& codecs,
                    const TokenStream& stream, int64_t begin,
                    const std::vector<LandmarkStep>& steps, const LandmarkBank& bank);
void device_scan(CudaContext& context, const LandmarkCase& test, const LandmarkCodecs& codecs,
                 const TokenStream& stream, int64_t begin, const std::vector<LandmarkStep>& steps,
                 const LandmarkBank& bank, bool refresh_units = false);

// What a snapshot of `bank` should be, both on the host.
std::unique_ptr<BankMemory> reference_snapshot(const LandmarkCase& test,
                                               const LandmarkCodecs& codecs,
                                               const LandmarkBank& bank);

// Contents of a store's slots in the codec's frame, [kv_heads, capacity, head_dim].
std::vector<double> decoded(const SlotStore& store, int kv_heads, bool value);

// How far two banks on the host are apart.
struct BankDifference {
  int decisions = 0;  // entries of masks and stamps
  double exact = 0;   // of contents, relative by norm
  double summary = 0;
  double counts = 0;
  double units = 0;  // resident ones
  bool within(double tolerance) const {
    return decisions == 0 && exact <= tolerance && summary <= tolerance && counts <= tolerance &&
           units <= tolerance;
  }
};
BankDifference difference(const LandmarkCase& test, const LandmarkBank& a, const LandmarkBank& b);

}  // namespace kvg::cuda
