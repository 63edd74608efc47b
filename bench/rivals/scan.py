"""The selective scan over the R times repeated sequence, as the authors formulate the cycle scan, in plain PyTorch ops; and
the kernel that they call, where the mamba_ssm package is installed."""

import math

import torch

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None

GPU_CHUNKS = 256  # of a batch, together
TOKENS_AT_ONCE = {"cuda": 8, "cpu": 64}  # whose exponentials are computed beforehand: 200 MB on a GPU, 6 MB on a CPU


def selective_scan(u, delta, a, b, c):
    """h_t = exp(delta_t a) h_{t-1} + delta_t b_t u_t; y_t = <c_t, h_t>. u, delta (B, L, C), a (C, N), b, c (B, L, N), f32.

    The sequence is cut into chunks that advance side by side, one token a step: once from zero, which gives every chunk's
    last state and with it, chunk after chunk, the state that each begins with; then once more from there. One chunk is the
    recurrence as it is written, which suits a CPU."""
    batch, length, channels = u.shape
    chunks = max(1, GPU_CHUNKS // batch) if u.is_cuda else 1
    steps = math.ceil(length / chunks)

    def chunked(x):  # delta 0 at the end leaves the state alone
        padded = torch.nn.functional.pad(x, (0, 0, 0, steps * chunks - length))
        return padded.view(batch, chunks, steps, -1).transpose(1, 2)

    weighted, delta, b, c = chunked(delta * u), chunked(delta), chunked(b), chunked(c)

    def states_from(state):
        """The states (B, tokens, chunks, C, N) after some tokens at a time, and which tokens those are."""
        for first in range(0, steps, TOKENS_AT_ONCE[u.device.type]):
            tokens = slice(first, first + TOKENS_AT_ONCE[u.device.type])
            decay = torch.exp(delta[:, tokens, :, :, None] * a)
            states = weighted[:, tokens, :, :, None] * b[:, tokens, :, None, :]
            for t in range(states.shape[1]):
                state = states[:, t].addcmul_(decay[:, t], state)
            yield tokens, states

    begin = u.new_zeros(batch, chunks, channels, a.shape[1])
    if chunks > 1:
        for _, states in states_from(begin):
            last = states[:, -1]
        decay = torch.exp(delta.sum(1)[..., None] * a)
        begin = torch.zeros_like(begin)
        for k in range(1, chunks):
            begin[:, k] = decay[:, k - 1] * begin[:, k - 1] + last[:, k - 1]
    y = torch.empty_like(weighted)
    for tokens, states in states_from(begin):
        y[:, tokens] = (states @ c[:, tokens, :, :, None])[..., 0]
    return y.transpose(1, 2).reshape(batch, steps * chunks, channels)[:, :length]


def cycle_scan(u, ssm, a, bias, d, gamma, kernel=False):
    """u (B, L, C), ssm (B, L, C + 2N), gamma (C, R, 1) -> (B, L, C): R readings in a row, weighted. f32 inside.
    kernel: mamba_ssm's instead of plain ops."""
    batch, length, channels = u.shape
    states, cycles = a.shape[1], gamma.shape[1]
    delta, b, c = ssm.float().repeat(1, cycles, 1).split([channels, states, states], -1)
    repeated = u.float().repeat(1, cycles, 1)
    if kernel:
        turned = [x.transpose(1, 2).contiguous() for x in (repeated, delta, b, c)]
        y = selective_scan_fn(turned[0], turned[1], a, turned[2], turned[3], d, delta_bias=bias, delta_softplus=True)
        y = y.transpose(1, 2)
    else:
        y = selective_scan(repeated, torch.nn.functional.softplus(delta + bias), a, b, c) + d * repeated
    return torch.einsum("brlc,cr->blc", y.reshape(batch, cycles, length, channels), gamma[..., 0]).to(u.dtype)


if hasattr(torch, "compiler"):  # torch.compile would unroll the loop over tokens
    cycle_scan = torch.compiler.disable(cycle_scan)


def scan_rows(rows, dtypes, batches):
    """The cycle scan of HRSAM-B at 1024 x 1024."""
    tokens, channels, states, cycles = 4096, 768, 32, 3
    a = -torch.arange(1.0, states + 1, device=rows.device).repeat(channels, 1)
    ones = torch.ones(channels, device=rows.device)
    gamma = torch.full((channels, cycles, 1), 1 / cycles, device=rows.device)
    for dtype in dtypes:
        for batch in batches:
            def make():
                return [rows.normal(dtype, batch, tokens, channels), rows.normal(dtype, batch, tokens, channels + 2 * states)]

            for by, kernel in [("repeated, plain ops", False), ("repeated, mamba_ssm", True)]:
                if kernel and (selective_scan_fn is None or not rows.on_gpu):
                    continue
                rows.add("cycle scan, R = 3", by, dtype, f"{tokens} x {channels} x {states}", batch, make,
                         lambda u, ssm, kernel=kernel: cycle_scan(u, ssm, a, -4.6 * ones, ones, gamma, kernel))
