#include "kernels/cpu/attention_test_util.h"

#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

class AttentionTest : public testing::Test {
 protected:
  // Runs a case on both sets; the error by norm.
  double error(AttentionCase& c) {
    sets_.reference->attention(c.params(*sets_.reference));
    sets_.cpu->attention(c.params(*sets_.cpu));
    return c.out.error();
  }

  Sets sets_;
};

std::string shape_name(const Shape& s) {
  return std::to_string(s.rows) + " rows, " + std::to_string(s.heads) + "/" +
         std::to_string(s.kv_heads) + " heads of " + std::to_string(s.head_dim) + ", " +
         std::to_string(s.streams) + " streams";
}

// A sink group, a wrapped window and the block's own keys, as a real cache gives them, over all
// shapes.
TEST_F(AttentionTest, AgreesWithTheReferenceForEveryShape) {
  Random random(kSeed);
  for (const int64_t rows : {1, 3, 127, 129}) {
    for (const int head_dim : {8, 64, 128, 80}) {
      for (const auto& [heads, kv_heads] :
           {std::tuple{2, 2}, std::tuple{4, 1}, std::tuple{16, 2}}) {
        for (const int streams : {1, 2}) {
          const Shape shape{rows, heads, kv_heads, head_dim, streams, 1, streams == 2};
          const auto codec = Codec::make({CodecKind::f32}, head_dim);
          AttentionCase c(shape, random);
          const TestStore sinks(*codec, *codec, kv_heads, 4, c.layer, random);
          const TestStore window(*codec, *codec, kv_heads, rows + 50, c.layer, random);
          c.one_block(
              1000, {{sinks.store(), 0, 4}, {window.store(), rows + 20, rows + 40, 1000 - 40, 33}});
          EXPECT_LT(error(c), 2e-6) << shape_name(shape) << ", seed " << kSeed;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvg::ops_test
