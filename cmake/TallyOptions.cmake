# What a person can choose, and the defaults of a build that says nothing.
if(NOT DEFINED PROJECT_IS_TOP_LEVEL)  # CMake 3.22 and older policies
  set(PROJECT_IS_TOP_LEVEL OFF)
  if(CMAKE_SOURCE_DIR STREQUAL PROJECT_SOURCE_DIR)
    set(PROJECT_IS_TOP_LEVEL ON)
  endif()
endif()

option(TALLY_BUILD_TESTS "build the tests" ${PROJECT_IS_TOP_LEVEL})
option(TALLY_BUILD_EXAMPLES "build the examples" ${PROJECT_IS_TOP_LEVEL})
option(TALLY_BUILD_BENCHMARKS "build the benchmarks" OFF)
# Off for users, whose compiler may know warnings that ours does not; the presets and CI turn it on.
option(TALLY_WARNINGS_AS_ERRORS "treat warnings in Tally's own code as errors" OFF)
set(TALLY_SANITIZE "" CACHE STRING "sanitizers for every target, as -fsanitize takes them: address,undefined or thread")
option(TALLY_FUZZ "build the programs that fuzz what reads files, with address,undefined; needs clang 16 or newer" OFF)
if(TALLY_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
    message(FATAL_ERROR "Tally: TALLY_FUZZ needs clang 16 or newer: give -DCMAKE_CXX_COMPILER=clang++-16")
  endif()
  set(TALLY_SANITIZE "fuzzer-no-link,address,undefined")
endif()
set(TALLY_CUDA "AUTO" CACHE STRING "build the backend for NVIDIA GPUs: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE TALLY_CUDA PROPERTY STRINGS AUTO ON OFF)
# T4, A100, RTX 30, RTX 40 and L40, H100 and H200: what CUDA 12.4 to 13 all know. Newer GPUs compile for themselves.
set(TALLY_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING "compute capabilities of the GPUs to build for, without dot")

if(PROJECT_IS_TOP_LEVEL)
  get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  if(NOT CMAKE_BUILD_TYPE AND NOT multi_config)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
  endif()
  find_program(TALLY_CCACHE ccache)
  mark_as_advanced(TALLY_CCACHE)
  if(TALLY_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${TALLY_CCACHE}")
  endif()
endif()

include(GNUInstallDirs)
