#pragma once

#include "kernels/landmark.h"
#include "model/cache/landmark_settings.h"
#include "model/cache/policy.h"
#include "model/cache/slots.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace kvg {

// Everything about a layer's banks that does not change while a sequence runs.
struct LandmarkShape {
  LandmarkSettings settings;
  int kv_heads = 0;
  int head_dim = 0;
  std::vector<int32_t> slow_dims;
  SharedCodec window;       // recent tokens
  SharedCodec exact;        // K and V of the exact bank
  SharedCodec summary_k;    // averages never go through a lossy codec: f32, or bf16 where the
  SharedCodec summary_v;    // arithmetic is bf16; lean keys keep their slow dimensions only
  std::vector<double> eta;  // [kv_heads], for models without learned rates

  static std::shared_ptr<const LandmarkShape> make(const LandmarkSettings& settings,
                                                   const Method& method,
                                                   const CacheGeometry& geometry);
  // Of the banks, gates and masks, without the recent tokens.
  CacheBytes bank_bytes() const;
};

// Memory of one layer's banks, or of a snapshot of what attention reads of them.
class LandmarkBanks {
 public:
  enum class Content : uint8_t { state, snapshot };
  LandmarkBanks(Ops& ops, std::shared_ptr<const LandmarkShape> shape, Content content);

  // Zeros, or noise where the settings say so.
  void initialize(Ops& ops, int layer);
  // After slots were written from outside: the normalised copies, where they are resident.
  void refresh_units(Ops& ops, int layer);

  const LandmarkBank& bank() const { return bank_; }
  uint8_t* ring_valid() const { return ring_valid_; }  // [window], null unless published_state
  LandmarkBanks clone(Ops& ops) const;

 private:
  void place(uint8_t* base);
  void fill_with_noise(Ops& ops, int layer);

  std::shared_ptr<const LandmarkShape> shape_;
  Content content_;
  size_t total_ = 0;
  std::unique_ptr<Buffer> memory_;
  LandmarkBank bank_;
  uint8_t* ring_valid_ = nullptr;
};

}  // namespace kvg
