// SAM's decomposed relative position bias: logit(query, key) += q·rel_h[qi, ki] + q·rel_w[qj, kj],
// q unscaled, for queries (qi, qj) and keys (ki, kj) on grids.
//
// The two products of a query are taken once against all key rows and columns (a few vectors, with
// the tables transposed so that lanes are keys) and only added per key.
#pragma once

#include "carver.h"
#include "tasks.h"
#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

class RelativeBias {
 public:
  RelativeBias() = default;
  RelativeBias(int q_h, int q_w, int k_h, int k_w, int d)
      : down_(q_h, k_h, d), across_(q_w, k_w, d), d_(d) {}
  explicit operator bool() const { return d_ > 0; }

  // rel_h (q_h, k_h, d) and rel_w (q_w, k_w, d) for the calls that follow.
  void prepare(Pool& pool, const float* rel_h, const float* rel_w) const {
    down_.prepare(pool, rel_h, d_);
    across_.prepare(pool, rel_w, d_);
  }

  // Floats of a query's products, and of a buffer for expand() with up to `keys` keys.
  int64_t axes() const { return down_.padded + across_.padded; }
  int64_t buffer(int64_t keys) const { return keys + 2 * across_.keys + 2 * kWidth; }

  // A query's products with all key rows, then with all key columns, times `unit`.
  void axes_of(const float* query, int qi, int qj, float unit, float* axes) const {
    down_.products(query, qi, d_, unit, axes);
    across_.products(query, qj, d_, unit, axes + down_.padded);
  }

  // The bias of keys [first, first + count), plus mask's row if there is one. The result lies in
  // the buffer.
  const float* expand(const float* axes, int64_t first, int count, const float* mask,
                      float* buffer) const {
    const int64_t row = first / across_.keys, last = (first + count - 1) / across_.keys;
    const float* columns = axes + down_.padded;
    float* at = buffer;
    for (int64_t ki = row; ki <= last; ++ki, at += across_.keys) {
      const V down = set1(axes[ki]);
      for (int kj = 0; kj < across_.keys; kj += kWidth) store(at + kj, load(columns + kj) + down);
    }
    float* result = buffer + first % across_.keys;
    if (mask != nullptr)
      for (int j = 0; j < count; j += kWidth) store(result + j, load(result + j) + load(mask + j));
    return result;
  }

 private:
  struct Axis {
    Axis() = default;
    Axis(int q, int k, int d)
        : queries(q),
          keys(k),
          padded((k + kWidth - 1) / kWidth * kWidth),
          table(sizeof(float) * static_cast<size_t>(q) * d * padded) {}

    // (q, k, d) -> [q][d][padded k]
    void prepare(Pool& pool, const float* rel, int d) const {
      pool.each(queries, [&](int64_t q, int) {
        const float* from = rel + q * keys * d;
        float* to = table.as<float>() + q * d * padded;
        for (int k0 = 0; k0 < padded; k0 += kWidth)
          for (int c0 = 0; c0 < d; c0 += kWidth) {
            V rows[kWidth];
            for (int i = 0; i < kWidth; ++i)
              rows[i] = k0 + i < keys ? load_n(from + (k0 + i) * d + c0,
                                               static_cast<int>(smaller(kWidth, d - c0)))
                                      : zero();
            transpose(rows);
            for (int i = 0; i < kWidth && c0 + i < d; ++i)
              store(to + (c0 + i) * padded + k0, rows[i]);
          }
      });
    }

    void products(const float* query, int q, int d, float unit, float* to) const {
      const float* from = table.as<float>() + static_cast<int64_t>(q) * d * padded;
      for (int k0 = 0; k0 < padded; k0 += kWidth) {
        V even = zero(), odd = zero();
        int c = 0;
        for (; c + 2 <= d; c += 2) {
          even = fma(set1(query[c]), load(from + c * padded + k0), even);
          odd = fma(set1(query[c + 1]), load(from + (c + 1) * padded + k0), odd);
        }
        if (c < d) even = fma(set1(query[c]), load(from + c * padded + k0), even);
        store(to + k0, (even + odd) * set1(unit));
      }
    }

    int queries = 0, keys = 0, padded = 0;
    Block table;
  };

  Axis down_, across_;
  int d_ = 0;
};

}  // namespace hrsam::cpu::HRSAM_ISA
