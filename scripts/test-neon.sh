#!/bin/sh
# Builds the native tests for 64-bit Arm and runs them in an emulator, so that the NEON code is
# tested on any machine.
#
#   scripts/test-neon.sh [-R <pattern> | other options of ctest]
#
# Needs, on Debian and Ubuntu: apt-get install cmake make g++-aarch64-linux-gnu qemu-user-static
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=${HRSAM_NEON_BUILD:-$root/build-neon}
for tool in cmake aarch64-linux-gnu-g++ qemu-aarch64-static; do
  if ! command -v $tool >/dev/null; then
    echo "test-neon: $tool is missing: apt-get install cmake make g++-aarch64-linux-gnu qemu-user-static" >&2
    exit 77
  fi
done

cmake -S "$root" -B "$build" -DHRSAM_TESTS=ON -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
  "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64-static;-L;/usr/aarch64-linux-gnu"
cmake --build "$build" --parallel "${HRSAM_JOBS:-2}"
cd "$build"
ctest --output-on-failure "$@"
