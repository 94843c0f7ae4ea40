#include "kernels/ops_check.h"

#include <algorithm>
#include <initializer_list>

namespace kvg {
namespace {

bool is(const Tensor& tensor, DType dtype, std::initializer_list<int64_t> shape) {
  return tensor.dtype == dtype && tensor.rank == static_cast<int>(shape.size()) &&
         std::equal(shape.begin(), shape.end(), tensor.shape.begin()) &&
         (tensor.data != nullptr || tensor.elements() == 0);
}

bool is_absent_or(const Tensor& tensor, DType dtype, std::initializer_list<int64_t> shape) {
  return !tensor || is(tensor, dtype, shape);
}

void check_rank(const Tensor& tensor, int rank) { KVG_CHECK(tensor.rank == rank, "wrong rank"); }

void check_store(const SlotStore& store, int64_t head_dim, int64_t first_slot, int64_t count) {
  if (count == 0) return;
  KVG_CHECK(count > 0 && count <= store.capacity, "more slots than the store has");
  KVG_CHECK(first_slot >= 0 && first_slot < store.capacity, "first slot");
  KVG_CHECK(store.k_codec != nullptr && store.v_codec != nullptr, "a store needs its codecs");
  KVG_CHECK(store.k_codec->head_dim() == head_dim && store.v_codec->head_dim() == head_dim,
            "codec of another head_dim");
  KVG_CHECK(store.k_codes != nullptr && store.v_codes != nullptr, "a store needs memory for codes");
  KVG_CHECK(store.k_codec->scale_bytes() == 0 || store.k_scales != nullptr, "scales of K");
  KVG_CHECK(store.v_codec->scale_bytes() == 0 || store.v_scales != nullptr, "scales of V");
}

// Contents are looked at where the host can.
void check_indices(const Tensor& indices, int64_t limit) {
  if (indices.device != Device::cpu) return;
  const int32_t* index = indices.as<int32_t>();
  for (int64_t row = 0; row < indices.size(0); ++row) {
    KVG_CHECK(index[row] >= 0 && index[row] < limit, "token outside of the vocabulary");
  }
}

void check_bank_positions(const PrepareHeadsParams& p) {
  if (p.positions.device != Device::cpu) return;
  const int64_t* position = p.positions.as<int64_t>();
  const int64_t* bank_position = p.bank_positions.as<int64_t>();
  for (int64_t row = 0; row < p.positions.size(0); ++row) {
    KVG_CHECK(bank_position[row] <= position[row], "in-cache position after the token's own");
  }
}

}  // namespace

void check(const EmbedParams& p, DType scalar) {
  check_rank(p.tokens, 1);
  check_rank(p.table, 2);
  KVG_CHECK(is(p.tokens, DType::i32, {p.tokens.size(0)}), "embed: tokens");
  KVG_CHECK(is(p.table, scalar, {p.table.size(0), p.table.size(1)}), "embed: table");
  KVG_CHECK(is(p.out, scalar, {p.tokens.size(0), p.table.size(1)}), "embed: out");
  check_indices(p.tokens, p.table.size(0));
}

void check(const RmsNormParams& p, DType scalar) {
  check_rank(p.x, 2);
  const int64_t rows = p.x.size(0);
  const int64_t hidden = p.x.size(1);
  KVG_CHECK(is(p.x, scalar, {rows, hidden}), "rms_norm: x");
  KVG_CHECK(is_absent_or(p.delta, scalar, {rows, hidden}), "rms_norm: delta");
  KVG_CHECK(is(p.weight, scalar, {hidden}), "rms_norm: weight");
  KVG_CHECK(is(p.out, scalar, {rows, hidden}), "rms_norm: out");
}

void check(const LinearParams& p, DType scalar) {
  check_rank(p.x, 2);
  check_rank(p.weight, 2);
  const int64_t outputs = p.weight.size(0);
  KVG_CHECK(is(p.x, scalar, {p.x.size(0), p.weight.size(1)}), "linear: x");
  KVG_CHECK(is(p.weight, scalar, {outputs, p.x.size(1)}), "linear: weight");
  KVG_CHECK(is_absent_or(p.bias, scalar, {outputs}), "linear: bias");
  KVG_CHECK(
      is(p.out, scalar, {p.x.size(0), outputs}) || is(p.out, wide(scalar), {p.x.size(0), outputs}),
      "linear: out");
  KVG_CHECK(p.out.data != p.x.data || p.out.elements() == 0, "linear: out must not be x");
}

void check(const SwigluParams& p, DType scalar) {
  check_rank(p.out, 2);
  KVG_CHECK(is(p.gate_up, scalar, {p.out.size(0), 2 * p.out.size(1)}), "swiglu: gate_up");
  KVG_CHECK(is(p.out, scalar, {p.out.size(0), p.out.size(1)}), "swiglu: out");
}

void check(const GatedLinearParams& p, DType scalar) {
  check(LinearParams{p.x, p.weight, Tensor(), p.gate_up}, scalar);
  check(SwigluParams{p.gate_up, p.out}, scalar);
  KVG_CHECK(p.out.data != p.x.data || p.out.elements() == 0, "gated_linear: out must not be x");
}

void check(const PrepareHeadsParams& p, DType scalar) {
  check_rank(p.fused, 2);
  const int64_t rows = p.fused.size(0);
  const int64_t width = p.fused.size(1);
  const int64_t frames = p.bank_positions ? 2 : 1;
  const int64_t streams = p.theta ? 2 : 1;
  KVG_CHECK(p.head_dim > 0 && p.head_dim % 2 == 0, "RoPE needs an even head_dim");
  KVG_CHECK(p.kv_heads > 0 && p.heads > 0 && p.heads % p.kv_heads == 0, "heads a KV head");
  KVG_CHECK(width >= int64_t{p.heads + 2 * p.kv_heads} * p.head_dim, "prepare_heads: fused");
  KVG_CHECK(is(p.fused, scalar, {rows, width}), "prepare_heads: fused");
  KVG_CHECK(is(p.positions, DType::i64, {rows}), "prepare_heads: positions");
  KVG_CHECK(is_absent_or(p.bank_positions, DType::i64, {rows}), "prepare_heads: bank_positions");
  KVG_CHECK(is_absent_or(p.theta, wide(scalar), {p.heads, p.head_dim / 2}), "prepare_heads: theta");
  KVG_CHECK(is(p.q, scalar, {frames * rows, streams, p.heads, p.head_dim}), "prepare_heads: q");
  KVG_CHECK(is(p.k, scalar, {rows, p.kv_heads, p.head_dim}), "prepare_heads: k");
  KVG_CHECK(is(p.v, scalar, {rows, p.kv_heads, p.head_dim}), "prepare_heads: v");
  KVG_CHECK(is_absent_or(p.lambda, wide(scalar), {rows, p.heads}), "prepare_heads: lambda");
  KVG_CHECK(is_absent_or(p.gate, wide(scalar), {rows}), "prepare_heads: gate");
  KVG_CHECK(p.lambda_column < 0 || p.lambda || rows == 0, "prepare_heads: nowhere for lambda");
  KVG_CHECK(!p.lambda || p.lambda_column >= 0, "prepare_heads: no columns for lambda");
  KVG_CHECK(p.lambda_column + p.heads <= width || p.lambda_column < 0, "columns of lambda");
  KVG_CHECK(p.gate_column < width, "column of the gate");
  if (p.bank_positions) check_bank_positions(p);
}

void check(const StoreParams& p, DType scalar) {
  check_rank(p.k, 3);
  KVG_CHECK(is(p.k, scalar, {p.k.size(0), p.k.size(1), p.k.size(2)}), "store: k");
  KVG_CHECK(is(p.v, scalar, {p.k.size(0), p.k.size(1), p.k.size(2)}), "store: v");
  check_store(p.store, p.k.size(2), p.first_slot, p.k.size(0));
}

void check(const LoadParams& p, DType scalar) {
  check_rank(p.k, 3);
  KVG_CHECK(is(p.k, scalar, {p.k.size(0), p.k.size(1), p.k.size(2)}), "load: k");
  KVG_CHECK(is(p.v, scalar, {p.k.size(0), p.k.size(1), p.k.size(2)}), "load: v");
  check_store(p.store, p.k.size(2), p.first_slot, p.k.size(0));
}

void check(const CopySlotsParams& p) {
  KVG_CHECK(p.kv_heads > 0, "copy_slots: heads");
  if (p.count == 0) return;
  KVG_CHECK(p.from.k_codec != nullptr && p.from.v_codec != nullptr && p.to.k_codec != nullptr &&
                p.to.v_codec != nullptr && p.from.k_codec->spec() == p.to.k_codec->spec() &&
                p.from.v_codec->spec() == p.to.v_codec->spec() &&
                p.from.k_codec->code_bytes() == p.to.k_codec->code_bytes(),
            "slots are copied between equal codecs");
  check_store(p.from, p.from.k_codec->head_dim(), p.from_slot, p.count);
  check_store(p.to, p.to.k_codec->head_dim(), p.to_slot, p.count);
}

void check(const AttentionParams& p, DType scalar) {
  check_rank(p.out, 3);
  const int64_t rows = p.out.size(0);
  KVG_CHECK(p.kv_heads > 0 && p.heads > 0 && p.heads % p.kv_heads == 0, "heads a KV head");
  KVG_CHECK(p.frames >= 1 && (p.streams == 1 || p.streams == 2), "attention: frames, streams");
  KVG_CHECK(is(p.q, scalar, {p.frames * rows, p.streams, p.heads, p.head_dim}), "attention: q");
  KVG_CHECK(is(p.out, scalar, {rows, p.heads, p.head_dim}), "attention: out");
  KVG_CHECK(is_absent_or(p.lambda, wide(scalar), {rows, p.heads}), "attention: lambda");
  KVG_CHECK((p.streams == 2) == static_cast<bool>(p.lambda) || rows == 0,
            "lambda belongs to two streams");
  KVG_CHECK(is_absent_or(p.head_norm, scalar, {p.head_dim}), "attention: head_norm");
  KVG_CHECK(is_absent_or(p.log_sum, wide(scalar), {rows, p.streams, p.heads}),
            "attention: log_sum");
  for (const AttentionBlock& block : p.blocks) {
    KVG_CHECK(block.row_begin >= 0 && block.rows >= 0 && block.row_begin + block.rows <= rows,
              "attention: rows of a block");
    for (const AttentionGroup& group : block.groups) {
      KVG_CHECK(group.query_frame >= 0 && group.query_frame < p.frames, "attention: query frame");
      KVG_CHECK(group.window >= 0, "attention: window");
      check_store(group.store, p.head_dim, group.first_slot, group.count);
    }
  }
}

void check(const NllParams& p, DType scalar) {
  check_rank(p.logits, 2);
  KVG_CHECK(is(p.logits, wide(scalar), {p.logits.size(0), p.logits.size(1)}), "nll: logits");
  KVG_CHECK(is(p.targets, DType::i32, {p.logits.size(0)}), "nll: targets");
  KVG_CHECK(is(p.nll, DType::f64, {p.logits.size(0)}), "nll: nll");
  check_indices(p.targets, p.logits.size(1));
}

}  // namespace kvg
