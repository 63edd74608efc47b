"""The four linears of a block of HRSAM-B: the bare product, and with what the model needs after it."""

import torch
import torch.nn.functional as F

from measuring import compiled

LAYERS = [("linear qkv", 768, 2304, "bias"), ("linear proj + residual", 768, 768, "residual"),
          ("linear fc1 + GELU", 768, 3072, "gelu"), ("linear fc2 + residual", 3072, 768, "residual")]

EPILOGUES = {
    "bias": lambda x, weight, bias: F.linear(x, weight, bias),
    "gelu": lambda x, weight, bias: F.gelu(F.linear(x, weight, bias)),
    "residual": lambda x, residual, weight, bias: F.linear(x, weight, bias) + residual,
}


def linear_rows(rows, dtypes, batches, mode):
    torch.backends.cuda.matmul.allow_tf32 = False
    for what, inner, outer, kind in LAYERS:
        for dtype in dtypes:
            weight, bias = rows.normal(dtype, outer, inner), rows.normal(dtype, outer)
            sizes = [inner, outer] if kind == "residual" else [inner]
            for batch in batches:
                count = 4096 * batch

                def add(by, widths, run):
                    rows.add(what, by, dtype, f"{count} x {inner} -> {outer}", batch,
                             lambda: [rows.normal(dtype, count, width) for width in widths], run,
                             2.0 * count * inner * outer, graph=True)

                add("torch.matmul alone", [inner], lambda x: torch.matmul(x, weight.t()))
                add("with what follows", sizes, lambda *xs: EPILOGUES[kind](*xs, weight, bias))
                fused = compiled(EPILOGUES[kind], "max-autotune-no-cudagraphs" if mode != "none" else mode)
                if fused is not None:
                    add("with what follows, compiled", sizes, lambda *xs: fused(*xs, weight, bias))
