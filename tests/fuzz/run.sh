#!/bin/sh
# run.sh [SECONDS [TARGET...]]: builds the fuzz targets with clang 16 or newer (CXX) and fuzzes each for its share of SECONDS
# (60), starting from the corpus. One line a target says what came of it. Fails on a finding: a crash, a leak, more than 10 s
# or 2 GiB for an input. That input and what the target said of it are in build/fuzz/runs; other inputs that reached
# something new are in build/fuzz/runs/TARGET.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/fuzz
seconds=${1:-60}
[ $# -eq 0 ] || shift
# Not hdf5_bytes, which finds what is wrong in the HDF5 library.
[ $# -gt 0 ] || set -- csv npy hdf5 model checkpoint cluster

if [ ! -f "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null; then
  export CMAKE_GENERATOR=Ninja
fi
cmake -S "$root" -B "$build" -DTALLY_FUZZ=ON -DCMAKE_CXX_COMPILER="${CXX:-clang++-16}" -DTALLY_CUDA=OFF \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -gline-tables-only" >/dev/null
cmake --build "$build" --target tally_fuzz --parallel "${TALLY_FUZZ_JOBS:-$(nproc)}"

TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export ASAN_OPTIONS="quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}"  # a large one takes longer to fill than an input
runs=$build/runs
failed=0
summary=
for target in "$@"; do
  mkdir -p "$runs/$target"
  log=$runs/$target.log
  case $target in
    csv | npy) dictionary=-dict=$root/tests/fuzz/$target.dict ;;
    hdf5 | model | checkpoint) dictionary=-dict=$root/tests/fuzz/recipe.dict ;;
    *) dictionary= ;;
  esac
  outcome=passed
  # shellcheck disable=SC2086  # no dictionary, no argument
  "$build/tests/fuzz/fuzz_$target" $dictionary -max_total_time=$((seconds / $#)) -timeout=10 -rss_limit_mb=2048 \
    -max_len=8192 -len_control=0 \
    -print_final_stats=1 -close_fd_mask=1 -artifact_prefix="$runs/$target-" "$runs/$target" "$root/tests/fuzz/corpus/$target" \
    </dev/null >"$log" 2>&1 || outcome=FAILED failed=1
  if [ $outcome = FAILED ]; then tail -n 60 "$log"; fi
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
  summary="$summary$outcome  $target: ${inputs:-no} inputs, ${coverage:-no} edges covered
"
done
printf '%s' "$summary"
exit $failed
