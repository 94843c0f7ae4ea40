#include "base/random.h"
#include "reports/charts/forest_chart.h"
#include "reports/charts/frame.h"
#include "reports/charts/heat_map.h"
#include "reports/charts/line_chart.h"
#include "reports/charts/scale.h"
#include "reports/charts/scatter_chart.h"
#include "reports/markup_test_util.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

namespace kvg::reports {
namespace {

TEST(Scale, MapsLinearlyAndByLogarithm) {
  const Scale linear = {0, 10, 100, 200, false};
  EXPECT_DOUBLE_EQ(linear(2.5), 125);
  const Scale logarithmic = {1, 100, 0, 50, true};
  EXPECT_NEAR(logarithmic(10), 25, 1e-9);
}

TEST(Ticks, AreRoundCoverTheRangeAndAgreeWithTheirLabels) {
  Random random(11);
  for (int round = 0; round < 200; ++round) {
    const double low = random.normal() * 10, high = low + std::exp(random.normal() * 4);
    const std::vector<Tick> ticks = linear_ticks(low, high, 5);
    ASSERT_GE(ticks.size(), 2u);
    ASSERT_LE(ticks.size(), 7u);
    for (const Tick& tick : ticks) {
      EXPECT_GE(tick.value, low - (high - low) * 1e-6);
      EXPECT_LE(tick.value, high + (high - low) * 1e-6);
    }
    for (size_t i = 1; i < ticks.size(); ++i) EXPECT_NE(ticks[i].label, ticks[i - 1].label);
  }
  const std::vector<Tick> quarters = linear_ticks(0, 1, 4);
  EXPECT_EQ(quarters[1].label, "0.25");
  const std::vector<Tick> bytes = byte_ticks(0.9e6, 12e6);
  ASSERT_EQ(bytes.size(), 4u);
  EXPECT_EQ(bytes[0].label, "1\u00A0MB");
  EXPECT_EQ(bytes[3].label, "10\u00A0MB");
}

TEST(Frame, SpreadsLabelsApartInOrder) {
  Random random(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<double> wanted;
    for (int i = 0; i < 8; ++i) wanted.push_back(random.uniform() * 200);
    const std::vector<double> placed = spread_apart(wanted, 14, 0, 200);
    for (size_t i = 0; i < placed.size(); ++i) {
      EXPECT_GE(placed[i], -1e-9);
      EXPECT_LE(placed[i], 200 + 1e-9);
      for (size_t j = 0; j < i; ++j) {
        EXPECT_GE(std::abs(placed[i] - placed[j]), 14 - 1e-6);
        EXPECT_EQ(wanted[i] < wanted[j], placed[i] < placed[j]);
      }
    }
  }
  EXPECT_EQ(spread_apart({10, 100}, 14, 0, 200), (std::vector<double>{10, 100}));
}

TEST(Frame, CutsOutliersOnlyWhenFewAreFarOut) {
  EXPECT_FALSE(outlier_limit({1, 2, 3}));
  EXPECT_FALSE(outlier_limit({1, 100}));
  EXPECT_FALSE(outlier_limit({100, 0, 0}));
  EXPECT_NEAR(*outlier_limit({1, 100, 2}), 2.7, 1e-9);
  EXPECT_NEAR(*outlier_limit({1, 100, 2, 90, 1.5}), 2.7, 1e-9);
}

TEST(HeatMap, ScaleFallsInLightnessAllTheWay) {
  const auto lightness = [](double value) {
    const std::string colour = heat_colour(value);
    const auto part = [&](size_t at) { return std::stoi(colour.substr(at, 2), nullptr, 16); };
    return 0.3 * part(1) + 0.59 * part(3) + 0.11 * part(5);
  };
  for (int i = 1; i <= 20; ++i) EXPECT_LT(lightness(i / 20.0), lightness((i - 1) / 20.0));
  EXPECT_FALSE(heat_text_is_white(0));
  EXPECT_TRUE(heat_text_is_white(1));
}

TEST(HeatMap, HatchesSmallCellsOnlyAndLeavesMissingOnesEmpty) {
  HeatMaps maps;
  maps.rows = {"10 %"};
  maps.columns = {"512", "1,024", "2,048"};
  maps.panels = {{"<full>", {HeatCell{0.37, 19, ""}, HeatCell{0.81, 20, "a&b"}, std::nullopt}}};
  const std::string svg = draw(maps);
  EXPECT_EQ(markup_error(svg), "");
  EXPECT_NE(svg.find(">37<"), std::string::npos);
  EXPECT_NE(svg.find(">81<"), std::string::npos);
  EXPECT_EQ(count_of(svg, "class=\"hv\""), 2u);
  EXPECT_EQ(count_of(svg, "class=\"hh\""), 2u);  // the cell of 19 and the legend
  EXPECT_NE(svg.find("&lt;full&gt;"), std::string::npos);
}

TEST(Scatter, FrontIsWhatNoOtherPointBeats) {
  ScatterChart chart;
  const auto point = [](double bytes, double value) {
    return ScatterPoint{"p", {}, bytes, value, value, value, ""};
  };
  chart.points = {point(100, 0.9), point(10, 0.5), point(20, 0.4), point(50, 0.7), point(50, 0.6)};
  EXPECT_EQ(pareto_front(chart), (std::vector<size_t>{1, 3, 0}));
  chart.higher_is_better = false;
  EXPECT_EQ(pareto_front(chart), (std::vector<size_t>{1, 2}));
  EXPECT_EQ(markup_error(draw(chart)), "");
}

TEST(LineChart, LinesLeaveThePlotAtItsTopAndSayWhereTo) {
  LineChart chart;
  chart.title = "t";
  chart.categories = {"a", "b"};
  chart.cut_outliers = true;
  for (const double end : {1.0, 1.1, 50.0}) {
    chart.series.push_back({"s", method_style(0), {{0, 1, 1, 1, ""}, {1, end, end, end, ""}}});
  }
  chart.series[0].points[0].value = 0.5;
  const std::string svg = draw(chart);
  EXPECT_EQ(markup_error(svg), "");
  EXPECT_NE(svg.find("\u2191 50.00"), std::string::npos);
}

TEST(Charts, EmptyAndSinglePointsDraw) {
  EXPECT_EQ(markup_error(draw(LineChart{})), "");
  EXPECT_EQ(markup_error(draw(ScatterChart{})), "");
  EXPECT_EQ(markup_error(draw(HeatMaps{})), "");
  EXPECT_EQ(markup_error(draw(ForestChart{})), "");
  LineChart line;
  line.categories = {"a"};
  line.series = {{"s", method_style(7), {{0, 1, 0.5, 1.5, "n"}}}};
  EXPECT_EQ(markup_error(draw(line)), "");
  ForestChart forest;
  forest.rows = {{"a", method_style(0)}, {"b", method_style(1)}, {"c", control_style(0)}};
  forest.panels = {
      {"t",
       "x",
       "worse",
       "better",
       {ForestEntry{-0.5, -0.6, -0.4, "x", "<n>"}, std::nullopt, ForestEntry{0, 0, 0, "", ""}},
       0.01,
       100}};
  const std::string svg = draw(forest);
  EXPECT_EQ(markup_error(svg), "");
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace kvg::reports
