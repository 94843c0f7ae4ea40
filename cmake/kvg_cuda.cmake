# The CUDA language and the flags of the project's kernels. Included when KVG_CUDA is on.
#   KVG_CUDA_ARCHITECTURES  "90a;80" by default: Hopper's own instructions, and the fallback that
#                           runs on every GPU from Ampere up.
set(KVG_CUDA_ARCHITECTURES "90a;80" CACHE STRING "GPU architectures to compile for: 90a, 80, or both")
foreach(arch IN LISTS KVG_CUDA_ARCHITECTURES)
  if(NOT arch MATCHES "^(80|86|89|90|90a)$")
    message(FATAL_ERROR "KVG_CUDA_ARCHITECTURES: found ${arch}, expected a list of 80, 86, 89, 90, 90a")
  endif()
endforeach()
set(CMAKE_CUDA_ARCHITECTURES ${KVG_CUDA_ARCHITECTURES})

if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(KVG_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(NOT KVG_NVCC)
    message(FATAL_ERROR "KVG_CUDA is on: found no nvcc, expected it on PATH or in /usr/local/cuda/bin")
  endif()
  set(CMAKE_CUDA_COMPILER ${KVG_NVCC})
endif()
enable_language(CUDA)
# CMake 3.25 does not know that newer compilers than itself have C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA_STANDARD 20)
find_package(CUDAToolkit REQUIRED)
include(ptxas_gate)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${KVG_PTXAS_LAUNCHER})
if(KVG_CCACHE)
  list(APPEND CMAKE_CUDA_COMPILER_LAUNCHER ${KVG_CCACHE})
endif()

target_compile_options(
  kvg_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror --expt-relaxed-constexpr ${KVG_PTXAS_FLAGS}>)
