#pragma once

#include "kernels/codec.h"
#include "kernels/phase.h"
#include "kernels/tensor.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

// The operations a forward pass is made of. The model is written once against `Ops`; a set of
// operations implements it for one kind of machine: ReferenceOps (double precision, the
// definition), CpuOps (fp32, threads and BLAS), CudaOps (bf16 in memory, fp32 in registers).
// Operations are checked against the reference on random inputs.
//
// Conventions. "rows" are the packed new tokens of all sequences of a batch, never padded.
// Activations have the set's `activation()` type; weights are stored as the set's `weight()` type.
// "wide" is the type of what must not be rounded to bf16: wide(activation()).
// All tensors are dense, row-major, on the set's device. Parameters are plain data; each operation
// validates shapes with KVG_CHECK and never allocates what it returns.
namespace kvg {

constexpr DType wide(DType activation) {
  return activation == DType::bf16 ? DType::f32 : activation;
}

// out[r] = table[tokens[r]]
struct EmbedParams {
  Tensor tokens;  // [rows] i32
  Tensor table;   // [vocab, hidden] weight
  Tensor out;     // [rows, hidden]
};

// If `delta` is given, x += delta first (the residual stream, in place). Then
// out = x / sqrt(mean(x^2) + eps) * weight.
struct RmsNormParams {
  Tensor x;       // [rows, hidden], updated when delta is given
  Tensor delta;   // [rows, hidden] or empty
  Tensor weight;  // [hidden]
  double eps = 1e-5;
  Tensor out;  // [rows, hidden]
};

// out = x W^T (+ bias)
struct LinearParams {
  Tensor x;       // [rows, in]
  Tensor weight;  // [out, in]
  Tensor bias;    // [out] or empty
  Tensor out;     // [rows, out], activation or wide
};

// out = silu(gate) * up, with gate and up side by side in one row
struct SwigluParams {
  Tensor gate_up;  // [rows, 2 * ffn]
  Tensor out;      // [rows, ffn]
};

// out = silu(x G^T) * (x U^T): linear, then swiglu, or both at once.
struct GatedLinearParams {
  Tensor x;        // [rows, in]
  Tensor weight;   // [2 * ffn, in]: G, then U
  Tensor gate_up;  // [rows, 2 * ffn], left undefined
  Tensor out;      // [rows, ffn]
};

// Rotary position embedding. Pair i of head_dim/2 is (i, i + head_dim/2) when half_split (Llama,
// Mistral in the Hugging Face layout) or (2i, 2i+1) otherwise;
// angle = position * base^(-2i/head_dim). `bf16_angles` emulates a published defect: position,
// inverse frequency and angle are rounded to bf16, as are cosine and sine. Only `landmark`
// checkpoints trained that way want it.
struct RopeSettings {
  double base = 10000.0;
  bool half_split = true;
  bool bf16_angles = false;
};

// Splits one row of the fused projection [q | k | v | lambda | gate] into what the cache and
// attention need:
//   q stream 0: RoPE_p(q);
//   q stream 1 (coda): R_theta RoPE_p(q), R_theta turning the interleaved pairs (2j, 2j+1) by
//   theta[h, j] whatever the RoPE pairing is (the published rule);
//   k: RoPE_p(k);  v: copied;  gate: sigmoid;
//   lambda: sigmoid, or -sigmoid under `negate_lambda`: attention's o_0 - lambda o_1 then adds the
//   second map (a control of equal cost).
// `bank_positions`, when given, makes a second frame of queries for slots that keep in-cache
// positions (StreamingLLM): with c = bank_positions[r] <= p = positions[r],
//   frame 1: every stream computed at position c;
//   frame 0: RoPE_{p-c} of frame 1 (for one-stream attention the same as computing it at p).
// Keys stay rotated at their stream positions, so a query in frame 0 sees a recent key at the same
// distance, and in frame 1 a sink as if the cache were re-numbered from 0. This equals un-rotated
// keys with positions inside the cache, without touching a key.
struct PrepareHeadsParams {
  Tensor fused;           // [rows, (H + 2 Hkv) head_dim + extra]
  Tensor positions;       // [rows] i64
  Tensor bank_positions;  // [rows] i64 or empty
  RopeSettings rope;
  int heads = 0, kv_heads = 0, head_dim = 0;
  Tensor theta;            // [H, head_dim/2] wide, empty: one stream
  int lambda_column = -1;  // first column of lambda (H of them) in `fused`, -1: none
  bool negate_lambda = false;
  int gate_column = -1;  // column of the write gate in `fused`, -1: none (gates are 1)
  Tensor q;       // [frames, rows, streams, H, head_dim]  (written as 4-d: [frames*rows, ...])
  Tensor k;       // [rows, Hkv, head_dim]
  Tensor v;       // [rows, Hkv, head_dim]
  Tensor lambda;  // [rows, H] wide or empty
  Tensor gate;    // [rows] wide
};

// A group of slots of one layer and one sequence that share a codec.
// codes [kv_heads, capacity, code_bytes], scales [kv_heads, capacity] (fp16) for K and for V.
struct SlotStore {
  const Codec* k_codec = nullptr;
  const Codec* v_codec = nullptr;
  int64_t capacity = 0;
  uint8_t* k_codes = nullptr;
  uint8_t* v_codes = nullptr;
  uint16_t* k_scales = nullptr;  // null when the codec has none
  uint16_t* v_scales = nullptr;
};

// Encode rows of K and V into slots (first_slot + i) mod capacity, i = 0..rows-1.
struct StoreParams {
  Tensor k;  // [rows, Hkv, head_dim]
  Tensor v;  // [rows, Hkv, head_dim]
  int32_t layer = 0;
  SlotStore store;
  int64_t first_slot = 0;
};

// The inverse: decode slots (first_slot + i) mod capacity into rows, back in the original frame.
struct LoadParams {
  Tensor k;  // [rows, Hkv, head_dim]
  Tensor v;  // [rows, Hkv, head_dim]
  int32_t layer = 0;
  SlotStore store;
  int64_t first_slot = 0;
};

// Copies slots (from_slot + i) mod capacity of one store to (to_slot + i) mod capacity of another,
// as stored bytes, K and V of every head, i < count. Same codecs, different memory.
struct CopySlotsParams {
  SlotStore from;
  SlotStore to;
  int kv_heads = 0;
  int64_t from_slot = 0;
  int64_t to_slot = 0;
  int64_t count = 0;
};

// What a block of queries may read of one group: slots (first_slot + i) mod capacity,
// i = 0..count-1.
struct AttentionGroup {
  SlotStore store;
  int64_t first_slot = 0;
  int64_t count = 0;
  // >= 0: slot i holds the token of position first_position + i, and the query at position t reads
  // max(first_position, t - window + 1 if window > 0) .. t. < 0: every query reads all valid slots.
  int64_t first_position = -1;
  int64_t window = 0;
  // [count] by i, 0 = not readable (but must decode to finite numbers, as zero-filled memory does,
  // because it takes part in products with weight 0); null: all readable.
  const uint8_t* valid = nullptr;
  const float* log_weight = nullptr;  // [count] by i, added to the logit; null: none
  int query_frame = 0;                // which frame of q reads this group
  // An instrument, in host memory, nothing to attention: [count] by i, position of the token that
  // the slot holds as it was, -1: none; null: not kept, or told by first_position.
  const int64_t* positions = nullptr;
};

// Consecutive rows of one sequence that may read the same groups.
struct AttentionBlock {
  int64_t row_begin = 0;
  int64_t rows = 0;
  int64_t first_position = 0;  // position of row_begin
  std::vector<AttentionGroup> groups;
};

// Softmax attention over all groups of a block together, each stream by itself:
//   o_s = softmax([scale q_s K^T + log_weight]) V;  out = o_0 - lambda * o_1 for two streams;
//   head_norm, when given: out *= w / sqrt(mean_d(out^2) + eps) per head.
// KV head of query head h is h / (H / Hkv). A row that can read nothing gives zeros. Partial
// softmaxes of groups (codecs) are merged by log-sum-exp. FLOPs: 4 * streams * H * head_dim a
// visible slot and row.
struct AttentionParams {
  Tensor q;  // [frames, rows, streams, H, head_dim] (first two dimensions merged)
  int frames = 1;
  int streams = 1;
  int heads = 0, kv_heads = 0, head_dim = 0;
  int32_t layer = 0;
  double scale = 0;  // usually 1/sqrt(head_dim)
  Tensor lambda;     // [rows, H] wide, empty for one stream
  Tensor head_norm;  // [head_dim] or empty
  double head_norm_eps = 1e-6;
  std::span<const AttentionBlock> blocks;
  Tensor out;  // [rows, H, head_dim]
  // [rows, streams, H] wide or empty: log of the sum of exponentials of a softmax, -infinity where
  // a row reads nothing. For merging with attention elsewhere; not every set has it (KVG_CHECK).
  Tensor log_sum;
};

// For each row: nll = logsumexp(logits) - logits[target], in nats (double on every set).
struct NllParams {
  Tensor logits;   // [rows, vocab] wide
  Tensor targets;  // [rows] i32
  Tensor nll;      // [rows] f64
};

// The bank update of the `landmark` retention: kernels/landmark.h.
struct LandmarkParams;

// Decoding a batch without the host in between: kernels/decode.h.
struct DecodePlan;
struct DecodeCache;
struct DecodeAttentionParams;
struct SampleParams;
class DecodeState;
class Recording;

// Where time went, for the ledger; seconds since the last reset. Only what a set can measure.
struct OpsProfile {
  double gemm = 0;       // inside BLAS, of all operations
  double attention = 0;  // attention, BLAS calls included
  double total = 0;      // all operations
};

// Memory owned through a set of operations. Freed with it.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() const = 0;
  virtual size_t bytes() const = 0;
};

// One of several uploads: elements of `from` into as many of `out`.
struct UploadParams {
  Tensor from;
  Tensor out;
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual std::string_view name() const = 0;
  virtual Device device() const = 0;
  virtual DType activation() const = 0;
  virtual DType weight() const = 0;

  // Zero-filled, 64-byte aligned. Throws Error (with the size) when there is not enough memory.
  virtual std::unique_ptr<Buffer> allocate(size_t bytes) = 0;
  // The same for what is written before it is read: possibly not zero-filled.
  virtual std::unique_ptr<Buffer> allocate_scratch(size_t bytes) { return allocate(bytes); }
  // Copies elements and converts their type where needed (f64, f32, f16, bf16), from host memory or
  // from this set's.
  virtual void upload(const Tensor& from, const Tensor& out) = 0;
  // Several at once, in any order: none may write what another reads or writes.
  virtual void upload_all(std::span<const UploadParams> uploads);
  // Copies bytes between any two of: host memory, memory of this set. Ranges must not overlap.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;

  virtual void embed(const EmbedParams&) = 0;
  virtual void rms_norm(const RmsNormParams&) = 0;
  virtual void linear(const LinearParams&) = 0;
  virtual void swiglu(const SwigluParams&) = 0;
  virtual void gated_linear(const GatedLinearParams&);
  virtual void prepare_heads(const PrepareHeadsParams&) = 0;
  virtual void store(const StoreParams&) = 0;
  virtual void load(const LoadParams&) = 0;
  virtual void copy_slots(const CopySlotsParams&) = 0;
  virtual void attention(const AttentionParams&) = 0;
  virtual void landmark(const LandmarkParams&) = 0;
  // Whether k and v may have strides (LandmarkParams::token_stride) where all else is as given.
  virtual bool landmark_takes_strides(const LandmarkParams&) const { return false; }
  // Whether an operation that asks for it (LandmarkParams::beside) runs beside those after it.
  virtual bool runs_beside() const { return false; }
  virtual void nll(const NllParams&) = 0;

  // kernels/decode.h. The host sets put a step together from the operations above.
  virtual std::unique_ptr<DecodeState> prepare_decode(DecodePlan plan,
                                                      std::vector<DecodeCache> caches);
  virtual void decode_evict(DecodeState& state, const Tensor& positions);
  virtual void decode_attention(const DecodeAttentionParams&);
  virtual void sample(const SampleParams&);
  // `step` issues operations whose parameters do not change from one repetition to the next. It is
  // run by record() at most to record it: only replay() has effects. Its captures must outlive the
  // recording.
  virtual std::unique_ptr<Recording> record(std::function<void()> step);

  // Operations from here on belong to this phase of this layer (-1: none).
  virtual void phase(Phase phase, int layer) = 0;
  // Starts a ledger, or, with times off, stops. A recording is timed if it was recorded so.
  virtual void trace(const TraceOptions& options) = 0;
  // The ledger since the last call of trace() or take_ledger(); waits for the device. Of a
  // recording it has the latest replay.
  virtual PhaseLedger take_ledger() = 0;
  // What of every interval in a ledger is the timing itself: to be taken off its seconds.
  virtual double empty_interval_seconds() { return 0; }
  // Waits until everything issued is done.
  virtual void synchronize() {}
  // Bytes that allocate() can still give.
  virtual uint64_t available_memory() const;

  virtual OpsProfile profile() const = 0;
  virtual void reset_profile() = 0;
};

// Double precision throughout; slow, readable, the judge of the others.
std::unique_ptr<Ops> make_reference_ops();
// fp32 on the host's cores (OpenBLAS, own threads). `threads` 0: all.
std::unique_ptr<Ops> make_cpu_ops(int threads = 0);

}  // namespace kvg
