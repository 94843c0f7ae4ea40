#pragma once

#include "kernels/ops.h"

#include <memory>
#include <string>

namespace kvg {

// "" when a peer of this name can serve on this machine, otherwise why not, in one line. "cudnn" is
// the one there is.
std::string attention_peer_absent(const std::string& name);

// The operations of `inner`, which lie on the device of `device_ops`, a set that make_cuda_ops()
// made, but prefill attention by the peer: a whole-model rival of the full cache. Throws Error for
// attention that the peer does not do: whatever is not one group of slots a block, bf16, causal,
// without gaps, one stream; and when its results differ from those of `inner` on a small random
// input. Decode steps stay ours. Both sets must outlive it.
std::unique_ptr<Ops> make_attention_peer(const std::string& name, Ops& inner, Ops& device_ops);

}  // namespace kvg
