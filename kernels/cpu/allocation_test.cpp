#include "kernels/cpu/attention_test_util.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>
#include <vector>

#include <gtest/gtest.h>

// Both ends of every pair are replaced below, which GCC does not see when it inlines only one.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

// Counts every allocation of this program. The nothrow and array forms end here too.
namespace {

std::atomic<int64_t> allocations{0};

void* counted(void* memory) {
  ++allocations;
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return counted(std::malloc(size == 0 ? 1 : size)); }
void* operator new(size_t size, std::align_val_t alignment) {
  const auto align = static_cast<size_t>(alignment);
  return counted(std::aligned_alloc(align, (size + align - 1) / align * align));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace kvg::ops_test {
namespace {

// A second call of the same shape must run in the memory of the first.
TEST(AllocationTest, WarmOperationsAllocateNothing) {
  Random random(kSeed + 50);
  const auto ops = make_cpu_ops(2);
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  AttentionCase c({130, 4, 2, 64, 2, 1, true}, random);
  const TestStore cache(*codec, *codec, 2, 600, c.layer, random);
  c.one_block(470, {{cache.store(), 0, 600, 0, 0}});
  const AttentionParams attention = c.params(*ops);

  Twin x = Twin::random({130, 256}, random);
  Twin weight = Twin::random({512, 256}, random);
  Twin wide = Twin::output({130, 512});
  Twin gated = Twin::output({130, 256});
  Twin k = Twin::random({130, 2, 64}, random);
  Twin fused = Twin::random({130, 512}, random);
  Twin theta = Twin::random({4, 32}, random);
  Twin q = Twin::output({130, 2, 4, 64});
  std::vector<int64_t> positions(130, 9);
  PrepareHeadsParams heads;
  heads.fused = fused.on(*ops);
  heads.positions = view(positions);
  heads.heads = 4;
  heads.kv_heads = 2;
  heads.head_dim = 64;
  heads.theta = theta.on(*ops);
  heads.q = q.on(*ops);
  heads.k = heads.v = k.on(*ops);

  const std::vector<std::function<void()>> operations = {
      [&] { ops->attention(attention); },
      [&] {
        ops->linear({x.on(*ops), weight.on(*ops), {}, wide.on(*ops)});
      },
      [&] {
        ops->swiglu({wide.on(*ops), x.on(*ops)});
      },
      [&] {
        ops->gated_linear({x.on(*ops), weight.on(*ops), wide.on(*ops), gated.on(*ops)});
      },
      [&] {
        ops->store({k.on(*ops), k.on(*ops), 0, cache.store(), 5});
      },
      [&] {
        ops->load({k.on(*ops), k.on(*ops), 0, cache.store(), 5});
      },
      [&] { ops->prepare_heads(heads); },
  };
  for (size_t i = 0; i < operations.size(); ++i) {
    for (int warm_up = 0; warm_up < 20; ++warm_up) operations[i]();
    const int64_t before = allocations;
    operations[i]();
    EXPECT_EQ(allocations, before) << "operation " << i;
  }
}

}  // namespace
}  // namespace kvg::ops_test
