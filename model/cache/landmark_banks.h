#pragma once

#include "kernels/landmark.h"
#include "model/cache/landmark_settings.h"
#include "model/cache/policy.h"
#include "model/cache/slots.h"
#include "model/placer.h"

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
  SharedCodec window;        // recent tokens
  SharedCodec exact;         // K and V of the exact bank
  SharedCodec summary_k;     // averages never go through a lossy codec: f32, or bf16 where the
  SharedCodec summary_v;     // arithmetic is bf16; lean keys keep their slow dimensions only
  SharedCodec summary_bf16;  // averages as attention reads them where it computes in bf16
  std::vector<double> eta;   // [kv_heads], for models without learned rates

  static std::shared_ptr<const LandmarkShape> make(const LandmarkSettings& settings,
                                                   const Method& method,
                                                   const CacheGeometry& geometry);
  // Of the banks, gates and masks, without the recent tokens.
  CacheBytes bank_bytes() const;
};

// Memory of one layer's banks.
class LandmarkBanks {
 public:
  LandmarkBanks(Ops& ops, std::shared_ptr<const LandmarkShape> shape);

  // Zeros, or noise where the settings say so.
  void initialize(Ops& ops, int layer);
  // After slots were written from outside: the normalised copies, where they are resident.
  void refresh_units(Ops& ops, int layer);

  // LandmarkBank::positions, none so far.
  void keep_positions();

  const LandmarkBank& bank() const { return bank_; }
  uint8_t* ring_valid() const { return ring_valid_; }  // [window], null unless published_state
  LandmarkBanks clone(Ops& ops) const;

 private:
  void place(Placer& placer);
  void fill_with_noise(Ops& ops, int layer);

  std::shared_ptr<const LandmarkShape> shape_;
  std::unique_ptr<Buffer> memory_;
  LandmarkBank bank_;
  uint8_t* ring_valid_ = nullptr;
  std::vector<int64_t> positions_;
};

// Memory for what attention reads of a layer's banks at `count` times of a call, in one allocation.
class LandmarkSnapshots {
 public:
  LandmarkSnapshots() = default;
  LandmarkSnapshots(Ops& ops, const LandmarkShape& shape, int64_t count, bool positions);
  const LandmarkBank* bank(int64_t index) const { return &banks_[static_cast<size_t>(index)]; }
  bool empty() const { return banks_.empty(); }

 private:
  std::unique_ptr<Buffer> memory_;
  std::vector<LandmarkBank> banks_;
  std::vector<std::vector<int64_t>> positions_;  // one a bank, or none
};

}  // namespace kvg
