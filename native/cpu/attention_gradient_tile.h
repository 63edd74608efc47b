// The core of the attention gradients: a block of queries of one head against a block of keys.
//
// With P the probabilities and dO the gradient of the output, dV = Pᵀ·dO, dS = P ∘ (dO·Vᵀ − mean)
// where mean is a query's Σ P ∘ dO·Vᵀ, dQ = dS·K and dK = dSᵀ·Q: five products with the logits
// computed again, for the forward pass's two. All run on the forward pass's micro-kernel, or on one
// that takes its left matrix transposed, so that P and dS of a group of queries are written once,
// query by query, and stay in L2. All arithmetic is f32; bf16 is widened on the way in.
#pragma once

#include "attention_tile.h"
#include "carver.h"
#include "op.h"

namespace hrsam::cpu::HRSAM_ISA {

constexpr int kGradientGroup = 8 * kVectorRows;  // queries whose P and dS are held at a time

// Rows of one head in a tensor of floats: data is the tensor, row i begins at first + i · stride.
struct HeadRows {
  const void* data;
  DType type;
  int64_t first, stride;
};

// A row, turned when there are tables; the rest of `width` is zero.
inline void load_row(const HeadRows& rows, int64_t i, int d, const float* rope_row,
                     const float* rope_column, int width, float* to) {
  const int64_t at = rows.first + i * rows.stride;
  if (rows.type == DType::f32)
    load_head(static_cast<const float*>(rows.data) + at, d, rope_row, rope_column, to);
  else
    load_head(static_cast<const bf16*>(rows.data) + at, d, rope_row, rope_column, to);
  for (int c = d; c < width; ++c) to[c] = 0;
}

namespace rope {

// The gradient of turn(): the turn the other way.
HRSAM_INLINE void turn_back(const float* x, const float* table, int half, float* out) {
#if defined(HRSAM_ISA_scalar)
  for (int c = 0; c < half; ++c) out[c] = x[c] * table[c] - x[c ^ 1] * table[half + c];
#else
  for (int c = 0; c < half; c += kWidth) {
    const int n = half - c;
    const V a = load_lanes(x + c, n);
    const V other = swap_neighbours(a) * load_lanes(table + half + c, n);
    store_lanes(out + c, fma(a, load_lanes(table + c, n), -other), n);
  }
#endif
}

}  // namespace rope

// factor · a row of d sums, turned back when there are tables.
inline void turn_row_back(const float* sums, int d, const float* rope_row, const float* rope_column,
                          float factor, float* to) {
  for (int c = 0; c < d; c += kWidth)
    store_lanes(to + c, load_lanes(sums + c, d - c) * set1(factor), d - c);
  if (rope_row == nullptr) return;
  float row[kMaxHead];
  memcpy(row, to, sizeof(float) * static_cast<size_t>(d));
  rope::turn_back(row, rope_row, d / 2, to);
  rope::turn_back(row + d / 2, rope_column, d / 2, to + d / 2);
}

inline void store_row(const float* row, int d, void* data, DType type, int64_t at) {
  for (int c = 0; c < d; c += kWidth) {
    const V x = load_lanes(row + c, d - c);
    if (type == DType::f32)
      store_lanes(static_cast<float*>(data) + at + c, x, d - c);
    else
      store_lanes(static_cast<bf16*>(data) + at + c, x, d - c);
  }
}

// c[kVectorRows][kCount vectors] += aᵀ · b: the rows of a and of b are the summed axis.
template <int kCount>
void add_transposed_tile(const float* a, int lda, const float* b, int ldb, int depth, float* c,
                         int ldc) {
  V sum[kVectorRows][kCount];
  for (int r = 0; r < kVectorRows; ++r)
    for (int v = 0; v < kCount; ++v) sum[r][v] = load(c + r * ldc + v * kWidth);
  for (int k = 0; k < depth; ++k, a += lda, b += ldb) {
    V right[kCount];
    for (int v = 0; v < kCount; ++v) right[v] = load(b + v * kWidth);
    for (int r = 0; r < kVectorRows; ++r) {
      const V left = set1(a[r]);
      for (int v = 0; v < kCount; ++v) sum[r][v] = fma(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kVectorRows; ++r)
    for (int v = 0; v < kCount; ++v) store(c + r * ldc + v * kWidth, sum[r][v]);
}

// c [rows][width] += aᵀ · b. rows are rounded up to kVectorRows in a's columns and c's rows.
inline void add_transposed(const float* a, int lda, int rows, const float* b, int width, int depth,
                           float* c) {
  for (int column = 0; column < width; column += kPanel)
    for (int r = 0; r < rows; r += kVectorRows) {
      float* to = c + static_cast<int64_t>(r) * width + column;
      const float* left = a + r;
      const float* right = b + column;
      switch ((width - column < kPanel ? width - column : kPanel) / kWidth) {
        case 1:
          add_transposed_tile<1>(left, lda, right, width, depth, to, width);
          break;
        case 2:
          add_transposed_tile<2>(left, lda, right, width, depth, to, width);
          break;
#if !defined(HRSAM_ISA_avx2) && !defined(HRSAM_ISA_scalar)
        case 3:
          add_transposed_tile<3>(left, lda, right, width, depth, to, width);
          break;
        default:
          add_transposed_tile<4>(left, lda, right, width, depth, to, width);
#endif
      }
    }
}

// Rows of `width` numbers, padded to kVectorRows rows: queries as in the logits (turned, times
// scale and log2(e)) and the gradients of their outputs.
struct GradientQueries {
  int count;
  float *q, *dout;
};

// One block of keys: rows and panels of the (turned) keys, panels of the values, and sums of their
// gradients, or null where only the logits' gradients are wanted.
struct GradientKeys {
  int count, padded;
  float *rows, *keys, *values;
  float *dk, *dv;
};

// A query's softmax over the keys so far; once finished, the mean of dO·Vᵀ over its probabilities,
// and what turns 2^(logit − largest) into a probability.
struct GradientStatistics {
  float largest = kMasked;
  float sum = 0;
  float mean = 0;  // times sum, until finished

  void finish() {
    sum = sum > 0 ? 1 / sum : 0;
    mean *= sum;
  }
};

struct GradientScratch {
  float *logits, *products;  // [kGradientGroup][padded keys + kWidth]
  float* dq;                 // [kGradientGroup][width]

  // Rows a vector longer than the keys, so that a column's numbers do not fall into few cache sets.
  static int stride(int padded) { return padded + kWidth; }
  static int64_t numbers(int padded) {
    return static_cast<int64_t>(kGradientGroup) * stride(padded) + kVectorRows;
  }
  static GradientScratch plan(Carver& carver, int padded, int width) {
    float* logits = carver.take<float>(numbers(padded));
    float* products = carver.take<float>(numbers(padded));
    return {logits, products, carver.take<float>(int64_t{kGradientGroup} * width)};
  }
};

// A block of keys: key(j, to) and value(j, to) write a row. staging: as large as to.rows.
template <class Key, class Value>
void pack_gradient_keys(const HeadLayout<float>& head, int count, Key&& key, Value&& value,
                        float* staging, GradientKeys& to) {
  const int64_t width = head.width();
  to.count = count;
  to.padded = HeadLayout<float>::padded_keys(count);
  const auto row_of = [width](const float* rows) {
    return [=](int j) { return HeadRow<float>{rows + j * width, nullptr, nullptr}; };
  };
  for (int j = 0; j < count; ++j) value(j, staging + j * width);
  pack_keys(head, count, row_of(staging), to.values);
  for (int j = 0; j < count; ++j) key(j, to.rows + j * width);
  pack_keys(head, count, row_of(to.rows), to.keys);
}

namespace gradient {

// logits and dO·Vᵀ of `count` queries.
inline void multiply_group(const HeadLayout<float>& head, const GradientQueries& queries, int begin,
                           int count, const GradientKeys& keys, const GradientScratch& scratch) {
  const int width = head.width(), stride = GradientScratch::stride(keys.padded);
  for (int panel = 0; panel < keys.padded; panel += kPanel) {
    const int panel_width = keys.padded - panel < kPanel ? keys.padded - panel : kPanel;
    const int64_t at = static_cast<int64_t>(panel) * head.depth();
    for (int r = 0; r < count; r += kVectorRows) {
      const int64_t from = static_cast<int64_t>(begin + r) * width;
      multiply<float>(panel_width / kWidth, queries.q + from, width, keys.keys + at, panel_width,
                      head.d, scratch.logits + int64_t{r} * stride + panel, stride, nullptr);
    }
    for (int r = 0; r < count; r += kVectorRows) {
      const int64_t from = static_cast<int64_t>(begin + r) * width;
      multiply<float>(panel_width / kWidth, queries.dout + from, width, keys.values + at,
                      panel_width, head.d, scratch.products + int64_t{r} * stride + panel, stride,
                      nullptr);
    }
  }
}

// Adds kCount rows of logits to their statistics; leaves 2^(logit − largest) in their place.
template <int kCount>
HRSAM_INLINE void add_statistics(float* logits, const float* products, int stride, int padded,
                                 GradientStatistics* statistics) {
  V largest[kCount], sum[kCount], mean[kCount];
  for (int r = 0; r < kCount; ++r) {
    largest[r] = set1(statistics[r].largest);
    sum[r] = mean[r] = zero();
  }
  for (int j = 0; j < padded; j += kWidth)
    for (int r = 0; r < kCount; ++r) largest[r] = max(largest[r], load(logits + r * stride + j));
  float shift[kCount];
  for (int r = 0; r < kCount; ++r) largest[r] = set1(shift[r] = reduce_max(largest[r]));
  for (int j = 0; j < padded; j += kWidth)
    for (int r = 0; r < kCount; ++r) {
      const V p = exp2_fast(load(logits + r * stride + j) - largest[r]);
      sum[r] = sum[r] + p;
      mean[r] = fma(p, load(products + r * stride + j), mean[r]);
      store(logits + r * stride + j, p);
    }
  for (int r = 0; r < kCount; ++r) {
    const float difference = statistics[r].largest - shift[r];
    const float scale = difference == 0 ? 1 : ::exp2f(difference);
    statistics[r] = {shift[r], statistics[r].sum * scale + reduce_add(sum[r]),
                     statistics[r].mean * scale + reduce_add(mean[r])};
  }
}

// logits -> P and dO·Vᵀ -> dS of a row. kExponentials: the logits are 2^(logit − largest) already.
template <bool kExponentials>
HRSAM_INLINE void to_gradients(float* logits, float* products, int padded,
                               const GradientStatistics& statistics) {
  const V largest = set1(statistics.largest), factor = set1(statistics.sum);
  const V mean = set1(statistics.mean);
  for (int j = 0; j < padded; j += kWidth) {
    const V x = load(logits + j);
    const V p = (kExponentials ? x : exp2_fast(x - largest)) * factor;
    store(logits + j, p);
    store(products + j, p * (load(products + j) - mean));
  }
}

// Biases, and no logits past the last key.
template <class Bias>
void finish_logits(int begin, int count, const GradientKeys& keys, Bias&& bias, float* logits) {
  for (int r = 0; r < count; ++r, logits += GradientScratch::stride(keys.padded)) {
    const float* added = bias(begin + r);
    if (added != nullptr) add_bias(logits, added, keys.count);
    for (int j = keys.count; j < keys.padded; ++j) logits[j] = kMasked;
  }
}

inline void statistics_of_group(int count, int padded, GradientStatistics* statistics,
                                const GradientScratch& scratch) {
  const int stride = GradientScratch::stride(padded);
  int r = 0;
  for (; r + kSoftmaxRows <= count; r += kSoftmaxRows)
    add_statistics<kSoftmaxRows>(scratch.logits + int64_t{r} * stride,
                                 scratch.products + int64_t{r} * stride, stride, padded,
                                 statistics + r);
  for (; r < count; ++r)
    add_statistics<1>(scratch.logits + int64_t{r} * stride, scratch.products + int64_t{r} * stride,
                      stride, padded, statistics + r);
}

}  // namespace gradient

// Adds a block of keys to the queries' statistics. bias(i): the i-th query's additions to its
// logits, or null.
template <class Bias>
void add_key_statistics(const HeadLayout<float>& head, const GradientQueries& queries,
                        const GradientKeys& keys, Bias&& bias, GradientStatistics* statistics,
                        const GradientScratch& scratch) {
  for (int begin = 0; begin < queries.count; begin += kGradientGroup) {
    const int left = queries.count - begin;
    const int count = left < kGradientGroup ? left : kGradientGroup;
    gradient::multiply_group(head, queries, begin, count, keys, scratch);
    gradient::finish_logits(begin, count, keys, bias, scratch.logits);
    gradient::statistics_of_group(count, keys.padded, statistics + begin, scratch);
  }
}

// Adds to keys.dk and keys.dv, and calls take(i, dS of query i, its dQ / scale) for each query.
// kWhole: the block holds all keys, and the statistics are made here; else they are finished.
template <bool kWhole, class Bias, class Take>
void attend_gradient(const HeadLayout<float>& head, const GradientQueries& queries,
                     const GradientKeys& keys, Bias&& bias, Take&& take,
                     GradientStatistics* statistics, const GradientScratch& scratch) {
  const int width = head.width(), stride = GradientScratch::stride(keys.padded);
  for (int begin = 0; begin < queries.count; begin += kGradientGroup) {
    const int left = queries.count - begin;
    const int count = left < kGradientGroup ? left : kGradientGroup;
    GradientStatistics* those = statistics + begin;
    gradient::multiply_group(head, queries, begin, count, keys, scratch);
    gradient::finish_logits(begin, count, keys, bias, scratch.logits);
    if (kWhole) {
      for (int r = 0; r < count; ++r) those[r] = GradientStatistics();
      gradient::statistics_of_group(count, keys.padded, those, scratch);
      for (int r = 0; r < count; ++r) those[r].finish();
    }
    for (int r = 0; r < count; ++r)
      gradient::to_gradients<kWhole>(scratch.logits + int64_t{r} * stride,
                                     scratch.products + int64_t{r} * stride, keys.padded, those[r]);
    if (keys.dk != nullptr) {
      const int64_t from = static_cast<int64_t>(begin) * width;
      for (int c = 0; c < width; c += kPanel)
        for (int r = 0; r < count; r += kVectorRows)
          multiply<float>((width - c < kPanel ? width - c : kPanel) / kWidth,
                          scratch.products + int64_t{r} * stride, stride, keys.rows + c, width,
                          keys.count, scratch.dq + int64_t{r} * width + c, width, nullptr);
      add_transposed(scratch.logits, stride, keys.padded, queries.dout + from, width, count,
                     keys.dv);
      add_transposed(scratch.products, stride, keys.padded, queries.q + from, width, count,
                     keys.dk);
    }
    for (int r = 0; r < count; ++r)
      take(begin + r, scratch.products + int64_t{r} * stride, scratch.dq + int64_t{r} * width);
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA
