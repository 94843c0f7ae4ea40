#include "kernels/cpu/team.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::cpu {
namespace {

constexpr double kMuchWork = 1e9;

// Thousands of small jobs back to back, with gaps in which helpers fall asleep: every piece exactly
// once, and none of an earlier job's.
TEST(TeamTest, EveryPieceOnce) {
  for (const int threads : {1, 2, 5}) {
    Team team(threads);
    for (int64_t job = 0; job < 3000; ++job) {
      const int64_t n = job % 37;
      std::vector<std::atomic<int>> done(static_cast<size_t>(n));
      team.for_each(n, kMuchWork, [&](Worker&, int64_t i) { ++done[static_cast<size_t>(i)]; });
      for (const auto& count : done) ASSERT_EQ(count, 1) << "job " << job;
      if (job % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

TEST(TeamTest, WorkersAreNotShared) {
  Team team(4);
  for (int job = 0; job < 200; ++job) {
    team.for_each(64, kMuchWork, [&](Worker& worker, int64_t i) {
      float* scratch = worker.floats.reserve(256);
      for (int64_t k = 0; k < 256; ++k) scratch[k] = static_cast<float>(i);
      for (int64_t k = 0; k < 256; ++k) {
        if (scratch[k] != static_cast<float>(i)) throw std::logic_error("another thread was here");
      }
    });
  }
}

TEST(TeamTest, AnExceptionComesBackToTheCaller) {
  Team team(3);
  for (int job = 0; job < 50; ++job) {
    EXPECT_THROW(team.for_each(100, kMuchWork,
                               [](Worker&, int64_t i) {
                                 if (i % 10 == 3) throw std::runtime_error("piece");
                               }),
                 std::runtime_error);
    std::atomic<int> done = 0;
    team.for_each(100, kMuchWork, [&](Worker&, int64_t) { ++done; });
    EXPECT_EQ(done, 100);
  }
}

TEST(TeamTest, LittleWorkStaysWithTheCaller) {
  Team team(4);
  const auto caller = std::this_thread::get_id();
  team.for_each(100, 10, [&](Worker&, int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
}

}  // namespace
}  // namespace kvg::cpu
