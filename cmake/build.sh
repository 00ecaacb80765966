#!/bin/sh
# build.sh FOLDER TARGET [CMake options]: installs what is missing, configures FOLDER and builds TARGET.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1
target=$2
shift 2

"$root/cmake/install_dependencies.sh"
if [ ! -f "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null; then
  export CMAKE_GENERATOR=Ninja
fi
# Several files of a target are compiled as one, which takes half of the time.
cmake -S "$root" -B "$build" -DCMAKE_UNITY_BUILD=ON "$@"
# All processors, also where OMP_NUM_THREADS says that programs should take fewer.
cmake --build "$build" --target "$target" --parallel "$(env -u OMP_NUM_THREADS nproc)"
