// What one lane computes by itself: arithmetic, comparisons, conversions, moves. Templates that
// decode.cc chooses from.
#pragma once

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>

#include "machine.h"

namespace ptx {

// ---- numbers of any type in words of 32 or 64 bits
// -----------------------------------------------

template <class T>
using Word = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
inline T from_word(Word<T> word) {
  if constexpr (sizeof(T) >= 4)
    return std::bit_cast<T>(word);
  else
    return static_cast<T>(word);
}
template <class T>
inline Word<T> to_word(T value) {
  if constexpr (sizeof(T) >= 4)
    return std::bit_cast<Word<T>>(value);
  else
    return static_cast<std::make_unsigned_t<T>>(value);
}
template <class T>
inline Word<T>* words(Warp& w, int at) {
  return reinterpret_cast<Word<T>*>(w.file.data() + at);
}

template <class T, class R, class Op>
void unary(Warp& w, const Instruction& i, uint32_t lanes) {
  const Word<T>* a = words<T>(w, i.a);
  Word<R>* d = words<R>(w, i.d);
  each_lane(lanes, [&](int l) { d[l] = to_word<R>(Op()(from_word<T>(a[l]))); });
}
template <class T, class R, class Op>
void binary(Warp& w, const Instruction& i, uint32_t lanes) {
  const Word<T>*a = words<T>(w, i.a), *b = words<T>(w, i.b);
  Word<R>* d = words<R>(w, i.d);
  each_lane(lanes, [&](int l) {
    d[l] = to_word<R>(static_cast<R>(Op()(from_word<T>(a[l]), from_word<T>(b[l]))));
  });
}
template <class T, class R, class Op>
void ternary(Warp& w, const Instruction& i, uint32_t lanes) {
  const Word<T>*a = words<T>(w, i.a), *b = words<T>(w, i.b);
  const Word<R>* c = words<R>(w, i.c);
  Word<R>* d = words<R>(w, i.d);
  each_lane(lanes, [&](int l) {
    d[l] = to_word<R>(Op()(from_word<T>(a[l]), from_word<T>(b[l]), from_word<R>(c[l])));
  });
}
template <class T, class U>
void shift(Warp& w, const Instruction& i, uint32_t lanes) {  // U: whether to the left
  const Word<T>* a = words<T>(w, i.a);
  const uint32_t* b = w.u32(i.b);
  Word<T>* d = words<T>(w, i.d);
  constexpr uint32_t kBits = sizeof(T) * 8;
  each_lane(lanes, [&](int l) {
    const T x = from_word<T>(a[l]);
    const uint32_t n = b[l];
    T y;
    if constexpr (U::value)
      y = n >= kBits ? T{0} : static_cast<T>(static_cast<std::make_unsigned_t<T>>(x) << n);
    else
      y = static_cast<T>(x >> (n >= kBits ? (std::is_signed_v<T> ? kBits - 1 : kBits - 1) : n));
    if (!U::value && !std::is_signed_v<T> && n >= kBits) y = 0;
    d[l] = to_word<T>(y);
  });
}

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) +
                            static_cast<std::make_unsigned_t<T>>(b));
    else
      return a + b;
  }
};
struct Sub {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) -
                            static_cast<std::make_unsigned_t<T>>(b));
    else
      return a - b;
  }
};
struct Mul {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    else
      return a * b;
  }
};
struct MulHigh {
  template <class T>
  T operator()(T a, T b) const {
    using Wide =
        std::conditional_t<sizeof(T) == 8,
                           std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
                           std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
    return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> (8 * sizeof(T)));
  }
};
template <class R>
struct MulWide {
  template <class T>
  R operator()(T a, T b) const {
    return static_cast<R>(static_cast<R>(a) * static_cast<R>(b));
  }
};
struct Div {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return static_cast<T>(~T{0});
      if constexpr (std::is_signed_v<T>)
        if (b == -1) return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
    }
    return a / b;
  }
};
struct Rem {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return 0;
    return a % b;
  }
};
struct Min {  // the number, where one is NaN
  template <class T>
  T operator()(T a, T b) const {
    return b != b || a < b ? a : b;
  }
};
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    return b != b || a > b ? a : b;
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct Same {
  template <class T>
  T operator()(T a) const {
    return a;
  }
};
struct Neg {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
    else
      return -a;
  }
};
struct Abs {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>)
      return a < 0 ? -a : a;
    else
      return std::fabs(a);
  }
};
struct Sqrt {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
};
struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return 1 / a;
  }
};
// As far off as the manual allows, one way.
struct ReciprocalFast {
  template <class T>
  T operator()(T a) const {
    if constexpr (sizeof(T) == 8)
      return static_cast<T>(
          std::bit_cast<double>(std::bit_cast<uint64_t>(1 / a) & ~uint64_t{0xffffffff}));
    else {
      const T y = 1 / a;
      return std::fabs(y) < 1.17549435e-38f ? std::copysign(T{0}, y) : y;
    }
  }
};
struct Exp2 {
  template <class T>
  T operator()(T a) const {
    return std::exp2(a);
  }
};
struct Exp2Flushed {
  template <class T>
  T operator()(T a) const {
    const T y = static_cast<T>(std::exp2(static_cast<double>(a)));
    return y < 1.17549435e-38f ? T{0} : y;
  }
};
struct CopySign {
  template <class T>
  T operator()(T a, T b) const {
    return std::copysign(b, a);
  }
};
struct Fma {
  template <class T>
  T operator()(T a, T b, T c) const {
    return std::fma(a, b, c);
  }
};
struct MadLow {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b) +
                          static_cast<uint64_t>(c));
  }
};
// Each byte of the result is one of a's (0 to 3) or b's (4 to 7), or, with 8 added, its sign.
struct Permute {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    const uint64_t bytes = a | static_cast<uint64_t>(b) << 32;
    uint32_t made = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t which = c >> 4 * i & 15;
      const auto byte = static_cast<uint8_t>(bytes >> 8 * (which & 7));
      made |= static_cast<uint32_t>(which < 8 ? byte : byte & 0x80 ? 0xff : 0) << 8 * i;
    }
    return made;
  }
};
struct Clz {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::countl_zero(static_cast<std::make_unsigned_t<T>>(a)));
  }
};
struct Popc {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::popcount(static_cast<std::make_unsigned_t<T>>(a)));
  }
};

struct Left {
  static constexpr bool value = true;
};
struct Right {
  static constexpr bool value = false;
};

// Comparisons; those that end in u are true for NaN.
struct Eq {
  template <class T>
  bool operator()(T a, T b) const {
    return a == b;
  }
};
struct Ne {
  template <class T>
  bool operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>)
      return a < b || a > b;
    else
      return a != b;
  }
};
struct Lt {
  template <class T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct Le {
  template <class T>
  bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct Gt {
  template <class T>
  bool operator()(T a, T b) const {
    return a > b;
  }
};
struct Ge {
  template <class T>
  bool operator()(T a, T b) const {
    return a >= b;
  }
};
struct Equ {
  template <class T>
  bool operator()(T a, T b) const {
    return !(a < b || a > b);
  }
};
struct Neu {
  template <class T>
  bool operator()(T a, T b) const {
    return !(a == b);
  }
};
struct Ltu {
  template <class T>
  bool operator()(T a, T b) const {
    return !(a >= b);
  }
};
struct Leu {
  template <class T>
  bool operator()(T a, T b) const {
    return !(a > b);
  }
};
struct Gtu {
  template <class T>
  bool operator()(T a, T b) const {
    return !(a <= b);
  }
};
struct Geu {
  template <class T>
  bool operator()(T a, T b) const {
    return !(a < b);
  }
};
struct Num {
  template <class T>
  bool operator()(T a, T b) const {
    return a == a && b == b;
  }
};
struct Nan {
  template <class T>
  bool operator()(T a, T b) const {
    return a != a || b != b;
  }
};

template <class T, class Op>
void compare(Warp& w, const Instruction& i, uint32_t lanes) {
  const Word<T>*a = words<T>(w, i.a), *b = words<T>(w, i.b);
  uint32_t set = 0;
  each_lane(lanes, [&](int l) {
    set |= static_cast<uint32_t>(Op()(from_word<T>(a[l]), from_word<T>(b[l]))) << l;
  });
  w.predicates[i.d] = (w.predicates[i.d] & ~lanes) | set;
}

template <class Op>
void predicates(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t set = Op()(w.predicates[i.a], w.predicates[i.b]);
  w.predicates[i.d] = (w.predicates[i.d] & ~lanes) | (set & lanes);
}
// b: another, or extra
template <class Op>
void predicates_with(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t set = Op()(w.predicates[i.a], i.extra != 0 ? kAll : 0u);
  w.predicates[i.d] = (w.predicates[i.d] & ~lanes) | (set & lanes);
}
void predicate_not(Warp& w, const Instruction& i, uint32_t lanes) {
  w.predicates[i.d] = (w.predicates[i.d] & ~lanes) | (~w.predicates[i.a] & lanes);
}
void predicate_set(Warp& w, const Instruction& i, uint32_t lanes) {  // from another, or extra
  const uint32_t set = i.a >= 0 ? w.predicates[i.a] : i.extra != 0 ? kAll : 0;
  w.predicates[i.d] = (w.predicates[i.d] & ~lanes) | (set & lanes);
}

template <class T>
void select(Warp& w, const Instruction& i, uint32_t lanes) {
  const Word<T>*a = words<T>(w, i.a), *b = words<T>(w, i.b);
  const uint32_t which = w.predicates[i.c];
  Word<T>* d = words<T>(w, i.d);
  each_lane(lanes, [&](int l) { d[l] = which >> l & 1 ? a[l] : b[l]; });
}

// add.cc, addc, sub.cc, subc, mad.lo.cc, madc.lo, madc.hi of 32 bits. extra: 1 takes the carry, 2
// gives it, 4 subtracts, 8 multiplies, 16 takes the product's upper half.
void with_carry(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t *a = w.u32(i.a), *b = w.u32(i.b), *c = i.c >= 0 ? w.u32(i.c) : nullptr;
  uint32_t* d = w.u32(i.d);
  each_lane(lanes, [&](int l) {
    const uint64_t carry = i.extra & 1 ? w.carry >> l & 1 : 0;
    uint64_t x = a[l], y = b[l];
    if (i.extra & 8) {
      const uint64_t product = x * y;
      x = i.extra & 16 ? product >> 32 : product & 0xffffffffu;
      y = c[l];
    }
    const uint64_t sum = i.extra & 4 ? x - y - carry : x + y + carry;
    if (i.extra & 2) w.carry = (w.carry & ~(1u << l)) | static_cast<uint32_t>(sum >> 32 & 1) << l;
    d[l] = static_cast<uint32_t>(sum);
  });
}

// Rounded toward zero or down; the compiler must not move it out of the mode.
template <class T, int kMode, bool kFused>
__attribute__((noinline)) void rounded(Warp& w, const Instruction& i, uint32_t lanes) {
  const Word<T>*a = words<T>(w, i.a), *b = words<T>(w, i.b),
        *c = kFused ? words<T>(w, i.c) : nullptr;
  Word<T>* d = words<T>(w, i.d);
  std::fesetround(kMode);
  each_lane(lanes, [&](int l) {
    volatile T x = from_word<T>(a[l]), y = from_word<T>(b[l]),
               z = kFused ? from_word<T>(c[l]) : T{0};
    volatile T result;
    if (kFused)
      result = std::fma(x, y, z);
    else
      result = x + y;
    d[l] = to_word<T>(static_cast<T>(result));
  });
  std::fesetround(FE_TONEAREST);
}

// d (b32) = bits of a from c's with b's put in
void bit_insert(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t *a = w.u32(i.a), *b = w.u32(i.b), *pos = w.u32(i.c),
                 *len = w.u32(static_cast<int>(i.extra));
  uint32_t* d = w.u32(i.d);
  each_lane(lanes, [&](int l) {
    const uint32_t p = pos[l] & 255, n = len[l] & 255;
    uint32_t mask = n >= 32 ? kAll : (1u << n) - 1;
    mask = p >= 32 ? 0 : mask << p;
    d[l] = (b[l] & ~mask) | (p >= 32 ? 0 : (a[l] << p) & mask);
  });
}

// ---- conversions -------------------------------------------------------------------------------

template <class From, class To>
struct Convert {
  To operator()(From a) const {
    if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
      if (a != a) return 0;
      if (a <= static_cast<From>(std::numeric_limits<To>::min()))
        return std::numeric_limits<To>::min();
      if (a >= static_cast<From>(std::numeric_limits<To>::max()))
        return std::numeric_limits<To>::max();
    }
    return static_cast<To>(a);
  }
};
template <class From, class To>
struct Nearest {
  To operator()(From a) const { return Convert<From, To>()(std::nearbyint(a)); }
};
template <class From, class To>
struct Truncate {
  To operator()(From a) const { return Convert<From, To>()(std::trunc(a)); }
};
template <class From, class To>
struct Floor {
  To operator()(From a) const { return Convert<From, To>()(std::floor(a)); }
};
template <class From, class To>  // of a register that is wider
struct Low {
  To operator()(uint64_t a) const { return Convert<From, To>()(static_cast<From>(a)); }
};
struct Saturate {
  float operator()(float a) const { return a != a ? 0 : std::clamp(a, 0.0f, 1.0f); }
};

uint32_t bf16_bits(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
struct PackBf16 {
  uint32_t operator()(float high, float low) const {
    return bf16_bits(low) | bf16_bits(high) << 16;
  }
};

uint32_t e4m3_bits(float x) {
  const uint32_t sign = std::signbit(x) ? 0x80 : 0;
  if (x != x) return 0x7f;
  const float size = std::min(std::fabs(x), 448.0f);
  if (size < 0x1p-6f) return sign | static_cast<uint32_t>(std::nearbyint(size * 0x1p9f));
  int exponent;
  std::frexp(size, &exponent);
  const float scaled = std::nearbyint(std::ldexp(size, 4 - exponent));  // 8 to 16
  const uint32_t made =
      static_cast<uint32_t>(exponent - 1 + 7) * 8 + static_cast<uint32_t>(scaled) - 8;
  return sign | std::min(made, 0x7eu);
}
struct PackE4m3 {
  uint32_t operator()(float high, float low) const { return e4m3_bits(low) | e4m3_bits(high) << 8; }
};

// ---- vectors of registers
// ------------------------------------------------------------------------

// mov between one register and several: list holds their places, -1 for none; extra: bits of each
// part.
void unpack(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* to = w.code->lists.data() + i.list;
  const uint32_t bits = static_cast<uint32_t>(i.extra);
  const bool wide = bits * i.count == 64;
  each_lane(lanes, [&](int l) {
    const uint64_t value = wide ? w.u64(i.a)[l] : w.u32(i.a)[l];
    for (int k = 0; k < i.count; ++k)
      if (to[k] >= 0)
        w.u32(to[k])[l] =
            static_cast<uint32_t>(value >> (bits * k) & (bits == 32 ? kAll : (1u << bits) - 1));
  });
}
void pack(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* from = w.code->lists.data() + i.list;
  const uint32_t bits = static_cast<uint32_t>(i.extra);
  each_lane(lanes, [&](int l) {
    uint64_t value = 0;
    for (int k = 0; k < i.count; ++k)
      value |= static_cast<uint64_t>(w.u32(from[k])[l] & (bits == 32 ? kAll : (1u << bits) - 1))
               << (bits * k);
    if (bits * i.count == 64)
      w.u64(i.d)[l] = value;
    else
      w.u32(i.d)[l] = static_cast<uint32_t>(value);
  });
}

}  // namespace ptx
