#!/usr/bin/env bash
# One run of `hrsam bench --full` and, where Python has PyTorch for the device, of its rivals, on one device: two documents
# in bench/results/, named after the device (a processor and the instructions it is used with), from which `npm run figures`
# makes the README's tables. Ends with 1 where something could not be measured; the documents then lack that. Further
# options go to both commands.
#
#   scripts/measure.sh cpu|cuda [--dtype bf16] [--threads 2]
#
# HRSAM_NODE, HRSAM_PYTHON: other programs than the PATH's node and python3. HRSAM_COMMIT where there is no git.
# HRSAM_BENCH_NOTE: what is to be said about the run, e.g. "other work beside it". HRSAM_BENCH_RUN: the run's name, where
# its halves are started one by one. HRSAM_BENCH, HRSAM_RIVALS: options for one of the two alone, e.g. "--seconds 300".
set -uo pipefail
cd "$(dirname "$0")/.."
device=${1:?cpu or cuda}
shift
node=${HRSAM_NODE:-node}
python=${HRSAM_PYTHON:-python3}
mkdir -p bench/results
export HRSAM_BENCH_RUN=${HRSAM_BENCH_RUN:-$(date -u +%Y-%m-%dT%H:%M:%SZ), process $$}
if [ -z "${HRSAM_COMMIT:-}" ] && commit=$(git rev-parse HEAD 2>/dev/null); then
  [ -z "$(git status --porcelain --untracked-files=no -- . ':!bench/results')" ] || commit+=+
  export HRSAM_COMMIT=$commit
fi

if [ "$device" = cpu ]; then # virtual machines name all processors of a maker alike
  name=$("$node" scripts/hrsam.mjs doctor --json | "$node" -p '
    const { name, detail } = JSON.parse(fs.readFileSync(0)).cpu; `${name} ${/using (\w+)/.exec(detail)[1]}`')
else
  name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
fi
file=bench/results/$(echo "${name:-$device}" | tr '[:upper:]' '[:lower:]' | sed 's/(r)//g; s/[^a-z0-9]\+/-/g; s/^-//; s/-$//')

# Writes what a command prints, and says whether it succeeded; of one that prints nothing, nothing.
keep() {
  local to=$1 status=0
  shift
  "$@" >"$to.part" || status=$?
  if [ -s "$to.part" ]; then mv "$to.part" "$to" && echo "$to"; else rm -f "$to.part"; fi
  return $status
}

trap : TERM # its commands get it too; what they have measured by then is kept
status=0
if command -v "$node" >/dev/null; then
  "$node" scripts/hrsam.mjs bench --device "$device" --full -o "$file.json" "$@" ${HRSAM_BENCH:-} >&2 || status=1
else
  echo "no Node: hrsam bench is left out"
fi
if "$python" -c "import sys, torch; sys.exit('$device' == 'cuda' and not torch.cuda.is_available())" 2>/dev/null; then
  keep "$file.rivals.json" "$python" bench/rivals/pytorch.py --device "$device" --full "$@" ${HRSAM_RIVALS:-} || status=1
else
  echo "no Python with PyTorch for $device: the rivals are left out"
fi
exit $status
