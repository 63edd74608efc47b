"""SAM's image encoder (arXiv 2304.02643) in plain PyTorch ops. Names of parameters are the published ones."""

import torch
import torch.nn.functional as F
from torch import nn

from attention import attend
from measuring import DTYPES, compiled

VIT_B = {"patch_size": 16, "in_chans": 3, "embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4, "out_chans": 256,
         "qkv_bias": True, "use_abs_pos": True, "use_rel_pos": True, "window_size": 14, "global_attn_indexes": [2, 5, 8, 11]}
EPS = 1e-6


def distances(table, length):
    """Rows of a relative-position table for every pair of query and key along an axis: (length, length, d)."""
    if table.shape[0] != 2 * length - 1:
        table = F.interpolate(table.t()[None], size=2 * length - 1, mode="linear", align_corners=False)[0].t()
    places = torch.arange(length, device=table.device)
    return table[places[:, None] - places[None] + length - 1]


class Attention(nn.Module):
    def __init__(self, width, heads, side, bias, relative):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        if relative:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.relative = relative

    def forward(self, x):
        batch, height, width, channels = x.shape
        q, k, v = self.qkv(x).view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = None
        if self.relative:
            grid = q.unflatten(2, (height, width))
            rows = torch.einsum("bnhwd,hkd->bnhwk", grid, distances(self.rel_pos_h, height))
            columns = torch.einsum("bnhwd,wkd->bnhwk", grid, distances(self.rel_pos_w, width))
            bias = (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)
        return self.proj(attend(q, k, v, bias).transpose(1, 2).reshape(batch, height, width, channels))


class Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return self.lin2(F.gelu(self.lin1(x)))


class Block(nn.Module):
    """window: side of the windows, 0 for attention over the whole grid."""

    def __init__(self, config, grid, window):
        super().__init__()
        width = config["embed_dim"]
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.attn = Attention(width, config["num_heads"], window or grid, config["qkv_bias"], config["use_rel_pos"])
        self.mlp = Mlp(width, int(config["mlp_ratio"] * width))

    def attended(self, x):
        if not self.window:
            return self.attn(x)
        (batch, height, width, channels), side = x.shape, self.window
        padded = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, rows, side, columns, side, channels).transpose(2, 3).reshape(-1, side, side, channels)
        grid = self.attn(windows).view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return grid.reshape(padded.shape)[:, :height, :width]

    def forward(self, x):
        x = x + self.attended(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of (B, C, h, w)."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, out, patch = config["embed_dim"], config["out_chans"], config["patch_size"]
        grid = config["img_size"] // patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(config["in_chans"], width, patch, patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width)) if config["use_abs_pos"] else None
        self.blocks = nn.ModuleList(Block(config, grid, 0 if i in config["global_attn_indexes"] else config["window_size"])
                                    for i in range(config["depth"]))
        self.neck = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), LayerNorm2d(out, EPS),
                                  nn.Conv2d(out, out, 3, padding=1, bias=False), LayerNorm2d(out, EPS))

    def forward(self, image):
        x = self.patch_embed["proj"](image).movedim(1, -1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.movedim(-1, 1))


def sam_rows(rows, dtypes, sizes_and_batches, mode):
    """ViT-B, untrained, its position tables those of the size."""
    for dtype in dtypes:
        for size, batch in sizes_and_batches:
            model = Encoder({**VIT_B, "img_size": size}).to(rows.device, DTYPES[dtype]).eval()
            for by, run in {"plain ops": model, "plain ops, compiled": compiled(model, mode)}.items():
                if run is not None:
                    rows.add("sam-vit-b encoder", by, dtype, f"{size} x {size}", batch,
                             lambda: [rows.normal(dtype, batch, 3, size, size)], run)
