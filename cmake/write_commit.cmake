# cmake -DSOURCE=... -DOUT=... -P write_commit.cmake: writes the source that says which commit a program is built from,
# where it has changed.
cmake_minimum_required(VERSION 3.22)
execute_process(COMMAND git describe --always --dirty=-changed --exclude=* WORKING_DIRECTORY "${SOURCE}"
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT [[
#include "launch/bench/commit.hpp"

namespace tally::bench {
const char* const commit = "@commit@";
}  // namespace tally::bench
]] @ONLY)
