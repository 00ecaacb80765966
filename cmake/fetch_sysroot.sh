#!/bin/bash
# fetch_sysroot.sh [FOLDER=.sysroot]: collects, on Debian 12 with its package mirror at hand, the packages with which Tally
# builds and runs on a machine that has a C++ compiler, CMake and perhaps CUDA, but no package registry: about 30 MB. Take
# the folder there and give it to cmake/unpack_sysroot.sh, or as TALLY_SYSROOT to tests/gpu.sh. Neither root nor
# installed packages are needed here.
set -euo pipefail
folder=${1:-.sysroot}

seeds=(openmpi-bin openmpi-common libopenmpi3 libopenmpi-dev libpmix2 libhwloc15
  libhdf5-openmpi-103-1 libhdf5-openmpi-dev libopenblas0-pthread libopenblas-pthread-dev
  libhwy1 libhwy-dev libhwloc15 libhwloc-dev libfmt9 libfmt-dev libcli11-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev libbenchmark1debian libbenchmark-dev)

# Of what the seeds depend on, only packages with a library that is really loaded are kept; never these, which a machine
# with a compiler has or which need hardware of their own.
never='^(gcc-.*|cpp-.*|g\+\+.*|gfortran.*|binutils.*|libc6.*|libc-.*|linux-libc-dev|libgcc-.*|libstdc\+\+.*|perl.*|libperl.*|dpkg|tar|debconf|passwd|adduser|libpam.*|openssh-client|libucx0|libfabric1|libpsm.*|ibverbs-providers|ocl-icd.*|libx.*|.*-dev)$'
of_every_system='^(ld-linux-x86-64\.so\.2|lib(c|m|mvec|dl|util|pthread|rt|resolv|anl|nsl|thread_db)\.so\.[0-9]+|libgcc_s\.so\.1|libstdc\+\+\.so\.6)$'
never_loaded='(ucx|_ofi|openib|usnic|psm|verbs|shmem|java|mpifh|usempi|fortran|_cpp|lsf|gpu|flux|spml|scoll|memheap)'

for tool in apt-get dpkg-deb readelf; do
  command -v $tool >/dev/null || { echo "fetch_sysroot: there is no $tool here" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/debs" "$work/unpacked" "$folder"
: >"$work/status"  # as if nothing were installed: the result is the same on every machine
mapfile -t closure < <(apt-get -o Dir::State::status="$work/status" -o APT::Install-Recommends=false -s install "${seeds[@]}" |
  awk '/^Inst/ { print $2 }')
candidates=("${seeds[@]}")
for package in "${closure[@]}"; do
  [[ " ${seeds[*]} " == *" $package "* || $package =~ $never ]] || candidates+=("$package")
done
(cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root download "${candidates[@]}")

libraries_of() { find "$1" -type f \( -name '*.so*' -o -perm -u+x \) -print; }
# The entries of a kind in a file's dynamic section: nothing where it is no library.
tag() { { readelf -d "$2" 2>/dev/null || :; } | sed -n "s/.*($1).*\[\(.*\)\]/\1/p"; }

declare -A file provider keep seen
for deb in "$work"/debs/*.deb; do
  package=$(dpkg-deb -f "$deb" Package)
  file[$package]=$deb
  dpkg-deb -x "$deb" "$work/unpacked/$package"
  while read -r library; do
    name=$(tag SONAME "$library")
    [ -z "$name" ] || provider[$name]=$package
  done < <(libraries_of "$work/unpacked/$package")
done
queue=("${seeds[@]}")
while [ ${#queue[@]} -gt 0 ]; do
  package=${queue[0]}
  queue=("${queue[@]:1}")
  [ -z "${keep[$package]:-}" ] || continue
  [ -n "${file[$package]:-}" ] || { echo "fetch_sysroot: no package $package; is this Debian 12?" >&2; exit 1; }
  keep[$package]=yes
  while read -r library; do
    [[ ${library##*/} =~ $never_loaded ]] && continue
    for name in $(tag NEEDED "$library"); do
      [[ $name =~ $of_every_system || -n ${seen[$name]:-} ]] && continue
      seen[$name]=yes
      [ -z "${provider[$name]:-}" ] || queue+=("${provider[$name]}")
    done
  done < <(libraries_of "$work/unpacked/$package")
done

rm -f "$folder"/*.deb
for package in "${!keep[@]}"; do cp "${file[$package]}" "$folder/"; done
(cd "$folder" && sha256sum -- *.deb >SHA256SUMS)
echo "$folder: ${#keep[@]} packages, $(du -sm "$folder" | cut -f1) MB"
