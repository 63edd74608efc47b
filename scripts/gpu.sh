#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one: builds the CUDA backend for it, runs the native tests (twice: the
# bytes must be the same) and, where there is a Node, the fixtures and 10,000 cycles of encoding and segmenting on it,
# compute-sanitizer's four tools on the native tests, and the benchmarks, with PyTorch beside them where python3 (or
# HRSAM_PYTHON) has it. Needs nvcc, CMake and a C++20 compiler; no network. Results go to
# bench/results/, logs to the folder given (default out/gpu).
#
#   scripts/gpu.sh [folder]
#
# Node: HRSAM_NODE, or scripts/node.xz (a node binary, packed), or the one on the PATH; node_modules must be carried along
# for the fixtures and benchmarks.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-out/gpu}
mkdir -p "$out" bench/results
jobs=$(getconf _NPROCESSORS_ONLN)
failed=()

step() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$out/$name.log" 2>&1; then
    echo "ok    $name ($((SECONDS - start)) s)"
  else
    echo "FAILED $name ($((SECONDS - start)) s): $out/$name.log"
    tail -5 "$out/$name.log"
    failed+=("$name")
  fi
}

find_node() {
  if [ -n "${HRSAM_NODE:-}" ]; then
    echo "$HRSAM_NODE"
  elif [ -f scripts/node.xz ]; then
    [ -x "$out/node" ] || { xz -dc scripts/node.xz >"$out/node" && chmod +x "$out/node"; }
    echo "$PWD/$out/node"
  else
    command -v node
  fi
}

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d '. ')
[ -n "$capability" ] || { echo "no GPU answers nvidia-smi" >&2; exit 1; }
[ "$capability" = 90 ] && capability=90a
headers=node_modules/node-api-headers/include
build=$out/build

configure() {
  cmake -S . -B "$build" -DHRSAM_TESTS=ON -DHRSAM_CUDA=ON "-DHRSAM_CUDA_ARCHS=$capability" "-DCMAKE_JS_INC=$PWD/$headers" \
    "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$PWD/$build/Release"
}
step configure configure
step build cmake --build "$build" --parallel "$jobs"
export HRSAM_TEST_BACKEND=$PWD/$build/Release/hrsam_cuda.so

native_tests() {
  local status=0
  for test in $(grep -l '"harness.h"' native/test/*_test.cc); do
    HRSAM_TEST_TWICE=1 "$build/$(basename "$test" .cc)" --threads 1 || status=1
  done
  return $status
}
step native-tests native_tests
# Hopper has two ways: its own instructions, and those of every GPU.
wgmma_tests() { HRSAM_CUDA_WGMMA=$1 native_tests; }
if [ "$capability" = 90a ]; then
  for wgmma in 0 1; do step "native-tests-wgmma-$wgmma" wgmma_tests "$wgmma"; done
fi

# Without graphs, so that reports name kernels.
sanitize() {
  local tool=$1 status=0
  for test in $(grep -l '"harness.h"' native/test/*_test.cc); do
    HRSAM_CUDA_GRAPHS=0 timeout 300 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/$(basename "$test" .cc)" --threads 1 || status=1
  done
  return $status
}
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do step "$tool" sanitize "$tool"; done
fi
unset HRSAM_TEST_BACKEND

node=$(find_node)
if [ -n "$node" ] && [ -d node_modules/vitest ]; then
  export HRSAM_PREBUILD=$PWD/$out HRSAM_TEST_DEVICE=cuda
  step fixtures "$node" node_modules/vitest/vitest.mjs run test/ops test/model test/predictor test/gradient test/train
  step cycles env HRSAM_LEAK_CYCLES=10000 "$node" node_modules/vitest/vitest.mjs run test/leak/cycles.test.ts
else
  echo "no Node with node_modules/vitest: fixtures are left out"
  node=none
fi
# Rivals need no Node; one that computes something else than the model is none.
rivals=${HRSAM_PYTHON:-python3}
if "$rivals" -c 'import torch' 2>/dev/null; then
  step rivals-check "$rivals" bench/rivals/pytorch.py --check test/fixtures/reference
fi
step bench env HRSAM_NODE="$node" scripts/measure.sh cuda
# The same products by the instructions of earlier GPUs.
mma() { HRSAM_CUDA_WGMMA=0 "$node" scripts/hrsam.mjs bench --device cuda --only gemm,attention --json >"$out/mma.json"; }
fp8() { "$node" scripts/hrsam.mjs bench --device cuda --only encoder --full --dtype fp8 --json >"$out/fp8.json"; }
if [ "$capability" = 90a ] && [ "$node" != none ]; then
  step bench-mma mma
  step bench-fp8 fp8
fi

[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
