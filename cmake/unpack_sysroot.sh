#!/bin/bash
# unpack_sysroot.sh DEBS PREFIX: unpacks what cmake/fetch_sysroot.sh collected below PREFIX, without root, and writes
# PREFIX/env.sh. After `. PREFIX/env.sh` CMake finds the libraries, and mpirun and the programs run. The prefix may be moved.
set -euo pipefail
debs=$(cd "${1:?usage: unpack_sysroot.sh DEBS PREFIX}" && pwd)
mkdir -p "${2:?usage: unpack_sysroot.sh DEBS PREFIX}"
prefix=$(cd "$2" && pwd)
libraries=$prefix/usr/lib/x86_64-linux-gnu

(cd "$debs" && sha256sum --quiet --check SHA256SUMS)
for deb in "$debs"/*.deb; do
  if command -v dpkg-deb >/dev/null; then
    dpkg-deb -x "$deb" "$prefix"
  else
    ar p "$deb" data.tar.xz | tar -C "$prefix" -xJf -
  fi
done
if [ -d "$prefix/lib" ] && [ ! -L "$prefix/lib" ]; then  # some packages still put files there
  cp -a "$prefix/lib/." "$prefix/usr/lib/"
  rm -rf "${prefix:?}/lib"
fi
rm -rf "$prefix"/usr/share/{doc,man,lintian,bug,locale,info} "${prefix:?}/var" "$libraries"/openblas-*/*.a

# What Debian's alternatives would link.
for name in mpirun mpiexec; do ln -sf orterun "$prefix/usr/bin/$name"; done
for name in mpicc mpicxx mpic++ mpiCC; do ln -sf opal_wrapper "$prefix/usr/bin/$name"; done
for name in openblas.so.0 blas.so.3 lapack.so.3; do
  ln -sf "openblas-pthread/lib$name" "$libraries/lib$name"
  ln -sf "lib$name" "$libraries/lib${name%.so*}.so"
done
mkdir -p "$prefix/usr/include/openblas"
cp -a "$prefix"/usr/include/x86_64-linux-gnu/openblas-pthread/. "$prefix/usr/include/openblas/"
# The compiler wrapper of HDF5 names its prefix, and static libraries that are not here.
# shellcheck disable=SC2016  # expanded when the wrapper runs
sed -i -e 's#^prefix=.*#prefix="$(cd "$(dirname "$(readlink -f "$0")")/.." \&\& pwd)"#' -e 's/^STATIC_AVAILABLE=.*/STATIC_AVAILABLE=no/' \
  -e 's/^H5BLD_LIBS=.*/H5BLD_LIBS=/' -e 's/^HL=.*/HL=/' "$prefix/usr/bin/h5pcc.openmpi"
ln -sf h5pcc.openmpi "$prefix/usr/bin/h5pcc"

# The machine's own copies of common libraries come first: its programs need theirs.
own='^lib(mpi|mca|open-|ompi|pmix|hdf5|openblas|blas|lapack|hwloc|event|sz|aec|hwy|fmt|benchmark)'
known=$(PATH=$PATH:/sbin ldconfig -p | awk '/x86-64/ { print $1 }' | sort -u)
for library in "$libraries"/*.so.*; do
  name=${library##*/}
  [[ $name =~ $own ]] && continue
  if grep -qxF "$name" <<<"$known" || grep -qxF "$(sed -E 's/(\.so\.[0-9]+).*/\1/' <<<"$name")" <<<"$known"; then rm -f "$library"; fi
done
# Plug-ins for hardware and launchers that are not here complain when they are loaded.
rm -f "$libraries"/openmpi/lib/openmpi3/*{ucx,_ofi,openib,usnic,psm,flux,memheap,spml,scoll,sshmem}*
for plugin in "$libraries"/openmpi/lib/openmpi3/*.so "$libraries"/pmix2/lib/pmix/*.so; do
  if LD_LIBRARY_PATH=$libraries ldd "$plugin" 2>/dev/null | grep -q 'not found'; then rm -f "$plugin"; fi
done
find "$prefix" -xtype l -delete

cat >"$prefix/env.sh" <<'X'
# Source this in bash: it finds itself.
tally_prefix=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tally_libraries=$tally_prefix/usr/lib/x86_64-linux-gnu
export PATH=$tally_prefix/usr/bin:$PATH
export LD_LIBRARY_PATH=$tally_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LIBRARY_PATH=$tally_libraries:$tally_libraries/openmpi/lib:$tally_libraries/hdf5/openmpi${LIBRARY_PATH:+:$LIBRARY_PATH}
export CPATH=$tally_libraries/openmpi/include:$tally_prefix/usr/include/hdf5/openmpi:$tally_prefix/usr/include/openblas:$tally_prefix/usr/include${CPATH:+:$CPATH}
export CMAKE_PREFIX_PATH=$tally_prefix/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
export MPI_HOME=$tally_prefix/usr HDF5_ROOT=$tally_prefix/usr OPENBLAS_ROOT=$tally_prefix/usr
# Open MPI and PMIx look for their parts where they were built unless told otherwise.
export OPAL_PREFIX=$tally_prefix/usr OPAL_SYSCONFDIR=$tally_prefix/etc/openmpi
export PMIX_PREFIX=$tally_libraries/pmix2 PMIX_LIBDIR=$tally_libraries/pmix2/lib PMIX_DATAROOTDIR=$tally_libraries/pmix2/share
export PMIX_SYSCONFDIR=$tally_prefix/etc/pmix2
export OMPI_MCA_mca_base_component_show_load_errors=0 PMIX_MCA_mca_base_component_show_load_errors=0
# mpirun wants to find a remote shell, even on one host.
command -v ssh >/dev/null || export OMPI_MCA_plm_rsh_agent=/bin/true
unset tally_prefix tally_libraries
X
echo "$prefix: $(du -sm "$prefix" | cut -f1) MB; now: . $prefix/env.sh"
