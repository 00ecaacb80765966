#!/bin/sh
# install_dependencies.sh [PACKAGE...]: installs what Tally needs to build, run and test on Debian 12 and Ubuntu 24.04, and these
# packages, as root or through sudo. It leaves alone what is there already, any flavour of MPI, HDF5 or BLAS included.
# Where it cannot install it says what is needed and succeeds: the site may have it elsewhere, and CMake names what it does
# not find.
set -eu

# One need a line; any one of the alternatives will do, the first is installed. OpenBLAS with pthreads: Tally calls it
# from threads of its own, and it brings no OpenMP.
needs='g++
cmake
ninja-build
ccache
git
pkg-config|pkgconf
openmpi-bin|mpich
libopenmpi-dev|libmpich-dev
libhdf5-dev|libhdf5-openmpi-dev|libhdf5-mpich-dev
hdf5-tools
libopenblas-pthread-dev|libopenblas-openmp-dev|libopenblas-serial-dev|intel-mkl
libhwy-dev
libhwloc-dev
libcli11-dev
libfmt-dev
nlohmann-json3-dev
libgtest-dev
libgmock-dev
libbenchmark-dev
python3
python3-numpy
python3-h5py'

if ! command -v apt-get >/dev/null; then
  cat >&2 <<'END'
install_dependencies: no apt-get here, so nothing was installed. Tally needs a C++20 compiler (g++ 12 or newer), CMake
3.22, MPI (Open MPI 4 or 5, or MPICH), HDF5 1.10 or newer, a BLAS with cblas.h and LAPACK (OpenBLAS, MKL, BLIS), Highway
1.0, hwloc 2, fmt, CLI11 and nlohmann-json; the tests also GoogleTest with GoogleMock and Python 3 with h5py and NumPy.
END
  exit 0
fi

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for need in $needs "$@"; do
  first=${need%%|*}
  found=
  for package in $(echo "$need" | tr '|' ' '); do
    if installed "$package"; then found=yes; fi
  done
  [ -n "$found" ] || missing="$missing $first"
done
if [ -z "$missing" ]; then
  exit 0
fi

if [ "$(id -u)" = 0 ]; then
  sudo=
elif command -v sudo >/dev/null; then
  sudo=sudo
else
  echo "install_dependencies: neither root nor sudo, so these packages were not installed:$missing" >&2
  exit 0
fi
echo "Installing:$missing"
$sudo apt-get -o DPkg::Lock::Timeout=600 -qq update
# shellcheck disable=SC2086  # a list of packages
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -qq -y --no-install-recommends $missing
