#!/bin/sh
# Builds Tally with the packages of an image's own distribution (Debian 12, Ubuntu 24.04) and installs it in /usr/local.
# Arguments go to CMake.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

"$root/cmake/install_dependencies.sh" openssh-client
"$root/cmake/build.sh" "$root/build" all -DCMAKE_BUILD_TYPE=Release -DTALLY_BUILD_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr/local "$@"
cmake --install "$root/build"
rm -rf "$root/build" /var/lib/apt/lists
tally --version
