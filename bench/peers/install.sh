#!/bin/sh
# install.sh FOLDER: makes the peers in FOLDER, each by itself: virtual environments from bench/peers/requirements, and Armadillo's
# program. Says SKIPPED of those that cannot be made here. TALLY_PYTHON names the Python (3.9 to 3.11) of the environments.
# Nothing is installed outside FOLDER: headers of Armadillo that are missing are unpacked there from Debian's libarmadillo-dev.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
python=${TALLY_PYTHON:-python3}

# environment NAME MODULE...: an environment whose modules can be imported.
environment() {
  name=$1
  shift
  venv=$folder/$name
  rm -f "$venv/ready"
  if { [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"; } &&
    "$venv/bin/pip" install --quiet --only-binary :all: -r "$here/requirements/$name.txt" &&
    "$venv/bin/python" -c "import $*"; then
    touch "$venv/ready"
  else
    echo "SKIPPED: the peers of bench/peers/requirements/$name.txt cannot be installed here"
  fi
}

armadillo_headers() {
  [ -f /usr/include/armadillo ] || [ -f "$folder/armadillo/usr/include/armadillo" ] && return
  command -v apt-get >/dev/null && command -v dpkg >/dev/null &&
    (cd "$folder/armadillo" && apt-get download -qq -o APT::Sandbox::User=root libarmadillo-dev && dpkg -x libarmadillo-dev_*.deb .)
}

armadillo() {
  mkdir -p "$folder/armadillo"
  rm -f "$folder/armadillo/ready"
  # Straight to OpenBLAS, for this processor, without checks: as fast as it gets.
  if armadillo_headers && "${CXX:-c++}" -std=c++17 -O3 -march=native -fopenmp -DARMA_DONT_USE_WRAPPER \
    -DARMA_DONT_USE_SUPERLU -DARMA_NO_DEBUG \
    -isystem "$folder/armadillo/usr/include" "$here/armadillo_peer.cpp" -lopenblas -o "$folder/armadillo/armadillo_peer"; then
    touch "$folder/armadillo/ready"
  else
    echo "SKIPPED: Armadillo, which needs libarmadillo-dev, libopenblas-dev and a compiler"
  fi
}

environment sklearn sklearn
environment intelex sklearnex
environment faiss faiss
environment hmm hmmlearn.hmm, dynamax
armadillo
