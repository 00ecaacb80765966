#!/bin/bash
# gpu.sh [--quick] [--only REGEX]: everything that needs an NVIDIA GPU. Builds Release for the GPUs at hand into build/gpu, runs the
# tests, checks every model on the device, alone and on two ranks, under compute-sanitizer too, fits data that are
# streamed, and measures. Goes on after a failure, ends with a line a step, and fails if any step did. Each step leaves
# bench/results/gpu/STEP.json: what ran where, how it ended, and what it reported. --only takes the steps whose names
# match; what was built before is used.
#
# On a machine without a package registry TALLY_SYSROOT names the folder that cmake/fetch_sysroot.sh made elsewhere, or one that
# cmake/unpack_sysroot.sh unpacked. TALLY_COMMIT names the commit where there is no git.
# shellcheck disable=SC2317  # step calls functions by name
set -u
exec </dev/null
if [ -n "${TALLY_SYSROOT:-}" ]; then TALLY_SYSROOT=$(cd "$TALLY_SYSROOT" && pwd) || exit 1; fi
cd "$(dirname "$0")/.." || exit 1
build=${TALLY_BUILD_DIR:-$PWD/build/gpu}
results=$PWD/bench/results/gpu
quick=
only=.
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes ;;
    --only) only=${2:?--only needs a regular expression}; shift ;;
    *) echo "usage: tests/gpu.sh [--quick] [--only REGEX]" >&2; exit 2 ;;
  esac
  shift
done

give_up() { echo "gpu.sh: $*" >&2; exit 1; }
command -v nvidia-smi >/dev/null || give_up "there is no nvidia-smi here: this needs an NVIDIA GPU with its driver"
gpus=$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader 2>&1) ||
  give_up "nvidia-smi finds no GPU: $(head -n 1 <<<"$gpus")"
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
command -v nvcc >/dev/null || give_up "there is no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda: install the CUDA toolkit"

# What each report says of the machine.
text() { tr -d '[:cntrl:]' <<<"$*" | sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$/"/'; }
field() { cut -d , -f "$1" <<<"$gpus" | sed 's/^ *//; s/ *$//' | sort -u | paste -s -d "$2"; }
architectures=$(field 2 ';' | tr -d .)
cuda=$(nvcc --version | sed -n 's/.*release \([^,]*\),.*/\1/p')
commit=$(git describe --always --dirty 2>/dev/null || echo "${TALLY_COMMIT:-unknown}")
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
  gpu_count=$(tr , '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .)
else
  gpu_count=$(grep -c . <<<"$gpus")
fi
machine="\"gpu\": $(text "$(field 1 ';')"), \"gpus\": $gpu_count, \"compute_capability\": $(text "$(field 2 ';')"),
  \"gpu_memory\": $(text "$(field 4 ';')"), \"driver\": $(text "$(field 3 ';')"), \"cuda\": $(text "$cuda"),
  \"commit\": $(text "$commit"), \"host\": $(text "$(uname -n)")"
mkdir -p "$build" "$results"

summary=
failed=0
note() {
  printf -v line '%-10s %s' "$1" "$2"
  summary+=$line$'\n'
  echo "   $1"
}
wanted() { [[ $1 =~ $only ]]; }
skip() { if wanted "$1"; then echo "== $1"; note skipped "$1: $2"; fi; }

# step NAME SECONDS COMMAND...: its standard output goes to NAME.out, the rest to NAME.err. False where it failed.
step() {
  local name=$1 limit=$2 status outcome start seconds report=null words
  shift 2
  wanted "$name" || return 0
  words=$*
  echo "== $name: $words"
  # shellcheck disable=SC2016  # expanded by the inner shell
  [ "$(type -t "$1")" != function ] || set -- bash -c '"$@"' step "$@"
  start=$(date +%s)
  timeout --kill-after=10 "$limit" "$@" >"$results/$name.out" 2>"$results/$name.err"
  status=$?
  seconds=$(($(date +%s) - start))
  case $status in
    0) outcome=passed ;;
    124 | 137) outcome="TIMED OUT" ;;
    *) outcome=FAILED ;;
  esac
  if [ "$(head -c 1 "$results/$name.out")" = '{' ] && [ "$(tail -n 1 "$results/$name.out" | tail -c 2)" = '}' ]; then
    report=$(cat "$results/$name.out")
  fi
  cat >"$results/$name.json" <<END
{
  "step": $(text "$name"), "command": $(text "$words"), "outcome": $(text "$outcome"), "exit_status": $status,
  "seconds": $seconds, "finished": "$(date -u +%FT%TZ)",
  $machine,
  "report": $report
}
END
  note "$outcome" "$name ($seconds s)"
  [ $status = 0 ] && return 0
  failed=1
  tail -n 15 "$results/$name.out" "$results/$name.err"
  return 1
}
finish() {
  printf '\nSummary: %s, driver %s, CUDA %s, commit %s\n%s' "$(field 1 ';')" "$(field 3 ';')" "$cuda" "$commit" "$summary"
  exit $failed
}

# --- build ------------------------------------------------------------------------------------------------------------
if [ -z "${TALLY_SYSROOT:-}" ]; then
  step dependencies 900 cmake/install_dependencies.sh
else
  if [ -f "$TALLY_SYSROOT/SHA256SUMS" ]; then
    [ -f "$build/sysroot/env.sh" ] || step dependencies 300 cmake/unpack_sysroot.sh "$TALLY_SYSROOT" "$build/sysroot" || finish
    TALLY_SYSROOT=$build/sysroot
  fi
  [ -r "$TALLY_SYSROOT/env.sh" ] || give_up "TALLY_SYSROOT=$TALLY_SYSROOT has neither SHA256SUMS nor env.sh"
  set +u
  # shellcheck disable=SC1091  # written by cmake/unpack_sysroot.sh
  . "$TALLY_SYSROOT/env.sh"
  set -u
fi
if [ ! -f "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null; then
  export CMAKE_GENERATOR=Ninja
fi
step configure 300 cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTALLY_CUDA=ON "-DTALLY_CUDA_ARCHITECTURES=$architectures" \
  -DTALLY_BUILD_BENCHMARKS=ON -DTALLY_BUILD_EXAMPLES=OFF || finish
step build 3600 cmake --build "$build" --parallel "${TALLY_BUILD_JOBS:-$(nproc)}" || finish

# --- correct ----------------------------------------------------------------------------------------------------------
tally=$build/launch/tally
bench=$build/bench/tally_bench
is_usable() { "$tally" devices --json | awk '/"unusable"/ { bad = 1; print } END { exit bad }'; }
# Whether two models are the same in all but the command that made them.
same_bits() {
  for model in "$1" "$2"; do "$tally" info "$model" --json | grep -v '"command"' >"$model.json" || return 1; done
  cmp "$1.json" "$2.json"
}
# Whether a fit's ranks had devices of their own, and so could sum there.
each_its_own() { ! grep 'ranks share devices' "$1"; }
# Whether two scores differ by rounding at most: the sum over rows of log-densities that are the same to 1e-9.
scores_agree() {
  cat "$@" | awk -F '[:,]' '
    /"total"/ { total[n++] = $2 }
    END {
      if (n != 2) { print "there are not two scores"; exit 1 }
      difference = (total[0] - total[1]) / total[0]; if (difference < 0) difference = -difference
      print "relative difference " difference
      exit !(difference <= 1e-9)
    }'
}
export tally
export -f is_usable same_bits each_its_own scores_agree

step devices 60 "$tally" devices --json
step usable 60 is_usable
labels=(-LE slow)
[ -z "$quick" ] || labels=(-L 'unit|cuda')
step tests 1800 ctest --test-dir "$build" "${labels[@]}" --output-on-failure --timeout 300 --parallel "$(nproc)"

# Two ranks: a GPU each where there are two, else one GPU as though on two hosts, so that NCCL is used in any case.
two_ranks=(tests/mpirun.sh -n 2)
why_not_two=
if [ "$gpu_count" -lt 2 ]; then
  two_ranks+=("$PWD/tests/own_host.sh")
  "${two_ranks[-1]}" true 2>/dev/null || why_not_two="there is one GPU, and the system lets no rank have a host name of its own"
fi
has() { "$1" "${@:3}" --help 2>/dev/null | grep -q -e "$2"; }

if has "$tally" --device check-device; then
  check=("$tally" check-device --device cuda)
  step check_device 900 "${check[@]}" --json
  if [ -z "$why_not_two" ]; then
    step check_device_2_ranks 900 "${two_ranks[@]}" "${check[@]}" --json
  else
    skip check_device_2_ranks "$why_not_two"
  fi
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      step "$tool" 2400 compute-sanitizer --tool $tool --error-exitcode 86 --target-processes all "${check[@]}"
    done
  else
    skip memcheck "there is no compute-sanitizer here"
    skip racecheck "there is no compute-sanitizer here"
  fi
else
  for name in check_device check_device_2_ranks memcheck racecheck; do skip $name "this tally has no check-device"; done
fi

# The same fit from rows that stay on the device, rows of which most are sent in each pass, and on two ranks: the same bits.
data=$build/rows.h5
rows=4000000
[ -z "$quick" ] || rows=500000
fit=("$tally" fit gmm "$data:/x" --components 8 --covariance full --init random-from-data --tol 0 --max-iter 5 --device cuda)
step fit_data 300 "$tally" generate gmm --rows $rows --columns 16 --components 8 --seed 7 --out "$data"
step fit_resident 300 "${fit[@]}" --out "$build/resident.h5" --log "$results/fit_resident.jsonl"
step fit_streamed 600 "${fit[@]}" --memory 16M --out "$build/streamed.h5" --log "$results/fit_streamed.jsonl"
step fit_streamed_same_bits 60 same_bits "$build/resident.h5" "$build/streamed.h5"
if [ -z "$why_not_two" ]; then
  step fit_2_ranks 600 "${two_ranks[@]}" "${fit[@]}" --out "$build/two.h5" --log "$results/fit_2_ranks.jsonl"
  step fit_2_ranks_own_devices 10 each_its_own "$results/fit_2_ranks.err"
  step fit_2_ranks_same_bits 60 same_bits "$build/resident.h5" "$build/two.h5"
else
  skip fit_2_ranks "$why_not_two"
fi
step score_on_the_cpu 300 "$tally" score "$build/resident.h5" "$data:/x" --json
step score_on_the_gpu 300 "$tally" score "$build/resident.h5" "$data:/x" --json --device cuda
step scores_agree 10 scores_agree "$results/score_on_the_cpu.out" "$results/score_on_the_gpu.out"

# --- fast -------------------------------------------------------------------------------------------------------------
measure() {
  local name=bench_$1
  shift
  step "$name" 300 "$bench" --device cuda --summation exact --iterations 5 --repeat 5 "$@"
}
if has "$bench" --device; then
  measure gmm_full --model gmm --covariance full --rows 1000000 --columns 32 --components 64
  measure kmeans --model kmeans --precision single --rows 4000000 --columns 32 --components 64
  if [ -z "$quick" ]; then
    measure gmm_full_odd --model gmm --covariance full --rows 200003 --columns 17 --components 50
    for covariance in tied diag spherical; do
      measure gmm_$covariance --model gmm --covariance $covariance --rows 1000000 --columns 32 --components 64
      measure gmm_${covariance}_odd --model gmm --covariance $covariance --rows 200003 --columns 17 --components 50
    done
    measure gmm_full_single --model gmm --covariance full --precision single --rows 1000000 --columns 64 --components 32
    measure kmeans_odd --model kmeans --precision single --rows 1000003 --columns 17 --components 50
    measure kmeans_many --model kmeans --precision single --rows 1000000 --columns 128 --components 1024
    measure poisson --model poisson --rows 1000000 --columns 32 --components 64
  fi
else
  skip bench "this tally_bench has no --device"
fi
finish
