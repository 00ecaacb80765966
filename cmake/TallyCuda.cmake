# Every model source must also compile as CUDA. Where nvcc is found, tally_cuda_check compiles each a second time and
# a test reads the assembler's report.
if(NOT TALLY_CUDA STREQUAL "OFF")
  find_program(TALLY_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  mark_as_advanced(TALLY_NVCC)
  if(NOT TALLY_NVCC AND TALLY_CUDA STREQUAL "ON")
    message(FATAL_ERROR "Tally: TALLY_CUDA is ON but there is no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda")
  endif()
endif()
if(TALLY_CUDA STREQUAL "OFF")
  message(STATUS "Tally: CUDA is off (TALLY_CUDA=OFF)")
  return()
elseif(NOT TALLY_NVCC)
  message(STATUS "Tally: CUDA is off: no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda")
  return()
endif()
message(STATUS "Tally: models are compiled as CUDA too, by ${TALLY_NVCC} for sm_${TALLY_CUDA_ARCHITECTURES}")

add_custom_target(tally_cuda_check ALL)

# tally_check_cuda(name source [functors...]) compiles `source` as CUDA with the assembler's report in a file, and tests
# that the report names at least one kernel, and one for each of the functors in both precisions. Nothing links the
# object: the host's half is compiled without optimisation, which saves a third of the time; the device's is not.
function(tally_check_cuda name source)
  set(folder "${PROJECT_BINARY_DIR}/cuda")
  file(MAKE_DIRECTORY "${folder}")
  set(includes "$<TARGET_PROPERTY:tally_algorithms,INTERFACE_INCLUDE_DIRECTORIES>")
  set(includes "$<FILTER:${includes},EXCLUDE,^/usr/include$>")  # nvcc finds the system's headers by itself
  add_custom_command(OUTPUT "${folder}/${name}.o" "${folder}/${name}.ptxas"
    COMMAND "${CMAKE_COMMAND}" "-DREPORT=${folder}/${name}.ptxas" -P "${PROJECT_SOURCE_DIR}/cmake/run_nvcc.cmake" --
      "${TALLY_NVCC}" -ccbin "${CMAKE_CXX_COMPILER}" -x cu -std=c++20 -O0 "-arch=sm_${TALLY_CUDA_ARCHITECTURES}"
      -Xptxas -v -Xcompiler -ffp-contract=off,-fno-math-errno,-fPIC --expt-relaxed-constexpr -DTALLY_BACKEND_CUDA=1
      "-I$<JOIN:${includes},;-I>" -MD -MF "${folder}/${name}.d" -MT "${folder}/${name}.o"
      -c "${source}" -o "${folder}/${name}.o"
    DEPENDS "${source}" "${PROJECT_SOURCE_DIR}/cmake/run_nvcc.cmake"
    DEPFILE "${folder}/${name}.d"
    COMMENT "Compiling model ${name} as CUDA"
    COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(tally_cuda_check_${name} DEPENDS "${folder}/${name}.o")
  add_dependencies(tally_cuda_check tally_cuda_check_${name})
  if(TALLY_BUILD_TESTS)
    add_test(NAME cuda.${name}_kernels COMMAND "${CMAKE_COMMAND}" "-DREPORT=${folder}/${name}.ptxas"
      "-DKERNELS=${ARGN}" -P "${PROJECT_SOURCE_DIR}/cmake/check_ptxas.cmake")
    set_tests_properties(cuda.${name}_kernels PROPERTIES LABELS cuda TIMEOUT 60)
  endif()
endfunction()
