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

class CudnnAttention : public PeerAttention {
 public:
  explicit CudnnAttention(const PeerAttentionShape& shape) {
    if (fe::detail::create_handle(&handle_) != CUDNN_STATUS_SUCCESS) {
      throw std::runtime_error("cuDNN does not start on this device");
    }
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    const auto q = tensor("q", kQ, shape, shape.heads);
    const auto k = tensor("k", kK, shape, shape.kv_heads);
    const auto v = tensor("v", kV, shape, shape.kv_heads);
    auto [out, stats] =
        graph_.sdpa(q, k, v,
                    fe::graph::SDPA_attributes()
                        .set_name("attention")
                        .set_generate_stats(false)
                        .set_causal_mask(true)
                        .set_attn_scale(1.0f / std::sqrt(static_cast<float>(shape.head_dim))));
    out->set_output(true)
        .set_dim({1, shape.heads, shape.rows, shape.head_dim})
        .set_stride(strides(shape, shape.heads))
        .set_uid(kOut);
    require(graph_.build(handle_, {fe::HeurMode_t::A}));
    int64_t bytes = 0;
    require(graph_.get_workspace_size(bytes));
    if (bytes > 0 && cudaMalloc(&workspace_, static_cast<size_t>(bytes)) != cudaSuccess) {
      throw std::runtime_error("no memory for cuDNN's workspace");
    }
  }
  ~CudnnAttention() override {
    (void)cudaFree(workspace_);
    (void)fe::detail::destroy_handle(handle_);
  }
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  void run(const void* q, const void* k, const void* v, void* out, cudaStream_t stream) override {
    (void)fe::detail::set_stream(handle_, stream);
    std::unordered_map<int64_t, void*> tensors = {{kQ, const_cast<void*>(q)},
                                                  {kK, const_cast<void*>(k)},
                                                  {kV, const_cast<void*>(v)},
                                                  {kOut, out}};
    require(graph_.execute(handle_, tensors, workspace_));
  }

 private:
  static std::vector<int64_t> strides(const PeerAttentionShape& shape, int64_t heads) {
    return {shape.rows * heads * shape.head_dim, shape.head_dim, heads * shape.head_dim, 1};
  }
  std::shared_ptr<fe::graph::Tensor_attributes> tensor(const char* name, Id id,
                                                       const PeerAttentionShape& shape,
                                                       int64_t heads) {
    return graph_.tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_uid(id)
                             .set_dim({1, heads, shape.rows, shape.head_dim})
                             .set_stride(strides(shape, heads)));
  }

  fe::graph::Graph graph_;
  cudnnHandle_t handle_ = nullptr;
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
