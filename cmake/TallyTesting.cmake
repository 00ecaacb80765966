# Every test has a time limit and a label: unit, mpi, cli, slow, cuda or build.
find_package(GTest REQUIRED)
set(TALLY_MPIRUN "${PROJECT_SOURCE_DIR}/tests/mpirun.sh")
set(TALLY_MPI_ENVIRONMENT "TALLY_MPIEXEC=${MPIEXEC_EXECUTABLE}" OMP_NUM_THREADS=1)
set(TALLY_TEST_ENVIRONMENT "UBSAN_OPTIONS=print_stacktrace=1")
if(TALLY_SANITIZE MATCHES thread)
  set(TALLY_TEST_ENVIRONMENT
    "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp:ignore_noninstrumented_modules=1:halt_on_error=1")
endif()
# MPI libraries keep memory in modules that they unload, which no suppression can name.
list(APPEND TALLY_MPI_ENVIRONMENT ASAN_OPTIONS=detect_leaks=0 ${TALLY_TEST_ENVIRONMENT})

# tally_add_test(name SOURCES ... [LIBRARIES ...] [RANKS 1 2 4] [LABELS ...] [TIMEOUT seconds]) builds a GoogleTest
# program. Without RANKS a few of its tests are one of ctest's (group_tests.cmake); with RANKS the whole program runs once per count under
# mpirun, and SOURCES must define main.
function(tally_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBRARIES;RANKS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gmock)
  target_compile_definitions(${name} PRIVATE TALLY_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  tally_configure_target(${name})
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)  # two thirds of the time to compile; libraries have -O3
  if(NOT arg_RANKS)
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    file(GENERATE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/${name}_groups.cmake" CONTENT
"set(program \"$<TARGET_FILE:${name}>\")
set(labels \"${arg_LABELS}\")
set(environment \"${TALLY_TEST_ENVIRONMENT}\")
math(EXPR timeout \"3 * ${arg_TIMEOUT}\")
include(\"${PROJECT_SOURCE_DIR}/cmake/group_tests.cmake\")
")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${CMAKE_CURRENT_BINARY_DIR}/${name}_groups.cmake")
    return()
  endif()
  target_link_libraries(${name} PRIVATE tally::mpi)
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}.ranks_${ranks} COMMAND "${TALLY_MPIRUN}" -n ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.ranks_${ranks} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
      PROCESSORS ${ranks} ENVIRONMENT "${TALLY_MPI_ENVIRONMENT}" SKIP_RETURN_CODE 77)
  endforeach()
endfunction()

# tally_add_python_test(name file.py [LABELS ...] [TIMEOUT seconds] [PROCESSORS n]) runs a unittest file. It finds the command in
# TALLY, mpirun in TALLY_MPIRUN, the backends of the tests in TALLY_MODULE_PATH, the preloadable counter of collectives in TALLY_COLLECTIVE_COUNTER and the repository
# in TALLY_SOURCE_DIR. A file some of whose tests were skipped counts as skipped.
function(tally_add_python_test name file)
  cmake_parse_arguments(arg "" "TIMEOUT;PROCESSORS" "LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 2)
  endif()
  set(environment ${TALLY_MPI_ENVIRONMENT} "TALLY_MPIRUN=${TALLY_MPIRUN}" "TALLY_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
  if(TARGET tally)
    list(APPEND environment "TALLY=$<TARGET_FILE:tally>")
  endif()
  if(TARGET tally_generic)
    list(APPEND environment "TALLY_MODULE_PATH=$<TARGET_FILE_DIR:tally_generic>")
  endif()
  if(TARGET tally_collective_counter)
    list(APPEND environment "TALLY_COLLECTIVE_COUNTER=$<TARGET_FILE:tally_collective_counter>")
  endif()
  add_test(NAME ${name} COMMAND "${PROJECT_SOURCE_DIR}/tests/python.sh" "${file}" -v)
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} PROCESSORS ${arg_PROCESSORS}
    ENVIRONMENT "${environment}" SKIP_RETURN_CODE 77 SKIP_REGULAR_EXPRESSION "OK \\(skipped=")
endfunction()
