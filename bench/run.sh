#!/bin/sh
# run.sh [--quick]: builds Release in build/bench, makes virtual environments for the peers there and measures fits, the
# peers and the memory of a streamed fit; reports in bench/results. Peers that cannot be installed are left out, and it says so.
# TALLY_PYTHON names the Python (3.9 to 3.11) that makes the environments. Fails where a result is wrong.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/bench
results=$root/bench/results
quick=
[ "${1:-}" = --quick ] && quick=--quick

cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DTALLY_CUDA=OFF -DTALLY_BUILD_TESTS=OFF \
  -DTALLY_BUILD_EXAMPLES=OFF -DTALLY_BUILD_BENCHMARKS=ON
cmake --build "$build" --parallel "$(nproc)"
mkdir -p "$results"
status=0

# What exact sums cost, and the fraction of the ceiling.
iterations() {
  name=$1
  shift
  echo "== $name: tally_bench $*"
  "$build/bench/tally_bench" "$@" >"$results/$name.json" || { echo "WRONG: $name"; status=1; }
  grep -E 'best_ms|fraction|exact_cost|gemm_gflops"|check' "$results/$name.json"
}
repeat=7
[ -n "$quick" ] && repeat=3
iterations gmm_full --model gmm --iterations 3 --repeat $repeat --summation both
iterations kmeans --model kmeans --rows 500000 --precision single --iterations 8 --repeat $repeat --summation both
if [ -z "$quick" ]; then
  iterations gmm_diag --model gmm --covariance diag --iterations 5 --repeat $repeat --summation both
  iterations gmm_odd --model gmm --columns 17 --components 50 --rows 123457 --iterations 5 --repeat $repeat --summation both
  iterations poisson --model poisson --iterations 5 --repeat $repeat --summation both
  "$build/bench/tally_kernels_bench" --benchmark_out="$results/kernels.json" --benchmark_out_format=json >/dev/null
fi

# The rows that every program gets are made by an environment of our own.
venv=$build/venv
python=${TALLY_PYTHON:-python3}
if { [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"; } &&
  "$venv/bin/pip" install --quiet --only-binary :all: -r "$root/bench/requirements.txt"; then
  "$root/bench/peers/install.sh" "$build/peers"
  "$venv/bin/python" "$root/bench/peers/mixtures.py" "$build/bench/tally_bench" "$build/peers" $quick || status=1
  "$venv/bin/python" "$root/bench/peers/chains.py" "$build/bench/tally_bench" "$build/peers" $quick || status=1
  "$venv/bin/python" "$root/bench/memory.py" "$build/launch/tally" $quick || status=1
else
  echo "SKIPPED: h5py and NumPy of bench/requirements.txt cannot be installed here"
fi
exit $status
