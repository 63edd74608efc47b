// attention against the whole matrix of logits in double precision.
#include <random>

#include "attention_case.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

std::vector<double> expected(const Case& c, const Data& data) {
  std::vector<double> out(static_cast<size_t>(c.batch * c.queries * c.channels()));
  for_each_query(c, data, [&](const Query& query) {
    const Row result = weighted(query.logits, query.values);
    std::copy(result.begin(), result.end(),
              out.begin() + query.row * c.channels() + query.head * c.d);
  });
  return out;
}

Call attention(const Case& c, const Data& data) {
  return attention_call("attention", c, data).result({c.batch, c.queries, c.channels()}, c.out);
}

void verify(const Case& c, uint32_t seed = 1) {
  const Data data = make(c, seed);
  const double tolerance = c.in == HRSAM_BF16 ? 1.2e-2 : c.out == HRSAM_BF16 ? 4e-3 : 2e-6;
  CHECK_CLOSE(attention(c, data).run(), expected(c, data), tolerance);
}

}  // namespace

TEST(any_number_of_queries_and_keys) {
  for (const int queries : {1, 2, 5, 6, 7, 24, 25, 49})
    for (const int keys : {1, 2, 7, 16, 17, 64, 65, 255, 256, 257, 600})
      verify({.queries = queries, .keys = keys});
}

TEST(head_sizes) {
  for (const int d : {1, 2, 3, 4, 8, 15, 16, 17, 24, 32, 33, 48, 64, 80, 96, 128, 200})
    verify({.queries = 30, .keys = 70, .heads = 3, .d = d});
}

TEST(shared_keys_and_lengths) {
  verify({.queries = 7, .keys = 33, .batch = 4, .shared_keys = true});
  verify({.queries = 7, .keys = 33, .batch = 4, .lengths = {33, 0, 1, 17}});
  verify(
      {.queries = 7, .keys = 33, .batch = 5, .shared_keys = true, .lengths = {33, 99, 0, -1, 8}});
}

TEST(two_way_transformer_shapes) {
  verify({.queries = 8, .keys = 9000, .heads = 2, .d = 16});
  verify({.queries = 2100, .keys = 8, .heads = 2, .d = 16, .batch = 2});
  verify({.queries = 3, .keys = 8200, .heads = 1, .d = 32, .batch = 2, .lengths = {4096, 8193}});
  verify({.queries = 300, .keys = 4100, .heads = 1, .d = 8});
}

// Chunks as units and chunks merged by one unit are the same arithmetic: more queries, same bits.
TEST(results_do_not_depend_on_the_other_queries) {
  const Case few{.queries = 3, .keys = 8200, .heads = 1, .d = 8, .shared_keys = true};
  Case many = few;
  many.batch = is_cuda() ? 5 : 70;  // a GPU cuts all alike
  const Data a = make(few, 3);
  Data b = make(many, 3);
  b.k = a.k;
  b.v = a.v;
  std::copy(a.q.bytes.begin(), a.q.bytes.end(), b.q.bytes.begin());
  const std::vector<float> alone = attention(few, a).run(), among = attention(many, b).run();
  CHECK(std::equal(alone.begin(), alone.end(), among.begin()));
}

// A bucket's surplus keys, whatever they hold, change no bit.
TEST(keys_past_the_length_change_nothing) {
  const Case exact{.queries = 5, .keys = 9};
  Case bucket = exact;
  bucket.keys = 16;
  bucket.lengths = {9};
  const Data a = make(exact, 4);
  CHECK(attention(exact, a).run() == attention(bucket, filled_up(bucket, a)).run());
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
  verify({.queries = 1500, .heads = 1, .d = 64, .packed = true, .grids = {30, 50}, .theta = 1e4});
}

TEST(relative_position_bias) {
  verify({.queries = 35, .packed = true, .rel = true, .grids = {5, 7}});
  verify({.queries = 576, .heads = 1, .d = 20, .packed = true, .rel = true, .grids = {24, 24}});
  verify({.queries = 12, .keys = 35, .q_grid = {4, 3}, .k_grid = {5, 7}, .rel = true});
  verify({.queries = 6, .keys = 4500, .d = 8, .q_grid = {2, 3}, .k_grid = {90, 50}, .rel = true});
  verify(
      {.queries = 300, .keys = 700, .d = 8, .q_grid = {100, 3}, .k_grid = {7, 100}, .rel = true});
}

TEST(types) {
  for (const int in : {HRSAM_F32, HRSAM_BF16})
    for (const int out : {HRSAM_F32, HRSAM_BF16})
      for (const int d : {8, 15, 24, 64, 80}) {
        verify({.queries = 30, .keys = 290, .d = d, .in = in, .out = out});
        verify({.queries = 7, .keys = 5, .d = d, .in = in, .out = out});
      }
  verify(
      {.queries = 77, .d = 24, .packed = true, .grids = {7, 11}, .theta = 1e4, .in = HRSAM_BF16});
  verify({.queries = 35, .packed = true, .rel = true, .grids = {5, 7}, .in = HRSAM_BF16});
}

// Heads of 64 in bf16, tiles of queries and keys whole, begun and empty.
TEST(heads_of_64_in_bf16) {
  const Case one{.heads = 1, .d = 64, .in = HRSAM_BF16};
  for (const auto& [queries, keys] : {std::pair{1, 1}, {130, 128}, {64, 129}, {200, 900}}) {
    Case c = one;
    c.queries = queries;
    c.keys = keys;
    verify(c);
  }
  Case lengths = one;
  lengths.queries = 40;
  lengths.keys = 300;
  lengths.batch = 4;
  lengths.lengths = {300, 0, 128, 257};
  lengths.out = HRSAM_BF16;
  verify(lengths);
  Case packed = one;
  packed.heads = 2;
  packed.queries = 17 * 19 + 12 * 11;
  packed.packed = true;
  packed.grids = {17, 19, 12, 11};
  packed.theta = 1e4;
  verify(packed);
}

TEST(random_calls) {
  std::mt19937 random(11);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int i = 0; i < random_cases(50); ++i) {
    Case c{.queries = 1 + below(120), .keys = 1 + below(700), .heads = 1 + below(3)};
    c.d = 1 + below(70);
    c.batch = 1 + below(3);
    c.shared_keys = below(2) == 0;
    for (int b = 0; below(2) == 0 && b < c.batch; ++b) c.lengths.push_back(below(c.keys + 2));
    if (static_cast<int>(c.lengths.size()) != c.batch) c.lengths.clear();
    verify(c, static_cast<uint32_t>(100 + i));
  }
}

// The largest logit moves from block to block of keys.
TEST(large_logits) {
  Case c{.queries = 9, .keys = 700};
  Data data = make(c, 3);
  std::vector<float> k = data.k.floats();
  for (size_t i = 0; i < k.size(); ++i)
    k[i] *= 0.1f * static_cast<float>(static_cast<int64_t>(i) / c.channels());
  data.k = tensor<float>(data.k.dims, k);
  CHECK_CLOSE(attention(c, data).run(), expected(c, data), 3e-5);
}

// Whole and in chunks. Of a key it reaches all results of its head, of a query that one's.
TEST(nan_stays_nan) {
  for (const int keys : {20, 1500}) {
    const Case c{.queries = 4, .keys = keys};
    const Data data = make(c, 5);
    std::vector<float> k = data.k.floats(), q = data.q.floats();
    k[static_cast<size_t>(7 * c.channels() + 3)] = NAN;
    q[static_cast<size_t>(2 * c.channels() + c.d + 3)] = NAN;  // of the second head
    Data with_key = data, with_query = data;
    with_key.k = tensor<float>(data.k.dims, k);
    with_query.q = tensor<float>(data.q.dims, q);
    const std::vector<float> of_key = attention(c, with_key).run(),
                             of_query = attention(c, with_query).run();
    for (size_t i = 0; i < of_key.size(); ++i) {
      const auto query = static_cast<int64_t>(i) / c.channels(),
                 head = static_cast<int64_t>(i) % c.channels() / c.d;
      CHECK_EQ(std::isnan(of_key[i]), head == 0);
      CHECK_EQ(std::isnan(of_query[i]), query == 2 && head == 1);
    }
  }
}

TEST(no_queries) { CHECK_EQ(attention({.queries = 0}, make({.queries = 0}, 1)).run().size(), 0u); }

TEST(wrong_plans) {
  const Case good{.queries = 6, .keys = 4, .q_grid = {2, 3}, .k_grid = {2, 2}, .rel = true};
  const Data data = make(good, 1);
  const auto with = [&](auto change) {
    Case c = good;
    Data d = data;
    change(c, d);
    return attention(c, d).result({1, 6, 32}).error();
  };
  CHECK_EQ(with([](Case&, Data&) {}), "");
  CHECK_EQ(with([](Case& c, Data&) { c.heads = 0; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c, Data&) { c.heads = 5; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c, Data&) { c.theta = 100; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c, Data&) { c.q_grid = {3, 3}; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c, Data&) { c.q_grid = {3, 2}; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c, Data&) { c.k_grid = {4}; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c, Data&) { c.k_grid = {0, 4}; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case&, Data& d) { d.v = random_tensor({1, 5, 32}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Case&, Data& d) { d.k = d.v = random_tensor({2, 4, 32}, 1); }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c, Data& d) {
             c.lengths = {1};
             d.lengths = tensor<int>({2}, std::vector<int>{1, 1}, HRSAM_I32);
           }),
           "ERR_SHAPE");
  const Case packed{.queries = 6, .packed = true, .grids = {2, 3}};
  const Data qkv = make(packed, 1);
  Case wrong = packed;
  wrong.grids = {2, 2};
  CHECK_EQ(attention(wrong, qkv).error(), "ERR_SHAPE");
  wrong = packed;
  wrong.grids = {};
  wrong.theta = 1e4;
  CHECK_EQ(attention(wrong, qkv).error(), "ERR_SHAPE");
}
