// The published semantics against the published package (scripts/golden/coda_landmark.py): the same
// decisions after every call, the same banks and attention outputs.

#include "base/names.h"
#include "model/cache/landmark_test_tools.h"
#include "model/formats/safetensors.h"

#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

namespace kvg {
namespace {

using namespace landmark_test;

class Golden {
 public:
  explicit Golden(const std::string& name)
      : file_(std::filesystem::path(KVG_SOURCE_DIR) / "model/cache/golden" /
              ("landmark_" + name + ".safetensors")) {}

  std::string text(const std::string& key) const { return file_.metadata().at(key); }
  int64_t integer(const std::string& key) const { return std::stoll(text(key)); }
  bool has(const std::string& name) const { return file_.has(name); }
  std::vector<int64_t> shape(const std::string& name) const {
    const Tensor tensor = file_.tensor(name);
    return {tensor.shape.begin(), tensor.shape.begin() + tensor.rank};
  }
  std::vector<double> values(const std::string& name) const {
    if (!file_.has(name)) return {};
    const Tensor tensor = file_.tensor(name);
    std::vector<double> out;
    for (int64_t i = 0; i < tensor.elements(); ++i) out.push_back(element(tensor, i));
    return out;
  }
  // The calls, as numbers of tokens.
  std::vector<int64_t> calls() const {
    std::vector<int64_t> sizes;
    for (const std::string& n : split(text("calls"), ',')) sizes.push_back(std::stoll(n));
    return sizes;
  }

  Tokens tokens() const {
    const std::vector<int64_t> q = shape("q");  // [tokens, 2, heads, head_dim]
    Tokens tokens;
    tokens.geometry = {static_cast<int>(q[2]), static_cast<int>(shape("k")[1]),
                       static_cast<int>(q[3]), 2};
    tokens.k = values("k");
    tokens.v = values("v");
    tokens.q = values("q");
    tokens.gate = values("gate");
    tokens.lambda = values("lam");
    tokens.eta = values("eta");
    return tokens;
  }

  std::string method() const {
    std::string method = "landmark(semantics=reference,seed=0";
    for (const char* key :
         {"window", "exact", "summary", "block", "exact_candidates", "summary_candidates",
          "refresh_on_hit", "overwrite_on_insert", "arithmetic"}) {
      method += "," + std::string(key) + "=" + text(key);
    }
    return method + ")+" + (text("arithmetic") == "bf16" ? "bf16" : "f32");
  }

 private:
  static double element(const Tensor& tensor, int64_t i) {
    switch (tensor.dtype) {
      case DType::f32:
        return static_cast<double>(static_cast<const float*>(tensor.data)[i]);
      case DType::bf16:
        return static_cast<double>(bf16_to_float(static_cast<const uint16_t*>(tensor.data)[i]));
      case DType::i64:
        return static_cast<double>(static_cast<const int64_t*>(tensor.data)[i]);
      default:
        return static_cast<double>(static_cast<const uint8_t*>(tensor.data)[i]);
    }
  }

  SafetensorsFile file_;
};

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected,
                 double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    worst = std::max(worst, std::abs(actual[i] - expected[i]) / (1 + std::abs(expected[i])));
  }
  EXPECT_LE(worst, tolerance) << what;
}

// The banks' initial content is the package's noise, so it is put in from outside.
void set_banks(Ops& ops, const Golden& golden, const Geometry& g, LandmarkLayer* layer) {
  const LandmarkBank& bank = layer->banks().bank();
  for (const bool exact : {true, false}) {
    const SlotStore& store = exact ? bank.exact : bank.summary;
    const std::string name = exact ? "initial_exact" : "initial_summary";
    if (store.capacity == 0) continue;
    const OnOps k(ops, golden.values(name + "_k").data(), {store.capacity, g.kv_heads, g.head_dim});
    const OnOps v(ops, golden.values(name + "_v").data(), {store.capacity, g.kv_heads, g.head_dim});
    ops.store({k.tensor, v.tensor, 0, store, 0});
  }
  layer->banks().refresh_units(ops, 0);
}

void expect_banks(Ops& ops, const Golden& golden, const Geometry& g, LandmarkLayer& layer,
                  const std::string& when, double tolerance) {
  const LandmarkBank& bank = layer.banks().bank();
  const auto [exact_k, exact_v] = slots(ops, bank.exact, g);
  const auto [summary_k, summary_v] = slots(ops, bank.summary, g);
  expect_near(exact_k, golden.values(when + "_exact_k"), tolerance, when + " exact K");
  expect_near(exact_v, golden.values(when + "_exact_v"), tolerance, when + " exact V");
  expect_near(summary_k, golden.values(when + "_summary_k"), tolerance, when + " summary K");
  expect_near(summary_v, golden.values(when + "_summary_v"), tolerance, when + " summary V");
}

void expect_decisions(const Golden& golden, size_t call, const LandmarkBank& bank) {
  const auto exact = static_cast<size_t>(bank.exact.capacity);
  const auto summary = static_cast<size_t>(bank.summary.capacity);
  const std::vector<double> valid = golden.values("valid");
  const std::vector<double> stamps = golden.values("stamps");
  for (size_t m = 0; m < exact; ++m) {
    EXPECT_EQ(bank.exact_valid[m], valid[call * (exact + summary) + m]) << call << " slot " << m;
    EXPECT_EQ(static_cast<double>(bank.stamps[m]), stamps[call * exact + m])
        << "call " << call << " slot " << m;
  }
  for (size_t m = 0; m < summary; ++m) {
    EXPECT_EQ(bank.summary_valid[m], valid[call * (exact + summary) + exact + m])
        << "call " << call << " summary slot " << m;
  }
}

struct Case {
  std::string name;
  double bank_tolerance;
  double output_tolerance;
};

class LandmarkGolden : public testing::TestWithParam<Case> {
 protected:
  void follow(Ops& ops) {
    const Golden golden(GetParam().name);
    const Tokens tokens = golden.tokens();
    const auto layer =
        make_layer(ops, golden.method(), tokens.geometry.cache(/*half_split=*/false));
    set_banks(ops, golden, tokens.geometry, layer.get());
    EXPECT_EQ(layer->bytes().total(), golden.integer("cache_bytes"));
    std::vector<double> out;
    int64_t done = 0;
    const std::vector<int64_t> calls = golden.calls();
    for (size_t call = 0; call < calls.size(); ++call) {
      const std::vector<double> part = feed(ops, *layer, tokens, done, calls[call]);
      out.insert(out.end(), part.begin(), part.end());
      done += calls[call];
      expect_decisions(golden, call, layer->banks().bank());
      if (static_cast<int64_t>(call) + 1 == golden.integer("prefill_calls")) {
        expect_banks(ops, golden, tokens.geometry, *layer, "prefill", GetParam().bank_tolerance);
      }
    }
    expect_banks(ops, golden, tokens.geometry, *layer, "final", GetParam().bank_tolerance);
    expect_near(out, golden.values("out"), GetParam().output_tolerance, "attention");
  }
};

TEST_P(LandmarkGolden, ReferenceOpsFollowThePackage) {
  const auto ops = make_reference_ops();
  follow(*ops);
}

TEST_P(LandmarkGolden, CpuOpsFollowThePackage) {
  const auto ops = make_cpu_ops(1);
  follow(*ops);
}

// What the layer gives for a case when one rule differs from the published one.
std::vector<double> outputs_with(Ops& ops, const std::string& name, const std::string& overrides) {
  const Golden golden(name);
  const Tokens tokens = golden.tokens();
  std::string method = golden.method();
  method.insert(method.find("seed=0"), overrides + (overrides.empty() ? "" : ","));
  const auto layer = make_layer(ops, method, tokens.geometry.cache(true));
  set_banks(ops, golden, tokens.geometry, layer.get());
  std::vector<double> out;
  int64_t done = 0;
  for (const int64_t n : golden.calls()) {
    const std::vector<double> part = feed(ops, *layer, tokens, done, n);
    out.insert(out.end(), part.begin(), part.end());
    done += n;
  }
  return out;
}

// Every quirk can be switched off by itself, and the golden cases are sharp enough to tell.
TEST(LandmarkQuirks, EachChangesSomeCase) {
  const auto ops = make_reference_ops();
  for (const std::string quirk :
       {"candidates=sorted", "routing=live", "routing=triton", "insert=free,tau_merge=0.5",
        "lf_band=pairs", "lf_band=all", "block_gate=on", "key_scale=one", "copy=exact",
        "schedule=grid", "sinks=2", "tau_gate=0.3", "tau_novel=0.5", "tau_summary=0.3",
        "count_bias=on"}) {
    double largest = 0;
    for (const std::string name : {"zero_init", "refresh"}) {
      const std::vector<double> published = outputs_with(*ops, name, "");
      const std::vector<double> other = outputs_with(*ops, name, quirk);
      for (size_t i = 0; i < other.size(); ++i) {
        largest = std::max(largest, std::abs(other[i] - published[i]));
      }
    }
    EXPECT_GT(largest, 1e-4) << quirk;
  }
}

// Normalised copies and zero key halves cost bytes and change nothing.
TEST(LandmarkQuirks, PublishedStateOnlyCostsBytes) {
  const auto ops = make_reference_ops();
  for (const std::string name : {"zero_init", "random_init", "refresh"}) {
    expect_near(outputs_with(*ops, name, "state=lean"), outputs_with(*ops, name, ""), 1e-6, name);
  }
}

// In bf16 the package rounds attention itself to 8 bits, which no set here does; banks differ by
// the last bit where sums over dimensions were rounded in another order.
INSTANTIATE_TEST_SUITE_P(All, LandmarkGolden,
                         testing::Values(Case{"zero_init", 1e-5, 1e-5},
                                         Case{"random_init", 1e-5, 1e-5},
                                         Case{"refresh", 1e-5, 1e-5},
                                         Case{"exact_only", 1e-5, 1e-5},
                                         Case{"summary_only", 1e-5, 1e-5},
                                         Case{"decode_only", 1e-5, 1e-5}, Case{"bf16", 8e-3, 2e-2}),
                         [](const auto& suite) { return suite.param.name; });

}  // namespace
}  // namespace kvg
