# Language level, warnings and sanitizers, for every target of the project.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

add_library(kvg_flags INTERFACE)
target_compile_options(
  kvg_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror>
  # GCC 12 warns falsely about string concatenation (GCC bug 105651).
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
  # x86-64-v3 (AVX2, FMA, F16C) is the oldest machine that is worth measuring on.
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>>:-march=x86-64-v3>
  # Contraction would make the two sets of operations round differently from one compiler to the next.
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
target_include_directories(kvg_flags INTERFACE ${CMAKE_SOURCE_DIR})

if(KVG_SANITIZE)
  set(kvg_sanitize_flags -fsanitize=${KVG_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${kvg_sanitize_flags}>")
  add_link_options(${kvg_sanitize_flags})
endif()

find_program(KVG_CCACHE ccache)
if(KVG_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${KVG_CCACHE})
endif()
