// Calls of window attention and of its gradients, and what every query sees: partition, padding,
// roll and mask done one by one in double precision.
#pragma once

#include "attention_reference.h"
#include "harness.h"

namespace hrsam::test {

struct Case {
  std::vector<int> scales;  // h0, w0, h1, w1 …
  int window = 4, heads = 2, d = 16, batch = 1;
  int before = 0, shift = 0;
  double theta = 1e4, rope_scale = 0.5;
  bool rel = false;
  int in = HRSAM_F32, dy = HRSAM_F32, out = HRSAM_F32;

  int64_t channels() const { return int64_t{heads} * d; }
  int64_t tokens() const {
    int64_t n = 0;
    for (size_t i = 0; i < scales.size(); i += 2) n += int64_t{scales[i]} * scales[i + 1];
    return n;
  }
};

struct Data {
  Tensor qkv, pad, rel_h, rel_w, dy;
};

inline Data make(const Case& c, uint32_t seed) {
  return {random_tensor({c.batch, c.tokens(), 3 * c.channels()}, seed, c.in),
          random_tensor({1, 3 * c.channels()}, seed + 1, c.in),
          random_tensor({c.window, c.window, c.d}, seed + 2, HRSAM_F32, 0.3),
          random_tensor({c.window, c.window, c.d}, seed + 3, HRSAM_F32, 0.3),
          random_tensor({c.batch, c.tokens(), c.channels()}, seed + 4, c.dy)};
}

// Without the gradients' dy, and without a result.
inline Call window_call(const char* op, const Case& c, const Data& data, bool with_pad) {
  Call call(op);
  call.input("qkv", data.qkv);
  if (with_pad) call.constant("pad", data.pad);
  if (c.rel) call.input("rel_h", data.rel_h).constant("rel_w", data.rel_w);
  return call.attribute("heads", c.heads)
      .attribute("window", c.window)
      .attribute("before", c.before)
      .attribute("shift", c.shift)
      .attribute("rope_theta", c.theta)
      .attribute("rope_scale", c.rope_scale)
      .attribute("scales", std::vector<double>(c.scales.begin(), c.scales.end()));
}

// On the padded (and rolled) grid. row: of qkv; past the last one: padding.
struct Place {
  int y, x;
  int64_t row;
};

// One head's query, and all keys of its window.
struct Query {
  int head;
  Place place;
  Row q;
  std::vector<Place, KeptMemory<Place>> places;  // of the keys
  Rows keys, values;
  Row logits;  // -INFINITY across the regions of a rolled grid
};

// Where in rel_h (rel_w) the row for a query's and a key's y (x) begins.
inline int64_t relative_row(const Case& c, int query, int key) {
  return int64_t{query % c.window * c.window + key % c.window} * c.d;
}

// Swin's region of a position on a rolled axis.
inline int region(int position, int length, const Case& c) {
  if (c.shift == 0) return 0;
  return position < length - c.window ? 0 : position < length - c.shift ? 1 : 2;
}

template <class Visit>
void for_each_query(const Case& c, const Data& data, Visit visit) {
  const std::vector<float> qkv = data.qkv.floats(), pad = data.pad.floats();
  const std::vector<float> rel_h = data.rel_h.floats(), rel_w = data.rel_w.floats();
  const int ws = c.window;
  const int64_t channels = c.channels(), padding = c.batch * c.tokens();
  int64_t first = 0;
  for (size_t s = 0; s < c.scales.size(); s += 2) {
    const int h = c.scales[s], w = c.scales[s + 1];
    const int height = (h + c.before + ws - 1) / ws * ws, width = (w + c.before + ws - 1) / ws * ws;
    for (int64_t b = 0; b < c.batch; ++b)
      for (int head = 0; head < c.heads; ++head) {
        const auto place = [&](int y, int x) -> Place {
          const int row = c.shift != 0 ? (y + c.shift) % height : y - c.before;
          const int column = c.shift != 0 ? (x + c.shift) % width : x - c.before;
          if (row < 0 || column < 0 || row >= h || column >= w) return {y, x, padding};
          return {y, x, b * c.tokens() + first + int64_t{row} * w + column};
        };
        const auto part = [&](const Place& at, int which) {
          const int64_t begin = which * channels + head * c.d;
          Row row = at.row == padding ? cut(pad, begin, c.d)
                                      : cut(qkv, at.row * 3 * channels + begin, c.d);
          if (which < 2 && c.theta != 0)
            row = rotated(row, at.y * c.rope_scale, at.x * c.rope_scale, c.theta);
          return row;
        };
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x) {
            Query query{head, place(y, x), {}, {}, {}, {}, {}};
            if (query.place.row == padding) continue;
            query.q = part(query.place, 0);
            const int top = y / ws * ws, left = x / ws * ws;
            for (int ky = top; ky < top + ws; ++ky)
              for (int kx = left; kx < left + ws; ++kx) {
                const Place key = place(ky, kx);
                query.places.push_back(key);
                query.keys.push_back(part(key, 1));
                query.values.push_back(part(key, 2));
                double logit = dot(query.q, query.keys.back()) / std::sqrt(c.d);
                if (c.rel)
                  logit += dot(query.q, cut(rel_h, relative_row(c, y, ky), c.d)) +
                           dot(query.q, cut(rel_w, relative_row(c, x, kx), c.d));
                if (region(y, height, c) != region(ky, height, c) ||
                    region(x, width, c) != region(kx, width, c))
                  logit = -INFINITY;
                query.logits.push_back(logit);
              }
            visit(query);
          }
      }
    first += int64_t{h} * w;
  }
}

}  // namespace hrsam::test
