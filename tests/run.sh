#!/bin/sh
# Installs what Tally needs, builds it into build/ and runs the tests; fails also when a test was skipped that
# tests/allowed_skips.txt does not name. Arguments go to CMake. TALLY_TEST_LABELS chooses tests by a regular expression
# of labels; without it all but the slow ones run.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD_DIR:-$root/build}

"$root/cmake/build.sh" "$build" all "$@"
if [ -n "${TALLY_TEST_LABELS:-}" ]; then
  set -- -L "$TALLY_TEST_LABELS"
else
  set -- -LE slow
fi
status=0
ctest --test-dir "$build" --output-on-failure --parallel "$(env -u OMP_NUM_THREADS nproc)" --timeout 600 \
  --output-junit "$build/tests.xml" "$@" || status=$?
"$root/tests/check_skips.sh" "$build/tests.xml" || status=1
exit $status
