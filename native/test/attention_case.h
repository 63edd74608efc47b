// Calls of attention and of its gradients, and what every query sees: the whole matrix of logits in
// double precision.
#pragma once

#include "attention_reference.h"
#include "harness.h"

namespace hrsam::test {

struct Case {
  int queries = 8, keys = 20, heads = 2, d = 16, batch = 1;
  bool shared_keys = false;
  std::vector<int> lengths = {};              // empty: all keys
  std::vector<int> q_grid = {}, k_grid = {};  // with rel
  bool packed = false, rel = false;
  std::vector<int> grids = {};  // packed
  double theta = 0, rope_scale = 0.5;
  int in = HRSAM_F32, dy = HRSAM_F32, out = HRSAM_F32;

  int64_t channels() const { return int64_t{heads} * d; }
  int64_t row() const { return packed ? 3 * channels() : channels(); }  // of q, k and v
  const std::vector<int>& query_grid() const { return packed ? grids : q_grid; }
  const std::vector<int>& key_grid() const { return packed ? grids : k_grid; }
};

struct Data {
  Tensor q, k, v, lengths, rel_h, rel_w, dy;
};

inline Data make(const Case& c, uint32_t seed) {
  Data data;
  const int64_t kv_batch = c.shared_keys ? 1 : c.batch;
  data.q = random_tensor({c.batch, c.queries, c.row()}, seed, c.in);
  if (!c.packed) {
    data.k = random_tensor({kv_batch, c.keys, c.channels()}, seed + 1, c.in);
    data.v = random_tensor({kv_batch, c.keys, c.channels()}, seed + 2, c.in);
  }
  data.lengths = tensor<int>({static_cast<int64_t>(c.lengths.size())}, c.lengths, HRSAM_I32);
  const std::vector<int>&q = c.query_grid(), &k = c.key_grid();
  if (c.rel) {
    data.rel_h = random_tensor({q[0], k[0], c.d}, seed + 3, HRSAM_F32, 0.3);
    data.rel_w = random_tensor({q[1], k[1], c.d}, seed + 4, HRSAM_F32, 0.3);
  }
  data.dy = random_tensor({c.batch, c.queries, c.channels()}, seed + 5, c.dy);
  return data;
}

// Without the gradients' dy, and without a result.
inline Call attention_call(const char* op, const Case& c, const Data& data) {
  const auto numbers = [](const std::vector<int>& list) {
    return std::vector<double>(list.begin(), list.end());
  };
  Call call(op);
  call.input("q", data.q);
  if (!c.packed) call.input("k", data.k).input("v", data.v);
  if (!c.lengths.empty()) call.input("lengths", data.lengths);
  if (c.rel) call.constant("rel_h", data.rel_h).input("rel_w", data.rel_w);
  return call.attribute("heads", c.heads)
      .attribute("rope_theta", c.theta)
      .attribute("rope_scale", c.rope_scale)
      .attribute("grids", numbers(c.grids))
      .attribute("q_grid", numbers(c.q_grid))
      .attribute("k_grid", numbers(c.k_grid));
}

// Keys past the length, whatever they hold, are those of a bucket: `exact` filled up with NaN.
inline Data filled_up(const Case& bucket, const Data& exact) {
  Data data = make(bucket, 4);
  data.dy = exact.dy;
  data.q = exact.q;
  for (Tensor* t : {&data.k, &data.v}) {
    std::fill(t->bytes.begin(), t->bytes.end(), static_cast<uint8_t>(0xff));  // NaN
    const Tensor& from = t == &data.k ? exact.k : exact.v;
    std::copy(from.bytes.begin(), from.bytes.end(), t->bytes.begin());
  }
  return data;
}

// Consecutive tokens that lie on a grid, row by row.
struct Segment {
  int64_t first, length, columns;
};

// One head's query, and all keys of its segment.
struct Query {
  int64_t head, row;  // row: of all queries in the batch
  int64_t place;      // on its segment's grid
  Segment own, seen;  // seen.first: of all keys in the batch
  Row q;
  Rows keys, values;
  Row logits;
};

// A row turned to its place on a grid (sign 1), or a gradient turned back (sign -1).
inline Row turned(const Case& c, const Row& x, int64_t place, int64_t columns, int sign) {
  if (c.theta == 0) return x;
  return rotated(x, sign * (place / columns) * c.rope_scale,
                 sign * (place % columns) * c.rope_scale, c.theta);
}

// Where the rows of rel_h and rel_w for a query and its key j begin.
inline std::pair<int64_t, int64_t> relative_rows(const Case& c, const Query& query, int64_t j) {
  const std::vector<int>& grid = c.key_grid();
  return {(query.place / query.own.columns * grid[0] + j / query.seen.columns) * c.d,
          (query.place % query.own.columns * grid[1] + j % query.seen.columns) * c.d};
}

template <class Visit>
void for_each_query(const Case& c, const Data& data, Visit visit) {
  const std::vector<float> q = data.q.floats(), rel_h = data.rel_h.floats();
  const std::vector<float> rel_w = data.rel_w.floats();
  const std::vector<float> k = c.packed ? q : data.k.floats(), v = c.packed ? q : data.v.floats();
  const int64_t keys = c.packed ? c.queries : c.keys;
  const int64_t k_at = c.packed ? c.channels() : 0, v_at = 2 * k_at;
  const auto segment = [](int64_t token, const std::vector<int>& grids, int64_t count) {
    Segment found{0, count, 1};
    for (size_t i = 0; i < grids.size(); i += 2) {
      found = {i == 0 ? 0 : found.first + found.length, int64_t{grids[i]} * grids[i + 1],
               grids[i + 1]};
      if (token < found.first + found.length) break;
    }
    return found;
  };
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t head = 0; head < c.heads; ++head)
      for (int64_t i = 0; i < c.queries; ++i) {
        const Segment own = segment(i, c.query_grid(), c.queries);
        Segment seen = c.packed ? own : segment(0, c.k_grid, keys);
        seen.first += c.shared_keys ? 0 : b * keys;
        Query query{head, b * c.queries + i, i - own.first, own, seen, {}, {}, {}, {}};
        query.q =
            turned(c, cut(q, query.row * c.row() + head * c.d, c.d), query.place, own.columns, 1);
        const int64_t length = c.lengths.empty() ? seen.length : std::max(0, c.lengths[b]);
        for (int64_t j = 0; j < std::min(seen.length, length); ++j) {
          const int64_t at = (seen.first + j) * c.row() + head * c.d;
          query.keys.push_back(turned(c, cut(k, at + k_at, c.d), j, seen.columns, 1));
          query.values.push_back(cut(v, at + v_at, c.d));
          double logit = dot(query.q, query.keys.back()) / std::sqrt(c.d);
          if (c.rel) {
            const auto [down, across] = relative_rows(c, query, j);
            logit += dot(query.q, cut(rel_h, down, c.d)) + dot(query.q, cut(rel_w, across, c.d));
          }
          query.logits.push_back(logit);
        }
        if (!query.logits.empty()) visit(query);
      }
}

}  // namespace hrsam::test
