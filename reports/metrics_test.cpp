#include "reports/metrics.h"

#include "base/random.h"

#include <cmath>
#include <deque>
#include <numbers>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::reports {
namespace {

// Items that live as long as the test.
class Items {
 public:
  Item& add(const std::string& group, int64_t index) {
    Item& item = items_.emplace_back();
    item.condition = "context";
    item.task = "needle";
    item.group = group;
    item.index = index;
    return item;
  }
  void answer(const std::string& group, int64_t index, double score) {
    add(group, index).score = score;
  }
  void text(int64_t index, std::vector<Block> blocks) {
    Likelihood likelihood;
    for (const Block& block : blocks) {
      likelihood.tokens += block.tokens;
      likelihood.nll += block.nll;
    }
    likelihood.blocks = std::move(blocks);
    add("stream" + std::to_string(index), index).likelihood = likelihood;
  }
  ItemRefs refs() const {
    ItemRefs refs;
    for (const Item& item : items_) refs.push_back(&item);
    return refs;
  }
  std::deque<Item>& all() { return items_; }

 private:
  std::deque<Item> items_;
};

TEST(Accuracy, OneItemAContextIsWilson) {
  Items items;
  for (int i = 0; i < 100; ++i) items.answer(std::to_string(i), i, i < 80 ? 1 : 0);
  const Metric metric = *accuracy(items.refs(), {});
  EXPECT_DOUBLE_EQ(metric.value, 0.8);
  EXPECT_EQ(metric.interval_method, "Wilson");
  EXPECT_NEAR(metric.interval->low, 0.7112, 5e-4);
  EXPECT_NEAR(metric.interval->high, 0.8666, 5e-4);
  EXPECT_FALSE(accuracy({}, {}));
}

TEST(Accuracy, AllRightIsClopperPearson) {
  Items items;
  for (int i = 0; i < 20; ++i) items.answer(std::to_string(i), i, 1);
  const Metric metric = *accuracy(items.refs(), {});
  EXPECT_EQ(metric.interval_method, "Clopper-Pearson");
  EXPECT_NEAR(metric.interval->low, 0.8316, 5e-4);
  EXPECT_EQ(metric.interval->high, 1);
}

TEST(Accuracy, FailuresCountAsWrongAndAreCounted) {
  Items items;
  for (int i = 0; i < 10; ++i) items.answer(std::to_string(i), i, 1);
  items.add("10", 10).error = "out of memory";
  const Metric metric = *accuracy(items.refs(), {});
  EXPECT_DOUBLE_EQ(metric.value, 10.0 / 11);
  EXPECT_EQ(metric.failed, 1);
}

// Questions over one context that agree with each other are worth one item: the design effect.
TEST(Accuracy, ClustersWidenTheInterval) {
  Items clustered, single;
  for (int group = 0; group < 40; ++group) {
    single.answer(std::to_string(group), group, group % 4 != 0);
    for (int q = 0; q < 5; ++q)
      clustered.answer(std::to_string(group), group * 5 + q, group % 4 != 0);
  }
  const Metric many = *accuracy(clustered.refs(), {}), few = *accuracy(single.refs(), {});
  EXPECT_EQ(many.interval_method, "cluster bootstrap");
  EXPECT_EQ(many.n, 200);
  EXPECT_EQ(many.units, 40);
  const auto width = [](const Metric& metric) {
    return metric.interval->high - metric.interval->low;
  };
  EXPECT_NEAR(width(many), width(few), 0.03);

  Items agreeing;
  for (int i = 0; i < 50; ++i) agreeing.answer(std::to_string(i / 5), i, 1);
  EXPECT_EQ(accuracy(agreeing.refs(), {})->interval_method, "Clopper-Pearson over contexts");
  EXPECT_NEAR(accuracy(agreeing.refs(), {})->interval->low, 0.6915, 5e-4);  // 10 of 10
}

TEST(Nats, IsTheRatioOfSumsNeverAMeanOfRows) {
  Items items;
  items.text(0, {{512, 512 * 2.0}, {512, 512 * 3.0}});
  items.text(1, {{100, 100 * 5.0}});
  items.add("failed", 2).error = "NaN";
  const Metric metric = *nats_per_token(items.refs(), {});
  EXPECT_DOUBLE_EQ(metric.value, (512 * 5.0 + 500) / 1124);
  EXPECT_EQ(metric.n, 3);
  EXPECT_EQ(metric.failed, 1);
  EXPECT_EQ(metric.units, 3);
  EXPECT_FALSE(metric.interval);  // three blocks say nothing
  EXPECT_TRUE(std::isnan(bits_per_byte(items.refs())));
  items.all()[0].likelihood->text_bytes = 4000;
  EXPECT_DOUBLE_EQ(bits_per_byte(items.refs()), 512 * 5.0 / (std::numbers::ln2 * 4000));
}

TEST(Match, PairsOnTaskCellAndIndexWhateverTheOrder) {
  Items a, b;
  for (int i = 0; i < 5; ++i) a.answer("g", i, 1);
  for (int i = 6; i > 1; --i) b.answer("g", i, 0);
  b.all()[0].cell["length"] = "512";
  const Pairs pairs = match(a.refs(), b.refs());
  ASSERT_EQ(pairs.matched.size(), 3u);
  for (const auto& [x, y] : pairs.matched) EXPECT_EQ(x->index, y->index);
  EXPECT_EQ(pairs.only_baseline.size(), 2u);
  EXPECT_EQ(pairs.only_candidate.size(), 2u);
}

Pairs binary_pairs(Items* a, Items* b, int both, int only_a, int only_b, int none) {
  int index = 0;
  const auto add = [&](int count, double x, double y) {
    for (int i = 0; i < count; ++i, ++index) {
      a->answer(std::to_string(index), index, x);
      b->answer(std::to_string(index), index, y);
      b->all().back().output = y > 0 ? "right" : "wrong";
      a->all().back().output = x > 0 ? "right" : "wrong";
    }
  };
  add(both, 1, 1);
  add(only_a, 1, 0);
  add(only_b, 0, 1);
  add(none, 0, 0);
  return match(a->refs(), b->refs());
}

TEST(Paired, CountsWinsLossesTiesAndMcNemar) {
  Items a, b;
  const Paired paired = *paired_accuracy(binary_pairs(&a, &b, 60, 15, 5, 20), {});
  EXPECT_DOUBLE_EQ(paired.baseline, 0.75);
  EXPECT_DOUBLE_EQ(paired.candidate, 0.65);
  EXPECT_NEAR(paired.difference, -0.10, 1e-12);
  EXPECT_EQ(paired.wins, 5);
  EXPECT_EQ(paired.losses, 15);
  EXPECT_EQ(paired.ties, 80);
  // Two-sided binomial test of 5 in 20: 2 * 21700 / 2^20.
  EXPECT_NEAR(*paired.mcnemar_p, 0.04138947, 1e-7);
  EXPECT_DOUBLE_EQ(paired.p, *paired.mcnemar_p);
  EXPECT_LT(paired.interval->low, -0.10);
  EXPECT_LT(paired.interval->high, 0.0);
  EXPECT_FALSE(paired.identical);
}

// Ten right answers of ten do not prove that two methods are within a point of each other.
TEST(Paired, AgreementOfFewItemsIsNotSameness) {
  Items a, b;
  const Paired few = *paired_accuracy(binary_pairs(&a, &b, 10, 0, 0, 0), {});
  EXPECT_TRUE(few.identical);
  EXPECT_EQ(judge(few, 0.01, true, 1, 0.05), Verdict::kSame);
  b.all()[3].output = "worded in another way";
  const Paired other = *paired_accuracy(match(a.refs(), b.refs()), {});
  EXPECT_FALSE(other.identical);
  EXPECT_NEAR(other.interval->high, 0.3085, 5e-4);
  EXPECT_EQ(judge(other, 0.01, true, 1, 0.05), Verdict::kInconclusive);
  Items c, d;
  const Paired all_lost = *paired_accuracy(binary_pairs(&c, &d, 0, 30, 0, 0), {});
  EXPECT_DOUBLE_EQ(all_lost.difference, -1);
  EXPECT_LT(all_lost.interval->high, -0.8);
  EXPECT_EQ(judge(all_lost, 0.01, true, all_lost.p, 0.05), Verdict::kWorse);
}

TEST(Paired, NatsPairBlockByBlock) {
  Items a, b, other;
  Random random(4);
  for (int i = 0; i < 8; ++i) {
    std::vector<Block> x, y;
    for (int block = 0; block < 4; ++block) {
      const double nll = 512 * (3 + random.normal());
      x.push_back({512, nll});
      y.push_back({512, nll + 512 * 0.05});
    }
    a.text(i, x);
    b.text(i, y);
    other.text(i, {{2047, 1.0}});
  }
  const Paired paired = *paired_nats(match(a.refs(), b.refs()), {});
  EXPECT_NEAR(paired.difference, 0.05, 1e-12);
  EXPECT_NEAR(paired.interval->low, 0.05, 1e-9);  // the text's own variance is gone
  EXPECT_EQ(paired.units, 32);
  EXPECT_EQ(paired.losses, 32);
  EXPECT_LT(paired.p, 0.001);
  EXPECT_EQ(judge(paired, 0.005 * paired.baseline, false, paired.p, 0.05), Verdict::kWorse);
  EXPECT_EQ(judge(paired, 0.1, false, paired.p, 0.05), Verdict::kSame);
  EXPECT_FALSE(paired_nats(match(a.refs(), other.refs()), {}));  // other tokens
  EXPECT_TRUE(paired_nats(match(a.refs(), a.refs()), {})->identical);
}

TEST(SignFlip, ExactOnSmallCasesAndUniformUnderTheNull) {
  const std::vector<double> same(5, 1.0);
  EXPECT_NEAR(sign_flip_p(same, 1), 2.0 / 32, 0.01);
  EXPECT_EQ(sign_flip_p(std::vector<double>(4, 0.0), 1), 1);
  Random random(8);
  int small = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<double> values;
    for (int i = 0; i < 20; ++i) values.push_back(random.normal());
    small += sign_flip_p(values, static_cast<uint64_t>(round)) <= 0.1 ? 1 : 0;
  }
  EXPECT_NEAR(small, 20, 13);  // 3 sigma of Binomial(200, 0.1)
}

TEST(Judge, NeedsBothTheIntervalAndTheAdjustedP) {
  Paired paired;
  paired.interval = Interval{0.02, 0.06};
  EXPECT_EQ(judge(paired, 0.01, true, 0.04, 0.05), Verdict::kBetter);
  EXPECT_EQ(judge(paired, 0.01, true, 0.06, 0.05), Verdict::kInconclusive);
  EXPECT_EQ(judge(paired, 0.01, false, 0.04, 0.05), Verdict::kWorse);
  EXPECT_EQ(judge(paired, 0.07, true, 0.04, 0.05), Verdict::kSame);
  paired.interval.reset();
  EXPECT_EQ(judge(paired, 0.5, true, 0.0, 0.05), Verdict::kInconclusive);
}

}  // namespace
}  // namespace kvg::reports
