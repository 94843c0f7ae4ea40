#pragma once

#include "model/cache/policy.h"

#include <memory>
#include <vector>

namespace kvg {

// `landmark`: the bounded memory of CoDA-GQA-L (https://github.com/anthony-maio/CoDA-GQA-L): a
// window of recent tokens, an exact bank of older tokens kept as they are, and a summary bank of
// running averages. The rules are those of kernels/landmark.h.
//
// semantics=fixed is the mechanism as its authors describe it: time is cut at multiples of `block`;
// there the oldest tokens leave the window, best gates first, each compared with the live banks.
// What a query reads depends on its position alone, so prefill in any pieces equals token by token.
// semantics=reference is the published implementation (package coda-gqa-l 1.3.1), which decides
// otherwise in prefill (blocks counted from the start of each call) and in decode (one token a
// call). Its dynamic bank expansion, off by default there, is left out.
// Every other argument overrides one rule of the chosen semantics.
std::vector<ArgumentSpec> landmark_arguments();
std::unique_ptr<Policy> make_landmark(const Method& method);

}  // namespace kvg
