# Where nvcc is found, every model source is compiled as CUDA too, a test reads the assembler's report, and the objects
# become the module libtally_cuda.so beside the command.
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
get_filename_component(TALLY_CUDA_ROOT "${TALLY_NVCC}" REALPATH)
get_filename_component(TALLY_CUDA_ROOT "${TALLY_CUDA_ROOT}" DIRECTORY)
get_filename_component(TALLY_CUDA_ROOT "${TALLY_CUDA_ROOT}" DIRECTORY)
set(places HINTS "${TALLY_CUDA_ROOT}" ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
find_library(TALLY_CUDART NAMES cudart_static ${places})
find_library(TALLY_CUBLAS NAMES cublas ${places})
find_library(TALLY_NCCL NAMES nccl ${places})
find_path(TALLY_NCCL_HEADERS nccl.h HINTS "${TALLY_CUDA_ROOT}" ENV CUDA_HOME PATH_SUFFIXES include)
mark_as_advanced(TALLY_CUDART TALLY_CUBLAS TALLY_NCCL TALLY_NCCL_HEADERS)
if(NOT TALLY_CUDART OR NOT TALLY_CUBLAS)
  if(TALLY_CUDA STREQUAL "ON")
    message(FATAL_ERROR "Tally: TALLY_CUDA is ON but ${TALLY_NVCC} comes without libcudart_static or libcublas")
  endif()
  message(STATUS "Tally: CUDA is off: ${TALLY_NVCC} comes without libcudart_static or libcublas")
  return()
endif()
set(words "with NCCL")
if(NOT TALLY_NCCL OR NOT TALLY_NCCL_HEADERS)
  set(words "without NCCL, which is not found: sums over ranks go through MPI")
endif()
string(REPLACE ";" ", " architectures "${TALLY_CUDA_ARCHITECTURES}")
message(STATUS "Tally: CUDA by ${TALLY_NVCC} for compute capabilities ${architectures}, ${words}")

# Machine code for each architecture, and for newer ones what their driver compiles when the module is loaded.
set(TALLY_GENERATE "")
foreach(architecture IN LISTS TALLY_CUDA_ARCHITECTURES)
  list(APPEND TALLY_GENERATE "-gencode=arch=compute_${architecture},code=sm_${architecture}")
endforeach()
list(GET TALLY_CUDA_ARCHITECTURES -1 architecture)
list(APPEND TALLY_GENERATE "-gencode=arch=compute_${architecture},code=compute_${architecture}")

# tally_compile_cuda(name source [DEFINITIONS...]) compiles `source` as CUDA for the module, with the assembler's report
# in a file.
function(tally_compile_cuda name source)
  set(folder "${PROJECT_BINARY_DIR}/cuda")
  file(MAKE_DIRECTORY "${folder}")
  set(includes "$<TARGET_PROPERTY:tally_algorithms,INTERFACE_INCLUDE_DIRECTORIES>")
  set(includes "$<FILTER:${includes},EXCLUDE,^/usr/include$>")  # nvcc finds the system's headers by itself
  add_custom_command(OUTPUT "${folder}/${name}.o" "${folder}/${name}.ptxas"
    COMMAND "${CMAKE_COMMAND}" "-DREPORT=${folder}/${name}.ptxas" -P "${PROJECT_SOURCE_DIR}/cmake/run_nvcc.cmake" --
      "${TALLY_NVCC}" -ccbin "${CMAKE_CXX_COMPILER}" -x cu -std=c++20 -O2 ${TALLY_GENERATE} -no-compress
      -Xptxas -v -Xcompiler -ffp-contract=off,-fno-math-errno,-fPIC,-fvisibility=hidden --expt-relaxed-constexpr
      -DTALLY_BACKEND_CUDA=1 ${ARGN} "-I$<JOIN:${includes},;-I>" -MD -MF "${folder}/${name}.d" -MT "${folder}/${name}.o"
      -c "${source}" -o "${folder}/${name}.o"
    DEPENDS "${source}" "${PROJECT_SOURCE_DIR}/cmake/run_nvcc.cmake"
    DEPFILE "${folder}/${name}.d"
    COMMENT "Compiling ${name} as CUDA"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_property(GLOBAL APPEND PROPERTY TALLY_CUDA_OBJECTS "${folder}/${name}.o")
endfunction()

# tally_test_cuda_report(name functors tensor_core_functors) tests that the assembler's report of a model names a kernel
# for each of the functors in both precisions, and no spills; and for each of the others a kernel whose PTX in the object
# (which is not compressed for this) multiplies on tensor cores.
function(tally_test_cuda_report name functors tensor_core_functors)
  if(NOT TALLY_BUILD_TESTS)
    return()
  endif()
  add_test(NAME cuda.${name}_kernels COMMAND "${CMAKE_COMMAND}" "-DREPORT=${PROJECT_BINARY_DIR}/cuda/${name}.ptxas"
    "-DOBJECT=${PROJECT_BINARY_DIR}/cuda/${name}.o" "-DKERNELS=${functors}" "-DTENSOR_CORE_KERNELS=${tensor_core_functors}"
    -P "${PROJECT_SOURCE_DIR}/cmake/check_ptxas.cmake")
  set_tests_properties(cuda.${name}_kernels PROPERTIES LABELS cuda TIMEOUT 60)
endfunction()

# The module, of all objects so far.
function(tally_add_cuda_module)
  set(definitions "-DTALLY_CUDA_ARCHITECTURES=\"${architectures}\"")
  if(TALLY_NCCL AND TALLY_NCCL_HEADERS)
    list(APPEND definitions -DTALLY_NCCL=1 "-I${TALLY_NCCL_HEADERS}")
  endif()
  tally_compile_cuda(cuda_module "${CMAKE_CURRENT_SOURCE_DIR}/cuda_module.cu" ${definitions})
  tally_compile_cuda(cuda_engines "${CMAKE_CURRENT_SOURCE_DIR}/cuda_engines.cu")
  tally_test_cuda_report(cuda_engines "SoftmaxRows;OffsetRow;WeightRow;ScaleEmissions;ChainForward;ChainBackward;ChainCompose" "")
  get_property(objects GLOBAL PROPERTY TALLY_CUDA_OBJECTS)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  add_library(tally_cuda MODULE ${objects})
  set_target_properties(tally_cuda PROPERTIES LINKER_LANGUAGE CXX
    LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/launch" INSTALL_RPATH_USE_LINK_PATH ON)
  target_link_libraries(tally_cuda PRIVATE tally::algorithms "${TALLY_CUDART}" "${TALLY_CUBLAS}" rt ${CMAKE_DL_LIBS})
  if(TALLY_NCCL AND TALLY_NCCL_HEADERS)
    target_link_libraries(tally_cuda PRIVATE "${TALLY_NCCL}")
  endif()
  target_link_options(tally_cuda PRIVATE -Wl,--as-needed)
  tally_export_interface_alone(tally_cuda)
  if(TALLY_BUILD_TESTS AND "90" IN_LIST TALLY_CUDA_ARCHITECTURES)
    # What NearestRowsTf32 takes, and the warps that fit: 3 groups of 4 for its registers.
    add_test(NAME cuda.kernel_resources
      COMMAND "${PROJECT_SOURCE_DIR}/tests/python.sh" "${PROJECT_SOURCE_DIR}/bench/kernel_resources.py" "${PROJECT_BINARY_DIR}" --only NearestRowsTf32<8>)
    set_tests_properties(cuda.kernel_resources PROPERTIES LABELS cuda TIMEOUT 60
      PASS_REGULAR_EXPRESSION "NearestRowsTf32<8>. . kmeans . 1[0-9][0-9] . 0 . 24768 . 128 . 12 of 64")
  endif()
  install(TARGETS tally_cuda LIBRARY DESTINATION lib/tally)
endfunction()
