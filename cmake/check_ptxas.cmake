# cmake -DREPORT=file [-DKERNELS=a;b] -P check_ptxas.cmake: fails unless the assembler's report names a kernel, and one
# whose name contains each of KERNELS.
cmake_minimum_required(VERSION 3.22)

if(NOT EXISTS "${REPORT}")
  message(FATAL_ERROR "no report ${REPORT}: build the target tally_cuda_check first")
endif()
file(STRINGS "${REPORT}" entries REGEX "Compiling entry function")
list(LENGTH entries count)
if(count EQUAL 0)
  message(FATAL_ERROR "${REPORT} names no kernel: the model's kernels are not in its object")
endif()
foreach(kernel IN LISTS KERNELS)
  if(NOT entries MATCHES "${kernel}")
    message(FATAL_ERROR "${REPORT} names no kernel with ${kernel} in its name")
  endif()
endforeach()
message("${count} kernels")
