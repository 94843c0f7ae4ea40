#include "bench/peers/peer.h"

#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>

#include <cudnn_frontend.h>
#include <dlfcn.h>

// The frontend resolves every function of cuDNN through this handle.
namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace kvg {

namespace {

namespace fe = cudnn_frontend;

// "" when the library is there.
std::string load_library() {
  if (fe::cudnn_dlhandle == nullptr) {
    fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_GLOBAL);
  }
  return fe::cudnn_dlhandle != nullptr ? "" : "libcudnn.so.9 is not found";
}

void require(fe::error_t status) {
  if (!status.is_good()) throw std::runtime_error(status.get_message());
}

enum Id : int64_t { kQ = 1, kK, kV, kOut };

// One for all shapes, as long as the process lives: a chunked prefill has many, and each handle
// holds memory.
cudnnHandle_t handle() {
  static cudnnHandle_t handle = nullptr;
  if (handle == nullptr && fe::detail::create_handle(&handle) != CUDNN_STATUS_SUCCESS) {
    throw std::runtime_error("cuDNN does not start on this device");
  }
  return handle;
}

class CudnnAttention : public PeerAttention {
 public:
  explicit CudnnAttention(PeerAttentionShape shape) {
    if (shape.keys == 0) shape.keys = shape.rows;
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    const std::vector<int64_t> q_dims = {1, shape.heads, shape.rows, shape.head_dim};
    const std::vector<int64_t> kv_dims = {1, shape.kv_heads, shape.keys, shape.head_dim};
    const std::vector<int64_t> kv_strides =
        shape.capacity > 0 ? stored(shape) : side_by_side(shape.keys, shape.kv_heads, shape);
    const auto q = tensor("q", kQ, q_dims, side_by_side(shape.rows, shape.heads, shape));
    const auto k = tensor("k", kK, kv_dims, kv_strides);
    const auto v = tensor("v", kV, kv_dims, kv_strides);
    fe::graph::SDPA_attributes attributes;
    attributes.set_name("attention")
        .set_generate_stats(false)
        .set_attn_scale(1.0f / std::sqrt(static_cast<float>(shape.head_dim)));
    if (shape.keys == shape.rows) {
      attributes.set_causal_mask(true);
    } else {
      attributes.set_causal_mask_bottom_right(true);  // the newest row reads every key
    }
    auto [out, stats] = graph_.sdpa(q, k, v, attributes);
    out->set_output(true)
        .set_dim(q_dims)
        .set_stride(side_by_side(shape.rows, shape.heads, shape))
        .set_uid(kOut);
    require(graph_.build(handle(), {fe::HeurMode_t::A}));
    int64_t bytes = 0;
    require(graph_.get_workspace_size(bytes));
    if (bytes > 0 && cudaMalloc(&workspace_, static_cast<size_t>(bytes)) != cudaSuccess) {
      throw std::runtime_error("no memory for cuDNN's workspace");
    }
  }
  ~CudnnAttention() override { (void)cudaFree(workspace_); }
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  void run(const void* q, const void* k, const void* v, void* out, cudaStream_t stream) override {
    (void)fe::detail::set_stream(handle(), stream);
    std::unordered_map<int64_t, void*> tensors = {{kQ, const_cast<void*>(q)},
                                                  {kK, const_cast<void*>(k)},
                                                  {kV, const_cast<void*>(v)},
                                                  {kOut, out}};
    require(graph_.execute(handle(), tensors, workspace_));
  }

 private:
  using Extents = std::vector<int64_t>;

  // Of [1, heads, rows, head_dim] where the heads of a row lie side by side.
  static Extents side_by_side(int64_t rows, int64_t heads, const PeerAttentionShape& shape) {
    return {rows * heads * shape.head_dim, shape.head_dim, heads * shape.head_dim, 1};
  }
  // Where the rows of a head do, as in a store.
  static Extents stored(const PeerAttentionShape& shape) {
    const int64_t head = shape.capacity * shape.head_dim;
    return {shape.kv_heads * head, head, shape.head_dim, 1};
  }
  std::shared_ptr<fe::graph::Tensor_attributes> tensor(const char* name, Id id, const Extents& dims,
                                                       const Extents& strides) {
    return graph_.tensor(
        fe::graph::Tensor_attributes().set_name(name).set_uid(id).set_dim(dims).set_stride(
            strides));
  }

  fe::graph::Graph graph_;
  void* workspace_ = nullptr;
};

}  // namespace

PeerResult make_cudnn_attention(const PeerAttentionShape& shape) {
  if (std::string missing = load_library(); !missing.empty()) return {nullptr, missing};
  try {
    return {std::make_unique<CudnnAttention>(shape), ""};
  } catch (const std::exception& error) {
    return {nullptr, error.what()};
  }
}

std::string cudnn_version() {
  if (std::string missing = load_library(); !missing.empty()) return "absent: " + missing;
  return std::to_string(fe::detail::get_backend_version());
}

}  // namespace kvg
