#!/bin/sh
# Checks that no code compiled for one instruction set can be linked in place of another's.
#
#   scripts/check-isa-symbols.sh [build directory, "build" unless told]
#
# Files compiled once per instruction set may define functions with external linkage only inside
# namespace hrsam::cpu::<instruction set> (or templates over types of it). Of a function outside,
# say a template of the standard library, the linker keeps one copy for the whole program, and that
# copy may hold instructions that this processor does not have.
set -eu

build=${1:-build}
found=0
bad=0
for directory in "$build"/CMakeFiles/hrsam_cpu_*.dir; do
  [ -d "$directory" ] || continue
  isa=${directory##*/hrsam_cpu_}
  isa=${isa%.dir}
  objects=$(find "$directory" -name '*.o')
  [ -n "$objects" ] || continue
  found=1
  # T and W: functions, strong and weak. $objects is split on purpose.
  strays=$(nm -A -C --defined-only $objects | grep -E ' [TW] ' | grep -v "hrsam::cpu::$isa::" || true)
  if [ -n "$strays" ]; then
    echo "$strays"
    bad=1
  fi
done
if [ $found = 0 ]; then
  echo "check-isa-symbols: no objects of hrsam_cpu_* under $build/CMakeFiles" >&2
  exit 2
fi
if [ $bad = 1 ]; then
  echo "check-isa-symbols: the functions above are shared between instruction sets" >&2
  exit 1
fi
echo "check-isa-symbols: ok"
