"""What this machine's PyTorch takes for what `hrsam bench` measures: its attention back ends and torch.matmul, the scan over the
repeated sequence, HRSAM's and HRSAM++'s encoder as their authors formulate it, SAM's ViT-B; compiled where torch.compile is
there. Prints a JSON document whose rows have the columns of `hrsam bench --json`, and `by`: who took that time.

On a GPU: device events, inputs rotated so that the cache does not help, median of 10 to 30 runs. On a CPU: wall time, median of 3
to 10 runs, of what takes more than half a minute a single one.

  python bench/rivals/pytorch.py --device cuda --full > rivals.json
  python bench/rivals/pytorch.py --check test/fixtures/reference
"""

import argparse
import json
import signal
import sys

import torch

from attention import attention_rows
from check import check
from hrsam import hrsam_rows
from linears import linear_rows
from measuring import DTYPES, Rows, document
from sam import sam_rows
from scan import scan_rows

GROUPS = ("gemm", "attention", "scan", "sam", "hrsam")
MEGAPIXELS = 16  # of a batch, together
SAM_SIZE = 1024  # with --full: what its published weights are for


def listed(kind, allowed=None):
    def parse(text):
        values = [kind(part) for part in text.split(",")]
        if allowed and any(value not in allowed for value in values):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(allowed)}")
        return values

    return parse


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", type=listed(str, GROUPS), default=GROUPS, metavar="GROUPS", help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: both")
    parser.add_argument("--sizes", type=listed(int), default=[1024], help="sides of the encoders' images")
    parser.add_argument("--batches", type=listed(int), default=[1])
    parser.add_argument("--full", action="store_true", help="sizes 512 to 2048, SAM's 1024; on a GPU also 4096, and batches 1, 4 and 16")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--mode", default="reduce-overhead", help="of torch.compile; none: leave it out")
    parser.add_argument("--seconds", type=float, help="begin no more rows after so many")
    parser.add_argument("--check", metavar="FOLDER", help="compare the encoders with reference values instead")
    return parser.parse_args()


def main():
    options = parsed()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.check:
        return check(options.check)
    rows = Rows(options.device, options.seconds)
    sizes, batches = options.sizes, options.batches
    if options.full:
        sizes = [512, 1024, 2048] + ([4096] if rows.on_gpu else [])
        batches = [1, 4, 16] if rows.on_gpu else batches
    dtypes = [options.dtype] if options.dtype else list(DTYPES)
    runs = [(size, batch) for size in sizes for batch in batches if batch == 1 or batch * size ** 2 <= MEGAPIXELS << 20]
    counts = sorted({1, *batches} & {1, 16}) if rows.on_gpu else [1]
    measure = {
        "gemm": lambda: linear_rows(rows, dtypes, counts, options.mode),
        "attention": lambda: attention_rows(rows, dtypes, counts),
        "scan": lambda: scan_rows(rows, dtypes, counts),
        "hrsam": lambda: hrsam_rows(rows, dtypes, runs, options.mode),
        "sam": lambda: sam_rows(rows, dtypes, [run for run in runs if not options.full or run[0] == SAM_SIZE], options.mode),
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for group in options.only:
            measure[group]()
    except KeyboardInterrupt:
        print("stopped: what was measured so far", file=sys.stderr)
    json.dump(document(rows), sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
