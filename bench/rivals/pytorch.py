"""What the machine's PyTorch takes for the shapes of the HRSAM-B encoder at 1024 x 1024: every attention back end that it
offers, torch.matmul, and both with the epilogues that the model needs. Device events, inputs rotated so that the L2 does
not help, median of at least ten runs. Prints one JSON row per measurement, as `hrsam bench --json` does.

  python bench/rivals/pytorch.py > bench/results/rivals.json
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

L2_BYTES = 128 << 20  # more than any GPU's second-level cache
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def measure(make, run, runs=30):
    """Milliseconds of run(*inputs), inputs being one of several sets that together exceed the cache."""
    first = make()
    size = sum(x.numel() * x.element_size() for x in first)
    sets = [first] + [make() for _ in range(max(1, L2_BYTES // max(1, size)) if size < L2_BYTES else 1)]
    for inputs in sets:
        run(*inputs)
    times = []
    for i in range(runs):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run(*sets[i % len(sets)])
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times), max(times) - min(times)


def report(group, name, flops, make, run):
    try:
        milliseconds, spread = measure(make, run)
    except RuntimeError as error:  # a back end that does not take this shape
        print(f"{name}: {error}".splitlines()[0], file=sys.stderr)
        return
    row = {"group": group, "name": name, "milliseconds": milliseconds, "spread": spread,
           "tflops": flops / milliseconds * 1e-9}
    print(json.dumps(row), flush=True)


def normal(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def attention(name, batch, heads, length, width):
    flops = 4.0 * batch * heads * length * length * width
    for label, backend in BACKENDS.items():
        def run(q, k, v, backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v)

        report("attention", f"{name}, {label}", flops, lambda: [normal(batch, heads, length, width) for _ in range(3)], run)


def linear(rows, inner, outer):
    flops = 2.0 * rows * inner * outer
    shape = f"{rows} x {inner} to {outer}"
    weight, bias = normal(outer, inner), normal(outer)
    report("gemm", shape, flops, lambda: [normal(rows, inner)], lambda x: torch.matmul(x, weight.t()))
    report("gemm", f"{shape}, bias and GELU", flops, lambda: [normal(rows, inner)], lambda x: F.gelu(F.linear(x, weight, bias)))


def main():
    properties = torch.cuda.get_device_properties(0)
    print(json.dumps({"device": properties.name, "torch": torch.__version__, "cuda": torch.version.cuda}))
    torch.backends.cuda.matmul.allow_tf32 = False
    for batch in (1, 16):
        attention(f"windows of 256 x 64, {batch} images", batch * 16, 12, 256, 64)
        attention(f"shifted windows of 256 x 64, {batch} images", batch * 25, 12, 256, 64)
        for inner, outer in ((768, 2304), (768, 768), (768, 3072), (3072, 768)):
            linear(4096 * batch, inner, outer)
    for length in (4096, 16384):
        attention(f"{length} tokens, 12 heads of 64", 1, 12, length, 64)


if __name__ == "__main__":
    main()
