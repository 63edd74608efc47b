// The core of the attention gradients (attention_gradient_tile.h) with products of bf16, on
// processors that have them; sums, softmax and dS before it is rounded are f32.
//
// Two of the five products sum over queries: P, dS, dO and Q lie for them in pairs of queries, one
// number of each in a lane. dS also lies row by row, for dQ. Matrix tiles want the rows of Pᵀ and
// dSᵀ: there, blocks of 16 pairs by 16 keys are turned in place.
#pragma once

#include "attention_gradient_tile.h"
#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

#if defined(HRSAM_ISA_avx512bf16)

constexpr bool kHalfProducts = true;
// Queries whose P and dS are held at a time, and pairs of them that a product takes at once.
#if defined(HRSAM_ISA_amx)
constexpr int kHalfGroup = 128, kPairUnit = kTileDepth / 2;
#else
constexpr int kHalfGroup = 16 * kVectorRows, kPairUnit = 1;
#endif
static_assert(kHalfGroup % kRows<bf16> == 0 && kHalfGroup / 2 % kPairUnit == 0);

// Queries (turned, times scale and log2(e)) and the gradients of their outputs.
struct HalfQueries {
  bf16 *q, *dout;              // [padded queries][depth]
  bf16 *q_pairs, *dout_pairs;  // [pairs of queries][width], pairs, filled up to whole units
};

// A block of keys: panels of the (turned) keys and of the values, the keys in pairs.
struct HalfKeys {
  bf16 *keys, *values, *pairs;
};

struct HalfScratch {
  float *logits, *products;  // [kHalfGroup][padded keys + kWidth]
  bf16* ds;                  // the same
  bf16 *p_pairs, *ds_pairs;  // [kHalfGroup / 2][padded keys + kWidth], pairs
  float* dq;                 // [kHalfGroup][width]

  static HalfScratch plan(Carver& carver, int padded, int width) {
    const int64_t numbers = static_cast<int64_t>(kHalfGroup) * GradientScratch::stride(padded);
    HalfScratch s;
    s.logits = carver.take<float>(numbers);
    s.products = carver.take<float>(numbers);
    s.ds = carver.take<bf16>(numbers);
    s.p_pairs =
        carver.take<bf16>(numbers + 2 * kVectorRows);  // rounding up kVectorRows reads past the end
    s.ds_pairs = carver.take<bf16>(numbers + 2 * kVectorRows);
    s.dq = carver.take<float>(int64_t{kHalfGroup} * width);
    return s;
  }
};

namespace gradient {

// Rows of bf16, `d` of each counting, in pairs; zeros up to a whole unit of them.
inline void pair_rows(const HeadLayout<bf16>& head, const bf16* rows, int count, bf16* pairs) {
  const int width = head.width(), depth = head.depth();
  for (int i = 0; i < round_up(count, 2 * kPairUnit); i += 2, rows += 2 * depth, pairs += 2 * width)
    for (int c = 0; c < width; c += kWidth)
      store_rows(pairs + 2 * c, 0, i < count ? load_lanes(rows + c, rest(head.d - c)) : zero(),
                 i + 1 < count ? load_lanes(rows + depth + c, rest(head.d - c)) : zero());
}

// c[kRows<bf16>][kCount vectors] += aᵀ · b: pairs of the summed axis in the lanes of both.
#if defined(HRSAM_ISA_amx)
// As turn_pairs() leaves a.
template <int kCount>
void add_pairs_tile(const bf16* a, int lda, const bf16* b, int ldb, int pairs, float* c, int ldc) {
  before_tile_loads();
  load_tiles<kCount>(c, ldc);
  for (int k = 0; k < pairs; k += kPairUnit, a += 2 * kPairUnit * lda, b += 2 * kPairUnit * ldb)
    add_to_tiles<kCount>(a, 2 * lda, b, ldb, kTileDepth);
  store_tiles<kCount>(c, ldc);
}

// Blocks of kPairUnit pairs of queries by as many keys: rows of pairs become rows of keys.
inline void turn_pairs(bf16* pairs, int stride, int count, int padded) {
  for (int k = 0; k < count; k += kPairUnit)
    for (int j = 0; j < padded; j += kWidth) {
      float* at = reinterpret_cast<float*>(pairs) + int64_t{k} * stride + j;
      V rows[kWidth];
      for (int i = 0; i < kWidth; ++i) rows[i] = k + i < count ? load(at + i * stride) : zero();
      transpose(rows);
      for (int i = 0; i < kWidth; ++i) store(at + i * stride, rows[i]);
    }
}
#else
template <int kCount>
void add_pairs_tile(const bf16* a, int lda, const bf16* b, int ldb, int pairs, float* c, int ldc) {
  V sum[kVectorRows][kCount];
  for (int r = 0; r < kVectorRows; ++r)
    for (int v = 0; v < kCount; ++v) sum[r][v] = load(c + r * ldc + v * kWidth);
  for (int k = 0; k < pairs; ++k, a += 2 * lda, b += 2 * ldb) {
    __m512bh right[kCount];
    for (int v = 0; v < kCount; ++v)
      right[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + 2 * v * kWidth));
    for (int r = 0; r < kVectorRows; ++r) {
      int pair;
      memcpy(&pair, a + 2 * r, 4);
      const __m512bh left = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      for (int v = 0; v < kCount; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], left, right[v]);
    }
  }
  for (int r = 0; r < kVectorRows; ++r)
    for (int v = 0; v < kCount; ++v) store(c + r * ldc + v * kWidth, sum[r][v]);
}

inline void turn_pairs(bf16*, int, int, int) {}
#endif

// c [rows][width] += aᵀ · b; rows are rounded up to kRows<bf16>.
inline void add_pairs(const bf16* a, int lda, int rows, const bf16* b, int width, int pairs,
                      float* c) {
  for (int column = 0; column < width; column += kPanel)
    for (int r = 0; r < rows; r += kRows<bf16>) {
      float* to = c + static_cast<int64_t>(r) * width + column;
      const bf16 *left = a + 2 * r, *right = b + 2 * column;
      switch ((width - column < kPanel ? width - column : kPanel) / kWidth) {
        case 1:
          add_pairs_tile<1>(left, lda, right, width, pairs, to, width);
          break;
        case 2:
          add_pairs_tile<2>(left, lda, right, width, pairs, to, width);
          break;
        case 3:
          add_pairs_tile<3>(left, lda, right, width, pairs, to, width);
          break;
        default:
          add_pairs_tile<4>(left, lda, right, width, pairs, to, width);
      }
    }
}

// rows [count] · a block of keys or values in panels.
inline void multiply_panels(const HeadLayout<bf16>& head, const bf16* rows, int count,
                            const bf16* panels, int padded, float* to) {
  const int depth = head.depth(), stride = GradientScratch::stride(padded);
  for (int panel = 0; panel < padded; panel += kPanel) {
    const int width = padded - panel < kPanel ? padded - panel : kPanel;
    for (int r = 0; r < count; r += kRows<bf16>)
      multiply<bf16>(width / kWidth, rows + int64_t{r} * depth, depth,
                     panels + int64_t{panel} * depth, width, depth,
                     to + int64_t{r} * stride + panel, stride, nullptr);
  }
}

// 2^(logit − largest) and dO·Vᵀ of two queries, the second of which may be missing, -> P and dS.
inline void to_pairs(const HalfScratch& s, int row, bool both, int padded,
                     const GradientStatistics* statistics) {
  const int stride = GradientScratch::stride(padded);
  const int64_t at = int64_t{row} * stride;
  const GradientStatistics none{0, 0, 0};
  const GradientStatistics &first = statistics[row], &second = both ? statistics[row + 1] : none;
  for (int j = 0; j < padded; j += kWidth) {
    const int64_t here = at + j, next = both ? here + stride : here;
    const V p = load(s.logits + here) * set1(first.sum);
    const V q = load(s.logits + next) * set1(second.sum);
    const V dp = p * (load(s.products + here) - set1(first.mean));
    const V dq = q * (load(s.products + next) - set1(second.mean));
    store(s.ds + here, dp);
    if (both) store(s.ds + next, dq);
    store_rows(s.p_pairs + at + 2 * j, 0, p, q);
    store_rows(s.ds_pairs + at + 2 * j, 0, dp, dq);
  }
}

}  // namespace gradient

// As attend_gradient<true>(): adds to dk and dv, and calls take(i, dQ of query i / scale).
template <class Bias, class Take>
void attend_gradient_half(const HeadLayout<bf16>& head, const HalfQueries& queries, int count,
                          const HalfKeys& half, const GradientKeys& keys, Bias&& bias, Take&& take,
                          GradientStatistics* statistics, const HalfScratch& scratch) {
  const int width = head.width(), depth = head.depth();
  const int stride = GradientScratch::stride(keys.padded);
  const GradientScratch rows{scratch.logits, scratch.products, scratch.dq};
  gradient::pair_rows(head, queries.q, count, queries.q_pairs);
  gradient::pair_rows(head, queries.dout, count, queries.dout_pairs);
  for (int begin = 0; begin < count; begin += kHalfGroup) {
    const int group = count - begin < kHalfGroup ? count - begin : kHalfGroup;
    const int pairs = (group + 1) / 2;
    const int64_t from = int64_t{begin} * depth;
    gradient::multiply_panels(head, queries.q + from, group, half.keys, keys.padded,
                              scratch.logits);
    gradient::multiply_panels(head, queries.dout + from, group, half.values, keys.padded,
                              scratch.products);
    gradient::finish_logits(begin, group, keys, bias, scratch.logits);
    for (int r = 0; r < group; ++r) statistics[r] = GradientStatistics();
    gradient::statistics_of_group(group, keys.padded, statistics, rows);
    for (int r = 0; r < group; ++r) statistics[r].finish();
    for (int r = 0; r < group; r += 2)
      gradient::to_pairs(scratch, r, r + 1 < group, keys.padded, statistics);
    for (int c = 0; c < width; c += kPanel)
      for (int r = 0; r < group; r += kRows<bf16>)
        multiply<bf16>((width - c < kPanel ? width - c : kPanel) / kWidth,
                       scratch.ds + int64_t{r} * stride, stride, half.pairs + 2 * c, width,
                       depth_of<bf16>(keys.count), scratch.dq + int64_t{r} * width + c, width,
                       nullptr);
    gradient::turn_pairs(scratch.p_pairs, stride, pairs, keys.padded);
    gradient::turn_pairs(scratch.ds_pairs, stride, pairs, keys.padded);
    const int64_t pair = int64_t{begin} * width;
    gradient::add_pairs(scratch.p_pairs, stride, keys.padded, queries.dout_pairs + pair, width,
                        pairs, keys.dv);
    gradient::add_pairs(scratch.ds_pairs, stride, keys.padded, queries.q_pairs + pair, width, pairs,
                        keys.dk);
    for (int r = 0; r < group; ++r) take(begin + r, scratch.dq + int64_t{r} * width);
  }
}

#else

constexpr bool kHalfProducts = false;
struct HalfQueries {};
struct HalfKeys {};
struct HalfScratch {};

#endif

}  // namespace hrsam::cpu::HRSAM_ISA
