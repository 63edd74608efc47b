// One vector type for every op. V holds kWidth floats and is the compiler's own vector type, so
// that + - * / and unary minus are written plainly; the rest are functions. Per instruction set:
// simd_<family>.h; the mathematics below is common to all but "scalar", which calls the C library
// and is the truth that the others are tested against.
//
// load and store take f32 and bf16 (rounded to nearest even); load_n and store_n touch n <= kWidth
// lanes only, and load_n fills the others with zero. min and max give b where an argument is not a
// number (Arm: not a number).
#pragma once

#if defined(HRSAM_ISA_avx512bf16) || defined(HRSAM_ISA_avx512)
#include "simd_avx512.h"
#elif defined(HRSAM_ISA_avx2)
#include "simd_avx2.h"
#elif defined(HRSAM_ISA_neon)
#include "simd_neon.h"
#else
#include "simd_scalar.h"
#endif

#include "../../plan/activation.h"

namespace hrsam::cpu::HRSAM_ISA {

#if !defined(HRSAM_ISA_scalar)

// c0 + c1 x + c2 x^2 + …
template <int kCount>
HRSAM_INLINE V polynomial(V x, const float (&c)[kCount]) {
  V y = set1(c[kCount - 1]);
  for (int i = kCount - 2; i >= 0; --i) y = fma(y, x, set1(c[i]));
  return y;
}

// e^x to 2 ulp; 0 for -inf, denormals and inf where they belong. The product x·log2(e) is kept to
// twice the precision, since its error would be multiplied by 2^n.
HRSAM_INLINE V exp(V x) {
  // Minimax on [-1/2, 1/2], relative error 2e-9.
  constexpr float kExp2[] = {1.0f,
                             6.931472029e-1f,
                             2.402264791e-1f,
                             5.550332471e-2f,
                             9.618437358e-3f,
                             1.339887445e-3f,
                             1.535336182e-4f};
  x = max(set1(-104), min(set1(89), x));
  const V n = round(x * set1(1.442695041f));
  const V r = fma(x, set1(1.925962989e-8f), fma(x, set1(1.442695022f), -n));
  return scale2(polynomial(r, kExp2), n);
}

// 2^x for softmax and scans, whose time is exponentials: no second reduction step, so the error is
// 2e-7 beyond the rounding of x itself, and nothing near x = 0 (a scan multiplies thousands of such
// factors: a bias would add up). Results below 2^-126 may be 0; x must not exceed 128 or be
// infinite.
HRSAM_INLINE V exp2_fast(V x) {
  // Minimax on [-1/2, 1/2], relative error 9e-8.
  constexpr float kExp2[] = {
      1.0f, 6.931469776e-1f, 2.402224208e-1f, 5.550733744e-2f, 9.671512661e-3f, 1.326472690e-3f};
#ifndef HRSAM_SCALES_ANY
  x = max(set1(-150), x);
#endif
  const V n = round(x);
  return scale2(polynomial(x - n, kExp2), n);
}

// The same to 1e-4, for results that are rounded to bf16.
HRSAM_INLINE V exp2_rough(V x) {
#ifdef HRSAM_SCALES_ANY
  // Minimax on [0, 1].
  constexpr float kExp2[] = {1.0f, 6.951167878e-1f, 2.276449877e-1f, 7.706704400e-2f};
  return scale2(polynomial(fraction(x), kExp2), x);
#else
  return exp2_fast(x);
#endif
}

// ln(1 + e^x), accurate relative to its size also far on the left; x itself above 20, as PyTorch
// has it.
HRSAM_INLINE V softplus(V x) {
  // log1p(e) / e on [0, 1], minimax, relative error 1e-9.
  constexpr float kLog1p[] = {1.0f,
                              -4.999998729e-1f,
                              3.333268978e-1f,
                              -2.498857905e-1f,
                              1.989793216e-1f,
                              -1.612933623e-1f,
                              1.246712368e-1f,
                              -8.307408845e-2f,
                              4.198137829e-2f,
                              -1.363148836e-2f,
                              2.072949170e-3f};
  const V e = exp(-abs(x));
  const V y = fma(e, polynomial(e, kLog1p), max(zero(), x));
  return select_greater(x, set1(20), x, y);
}

// Phi, the normal distribution: Phi - 1/2 = x·P(x²)/Q(x²), fitted on |x| <= 5.6, beyond which Phi
// is 0 or 1; error 1e-7.
HRSAM_INLINE V normal_cdf(V x) {
  constexpr float kP[] = {3.989421051e-1f, 3.543518535e-2f, 4.777626981e-3f,
                          1.854057188e-4f, 6.504895141e-6f, 2.173500129e-8f};
  constexpr float kQ[] = {
      1.0f, 2.554871704e-1f, 2.956067923e-2f, 1.977684103e-3f, 7.918054545e-5f, 1.179297049e-6f};
  const V c = max(set1(-5.6f), min(set1(5.6f), x));
  const V t = c * c;
  return max(zero(), fma(c, polynomial(t, kP) / polynomial(t, kQ), set1(0.5f)));
}

#endif

// The exact GELU.
HRSAM_INLINE V gelu(V x) { return x * normal_cdf(x); }

// load_n and store_n for an n that mostly is kWidth.
template <class T>
HRSAM_INLINE V load_lanes(const T* p, int n) {
  return n >= kWidth ? load(p) : load_n(p, n);
}
template <class T>
HRSAM_INLINE void store_lanes(T* p, V x, int n) {
  n >= kWidth ? store(p, x) : store_n(p, x, n);
}

// y = f(x…), element by element, on vectors. f is inlined, though called for whole ones and the
// rest.
template <class Y, class F, class... X>
[[gnu::flatten]] void map_vectors(Y* y, int64_t n, F f, const X*... x) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, f(load(x + i)...));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_n(y + i, f(load_n(x + i, rest)...), rest);
}

HRSAM_INLINE V sigmoid(V x) { return set1(1) / (set1(1) + exp(-x)); }
HRSAM_INLINE V silu(V x) { return x / (set1(1) + exp(-x)); }
HRSAM_INLINE V relu(V x) { return max(zero(), x); }

HRSAM_INLINE V activate(V x, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return gelu(x);
    case Activation::silu:
      return silu(x);
    case Activation::relu:
      return relu(x);
    case Activation::sigmoid:
      return sigmoid(x);
    default:
      return x;
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA
