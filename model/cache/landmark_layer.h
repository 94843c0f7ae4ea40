#pragma once

#include "model/cache/landmark_banks.h"
#include "model/cache/ring.h"

#include <memory>
#include <span>
#include <vector>

namespace kvg {

// One layer of `landmark` for one sequence. absorb() works through all evictions of a call first
// and leaves for each block of queries the banks it may read: as snapshots where they change later
// in the call, in place otherwise.
class LandmarkLayer : public LayerCache {
 public:
  LandmarkLayer(Ops& ops, std::shared_ptr<const LandmarkShape> shape, int layer);

  void absorb(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks) override;
  void commit(Ops& ops) override;
  DecodeCache decode_cache(Ops& ops, int64_t end) override;
  void decoded(Ops& ops, int64_t length) override;
  void keep_positions() override { banks_.keep_positions(); }
  CacheBytes bytes() const override;
  std::unique_ptr<LayerCache> clone(Ops& ops) const override;

  LandmarkBanks& banks() { return banks_; }

 private:
  LandmarkLayer(std::shared_ptr<const LandmarkShape> shape, int layer, Ring ring,
                LandmarkBanks banks);

  const LandmarkSettings& settings() const { return shape_->settings; }
  void absorb_one(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks);
  void absorb_many(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks);
  std::vector<const LandmarkBank*> plan_snapshots(Ops& ops, std::span<const LandmarkBlock> plan,
                                                  std::vector<LandmarkStep>* steps);
  void evict(Ops& ops, std::span<const LandmarkStep> steps, bool beside);
  void find_leaving(Ops& ops, int64_t tokens, LandmarkParams* params);
  void evict_to(Ops& ops, int64_t position, bool single);
  void gather_gates(Ops& ops, const Tensor& gate, int64_t first, int64_t end);
  void keep_gates(Ops& ops, const Tensor& gate, int64_t first);
  void mark_ring(Ops& ops, int64_t first, int64_t n);
  AttentionBlock read_block(const AbsorbInput& input, const LandmarkBlock& block,
                            const LandmarkBank& bank, const AttentionGroup& recent) const;

  std::shared_ptr<const LandmarkShape> shape_;
  int layer_;
  Ring ring_;
  LandmarkBanks banks_;
  std::unique_ptr<Buffer> gates_;  // [window] f32, of position p at p mod window
  int64_t evicted_ = 0;            // tokens before this position have left the window

  // Of the call in flight.
  LandmarkSnapshots snapshots_;
  std::vector<double> eta_;             // [kv_heads]
  std::unique_ptr<Buffer> call_gates_;  // f32, of positions from call_gates_first_
  int64_t call_gates_first_ = 0;
  std::unique_ptr<Buffer> leaving_;  // K and V of tokens on their way into the banks, decoded
};

}  // namespace kvg
