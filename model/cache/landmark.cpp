#include "model/cache/landmark.h"

#include "model/cache/landmark_layer.h"
#include "model/cache/landmark_settings.h"

namespace kvg {

namespace {

class LandmarkPolicy : public Policy {
 public:
  explicit LandmarkPolicy(const Method& method)
      : method_(method), settings_(LandmarkSettings::from(method.retention)) {}

  int64_t slots(int64_t) const override {
    return settings_.window + settings_.exact + settings_.summary;
  }

  CacheBytes bytes_per_layer(const CacheGeometry& geometry, int64_t) const override {
    const auto shape = LandmarkShape::make(settings_, method_, geometry);
    CacheBytes bytes = SlotBuffer::bytes_for(*shape->window, geometry.kv_heads, settings_.window);
    bytes += shape->bank_bytes();
    return bytes;
  }

  std::unique_ptr<LayerCache> make_layer(Ops& ops, const CacheGeometry& geometry, int layer,
                                         int64_t) const override {
    return std::make_unique<LandmarkLayer>(ops, LandmarkShape::make(settings_, method_, geometry),
                                           layer);
  }

  bool scans() const override { return settings_.schedule == LandmarkSchedule::grid; }

  DecodePlan decode_plan(const CacheGeometry& geometry) const override {
    DecodePlan plan = plain_decode_plan(geometry);
    plan.window = settings_.window;
    plan.bank = DecodeBank::landmark;
    plan.rules = settings_.rules;
    plan.slow_dims = slow_dimensions(geometry.head_dim, geometry.half_split_rope, settings_.band);
    // Calls of one token make room for it alone, which is a grid of single tokens.
    plan.single = settings_.schedule == LandmarkSchedule::calls;
    plan.block = plan.single ? 1 : settings_.block;
    return plan;
  }

 private:
  Method method_;
  LandmarkSettings settings_;
};

}  // namespace

std::vector<ArgumentSpec> landmark_arguments() { return landmark_argument_specs(); }

std::unique_ptr<Policy> make_landmark(const Method& method) {
  return std::make_unique<LandmarkPolicy>(method);
}

}  // namespace kvg
