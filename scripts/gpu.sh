#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one, in parts:
#
#   build      the CUDA backend for this GPU, and the native tests
#   native     those tests, each twice: the bytes must be the same; on Hopper by its own instructions and by every GPU's
#   sanitize   compute-sanitizer's four tools on them
#   node       where there is a Node: the fixtures, 10,000 cycles of encoding and segmenting
#   bench      the figures, with PyTorch's beside them where python3 (or HRSAM_PYTHON) has it, to bench/results/
#
#   scripts/gpu.sh [folder [part ...]]
#
# Without parts all of them, in this order; logs go to the folder (default out/gpu), which keeps the build for the next call.
# Needs nvcc, CMake and a C++20 compiler; no network. Node: HRSAM_NODE, or scripts/node.xz (a node binary, packed), or the
# one on the PATH; node_modules must be carried along for what it runs.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-out/gpu}
shift
parts=${*:-build native sanitize node bench}
mkdir -p "$out" bench/results
out=$(cd "$out" && pwd)
jobs=$(getconf _NPROCESSORS_ONLN)
failed=()

part() { [[ " $parts " == *" $1 "* ]]; }

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
    echo "$out/node"
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
    "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$build/Release"
}
if part build; then
  step configure configure
  step build cmake --build "$build" --parallel "$jobs"
fi

# Every native test of the backend, by the command given; several at a time, most of their time being the CPU's, which
# computes what is right.
backend_tests() {
  HRSAM_TEST_BACKEND=${HRSAM_TEST_BACKEND:-$build/Release/hrsam_cuda.so} \
    xargs -P "$((jobs / 2 + 1))" -I{} sh -c 'log=$("$@" 2>&1); status=$?; echo "== $*: $status"; echo "$log"; exit $status' \
    sh timeout 400 "$@" "$build/{}" --threads 1 < <(
      grep -l '"harness.h"' native/test/*_test.cc | sed 's|.*/||; s|\.cc$||'
    )
}
# Hopper has two ways: its own instructions, and those of every GPU.
if part native; then
  for wgmma in $([ "$capability" = 90a ] && echo 0 1 || echo 0); do
    step "native-wgmma-$wgmma" backend_tests env HRSAM_TEST_TWICE=1 "HRSAM_CUDA_WGMMA=$wgmma"
  done
fi

# Without graphs, so that reports name kernels.
if part sanitize && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    step "$tool" backend_tests env HRSAM_CUDA_GRAPHS=0 compute-sanitizer --tool "$tool" --error-exitcode 9
  done
fi

node=$(find_node)
if [ -z "$node" ] || [ ! -d node_modules/vitest ]; then
  echo "no Node with node_modules/vitest: what it runs is left out"
  node=none
fi
export HRSAM_PREBUILD=$out HRSAM_TEST_DEVICE=cuda
if part node && [ "$node" != none ]; then
  step fixtures "$node" node_modules/vitest/vitest.mjs run test/ops test/model test/predictor test/gradient test/train
  step cycles env HRSAM_LEAK_CYCLES=10000 "$node" node_modules/vitest/vitest.mjs run test/leak/cycles.test.ts
fi

# Rivals need no Node; one that computes something else than the model is none.
rivals=${HRSAM_PYTHON:-python3}
# The same products by the instructions of earlier GPUs.
mma() { HRSAM_CUDA_WGMMA=0 "$node" scripts/hrsam.mjs bench --device cuda --only gemm,attention --json >"$out/mma.json"; }
fp8() { "$node" scripts/hrsam.mjs bench --device cuda --only encoder --full --dtype fp8 --json >"$out/fp8.json"; }
if part bench; then
  if "$rivals" -c 'import torch' 2>/dev/null; then
    step rivals-check "$rivals" bench/rivals/pytorch.py --check test/fixtures/reference
  fi
  step bench env HRSAM_NODE="$node" scripts/measure.sh cuda
  if [ "$capability" = 90a ] && [ "$node" != none ]; then
    step bench-mma mma
    step bench-fp8 fp8
  fi
fi

[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
