#include "bench/peers/peer.h"

namespace kvg {

namespace {
constexpr const char* kAbsent = "built without cudnn-frontend (KVG_CUDNN_FRONTEND)";
}

PeerResult make_cudnn_attention(const PeerAttentionShape&) { return {nullptr, kAbsent}; }

std::string cudnn_version() { return std::string("absent: ") + kAbsent; }

}  // namespace kvg
