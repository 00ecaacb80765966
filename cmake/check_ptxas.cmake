# cmake -DREPORT=file [-DKERNELS=A;B] -P check_ptxas.cmake: fails unless the assembler's report names a kernel, and one
# for each of the functors A<Real> and B<Real> in both precisions.
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
  foreach(precision d f)  # as C++ names are mangled
    if(NOT entries MATCHES "[0-9]${kernel}I${precision}E")
      message(FATAL_ERROR "${REPORT} names no kernel that runs ${kernel} in precision ${precision}")
    endif()
  endforeach()
endforeach()
message("${count} kernels")
