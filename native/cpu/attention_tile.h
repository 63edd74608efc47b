// The core of both attention ops: a block of packed queries of one head against a block of packed
// keys and values.
//
// Logits are in units of log 2 (the scale and log2(e) are folded into Q), so that the softmax takes
// 2^x.
#pragma once

#include "../plan/head.h"
#include "attention_product.h"
#include "rope.h"

namespace hrsam::cpu::HRSAM_ISA {

constexpr int kSoftmaxRows = 4;
alignas(64) constexpr float kLaneNumbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Queries that share a key panel while it is in L1.
template <class E>
constexpr int kGroup = 4 * kRows<E>;

// Two rows of a right-hand side, at the place of the first.
HRSAM_INLINE void store_rows(float* to, int ld, V first, V second) {
  store(to, first);
  store(to + ld, second);
}
#if defined(HRSAM_ISA_avx512bf16)
HRSAM_INLINE void store_rows(bf16* to, int, V first, V second) {
  const __m512i low = _mm512_cvtepu16_epi32(narrow(first));
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow(second)), 16);
  _mm512_storeu_si512(to, _mm512_or_si512(low, high));
}
#endif

HRSAM_INLINE int rest(int n) { return n > 0 ? n : 0; }

// Where the rows of a head are, and which rotation they need.
template <class T>
struct HeadRow {
  const T* data;                        // the head's first channel
  const float *rope_row, *rope_column;  // or null
};

// Sizes of one head's blocks, in numbers of type E unless said.
template <class E>
struct HeadLayout {
  int d;
  int depth() const { return depth_of<E>(d); }
  int width() const { return round_up(d, kUnit<E>); }  // of a value or an output row
  // Keys are summed over in the second product, and are lanes in the first.
  static int padded_keys(int keys) { return round_up(keys, kUnit<E> > 2 ? kUnit<E> : 2); }
  static int padded_queries(int queries) { return round_up(queries, kRows<E>); }
  int64_t query_numbers(int queries) const {
    return static_cast<int64_t>(padded_queries(queries)) * depth();
  }
  int64_t key_numbers(int keys) const { return static_cast<int64_t>(padded_keys(keys)) * depth(); }
  int64_t value_numbers(int keys) const {
    return static_cast<int64_t>(padded_keys(keys)) * width();
  }
};

// Keys as panels [depth][vectors of the panel]. rows(j) is a HeadRow; missing keys are zero.
template <class E, class Rows>
void pack_keys(const HeadLayout<E>& head, int keys, Rows&& rows, E* to) {
  alignas(64) float block[kWidth][kMaxHead + kWidth];
  const int padded = HeadLayout<E>::padded_keys(keys);
  const int width = head.width();
  for (int j0 = 0; j0 < padded; j0 += kWidth) {
    for (int i = 0; i < kWidth; ++i) {
      int filled = 0;
      if (j0 + i < keys) {
        const auto row = rows(j0 + i);
        load_head(row.data, head.d, row.rope_row, row.rope_column, block[i]);
        filled = head.d;
      }
      for (; filled < width + 1; ++filled) block[i][filled] = 0;
    }
    const int panel = j0 / kPanel * kPanel;
    const int panel_width = padded - panel < kPanel ? padded - panel : kPanel;
    E* at = to + static_cast<int64_t>(panel) * head.depth();
    for (int c0 = 0; c0 < width; c0 += kWidth) {
      V rows_of[kWidth + 1];
      for (int i = 0; i < kWidth; ++i) rows_of[i] = load(block[i] + c0);
      rows_of[kWidth] = zero();
      transpose(rows_of);
      for (int i = 0; i < kWidth && c0 + i < head.depth(); i += 2) {
        E* here = at + static_cast<int64_t>(c0 + i) * panel_width +
                  (j0 - panel) * (sizeof(E) == 2 ? 2 : 1);
        if (sizeof(E) == 4 && (kWidth == 1 || c0 + i + 1 >= head.depth()))
          store(here, rows_of[i]);
        else
          store_rows(here, panel_width, rows_of[i], rows_of[i + 1]);
      }
    }
  }
}

// Values as [keys][width]; channels past d and keys past the last are zero.
template <class E, class Rows>
void pack_values(const HeadLayout<E>& head, int keys, Rows&& rows, E* to) {
  const int width = head.width();
  for (int j = 0; j < HeadLayout<E>::padded_keys(keys); j += 2) {
    const auto first = rows(j < keys ? j : 0), second = rows(j + 1 < keys ? j + 1 : 0);
    for (int c = 0; c < width; c += kWidth)
      store_rows(to + static_cast<int64_t>(j) * width + (sizeof(E) == 2 ? 2 : 1) * c, width,
                 j < keys ? load_lanes(first.data + c, rest(head.d - c)) : zero(),
                 j + 1 < keys ? load_lanes(second.data + c, rest(head.d - c)) : zero());
  }
}

// A query, scaled to the logits' unit.
template <class E>
void pack_query(const HeadLayout<E>& head, const float* query, float scale, E* to) {
  const V factor = set1(scale);
  for (int c = 0; c < head.depth(); c += kWidth)
    store_lanes(to + c, load_lanes(query + c, rest(head.d - c)) * factor, head.depth() - c);
}

// 2^x for probabilities of type E: no more accurate than E is.
template <class E>
HRSAM_INLINE V exp2_of(V x) {
  return sizeof(E) == 2 ? exp2_rough(x) : exp2_fast(x);
}

// Online softmax of a group of queries: the largest logit so far and the sum of 2^(logit −
// largest).
struct Statistics {
  float largest = kMasked;
  float sum = 0;
};

HRSAM_INLINE void add_bias(float* logits, const float* bias, int keys) {
  for (int j = 0; j < keys; j += kWidth)
    store(logits + j, load(logits + j) + load_lanes(bias + j, keys - j));
}

// logits -> probabilities of kCount rows (several at once, for the latency of the sums across
// lanes), `padded` numbers each, of which those past `keys` do not count. scale[row]: what earlier
// sums are to be multiplied with.
template <int kCount, class E>
HRSAM_INLINE void softmax_rows(float* logits, int keys, int padded, Statistics* statistics,
                               float* scale, E* probabilities) {
  const int whole = keys / kWidth * kWidth;
  const auto at_end = [&](int r, int j) {
    return select_greater(set1(static_cast<float>(keys - j)), load(kLaneNumbers),
                          load(logits + r * padded + j), set1(kMasked));
  };
  V largest[kCount], sum[kCount];
  for (int r = 0; r < kCount; ++r) {
    largest[r] = set1(statistics[r].largest);
    sum[r] = zero();
  }
  for (int j = 0; j < whole; j += kWidth)
    for (int r = 0; r < kCount; ++r) largest[r] = max(largest[r], load(logits + r * padded + j));
  for (int j = whole; j < padded; j += kWidth)
    for (int r = 0; r < kCount; ++r) largest[r] = max(largest[r], at_end(r, j));
  float shift[kCount];
  for (int r = 0; r < kCount; ++r) largest[r] = set1(shift[r] = reduce_max(largest[r]));
  const auto put = [&](int r, int j, V logit) {
    const V p = exp2_of<E>(logit - largest[r]);
    sum[r] = sum[r] + p;
    store(probabilities + r * padded + j, p);
  };
  for (int j = 0; j < whole; j += kWidth)
    for (int r = 0; r < kCount; ++r) put(r, j, load(logits + r * padded + j));
  for (int j = whole; j < padded; j += kWidth)
    for (int r = 0; r < kCount; ++r) put(r, j, at_end(r, j));
  for (int r = 0; r < kCount; ++r) {
    const float difference = statistics[r].largest - shift[r];
    scale[r] = difference == 0 ? 1 : ::exp2f(difference);
    statistics[r] = {shift[r], statistics[r].sum * scale[r] + reduce_add(sum[r])};
  }
}

// Scratch of attend(), for one thread.
template <class E>
struct GroupScratch {
  float* logits;     // kGroup<E> x padded keys
  E* probabilities;  // the same
};

// Queries [0, queries) against one block of keys. out: f32 [padded queries][width], the sums of
// probability · value, not yet divided by Statistics::sum. first: out and statistics hold nothing
// yet. bias(i): the i-th query's additions to its logits, or null.
template <class E, class Bias>
void attend(const HeadLayout<E>& head, const E* query, int queries, const E* keys, const E* values,
            int key_count, bool first, Bias&& bias, Statistics* statistics, float* out,
            const GroupScratch<E>& scratch) {
  const int padded = HeadLayout<E>::padded_keys(key_count);
  const int width = head.width(), depth = head.depth();
  for (int begin = 0; begin < queries; begin += kGroup<E>) {
    const int count = queries - begin < kGroup<E> ? queries - begin : kGroup<E>;
    for (int panel = 0; panel < padded; panel += kPanel) {
      const int panel_width = padded - panel < kPanel ? padded - panel : kPanel;
      for (int r = 0; r < count; r += kRows<E>)
        multiply<E>(panel_width / kWidth, query + static_cast<int64_t>(begin + r) * depth, depth,
                    keys + static_cast<int64_t>(panel) * depth, panel_width, depth,
                    scratch.logits + static_cast<int64_t>(r) * padded + panel, padded, nullptr);
    }
    float scale[kGroup<E>] = {};
    for (int r = 0; r < count; r += kSoftmaxRows) {
      const int rows = count - r < kSoftmaxRows ? count - r : kSoftmaxRows;
      float* logits = scratch.logits + static_cast<int64_t>(r) * padded;
      E* probabilities = scratch.probabilities + static_cast<int64_t>(r) * padded;
      Statistics* those = statistics + begin + r;
      for (int i = 0; i < rows; ++i) {
        if (first) those[i] = Statistics();
        const float* added = bias(begin + r + i);
        if (added != nullptr) add_bias(logits + i * padded, added, key_count);
      }
      if (rows == kSoftmaxRows)
        softmax_rows<kSoftmaxRows>(logits, key_count, padded, those, scale + r, probabilities);
      else
        for (int i = 0; i < rows; ++i)
          softmax_rows<1>(logits + i * padded, key_count, padded, those + i, scale + r + i,
                          probabilities + i * padded);
    }
    for (int r = count; r < round_up(count, kRows<E>); ++r)
      memset(scratch.probabilities + static_cast<int64_t>(r) * padded, 0, sizeof(E) * padded);
    for (int c = 0; c < width; c += kPanel) {
      const int vectors = (width - c < kPanel ? width - c : kPanel) / kWidth;
      for (int r = 0; r < count; r += kRows<E>)
        multiply<E>(vectors, scratch.probabilities + static_cast<int64_t>(r) * padded, padded,
                    values + (sizeof(E) == 2 ? 2 : 1) * c, width, depth_of<E>(key_count),
                    out + static_cast<int64_t>(begin + r) * width + c, width,
                    first ? nullptr : scale + r);
    }
  }
}

// One query's result.
template <class T>
HRSAM_INLINE void store_output(const float* sums, float sum, int d, T* to) {
  const V factor = set1(sum > 0 ? 1 / sum : 0);
  for (int c = 0; c < d; c += kWidth) store_lanes(to + c, load(sums + c) * factor, d - c);
}

}  // namespace hrsam::cpu::HRSAM_ISA
