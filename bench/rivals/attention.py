"""Attention as this PyTorch offers it."""

import torch
import torch.nn.functional as F

try:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    BACKENDS = {name.split("_")[0].lower(): getattr(SDPBackend, name)
                for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH") if hasattr(SDPBackend, name)}
except ImportError:  # before 2.3
    BACKENDS = {}


def attend(q, k, v, bias=None):
    """softmax(q k^T / sqrt(d) + bias) v, by what PyTorch itself picks."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return (logits if bias is None else logits + bias).softmax(-1) @ v


def attend_with(backend):
    """attend, by one back end; which does not take every shape."""

    def run(q, k, v):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v)

    return run


def attention_rows(rows, dtypes, batches):
    """What attention takes for 64 x 64 tokens in windows of 16 x 16, shifted ones (25 instead of 16 windows) and all at
    once; a rival's windows lie ready, turned, padded and in order."""
    heads, width, tokens, window = 12, 64, 4096, 256
    ways = {"attention": attend} if not BACKENDS or not rows.on_gpu else {
        name: attend_with(backend) for name, backend in BACKENDS.items()}
    shapes = [("window attention, plain", f"{tokens} tokens", 16, window, batches),
              ("window attention, shifted", f"{tokens} tokens", 25, window, batches),
              ("attention", f"{tokens} x {tokens}", 1, tokens, [1])]
    if rows.on_gpu:
        shapes.append(("attention", "16384 x 16384", 1, 16384, [1]))
    for what, size, windows, length, counts in shapes:
        for dtype in dtypes:
            for batch in counts:
                # Padded queries are nobody's: counted is what the result needs.
                flops = 4.0 * batch * heads * width * length * (tokens if length == window else length)
                for name, run in ways.items():
                    rows.add(what, name, dtype, size, batch,
                             lambda: [rows.normal(dtype, batch * windows, heads, length, width) for _ in range(3)],
                             run, flops, graph=True)
