#pragma once

#include "kernels/decode.h"
#include "kernels/ops.h"
#include "model/method.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kvg {

// What one sequence's cache occupies, in bytes; counted from what is allocated, split by purpose.
struct CacheBytes {
  int64_t keys = 0;
  int64_t values = 0;
  int64_t scales = 0;  // of codecs
  int64_t metadata =
      0;  // gates, stamps, validity, norm copies: whatever must be kept beside K and V
  int64_t total() const { return keys + values + scales + metadata; }
  CacheBytes& operator+=(const CacheBytes& other);
  friend bool operator==(const CacheBytes&, const CacheBytes&) = default;
};

// The bytes of `layers` layers that occupy `layer` each.
CacheBytes all_layers(const CacheBytes& layer, int64_t layers);

// The geometry a cache needs to know.
struct CacheGeometry {
  int64_t layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  bool half_split_rope = true;  // which dimensions of a key turn slowly
};

// New tokens of one layer and one sequence, as they come from prepare_heads.
struct AbsorbInput {
  Tensor k;     // [n, Hkv, head_dim], rotated at the tokens' positions
  Tensor v;     // [n, Hkv, head_dim]
  Tensor gate;  // [n] wide, 1 where the model has no write gate
  int64_t first_position = 0;
  int64_t row_begin = 0;        // of the first token among the packed rows
  const double* eta = nullptr;  // [Hkv] learned summary rates, or null: the policy's default
};

// The state of one layer for one sequence, and the rules that change it.
class LayerCache {
 public:
  virtual ~LayerCache() = default;

  // Scan: takes the new tokens in and appends to `blocks` what each of them may read (itself
  // included). The blocks point into this object and stay valid until commit().
  virtual void absorb(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks) = 0;
  // Called once attention has read the blocks of the last absorb().
  virtual void commit(Ops& ops) = 0;

  // Makes room for a sequence of up to `end` tokens, then says where everything is; the addresses
  // hold until the next absorb() or decode_cache(). `eta` is the policy's default, if it has one.
  virtual DecodeCache decode_cache(Ops& ops, int64_t end) = 0;
  // Decode steps took tokens in (kernels/decode.h); the sequence now has `length` of them.
  virtual void decoded(Ops& ops, int64_t length) = 0;

  // An instrument, on host sets, before the first token: from now on groups of slots that do not
  // follow the order of positions say which tokens they hold (AttentionGroup::positions). Here:
  // there are no such groups.
  virtual void keep_positions() {}

  // What is resident between calls. Scratch of a call in flight is not counted, nor an instrument.
  virtual CacheBytes bytes() const = 0;
  virtual std::unique_ptr<LayerCache> clone(Ops& ops) const = 0;
};

// A retention policy: how much it keeps, and how.
class Policy {
 public:
  virtual ~Policy() = default;
  // Slots a layer holds after `tokens` tokens.
  virtual int64_t slots(int64_t tokens) const = 0;
  // What a layer occupies when it is provisioned for `tokens` tokens. Exact, by formula; a test
  // holds it against LayerCache::bytes().
  virtual CacheBytes bytes_per_layer(const CacheGeometry& geometry, int64_t tokens) const = 0;
  // `max_tokens` bounds the length of the sequence (only `full` provisions by it).
  virtual std::unique_ptr<LayerCache> make_layer(Ops& ops, const CacheGeometry& geometry, int layer,
                                                 int64_t max_tokens) const = 0;
  // Position of the query at `position` in the frame in which the bank is read (StreamingLLM's
  // in-cache positions), or -1 when there is only one frame.
  virtual int64_t bank_position(int64_t /*position*/) const { return -1; }
  // Whether absorb() has a long sequential part that may run beside other work (Ops::runs_beside),
  // and does not care how a sequence is cut into calls.
  virtual bool scans() const { return false; }
  // The same rules for decode steps, one token at a time: what is kept, and the geometry; the
  // batch, its longest sequence and the streams of attention are the caller's.
  virtual DecodePlan decode_plan(const CacheGeometry& geometry) const = 0;
};

// A plan that has the geometry and keeps everything.
DecodePlan plain_decode_plan(const CacheGeometry& geometry);

// One row of the table of policies (model/cache/policies.cpp).
struct PolicyEntry {
  std::string name;
  std::string help;
  std::vector<ArgumentSpec> arguments;
  std::unique_ptr<Policy> (*make)(const Method& method);
};

std::span<const PolicyEntry> policy_table();
const PolicyEntry& find_policy(std::string_view name);  // throws Error with the nearest name
std::unique_ptr<Policy> make_policy(const Method& method);

}  // namespace kvg
