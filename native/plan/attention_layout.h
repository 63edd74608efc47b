// Who attends to whom: the operands of attention, checked and as numbers. Shared by attention and
// its gradients.
#pragma once

#include "expect.h"
#include "head.h"
#include "integers.h"

namespace HRSAM_OPS {

constexpr int kMaxSegments = 64;

// Queries and keys that see each other, by their first tokens; grids as numbers of columns.
struct Segment {
  int64_t q_first, q_count, k_first, k_count;
  int q_columns, k_columns;
};

struct Layout {
  int64_t batch, heads, q_tokens, k_tokens;
  int d;
  bool packed, shared_keys;  // qkv in one; k and v have one item for all
  double rope_theta, rope_scale;
  int rel_sizes[4];  // rows and columns of queries, then of keys; 0: no bias
  int segment_count = 0;
  Segment segments[kMaxSegments];
  int longest_side = 0;

  constexpr int64_t channels() const { return heads * d; }
  constexpr int64_t row() const { return packed ? 3 * channels() : channels(); }
};

inline void add_segment(const Node& node, Layout& l, int64_t q_count, int64_t k_count,
                        int q_columns, int k_columns) {
  if (l.segment_count == kMaxSegments) node.fail("ERR_ARGUMENT", "grids: at most %d", kMaxSegments);
  const Segment* last = l.segment_count > 0 ? &l.segments[l.segment_count - 1] : nullptr;
  const int64_t q_first = last != nullptr ? last->q_first + last->q_count : 0;
  const int64_t k_first = last != nullptr ? last->k_first + last->k_count : 0;
  l.segments[l.segment_count++] = {q_first, q_count, k_first, k_count, q_columns, k_columns};
}

// Pairs of sides; their number.
inline int read_grids(const Node& node, const char* name, int64_t* sides) {
  int count = 0;
  node.list(name, &count);
  if (count % 2 != 0 || count > 2 * kMaxSegments)
    node.fail("ERR_ARGUMENT", "%s: expected at most %d pairs, got %d numbers", name, kMaxSegments,
              count);
  integers(node, name, count, sides);
  for (int i = 0; i < count; ++i)
    if (sides[i] < 1 || sides[i] > kMaxSide)
      node.fail("ERR_ARGUMENT", "%s: expected sides from 1 to %d", name, kMaxSide);
  return count / 2;
}

inline void read_packed(const Node& node, Layout& l) {
  expect(node, !node.has("v"), "k, v: one without the other");
  expect(node, node.value("q").dim(2) % 3 == 0, "q: expected 3 channels per channel of the result");
  l.k_tokens = l.q_tokens;
  l.shared_keys = false;
  int64_t sides[2 * kMaxSegments];
  const int count = read_grids(node, "grids", sides);
  if (count == 0) add_segment(node, l, l.q_tokens, l.q_tokens, 1, 1);
  int64_t total = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t h = sides[2 * i], w = sides[2 * i + 1];
    add_segment(node, l, h * w, h * w, static_cast<int>(w), static_cast<int>(w));
    l.longest_side = static_cast<int>(larger(l.longest_side, larger(h, w)));
    total += h * w;
  }
  expect(node, count == 0 || total == l.q_tokens, "grids: not as many places as tokens");
  if (node.has("rel_h")) {
    expect(node, count == 1, "rel_h, rel_w: expected one grid");
    for (int i = 0; i < 4; ++i) l.rel_sizes[i] = static_cast<int>(sides[i % 2]);
  }
  expect(node, l.rope_theta == 0 || count > 0, "rope_theta: the rotation needs grids");
  expect(node, !node.has("lengths") || l.segment_count == 1, "lengths: expected one grid");
}

inline void read_unpacked(const Node& node, Layout& l) {
  const Value &q = node.value("q"), &k = node.value("k"), &v = node.value("v");
  expect_rank(node, k, "k", 3);
  expect(node, same_shape(k, v) && k.dtype == q.dtype && v.dtype == q.dtype,
         "k, v: expected one shape, and q's type");
  expect(node, k.dim(2) == q.dim(2) && (k.dim(0) == q.dim(0) || k.dim(0) == 1),
         "k, v: expected q's batch or one, and q's channels");
  expect(node, l.rope_theta == 0, "rope_theta: only for packed q");
  l.k_tokens = k.dim(1);
  l.shared_keys = k.dim(0) == 1;
  add_segment(node, l, l.q_tokens, l.k_tokens, 1, 1);
  if (!node.has("rel_h")) return;
  int64_t q_sides[2 * kMaxSegments], k_sides[2 * kMaxSegments];
  expect(node, read_grids(node, "q_grid", q_sides) == 1 && read_grids(node, "k_grid", k_sides) == 1,
         "q_grid, k_grid: expected one grid each");
  expect(node, q_sides[0] * q_sides[1] == l.q_tokens && k_sides[0] * k_sides[1] == l.k_tokens,
         "q_grid, k_grid: not as many places as tokens");
  for (int i = 0; i < 2; ++i) {
    l.rel_sizes[i] = static_cast<int>(q_sides[i]);
    l.rel_sizes[2 + i] = static_cast<int>(k_sides[i]);
  }
  l.segments[0].q_columns = l.rel_sizes[1];
  l.segments[0].k_columns = l.rel_sizes[3];
}

inline Layout read_attention(const Node& node) {
  const Value& q = node.value("q");
  expect_floats(node, q, "q");
  expect_rank(node, q, "q", 3);
  Layout l{};
  l.packed = !node.has("k");
  l.batch = q.dim(0);
  l.q_tokens = q.dim(1);
  l.rope_theta = node.number("rope_theta");
  l.rope_scale = node.number("rope_scale");
  int64_t heads = 0;
  integers(node, "heads", 1, &heads);
  l.heads = heads;
  const int64_t channels = l.packed ? q.dim(2) / 3 : q.dim(2);
  expect(node, heads > 0 && channels > 0 && channels % heads == 0 && channels / heads <= kMaxHead,
         "heads: not a division of the channels into at most 512 each");
  l.d = static_cast<int>(channels / heads);
  expect(node, l.rope_theta == 0 || l.d % 4 == 0,
         "rope_theta: the rotation needs a multiple of four channels per head");
  expect(node, node.has("rel_h") == node.has("rel_w"), "rel_h, rel_w: one without the other");
  l.packed ? read_packed(node, l) : read_unpacked(node, l);
  if (node.has("lengths")) {
    const Value& lengths = node.value("lengths");
    expect(node, lengths.dtype == DType::i32 && has_shape(lengths, {l.batch}),
           "lengths: expected one i32 per item");
  }
  const char* const names[] = {"rel_h", "rel_w"};
  for (int axis = 0; axis < 2 && node.has("rel_h"); ++axis) {
    const Value& rel = node.value(names[axis]);
    expect_f32(node, rel, names[axis]);
    expect(node, has_shape(rel, {l.rel_sizes[axis], l.rel_sizes[2 + axis], l.d}),
           "rel_h, rel_w: expected (queries, keys, channels of a head) along each axis");
  }
  return l;
}

// The same of a node whose result is the attention's, not its gradient's.
inline Layout read_forward_attention(const Node& node) {
  const Layout l = read_attention(node);
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {l.batch, l.q_tokens, l.channels()}),
         "result: expected (batch, queries, channels)");
  return l;
}

}  // namespace HRSAM_OPS
