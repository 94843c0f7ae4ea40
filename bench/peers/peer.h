#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <cuda_runtime_api.h>

namespace kvg {

// Causal attention of one sequence, bf16: its last `rows` tokens read themselves and all before
// them, `keys` in all.
struct PeerAttentionShape {
  int64_t rows = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;
  int64_t keys = 0;      // at least `rows`; 0: as many
  int64_t capacity = 0;  // slots of a store that k and v lie in; 0: they are rows of their own
};

// Someone else's attention kernel behind one interface.
class PeerAttention {
 public:
  virtual ~PeerAttention() = default;
  // q, out [rows, heads, head_dim]; k, v [keys, kv_heads, head_dim], or in a store [kv_heads,
  // capacity, head_dim]; softmax(q k^T / sqrt(head_dim)).
  virtual void run(const void* q, const void* k, const void* v, void* out, cudaStream_t stream) = 0;
};

// A peer, or in one line why there is none here.
struct PeerResult {
  std::unique_ptr<PeerAttention> peer;
  std::string absent;
};

// cuDNN's scaled dot product attention through cudnn-frontend. Absent when the program was built
// without cudnn-frontend's headers, or where libcudnn.so.9 cannot be loaded.
PeerResult make_cudnn_attention(const PeerAttentionShape& shape);

// Version for the record; "absent: ..." without.
std::string cudnn_version();

}  // namespace kvg
