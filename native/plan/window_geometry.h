// Windows over grids of tokens: which token, if any, lies at each position of each window, after
// the grid was padded (and, as in Swin, rolled). Shared by window attention and its gradients.
#pragma once

#include "expect.h"
#include "head.h"
#include "integers.h"

namespace HRSAM_OPS {

constexpr int kMaxScales = 16;
constexpr int kMaxWindow = 128;
constexpr int kRegions = 9;

struct Scale {
  int64_t first_token, first_window;
  int h, w, windows_down, windows_across;
};

struct Geometry {
  int window, before, shift;
  int d = 0;  // channels of a head
  bool padded = false;
  int scale_count = 0;
  Scale scales[kMaxScales];
  int64_t tokens = 0, windows = 0;  // of one batch item
};

// One window: for each of its positions, row by row, the token (or −1: padding) and the Swin
// region.
struct Window {
  int32_t* tokens;
  int8_t* regions;
  bool masked;  // more than one region
};

// Which token lies at a position of a window, -1 for padding, and in which of Swin's regions.
struct WindowToken {
  int32_t token;
  int region;
};

struct WindowPlace {
  const Scale* scale;
  int top, left;
};

HRSAM_BOTH WindowPlace place_window(const Geometry& g, int64_t index) {
  const Scale* scale = g.scales;
  while (scale + 1 < g.scales + g.scale_count && index >= scale[1].first_window) ++scale;
  const auto within = static_cast<uint32_t>(index - scale->first_window),
             across = static_cast<uint32_t>(scale->windows_across);
  return {scale, static_cast<int>(within / across) * g.window,
          static_cast<int>(within % across) * g.window};
}

// Swin's slices of a rolled axis: (0, −window), (−window, −shift), (−shift, end).
HRSAM_BOTH int slice_of(int position, int length, const Geometry& g) {
  return position < length - g.window ? 0 : position < length - g.shift ? 1 : 2;
}

// Swin's region of a position; where nothing is rolled there is one.
HRSAM_BOTH int region_at(const Geometry& g, const WindowPlace& at, int i, int j) {
  if (g.shift == 0) return 0;
  const int height = at.scale->windows_down * g.window, width = at.scale->windows_across * g.window;
  return slice_of(at.top + i, height, g) * 3 + slice_of(at.left + j, width, g);
}

HRSAM_BOTH WindowToken token_at(const Geometry& g, const WindowPlace& at, int i, int j) {
  const Scale& scale = *at.scale;
  const int region = region_at(g, at, i, j);
  int y = at.top + i, x = at.left + j;
  if (g.shift > 0) {
    y = (y + g.shift) % (scale.windows_down * g.window);
    x = (x + g.shift) % (scale.windows_across * g.window);
  } else {
    y -= g.before;
    x -= g.before;
  }
  if (y < 0 || y >= scale.h || x < 0 || x >= scale.w) return {-1, region};
  return {static_cast<int32_t>(scale.first_token + static_cast<int64_t>(y) * scale.w + x), region};
}

inline void map_window(const Geometry& g, int64_t index, Window& out) {
  const WindowPlace at = place_window(g, index);
  out.masked = false;
  for (int i = 0; i < g.window; ++i)
    for (int j = 0; j < g.window; ++j) {
      const int position = i * g.window + j;
      const WindowToken found = token_at(g, at, i, j);
      out.tokens[position] = found.token;
      out.regions[position] = static_cast<int8_t>(found.region);
      out.masked = out.masked || out.regions[position] != out.regions[0];
    }
}

// One row of additions to the logits for each region that the window has.
inline void mask_regions(const Window& window, int count, int padded, float* masks) {
  bool present[kRegions] = {};
  for (int j = 0; j < count; ++j) present[window.regions[j]] = true;
  for (int region = 0; region < kRegions; ++region)
    for (int j = 0; present[region] && j < count; ++j)
      masks[region * padded + j] = window.regions[j] == region ? 0 : kMasked;
}

inline int64_t integer_between(const Node& node, const char* name, int64_t low, int64_t high) {
  const double value = node.number(name);
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) ||
      value != static_cast<double>(static_cast<int64_t>(value)))
    node.fail("ERR_ARGUMENT", "%s: expected a whole number from %lld to %lld, got %g", name,
              static_cast<long long>(low), static_cast<long long>(high), value);
  return static_cast<int64_t>(value);
}

inline Geometry read_geometry(const Node& node) {
  Geometry g;
  g.window = static_cast<int>(integer_between(node, "window", 1, kMaxWindow));
  g.shift = static_cast<int>(integer_between(node, "shift", 0, g.window - 1));
  g.before = static_cast<int>(integer_between(node, "before", 0, g.shift > 0 ? 0 : g.window - 1));
  int count = 0;
  node.list("scales", &count);
  if (count == 0 || count % 2 != 0 || count > 2 * kMaxScales)
    node.fail("ERR_ARGUMENT", "scales: expected 1 to %d pairs, got %d numbers", kMaxScales, count);
  int64_t sizes[2 * kMaxScales];
  integers(node, "scales", count, sizes);
  g.scale_count = count / 2;
  for (int i = 0; i < g.scale_count; ++i) {
    const int64_t h = sizes[2 * i], w = sizes[2 * i + 1];
    if (h < 1 || w < 1 || h > kMaxSide || w > kMaxSide)
      node.fail("ERR_ARGUMENT", "scales: expected sides from 1 to %d", kMaxSide);
    Scale& scale = g.scales[i];
    scale.first_token = g.tokens;
    scale.first_window = g.windows;
    scale.h = static_cast<int>(h);
    scale.w = static_cast<int>(w);
    scale.windows_down = static_cast<int>(divide_up(h + g.before, g.window));
    scale.windows_across = static_cast<int>(divide_up(w + g.before, g.window));
    g.padded =
        g.padded || scale.windows_down * g.window != h || scale.windows_across * g.window != w;
    g.tokens += h * w;
    g.windows += static_cast<int64_t>(scale.windows_down) * scale.windows_across;
  }
  return g;
}

// Checks the operands of window attention; not its result.
inline Geometry read_window_attention(const Node& node) {
  Geometry g = read_geometry(node);
  const Value& qkv = node.value("qkv");
  expect_floats(node, qkv, "qkv");
  expect_rank(node, qkv, "qkv", 3);
  expect(node, g.tokens < (int64_t{1} << 31), "scales: too many tokens");
  const int64_t channels = qkv.dim(2) / 3;
  expect(node, qkv.dim(1) == g.tokens && qkv.dim(2) == 3 * channels,
         "qkv: expected (batch, tokens of all scales, 3 channels)");
  const int64_t heads = integer_between(node, "heads", 1, 1 << 16);
  const int64_t d = channels / heads;
  expect(node, channels % heads == 0 && d >= 1 && d <= kMaxHead,
         "heads: not a division of the channels");
  expect(node, node.number("rope_theta") == 0 || d % 4 == 0,
         "rope_theta: the rotation needs a multiple of four channels per head");
  if (node.has("pad"))
    expect(node,
           node.value("pad").elements() == 3 * channels && node.value("pad").dtype == qkv.dtype,
           "pad: expected one row like qkv's");
  else
    expect(node, !g.padded, "pad: missing, but the windows have padded positions");
  expect(node, node.has("rel_h") == node.has("rel_w"), "rel_h, rel_w: one without the other");
  if (node.has("rel_h")) {
    expect_f32(node, node.value("rel_h"), "rel_h");
    expect_f32(node, node.value("rel_w"), "rel_w");
    expect(node,
           has_shape(node.value("rel_h"), {g.window, g.window, d}) &&
               has_shape(node.value("rel_w"), {g.window, g.window, d}),
           "rel_h, rel_w: expected (window, window, channels of a head)");
  }
  g.d = static_cast<int>(d);
  return g;
}

}  // namespace HRSAM_OPS
