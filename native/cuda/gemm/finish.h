// From a product's sums, in a thread's registers, to results in memory.
//
// One pass over all sums after another: what all threads decide alike is decided before a loop that
// is unrolled over dozens of sums, not in it, or its code would not fit the instruction caches.
#pragma once

#include <type_traits>

#include "gemm.h"

namespace hrsam::cuda {

// Calls `with` with a bool as a constant.
template <class With>
HRSAM_DEVICE void as_constant(bool value, const With& with) {
  if (value)
    with(std::true_type());
  else
    with(std::false_type());
}

// The same with an activation.
template <class With>
HRSAM_DEVICE void with_activation(Activation activation, const With& with) {
  switch (activation) {
    case Activation::none:
      return with(std::integral_constant<Activation, Activation::none>());
    case Activation::gelu:
      return with(std::integral_constant<Activation, Activation::gelu>());
    case Activation::silu:
      return with(std::integral_constant<Activation, Activation::silu>());
    case Activation::relu:
      return with(std::integral_constant<Activation, Activation::relu>());
    case Activation::sigmoid:
      return with(std::integral_constant<Activation, Activation::sigmoid>());
  }
}

// Two neighbouring columns of a row, of which `there` are. kPairs: rows begin at even elements.
template <bool kBf16, bool kPairs>
HRSAM_DEVICE void add_pair(const void* from, int64_t at, int there, float& x, float& y) {
  using T = std::conditional_t<kBf16, bf16, float>;
  const T* p = static_cast<const T*>(from) + at;
  if (!kPairs) {
    if (there > 0) x += to_f32(p[0]);
    if (there > 1) y += to_f32(p[1]);
  } else if (there > 0) {
    if constexpr (kBf16) {
      const uint32_t pair = *reinterpret_cast<const uint32_t*>(p);
      x += to_f32(static_cast<bf16>(pair & 0xffff));
      y += to_f32(static_cast<bf16>(pair >> 16));
    } else {
      const float2 pair = *reinterpret_cast<const float2*>(p);
      x += pair.x;
      y += pair.y;
    }
  }
}
template <bool kBf16, bool kPairs>
HRSAM_DEVICE void put_pair(void* to, int64_t at, int there, float x, float y) {
  using T = std::conditional_t<kBf16, bf16, float>;
  T* p = static_cast<T*>(to) + at;
  if (!kPairs) {
    if (there > 0) p[0] = from_f32<T>(x);
    if (there > 1) p[1] = from_f32<T>(y);
  } else if (there > 0) {
    if constexpr (kBf16)
      *reinterpret_cast<uint32_t*>(p) = pack_bf16(x, y);
    else
      *reinterpret_cast<float2*>(p) = make_float2(x, y);
  }
}

// A number that the compiler knows nothing of: what is computed from it is computed where it is
// needed, and not kept in registers from one pass to the next.
HRSAM_DEVICE int anew(int x) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(x));
#endif
  return x;
}

// Finishes the sums of kRows rows, each of kPairs pairs of neighbouring columns, the first even.
// Sums: row(i); first_column, and offset(j) from there; at(i, j, k), k being 0 or 1; branches():
// one pair of columns after the other, for fewer registers (with Hopper's many sums: for more).
// Numbers beyond m and n are not there. `first`: where the result of a batch's product begins, in
// elements.
template <int kRows, int kPairs, class Sums>
HRSAM_DEVICE void finish_sums(const Epilogue& e, int64_t m, int64_t n, int64_t first, Sums& sums) {
  const int64_t column = sums.first_column;
  // Of those that are there; a tile has fewer than 1024.
  const int columns = static_cast<int>(smaller(larger(n - column, 0), 1024));
  with_activation(e.activation, [&](auto activation) {
    const int there = anew(columns);
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      if (Sums::branches() && sums.offset(j) >= there) continue;
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const int at = sums.offset(j) + k;
        const float bias = e.bias != nullptr && at < there ? e.bias[column + at] : 0.0f;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          float& x = sums.at(i, j, k);
          x = activate(x + bias, activation());
        }
      }
    }
  });
  const bool pairs = n % 2 == 0;  // rows, then, begin at even elements, and columns end there
  // A constant of a file may lie at any multiple of its numbers' size.
  const bool residual_pairs = pairs && reinterpret_cast<uintptr_t>(e.residual) % 8 == 0;
  if (e.residual != nullptr)
    as_constant(e.residual_is_bf16, [&](auto is_bf16) {
      as_constant(residual_pairs, [&](auto in_pairs) {
        const int there = anew(columns);
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const int64_t row = sums.row(i);
          if (row >= m) continue;
          const int64_t from = e.residual_row(row) * n + column;
#pragma unroll
          for (int j = 0; j < kPairs; ++j)
            add_pair<is_bf16(), in_pairs()>(e.residual, from + sums.offset(j),
                                            there - sums.offset(j), sums.at(i, j, 0),
                                            sums.at(i, j, 1));
        }
      });
    });
  as_constant(e.out_is_bf16, [&](auto is_bf16) {
    as_constant(pairs, [&](auto in_pairs) {
      const int there = anew(columns);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int64_t row = sums.row(i);
        if (row >= m) continue;
        const int64_t to = first + row * n + column;
#pragma unroll
        for (int j = 0; j < kPairs; ++j)
          put_pair<is_bf16(), in_pairs()>(e.out, to + sums.offset(j), there - sums.offset(j),
                                          sums.at(i, j, 0), sums.at(i, j, 1));
      }
    });
  });
}

}  // namespace hrsam::cuda
