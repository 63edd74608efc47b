#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one, in parts that each end within ten minutes:
#
#   build          the CUDA backend for this GPU, and the native tests
#   native         those tests, each twice: the bytes must be the same; on Hopper by its own instructions and by every GPU's
#   doctor         where there is a Node: the model included, beside the CPU
#   memcheck racecheck initcheck synccheck     compute-sanitizer's tools on them, on Hopper both ways apart: it may not understand
#                  all of mbarriers and wgmma
#   fixtures       where there is a Node: the tests of ops, models, gradients and training
#   cycles         2,000 cycles of encoding and segmenting; 10,000 with HRSAM_LEAK_CYCLES=10000
#   bench-ops bench-encoder bench-encoder-f32 bench-train bench-hopper bench-serial     the figures, to bench/results/
#   rivals         PyTorch's beside them, where python3 (or HRSAM_PYTHON) has it
#
#   scripts/gpu.sh [folder [part ...]]
#
# Without parts all of them that can run here, in this order; a part that is named and cannot run counts as failed. Logs go
# to the folder (default out/gpu), which keeps the build for the next call. Where $OUT names a folder, logs and results are
# copied there as well. Needs nvcc, CMake and a C++20 compiler; no network. Node: HRSAM_NODE, or scripts/node.xz (a node
# binary, packed), or the one on the PATH. Of what is not in git it needs node_modules/node-addon-api and node-api-headers
# to build; dist/ and node_modules without development's for the bench; all of node_modules for fixtures and cycles, where
# it may come packed as scripts/node_modules.txz.
set -uo pipefail
cd "$(dirname "$0")/.."
all="build native doctor memcheck racecheck initcheck synccheck fixtures cycles bench-ops bench-encoder bench-encoder-f32 bench-train bench-hopper bench-serial rivals"
out=${1:-out/gpu}
[ $# -eq 0 ] || shift
named=$*
parts=${*:-$all}
for name in $parts; do
  [[ " $all " == *" $name "* ]] || { echo "no part '$name': $all" >&2; exit 2; }
done
mkdir -p "$out" bench/results
out=$(cd "$out" && pwd)
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
# Not every machine has xz.
[ ! -f scripts/node_modules.txz ] || [ -d node_modules/vitest ] || tar xJf scripts/node_modules.txz 2>/dev/null ||
  python3 -c 'import tarfile; tarfile.open("scripts/node_modules.txz").extractall()'
jobs=$(getconf _NPROCESSORS_ONLN)
tests=. # all native ones
failed=()

part() { [[ " $parts " == *" $1 "* ]]; }

# Ends what takes longer than a part may, so that its logs are still brought out.
limited() { timeout -k 10 "${HRSAM_PART_SECONDS:-540}" "$@"; }

# Says which of these parts, of those asked for, cannot run, and why.
without() {
  local why=$1 name
  shift
  for name in "$@"; do
    part "$name" || continue
    echo "no $why: $name is left out"
    [ -z "$named" ] || failed+=("$name")
  done
}

bring_out() {
  [ -n "${OUT:-}" ] || return 0
  tar czf "$OUT/logs.tgz" -C "$out" $(cd "$out" && ls -- *.log *.json 2>/dev/null) 2>/dev/null
  tar czf "$OUT/results.tgz" bench/results
}

# Runs a command; of its log, shows what failed.
step() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$out/$name.log" 2>&1; then
    echo "ok    $name ($((SECONDS - start)) s)"
  else
    echo "FAILED $name ($((SECONDS - start)) s): $out/$name.log"
    grep -E '^FAIL|^== .*: [1-9]|FAILED|failed|[Ee]rror|ERROR SUMMARY: [1-9]' "$out/$name.log" |
      grep -vE '^ok |, 0 failed' | head -40 || true
    tail -5 "$out/$name.log"
    failed+=("$name")
  fi
  bring_out
}

unpack() {
  { xz -dc "$1" || python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"; } \
    >"$2.part" 2>/dev/null && chmod +x "$2.part" && mv "$2.part" "$2"
}

find_node() {
  if [ -n "${HRSAM_NODE:-}" ]; then
    echo "$HRSAM_NODE"
  elif [ -f scripts/node.xz ]; then
    [ -x "$out/node" ] || unpack scripts/node.xz "$out/node"
    [ ! -x "$out/node" ] || echo "$out/node"
  else
    command -v node
  fi
}

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d '. ')
[ -n "$capability" ] || { echo "no GPU answers nvidia-smi" >&2; exit 1; }
[ "$capability" = 90 ] && capability=90a
build=$out/build

configure() {
  local generator=()
  ! command -v ninja >/dev/null || generator=(-G Ninja)
  cmake -S . -B "$build" "${generator[@]}" -DHRSAM_TESTS=ON -DHRSAM_CUDA=ON "-DHRSAM_CUDA_ARCHS=$capability" \
    "-DCMAKE_JS_INC=$PWD/node_modules/node-api-headers/include" "-DNODE_ADDON_API=$PWD/node_modules/node-addon-api" \
    "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$build/Release"
}
library=$build/Release/hrsam_cuda.so
compile() {
  local status=0
  cmake --build "$build" --parallel "$jobs" -- -k $(command -v ninja >/dev/null && echo 0) || status=$?
  [ -f "$library" ] || { grep CUDA "$out/configure.log"; echo "error: there is no $library"; return 1; }
  return "$status" # tests that do not compile
}
if part build; then
  step configure configure
  step build compile
  [ -f "$library" ] || exit 1
fi

# Every native test of the backend, or those that $tests matches, by the command given; several at a time, most of their time
# being the CPU's, which computes what is right.
backend_tests() {
  HRSAM_TEST_BACKEND=${HRSAM_TEST_BACKEND:-$library} \
    limited xargs -P "$((jobs / 2 + 1))" -I{} sh -c 'log=$("$@" 2>&1); status=$?; echo "== $*: $status"; echo "$log"; exit $status' \
    sh timeout --foreground -k 10 400 "$@" "$build/{}" --threads 1 < <(
      grep -l '"harness.h"' native/test/*_test.cc | sed 's|.*/||; s|\.cc$||' | grep -E "$tests"
    )
}
# Hopper has two ways: its own instructions, and those of every GPU.
ways=$([ "$capability" = 90a ] && echo 0 1 || echo 0)
if part native; then
  for wgmma in $ways; do
    HRSAM_PART_SECONDS=${HRSAM_PART_SECONDS:-270} step "native-wgmma-$wgmma" backend_tests env HRSAM_TEST_TWICE=1 "HRSAM_CUDA_WGMMA=$wgmma"
  done
fi

node=$(find_node)
[ -n "$node" ] || without Node doctor fixtures cycles bench-ops bench-encoder bench-encoder-f32 bench-train bench-hopper bench-serial
export HRSAM_PREBUILD=$out HRSAM_TEST_DEVICE=cuda
if [ -n "$node" ] && part doctor; then step doctor limited "$node" scripts/hrsam.mjs doctor; fi

# Not everywhere that it is installed: it needs what a container may not give.
sanitizer_works() {
  command -v compute-sanitizer >/dev/null &&
    HRSAM_TEST_BACKEND=${HRSAM_TEST_BACKEND:-$library} limited compute-sanitizer --tool memcheck "$build/mask_runs_test" \
      >"$out/sanitizer.log" 2>&1 && ! grep -qi 'not supported' "$out/sanitizer.log"
}

# Without graphs, so that reports name kernels. A test asks for more memory than there is: no error. Several run at a time:
# each racecheck would take all processors, and memory for all launches that nobody waits for. The tests of what Hopper has
# kernels of its own for are run with those as well.
sanitize() {
  local tool=$1 wgmma=$2 more=
  [ "$tool" != memcheck ] || more="--report-api-errors no"
  [ "$tool" != racecheck ] || more="--racecheck-num-workers 1 --force-synchronization-limit 4"
  backend_tests env HRSAM_CUDA_GRAPHS=0 "HRSAM_CUDA_WGMMA=$wgmma" \
    compute-sanitizer --tool "$tool" --launch-timeout 120 --error-exitcode 9 $more
}
for tool in memcheck racecheck initcheck synccheck; do
  part "$tool" || continue
  if ! sanitizer_works; then without "compute-sanitizer that works here" "$tool"; continue; fi
  HRSAM_PART_SECONDS=${HRSAM_PART_SECONDS:-$([ "$ways" = 0 ] && echo 540 || echo 380)} step "$tool" sanitize "$tool" 0
  [ "$ways" != 0 ] || continue
  tests='^(gemm|linear_fp8|window_attention|attention)_test$' HRSAM_PART_SECONDS=${HRSAM_PART_SECONDS:-150} \
    step "$tool-wgmma" sanitize "$tool" 1
done

vitest() {
  [ -d node_modules/vitest ] || { echo "error: node_modules/vitest is not there"; return 1; }
  limited "$node" node_modules/vitest/vitest.mjs run --maxWorkers "$((jobs / 2 + 1))" "$@"
}
if [ -n "$node" ]; then
  if part fixtures; then step fixtures vitest test/ops test/model test/predictor test/gradient test/train test/runtime/exit.test.ts; fi
  if part cycles; then step cycles vitest test/leak/cycles.test.ts; fi
fi

# One document of one run, whatever parts of it are measured by which call.
export HRSAM_BENCH_RUN=${HRSAM_BENCH_RUN:-$(date -u +%Y-%m-%d), commit ${HRSAM_COMMIT:-$(git rev-parse HEAD 2>/dev/null)}}
ours() { HRSAM_NODE=$node HRSAM_PYTHON=none HRSAM_BENCH="--only $*" limited scripts/measure.sh cuda; }
theirs() { HRSAM_NODE=none HRSAM_RIVALS=${HRSAM_RIVALS:---seconds 400} limited scripts/measure.sh cuda; }
# The same products by the instructions of earlier GPUs, and without squares of blocks; encoders in e4m3. All in a part's time.
hopper() {
  local end=$((SECONDS + ${HRSAM_PART_SECONDS:-540}))
  rest() { HRSAM_PART_SECONDS=$((end > SECONDS ? end - SECONDS : 1)) limited "$node" scripts/hrsam.mjs bench --device cuda "$@"; }
  HRSAM_CUDA_WGMMA=0 rest --only gemm,attention -o "$out/mma.json" &&
    HRSAM_CUDA_SQUARES=0 rest --only gemm --dtype bf16 -o "$out/pairs.json" &&
    rest --only encoder --full --dtype fp8 -o "$out/fp8.json"
}
# Without the next kernel started early.
serial() { HRSAM_CUDA_PDL=0 limited "$node" scripts/hrsam.mjs bench --device cuda --only encoder --dtype bf16 -o "$out/serial.json"; }
if [ -n "$node" ]; then
  if part bench-ops; then step bench-ops ours gemm,attention,scan,memory,call; fi
  if part bench-encoder; then step bench-encoder ours encoder --dtype bf16; fi
  if part bench-encoder-f32; then step bench-encoder-f32 ours encoder --dtype f32; fi
  if part bench-train; then step bench-train ours train; fi
  if part bench-hopper && [ "$capability" = 90a ]; then step bench-hopper hopper; fi
  if part bench-serial && [ "${capability%a}" -ge 90 ] && [ "${capability%a}" -lt 120 ]; then step bench-serial serial; fi
fi
# One that computes something else than the model is no rival.
python=${HRSAM_PYTHON:-python3}
if part rivals; then
  if "$python" -c 'import torch' 2>/dev/null; then
    step rivals-check limited "$python" bench/rivals/pytorch.py --check test/fixtures/reference
    step rivals theirs
  else
    without PyTorch rivals
  fi
fi

[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
