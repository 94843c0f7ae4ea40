// The built-in suites compare methods at the same bytes; that is a claim, so it is tested.
#include "evals/suite.h"
#include "model/cache/policy.h"
#include "model/checkpoint.h"
#include "model/session.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

namespace kvg {
namespace {

TEST(Suites, MethodsHaveTheSameSize) {
  for (const std::string& name : built_in_suites()) {
    const Suite suite = load_suite(name);
    const CacheGeometry geometry = cache_geometry(preset_config(suite.model));
    std::vector<std::string> methods = suite.methods;
    for (const std::string& control : suite.controls) {
      if (control.find('(') != std::string::npos) methods.push_back(control);
    }
    std::vector<int64_t> sizes;
    for (const std::string& text : methods) {
      const Method method = Method::parse(text);
      if (method.retention.name == "full") continue;  // the reference, and codecs over all tokens
      sizes.push_back(make_policy(method)->bytes_per_layer(geometry, 4096).total());
    }
    // A suite may have several sizes; each has every kind of method: window, sinks, landmark in two
    // codecs, random. Trained arms are compared in one codec.
    const int64_t kinds = name == "arms" ? 4 : 5;
    ASSERT_GE(std::ssize(sizes), kinds) << name;
    for (const int64_t size : sizes) {
      const auto alike = std::count_if(sizes.begin(), sizes.end(), [size](int64_t other) {
        return std::abs(static_cast<double>(other - size)) <= 0.01 * static_cast<double>(size);
      });
      EXPECT_EQ(alike, kinds) << name << ": " << size << " B a layer";
    }
  }
}

}  // namespace
}  // namespace kvg
