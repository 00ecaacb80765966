#!/bin/sh
# run.sh [--build FOLDER] [options of simulate.py]: builds Release in build/bench (or FOLDER) and simulates fits on many
# ranks, by SimGrid. Says SKIPPED where SimGrid is not installed (Debian: libsimgrid-dev); its exit status is 77 then.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/bench
if [ "${1:-}" = --build ]; then
  build=$2
  shift 2
fi
if [ ! -f "$build/CMakeCache.txt" ]; then
  generator=
  command -v ninja >/dev/null && generator="-G Ninja"
  # shellcheck disable=SC2086  # two words or none
  cmake -S "$root" -B "$build" $generator -DCMAKE_BUILD_TYPE=Release -DTALLY_CUDA=OFF -DTALLY_BUILD_TESTS=OFF \
    -DTALLY_BUILD_EXAMPLES=OFF -DTALLY_BUILD_BENCHMARKS=ON >&2
fi
cmake "$build" >/dev/null
if ! cmake --build "$build" --target help | grep tally_simulate >/dev/null; then
  echo "SKIPPED: SimGrid is not installed (Debian and Ubuntu: libsimgrid-dev), so nothing was simulated"
  exit 77
fi
cmake --build "$build" --target tally_simulate --parallel "$(nproc)" >&2
exec python3 "$root/bench/simulate/simulate.py" "$build/bench/simulate/tally_simulate" "$@"
