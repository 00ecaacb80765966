# cmake -DBUILD=... -DSOURCE=... -DWORK=... -DGENERATOR=... -P run.cmake: installs Tally under WORK, builds the project
# in SOURCE, examples/add_a_model and examples/fit_hmm against it and runs them.
cmake_minimum_required(VERSION 3.22)

function(step)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${WORK}")
step("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/prefix")
foreach(project "${SOURCE}" "${SOURCE}/../../examples/add_a_model" "${SOURCE}/../../examples/fit_hmm")
  get_filename_component(name "${project}" NAME)
  step("${CMAKE_COMMAND}" -S "${project}" -B "${WORK}/${name}" -G "${GENERATOR}"
    "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DCMAKE_CXX_COMPILER=${COMPILER}" -DCMAKE_BUILD_TYPE=Release)
  step("${CMAKE_COMMAND}" --build "${WORK}/${name}")
endforeach()
step("${WORK}/package/uses_tally")

set(tally "${WORK}/add_a_model/tally-linkage")
step("${tally}" convert "${SOURCE}/../../examples/add_a_model/counts.csv" "${WORK}/counts.h5:/y")
step("${tally}" fit linkage "${WORK}/counts.h5:/y" --out "${WORK}/linkage.h5" --quiet)
step("${tally}" info "${WORK}/linkage.h5")

step("${WORK}/fit_hmm/fit_hmm")
