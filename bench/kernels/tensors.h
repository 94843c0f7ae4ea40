#pragma once

#include "base/random.h"
#include "kernels/cuda/context.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace kvg {

// Where a benchmark gets its tensors from. The same calls on the host (for the double reference)
// and on the device give the same values, whatever the sizes: what is timed large is verified
// small. `type` is the device's; on the host numbers are f64, rounded as the device's are.
class Tensors {
 public:
  using Shape = std::initializer_list<int64_t>;
  virtual ~Tensors() = default;

  // Uniform in [offset - scale, offset + scale).
  virtual Tensor random(DType type, Shape shape, double scale = 1, double offset = 0) = 0;
  // These numbers, rounded to `type`.
  virtual Tensor reals(DType type, Shape shape, const std::vector<float>& values) = 0;
  // Poisoned: NaN where an operation forgets to write.
  virtual Tensor output(DType type, Shape shape) = 0;
  virtual Tensor integers(const std::vector<int64_t>& values) = 0;  // i64
  virtual Tensor tokens(const std::vector<int32_t>& values) = 0;
  // Zeros.
  virtual uint8_t* memory(size_t bytes) = 0;
  // Puts random K and V [rows, kv_heads, head_dim] into the slots from 0 on.
  virtual void fill(const SlotStore& store, int kv_heads, int32_t layer, int64_t rows) = 0;
  // What was handed out, in bytes.
  size_t total() const { return total_; }

 protected:
  uint64_t next_seed() { return mix_seed({seed_, draws_++}); }
  explicit Tensors(uint64_t seed) : seed_(seed) {}
  size_t total_ = 0;

 private:
  uint64_t seed_;
  uint64_t draws_ = 0;
};

std::unique_ptr<Tensors> make_host_tensors(Ops& reference, uint64_t seed);
std::unique_ptr<Tensors> make_device_tensors(cuda::CudaContext& context, uint64_t seed);

// The elements of a tensor of either side.
std::vector<double> read(cuda::CudaContext& context, const Tensor& tensor);

// Memory for `capacity` slots.
SlotStore make_store(Tensors& tensors, const Codec& k_codec, const Codec& v_codec, int kv_heads,
                     int64_t capacity);
SlotStore make_store(Tensors& tensors, const Codec& codec, int kv_heads, int64_t capacity);

}  // namespace kvg
