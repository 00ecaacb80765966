#!/bin/sh
# Installs what Tally needs, builds it into build/, fits a full-covariance Gaussian mixture and k-means to the shuttle
# data on two ranks and shows the fitted models. Arguments go to CMake.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD_DIR:-$root/build}
data=$root/examples/data/shuttle.h5:/X
results=$build/quickstart

"$root/cmake/build.sh" "$build" tally "$@"
tally=$build/launch/tally
mpirun="$root/tests/mpirun.sh -n 2"
mkdir -p "$results"

set -x
$mpirun "$tally" fit gmm "$data" --components 8 --covariance full --init random-from-data --n-init 4 \
  --seed 1 --out "$results/gmm.h5"
$mpirun "$tally" fit kmeans "$data" --components 8 --seed 1 --out "$results/kmeans.h5"
"$tally" info "$results/gmm.h5"
"$tally" info "$results/kmeans.h5"
