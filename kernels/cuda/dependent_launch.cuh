#pragma once

// Programmatic dependent launch (compute capability 9.0): a kernel that is launched with
// cudaLaunchAttributeProgrammaticStreamSerialization (dependent_launch.h) may start while the one
// before it in the stream still runs, and waits for its results where it first needs them. Below
// 9.0, and without the attribute, launches follow each other as usual and these do nothing.
//
// A launch is complete only after the one before it, because all of its blocks have waited for it:
// so waiting for one launch is waiting for all before it.
namespace kvg::cuda {

// Returns once the launch before this one is complete and its writes are visible.
__device__ inline void wait_for_previous_launch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next launch may start once all blocks of this one have said so or are done.
__device__ inline void allow_next_launch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace kvg::cuda
