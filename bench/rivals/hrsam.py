"""HRSAM's and HRSAM++'s encoder (arXiv 2407.02109) in plain PyTorch ops, formulated as its authors do: padded windows cut out,
padded positions projected like any token, the sequence of the cycle scan repeated. Names of parameters are the published ones.
"""

import torch
import torch.nn.functional as F
from torch import nn

from attention import attend
from measuring import DTYPES, compiled
from scan import cycle_scan, selective_scan_fn

BASE = {"window_size": 16, "state_dim": 32, "extend_ratio": 3, "in_dim": 3, "img_size": 224, "patch_size": 16, "depth": 12,
        "embed_dim": 768, "num_heads": 12, "mlp_ratio": 4, "out_indices": [2, 5, 8, 11], "final_embed_dim": 256}


COMPILED_SIZE = 1024  # compiling takes minutes a shape


def resized(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class WindowAttention(nn.Module):
    def __init__(self, width, heads, window, shift):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.padding = nn.Parameter(torch.zeros(1, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        # Inside a window only differences of positions count: its own coordinates do, times 0.5.
        quarter = width // heads // 4
        frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)
        angles = 0.5 * torch.arange(window)[:, None] * frequencies
        rows, columns = angles[:, None].expand(-1, window, -1), angles[None].expand(window, -1, -1)
        both = torch.cat([rows, columns], -1).reshape(window * window, 2 * quarter)
        self.register_buffer("cos", both.cos(), persistent=False)
        self.register_buffer("sin", both.sin(), persistent=False)

    def margins(self, height, width):
        """Padding: left, right, top, bottom."""
        before = (self.window - self.shift) % self.window
        return [before, -(before + width) % self.window, before, -(before + height) % self.window]

    def cut(self, x, height, width):
        """(B, h w, C) -> windows (B, count, Ws^2, C), padded with the learned vector."""
        batch, _, channels = x.shape
        left, right, top, bottom = self.margins(height, width)
        grid = self.padding.to(x.dtype).expand(batch, top + height + bottom, left + width + right, channels).clone()
        grid[:, top:top + height, left:left + width] = x.view(batch, height, width, channels)
        rows, columns = grid.shape[1] // self.window, grid.shape[2] // self.window
        windows = grid.view(batch, rows, self.window, columns, self.window, channels).transpose(2, 3)
        return windows.reshape(batch, rows * columns, self.window ** 2, channels)

    def join(self, windows, height, width):
        """The inverse of cut; padded positions are dropped."""
        batch, _, _, channels = windows.shape
        left, right, top, bottom = self.margins(height, width)
        rows, columns = (top + height + bottom) // self.window, (left + width + right) // self.window
        grid = windows.view(batch, rows, columns, self.window, self.window, channels).transpose(2, 3)
        grid = grid.reshape(batch, rows * self.window, columns * self.window, channels)
        return grid[:, top:top + height, left:left + width].reshape(batch, height * width, channels)

    def turned(self, x):
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * self.cos + odd * self.sin, odd * self.cos - even * self.sin], -1).flatten(-2)

    def forward(self, x, grids):
        parts = x.split([h * w for h, w in grids], 1)
        cut = [self.cut(part, h, w) for part, (h, w) in zip(parts, grids)]
        qkv = self.qkv(torch.cat(cut, 1)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.movedim(3, 0).transpose(3, 4)  # (B, count, heads, Ws^2, d) each
        q, k, v = [each.flatten(0, 1) for each in (self.turned(q), self.turned(k), v)]
        out = attend(q, k, v).transpose(1, 2).flatten(2).view(x.shape[0], -1, self.window ** 2, x.shape[2])
        windows = out.split([each.shape[1] for each in cut], 1)
        return self.proj(torch.cat([self.join(each, h, w) for each, (h, w) in zip(windows, grids)], 1))


class Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, window, shift, ratio):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.mlp = Mlp(width, int(ratio * width))

    def forward(self, x, grids):
        x = x + self.attn(self.norm1(x), grids)
        return x + self.mlp(self.norm2(x))


class CycleScanBlock(nn.Module):
    def __init__(self, width, states, cycles):
        super().__init__()
        self.in_norm, self.out_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.in_proj = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU())
        self.ssm_proj = nn.Linear(width, width + 2 * states)
        self.out_proj = nn.Linear(width, width)
        self.ssm_proj_bias = nn.Parameter(torch.full((width,), -4.6))
        self.As_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(width, 1))
        self.Ds = nn.Parameter(torch.ones(width))
        self.gamma = nn.Parameter(torch.full((width, cycles, 1), 1 / cycles))
        self.kernel = False

    def forward(self, x, segments):
        u, z = self.in_proj(self.in_norm(x)).chunk(2, -1)
        settings = (-torch.exp(self.As_log.float()), self.ssm_proj_bias.float(), self.Ds.float(), self.gamma.float(), self.kernel)
        parts = zip(u.split(segments, 1), self.ssm_proj(u).split(segments, 1))
        out = torch.cat([cycle_scan(part, ssm, *settings) for part, ssm in parts], 1)
        return x + self.out_proj(z * self.out_norm(out))


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, heads, window = config["embed_dim"], config["num_heads"], config["window_size"]
        self.patch, self.taps = config["patch_size"], config["out_indices"]
        self.downsampled = [(s, s) if isinstance(s, int) else tuple(s) for s in config.get("downsample_sizes", [])]
        self.table = config["img_size"] // self.patch
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.table ** 2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(config["in_dim"], width, self.patch, self.patch)})
        self.blocks = nn.ModuleList(Block(width, heads, window, i % 2 * (window // 2), config["mlp_ratio"])
                                    for i in range(config["depth"]))

        def scans():
            return nn.ModuleList(CycleScanBlock(width, config["state_dim"], config["extend_ratio"]) for _ in self.taps)

        scales, out = 1 + len(self.downsampled), config["final_embed_dim"]
        if scales == 1:
            self.mamba_blocks = scans()
        else:
            self.ss_mamba_blocks, self.ms_mamba_blocks = scans(), scans()
            self.multi_scale_fusion = nn.ModuleList(nn.ModuleList([nn.LayerNorm(width)]) for _ in self.taps)
        self.lateral_convs = nn.ModuleList(
            nn.Sequential(nn.Linear(scales * width, out, bias=False), nn.LayerNorm(out)) for _ in self.taps)
        self.out_conv = nn.ModuleList([nn.Conv2d(out, out, 3, padding=1, groups=out, bias=False), nn.Identity(),
                                       nn.LayerNorm(out)])

    def tokens(self, image):
        x = self.patch_embed["proj"](image)
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.table, self.table))
        return x + resized(table, x.shape[2:])

    def fused(self, k, x, grids):
        if len(grids) > 1:
            parts = x.split([h * w for h, w in grids], 1)
            maps = [part.transpose(1, 2).unflatten(2, grid) for part, grid in zip(parts, grids)]
            full = [each if grid == grids[0] else resized(each, grids[0]) for each, grid in zip(maps, grids)]
            norm = self.multi_scale_fusion[k][0]
            x = torch.cat([norm(each.flatten(2).transpose(1, 2)) for each in full], -1)
        return self.lateral_convs[k](x)

    def forward(self, image):
        maps = [self.tokens(each) for each in (image, *(resized(image, size) for size in self.downsampled))]
        grids = [tuple(each.shape[2:]) for each in maps]
        x = torch.cat([each.flatten(2).transpose(1, 2) for each in maps], 1)
        segments = [h * w for h, w in grids]
        total = 0
        for i, block in enumerate(self.blocks):
            k = self.taps.index(i) if i in self.taps else None
            if k is not None:
                x = self.ss_mamba_blocks[k](x, segments) if self.downsampled else self.mamba_blocks[k](x, segments)
            x = block(x, grids)
            if k is not None:
                if self.downsampled:
                    x = self.ms_mamba_blocks[k](x, [sum(segments)])
                total = total + self.fused(k, x, grids)
        conv, _, norm = self.out_conv
        out = conv(total.transpose(1, 2).unflatten(2, grids[0]))
        return norm(out.movedim(1, -1)).movedim(-1, 1)

    def use_kernel(self):
        for block in self.modules():
            if isinstance(block, CycleScanBlock):
                block.kernel = True


def hrsam_rows(rows, dtypes, sizes_and_batches, mode):
    """Both base models, untrained; on a GPU also with the authors' scan kernel, where it is installed."""
    for name, more in [("hrsam-b", {}), ("hrsam++-b", {"downsample_sizes": [512]})]:
        for dtype in dtypes:
            model = Encoder({**BASE, **more}).to(rows.device, DTYPES[dtype]).eval()
            scan = "plain ops"
            if rows.on_gpu and selective_scan_fn is not None:
                model.use_kernel()
                scan = "mamba_ssm's scan"
            for size, batch in sizes_and_batches:
                def add(by, run):
                    rows.add(f"{name} encoder", by, dtype, f"{size} x {size}", batch,
                             lambda: [rows.normal(dtype, batch, 3, size, size)], run)

                add(scan, model)
                fused = compiled(model, mode) if size == COMPILED_SIZE else None
                if fused is not None:
                    add(f"{scan}, compiled", fused)
