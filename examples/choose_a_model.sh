#!/bin/sh
# Installs what Tally needs, builds it into build/ and asks three data sets how many components they have: the eruptions of Old
# Faithful and Fisher's irises, each under all 14 shapes of covariance, and the yearly numbers of large earthquakes. All on two
# ranks. Prints the tables and draws them as SVG pictures in build/choose_a_model. Arguments go to CMake.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD_DIR:-$root/build}
cases=$root/tests/data/cases
results=$build/choose_a_model

"$root/cmake/build.sh" "$build" tally "$@"
tally=$build/launch/tally
mpirun="$root/tests/mpirun.sh -n 2"
mkdir -p "$results"

set -x
$mpirun "$tally" select gmm "$cases/gmm_faithful_k2/data.h5:/X" --components 1:5 --covariance all --n-init 10 --reg-covar 0 \
  --tol 1e-10 --max-iter 5000 --quiet --out "$results/faithful.h5" --plot "$results/faithful.svg"
$mpirun "$tally" select gmm "$cases/gmm_iris_k3_true_labels/data.h5:/X" --components 1:4 --covariance all --n-init 10 --reg-covar 0 \
  --tol 1e-8 --max-iter 1000 --quiet --out "$results/iris.h5" --plot "$results/iris.svg"
$mpirun "$tally" select poisson "$cases/poisson_mix_earthquakes/data.h5:/X" --components 1:4 --n-init 10 --tol 1e-10 \
  --max-iter 5000 --quiet --out "$results/earthquakes.h5" --plot "$results/earthquakes.svg"
"$tally" info "$results/earthquakes.h5"
