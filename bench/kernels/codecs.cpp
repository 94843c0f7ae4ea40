#include "bench/kernels/codecs.h"

#include "bench/kernels/harness.h"
#include "kernels/cuda/codec/store.h"

namespace kvg {

namespace {

constexpr int kKvHeads = 8, kHeadDim = 128;

// A store of its own, rows of K and V for it, and room for what comes back.
struct Slots {
  StoreParams store;
  LoadParams load;
};

std::function<Slots(Tensors&)> slots(const Codec& codec, int64_t rows) {
  return [&codec, rows](Tensors& t) {
    Slots s;
    s.store.k = t.random(DType::bf16, {rows, kKvHeads, kHeadDim});
    s.store.v = t.random(DType::bf16, {rows, kKvHeads, kHeadDim});
    s.store.store = make_store(t, codec, kKvHeads, rows);
    s.load.k = t.output(DType::bf16, {rows, kKvHeads, kHeadDim});
    s.load.v = t.output(DType::bf16, {rows, kKvHeads, kHeadDim});
    s.load.store = s.store.store;
    return s;
  };
}

}  // namespace

const std::vector<NamedCodec>& bench_codecs() {
  static const std::vector<NamedCodec> kCodecs = [] {
    std::vector<NamedCodec> codecs;
    const auto add_codec = [&codecs](std::string name, const CodecSpec& spec) {
      codecs.push_back({std::move(name), Codec::make(spec, kHeadDim)});
    };
    add_codec("bf16", {});
    add_codec("fp8", {.kind = CodecKind::fp8});
    add_codec("int8", {.kind = CodecKind::int8});
    add_codec("eden4", {.kind = CodecKind::eden, .bits = 4});
    add_codec("eden2", {.kind = CodecKind::eden, .bits = 2});
    add_codec("eden1", {.kind = CodecKind::eden, .bits = 1});
    return codecs;
  }();
  return kCodecs;
}

void add_codecs(Workbench& bench) {
  // Verified by what comes back: a code may fall on the other side of a boundary by rounding.
  Operation<Slots> both;
  both.device = [&bench](Slots& s) {
    cuda::store(bench.context, s.store);
    cuda::load(bench.context, s.load);
  };
  both.reference = [&bench](Slots& s) {
    bench.reference->store(s.store);
    bench.reference->load(s.load);
  };
  both.results = [](const Slots& s) { return std::vector<Tensor>{s.load.k, s.load.v}; };
  both.tolerance = 2e-2;
  for (const NamedCodec& codec : bench_codecs()) {
    for (const int64_t rows : {1, 8192}) {
      const std::string suffix = "/" + codec.name + "/rows:" + std::to_string(rows);
      const auto small = slots(*codec.codec, 33), large = slots(*codec.codec, rows);
      Subject& store = add<Slots>(bench, "store" + suffix, both, small, large);
      store.make = [&bench, large](Tensors& t) {
        const auto s = std::make_shared<Slots>(large(t));
        return Work{[&bench, s] { cuda::store(bench.context, s->store); }};
      };
      Subject& load = add<Slots>(bench, "load" + suffix, both, small, large);
      load.make = [&bench, large](Tensors& t) {
        const auto s = std::make_shared<Slots>(large(t));
        cuda::store(bench.context, s->store);
        return Work{[&bench, s] { cuda::load(bench.context, s->load); }};
      };
    }
  }
}

}  // namespace kvg
