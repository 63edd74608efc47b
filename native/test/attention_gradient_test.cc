// The gradients of attention against the whole matrix of logits in double precision.
#include <random>

#include "attention_case.h"
#include "attention_gradient_reference.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

struct Expected {
  std::vector<double> q, k, v, rel;  // packed: all in q; rel_h, then rel_w
};

Expected expected(const Case& c, const Data& data) {
  const std::vector<float> dy = data.dy.floats();
  const std::vector<float> rel_h = data.rel_h.floats(), rel_w = data.rel_w.floats();
  const auto zeros = [](const Tensor& like) { return std::vector<double>(like.floats().size()); };
  Expected out{zeros(data.q), zeros(data.k), zeros(data.v),
               std::vector<double>(rel_h.size() + rel_w.size())};
  std::vector<double>& dk = c.packed ? out.q : out.k;
  std::vector<double>& dv = c.packed ? out.q : out.v;
  const int64_t k_at = c.packed ? c.channels() : 0, v_at = 2 * k_at;
  const double scale = 1 / std::sqrt(c.d);
  for_each_query(c, data, [&](const Query& query) {
    const Row dout = cut(dy, query.row * c.channels() + query.head * c.d, c.d);
    const QueryGradient g = query_gradient(query.logits, query.values, dout);
    Row dq(static_cast<size_t>(c.d));
    for (size_t j = 0; j < g.ds.size(); ++j) {
      const auto key = static_cast<int64_t>(j);
      const int64_t at = (query.seen.first + key) * c.row() + query.head * c.d;
      add_row(dv, at + v_at, dout, g.p[j]);
      add_row(dk, at + k_at, turned(c, query.q, key, query.seen.columns, -1), g.ds[j] * scale);
      add_row(dq, 0, query.keys[j], g.ds[j] * scale);
      if (!c.rel) continue;
      const auto [down, across] = relative_rows(c, query, key);
      add_row(dq, 0, cut(rel_h, down, c.d), g.ds[j]);
      add_row(dq, 0, cut(rel_w, across, c.d), g.ds[j]);
      add_row(out.rel, down, query.q, g.ds[j]);
      add_row(out.rel, static_cast<int64_t>(rel_h.size()) + across, query.q, g.ds[j]);
    }
    add_row(out.q, query.row * c.row() + query.head * c.d,
            turned(c, dq, query.place, query.own.columns, -1));
  });
  return out;
}

Call gradient(const char* op, const Case& c, const Data& data) {
  int64_t size = elements_of(data.q.dims);
  if (!c.packed) size += 2 * elements_of(data.k.dims);
  return attention_call(op, c, data).input("dy", data.dy).result({size}, c.out);
}
Call relative(const Case& c, const Data& data) {
  return gradient("attention_relative_gradient", c, data)
      .result({elements_of(data.rel_h.dims) + elements_of(data.rel_w.dims)});
}

void verify(const Case& c, uint32_t seed = 1) {
  const Data data = make(c, seed);
  const Expected want = expected(c, data);
  const std::vector<float> got = gradient("attention_gradient", c, data).run();
  // A GPU takes dS from two sums that nearly cancel where there are few keys.
  const double exact = std::string(backend().name) == "cuda" ? 4e-5 : 1e-5;
  const double tolerance = c.out == HRSAM_BF16 ? 4e-3 : exact;
  auto at = got.begin();
  for (const std::vector<double>* part : {&want.q, &want.k, &want.v}) {
    const auto end = at + static_cast<int64_t>(part->size());
    CHECK_CLOSE(std::vector<float>(at, end), *part, tolerance);
    at = end;
  }
  CHECK(at == got.end());
  if (c.rel) CHECK_CLOSE(relative(c, data).run(), want.rel, 4e-6);
}

}  // namespace

TEST(any_number_of_queries_and_keys) {
  for (const int queries : {1, 2, 6, 7, 47, 48, 49})
    for (const int keys : {2, 7, 16, 17, 64, 65, 255, 256, 257, 600})
      verify({.queries = queries, .keys = keys, .heads = 1});
  verify({.queries = 520, .keys = 20});
  verify({.queries = 1030, .keys = 300, .heads = 1, .d = 8});
}

TEST(head_sizes) {
  for (const int d : {2, 3, 4, 8, 15, 16, 17, 24, 32, 33, 48, 64, 80, 96, 128, 200})
    verify({.queries = 30, .keys = 70, .heads = 3, .d = d});
}

TEST(shared_keys_and_lengths) {
  verify({.queries = 7, .keys = 33, .batch = 4, .shared_keys = true});
  verify({.queries = 7, .keys = 33, .batch = 4, .lengths = {33, 0, 2, 17}});
  verify(
      {.queries = 7, .keys = 33, .batch = 5, .shared_keys = true, .lengths = {33, 99, 0, -1, 8}});
  verify({.queries = 7, .keys = 600, .batch = 3, .shared_keys = true, .lengths = {300, 0, 520}});
  verify({.queries = 7, .keys = 600, .batch = 3, .lengths = {300, 0, 520}});
  verify({.queries = 5, .keys = 40, .batch = 2, .shared_keys = true, .lengths = {9, 3}});
}

TEST(two_way_transformer_shapes) {
  verify({.queries = 8, .keys = 5000, .heads = 2, .d = 16});
  verify({.queries = 2100, .keys = 8, .heads = 2, .d = 16, .batch = 2});
  verify({.queries = 600, .keys = 5, .heads = 2, .d = 8, .batch = 3, .shared_keys = true});
  verify({.queries = 700, .keys = 9, .batch = 3, .shared_keys = true, .lengths = {9, 0, 4}});
  verify({.queries = 3, .keys = 4200, .heads = 1, .d = 32, .batch = 2, .lengths = {1024, 4100}});
}

// A bucket's surplus keys, whatever they hold, change nothing and get no gradient.
TEST(keys_past_the_length) {
  const Case exact{.queries = 5, .keys = 9};
  Case bucket = exact;
  bucket.keys = 16;
  bucket.lengths = {9};
  const Data a = make(exact, 4);
  const Data b = filled_up(bucket, a);
  const std::vector<float> want = gradient("attention_gradient", exact, a).run();
  const std::vector<float> got = gradient("attention_gradient", bucket, b).run();
  const int64_t q = 5 * exact.channels(), k = 9 * exact.channels(), all = 16 * exact.channels();
  CHECK(std::equal(want.begin(), want.begin() + q + k, got.begin()));
  CHECK(std::equal(want.begin() + q + k, want.end(), got.begin() + q + all));
  for (const int64_t first : {q + k, q + all + k})
    for (int64_t i = first; i < first + all - k; ++i) CHECK_EQ(got[i], 0.0f);
}

TEST(packed) {
  verify({.queries = 50, .packed = true});
  verify({.queries = 77, .d = 24, .batch = 2, .packed = true, .grids = {7, 11}, .theta = 1e4});
  verify({.queries = 77 + 6 + 30,
          .d = 12,
          .batch = 2,
          .packed = true,
          .grids = {7, 11, 2, 3, 30, 1},
          .theta = 100});
  verify({.queries = 1500, .heads = 1, .d = 16, .packed = true, .grids = {30, 50}, .theta = 1e4});
}

TEST(relative_position_bias) {
  verify({.queries = 35, .packed = true, .rel = true, .grids = {5, 7}});
  verify({.queries = 576, .heads = 1, .d = 20, .packed = true, .rel = true, .grids = {24, 24}});
  verify({.queries = 12, .keys = 35, .q_grid = {4, 3}, .k_grid = {5, 7}, .rel = true});
  // Heads of more than a lane.
  for (const int d : {40, 72})
    verify({.queries = 12, .keys = 35, .d = d, .q_grid = {4, 3}, .k_grid = {5, 7}, .rel = true});
  verify({.queries = 6, .keys = 4500, .d = 8, .q_grid = {2, 3}, .k_grid = {90, 50}, .rel = true});
  verify(
      {.queries = 300, .keys = 700, .d = 8, .q_grid = {100, 3}, .k_grid = {7, 100}, .rel = true});
}

TEST(types) {
  for (const int in : {HRSAM_F32, HRSAM_BF16})
    for (const int dy : {HRSAM_F32, HRSAM_BF16})
      for (const int out : {HRSAM_F32, HRSAM_BF16})
        for (const int d : {8, 15, 64}) {
          verify({.queries = 30, .keys = 290, .d = d, .in = in, .dy = dy, .out = out});
          verify({.queries = 7, .keys = 5, .d = d, .in = in, .dy = dy, .out = out});
        }
  verify(
      {.queries = 77, .d = 24, .packed = true, .grids = {7, 11}, .theta = 1e4, .in = HRSAM_BF16});
  verify({.queries = 35, .packed = true, .rel = true, .grids = {5, 7}, .in = HRSAM_BF16});
}

TEST(random_calls) {
  std::mt19937 random(11);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int i = 0; i < random_cases(40); ++i) {
    Case c{.queries = 1 + below(120), .keys = 2 + below(700), .heads = 1 + below(3)};
    c.d = 1 + below(70);
    c.batch = 1 + below(3);
    c.shared_keys = below(2) == 0;
    for (int b = 0; below(2) == 0 && b < c.batch; ++b) c.lengths.push_back(2 + below(c.keys));
    if (static_cast<int>(c.lengths.size()) != c.batch) c.lengths.clear();
    verify(c, static_cast<uint32_t>(100 + i));
  }
}

TEST(no_queries) {
  const Case c{.queries = 0};
  for (const float x : gradient("attention_gradient", c, make(c, 1)).run()) CHECK_EQ(x, 0.0f);
}

TEST(no_items_that_share_keys) {
  const Case c{.queries = 3, .keys = 5, .batch = 0, .shared_keys = true};
  const std::vector<float> got = gradient("attention_gradient", c, make(c, 1)).run();
  CHECK_EQ(static_cast<int64_t>(got.size()), 2 * 5 * c.channels());
  for (const float x : got) CHECK_EQ(x, 0.0f);
}

TEST(wrong_plans) {
  const Case good{.queries = 6, .keys = 4, .q_grid = {2, 3}, .k_grid = {2, 2}, .rel = true};
  const Data data = make(good, 1);
  for (const char* op : {"attention_gradient", "attention_relative_gradient"}) {
    const bool rel = op[10] == 'r';
    const auto with = [&](auto change) {
      Case c = good;
      Data d = data;
      change(c, d);
      return gradient(op, c, d).result({rel ? (4 + 6) * 16 : (6 + 4 + 4) * 32}).error();
    };
    CHECK_EQ(with([](Case&, Data&) {}), "");
    CHECK_EQ(with([](Case& c, Data&) { c.heads = 5; }), "ERR_SHAPE");
    CHECK_EQ(with([](Case& c, Data&) { c.theta = 100; }), "ERR_SHAPE");
    CHECK_EQ(with([](Case& c, Data&) { c.q_grid = {3, 3}; }), "ERR_SHAPE");
    CHECK_EQ(with([](Case& c, Data&) { c.k_grid = {0, 4}; }), "ERR_ARGUMENT");
    CHECK_EQ(with([](Case&, Data& d) { d.v = random_tensor({1, 5, 32}, 1); }), "ERR_SHAPE");
    CHECK_EQ(with([](Case&, Data& d) { d.dy = random_tensor({1, 5, 32}, 1); }), "ERR_SHAPE");
    CHECK_EQ(with([](Case&, Data& d) {
               d.dy = random_tensor({1, 6, 32}, 1, HRSAM_I32);
             }),
             "ERR_SHAPE");
    CHECK_EQ(gradient(op, good, data).result({7}).error(), "ERR_SHAPE");
  }
}
