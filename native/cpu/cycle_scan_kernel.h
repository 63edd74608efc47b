// The two passes of the cycle scan over a block of tokens and kWidth channels, one per lane. All
// arrays are rows of kWidth numbers unless said. cycle_scan.cc tells what they are for.
#pragma once

#include "../plan/scan_shape.h"
#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

constexpr int kScanTokens =
    64;  // per block: step, drive and y of 16 channels take 12 KB of the L1 cache
constexpr int kScanStates = 4;  // taken through a block together, in registers
// A state's beginning is carried on until it has decayed by 2^-22, which is also what carrying it
// may cost in accuracy: the rounding errors of a sum over states.
constexpr float kNegligible = -22;
constexpr int kCarryTokens = 16;  // that one polynomial serves
constexpr int kCarryTerms = 4;
constexpr float kCarryError = 2.4e-7f;

struct ScanBlock {
  int count;           // of tokens, at most kScanTokens
  int states;          // N
  float* step;         // [token] Δ
  float* drive;        // [token] Δ·u
  float* total;        // [token] ΣΔ so far
  float* y;            // [token]
  float* b;            // [token][N] numbers
  float* c;            // [token][N] numbers
  const float* decay;  // [N] A·log2(e)
};

// exp(Δ·A) for x = Δ·A·log2(e). kDecays: x <= 0; otherwise x may be anything.
template <bool kDecays>
HRSAM_INLINE V decay_of(V x) {
  return exp2_fast(kDecays ? x : min(set1(128), x));
}

template <bool kDecays, int kCount>
void advance_states(const ScanBlock& block, int first, float* state) {
  V h[kCount], decay[kCount];
  for (int i = 0; i < kCount; ++i) {
    h[i] = load(state + (first + i) * kWidth);
    decay[i] = load(block.decay + (first + i) * kWidth);
  }
  const float* b = block.b + first;
  const float* c = block.c + first;
  for (int t = 0; t < block.count; ++t, b += block.states, c += block.states) {
    const V step = load(block.step + t * kWidth), drive = load(block.drive + t * kWidth);
    V y = load(block.y + t * kWidth);
    for (int i = 0; i < kCount; ++i) {
      h[i] = fma(decay_of<kDecays>(step * decay[i]), h[i], drive * set1(b[i]));
      y = fma(h[i], set1(c[i]), y);
    }
    store(block.y + t * kWidth, y);
  }
  for (int i = 0; i < kCount; ++i) store(state + (first + i) * kWidth, h[i]);
}

// The recurrence through a block: y += ⟨C_t, h_t⟩; state [N] goes from before the block to after
// it.
template <bool kDecays>
void advance(const ScanBlock& block, float* state) {
  int n = 0;
  for (; n + kScanStates <= block.states; n += kScanStates)
    advance_states<kDecays, kScanStates>(block, n, state);
  for (; n < block.states; ++n) advance_states<kDecays, 1>(block, n, state);
}

// A sum of many small positive numbers, kept to twice the precision: over 65536 equal steps a plain
// f32 sum can be off by a thousandth.
struct LongSum {
  V sum = zero(), rest = zero();
};
HRSAM_INLINE void add_to(LongSum& total, V x) {
  const V y = x + total.rest;
  const V next = total.sum + y;
  total.rest = y - (next - total.sum);
  total.sum = next;
}

// block.total = ΣΔ up to and with each token.
HRSAM_INLINE void add_steps(const ScanBlock& block, LongSum& total) {
  LongSum sum = total;
  for (int t = 0; t < block.count; ++t) {
    add_to(sum, load(block.step + t * kWidth));
    store(block.total + t * kWidth, sum.sum);
  }
  total = sum;
}

// Two ways to add up to kScanStates states' beginnings, c[t][state]·exp(A·ΣΔ)·begin, to tokens
// [first, end).
struct CarriedGroup {
  int states[kScanStates];
  V begin[kScanStates], decay[kScanStates];
};

template <bool kDecays>
void carry_exactly(const ScanBlock& block, int first, int end, const CarriedGroup& group) {
  for (int t = first; t < end; ++t) {
    const V total = load(block.total + t * kWidth);
    const float* c = block.c + t * block.states;
    V y = load(block.y + t * kWidth);
    for (int i = 0; i < kScanStates; ++i)
      y = fma(decay_of<kDecays>(total * group.decay[i]) * group.begin[i], set1(c[group.states[i]]),
              y);
    store(block.y + t * kWidth, y);
  }
}

// Over a few tokens a slow exponential is a polynomial in the place of ΣΔ between their ends.
template <int kTerms>
void carry_polynomial(const ScanBlock& block, int first, int end, const CarriedGroup& group,
                      const V (&terms)[kScanStates][kCarryTerms], const float* place) {
  V q[kScanStates][kTerms];
  for (int i = 0; i < kScanStates; ++i)
    for (int k = 0; k < kTerms; ++k) q[i][k] = terms[i][k];
  for (int t = first; t < end; ++t) {
    const V x = load(place + (t - first) * kWidth);
    const float* c = block.c + t * block.states;
    V y = load(block.y + t * kWidth);
    for (int i = 0; i < kScanStates; ++i) {
      V p = q[i][kTerms - 1];
      for (int k = kTerms - 2; k >= 0; --k) p = fma(p, x, q[i][k]);
      y = fma(p, set1(c[group.states[i]]), y);
    }
    store(block.y + t * kWidth, y);
  }
}

// Tokens [first, end), end - first <= kCarryTokens, of the states that decay.
struct CarryPlaces {
  V middle, half;  // ΣΔ runs from middle - half to middle + half
  alignas(64) float place[kCarryTokens * kWidth];
};
HRSAM_INLINE void find_places(const ScanBlock& block, int first, int end, CarryPlaces& places) {
  const V low = load(block.total + first * kWidth), high = load(block.total + (end - 1) * kWidth);
  places.middle = (low + high) * set1(0.5f);
  places.half = (high - low) * set1(0.5f);
  const V scale = select_greater(places.half, set1(1e-30f), set1(1) / places.half, zero());
  for (int t = first; t < end; ++t)
    store(places.place + (t - first) * kWidth,
          (load(block.total + t * kWidth) - places.middle) * scale);
}

// The polynomial of exp(z·place)·P·begin, P at the middle, by Chebyshev's series; of 2 to
// kCarryTerms terms, as many as keep the error below kCarryError·begin in every lane, or 0 when
// none suffices.
HRSAM_INLINE int carry_terms(const CarryPlaces& places, V begin, V decay, V (&terms)[kCarryTerms]) {
  // Lanes that have decayed ask for nothing.
  const V first = decay * (places.middle - places.half), over = set1(kNegligible);
  const V z = select_greater(first, over, decay * places.half * set1(0.693147181f), zero());
  const V product = select_greater(first, over, exp2_fast(decay * places.middle), zero());
  const V zz = z * z;
  const V p = product * begin;
  // What is left out: 2·I_k(z), times what P can be at the tokens' beginning.
  const V error2 = zz * product * set1(2.72f / 4);
  const V limit = set1(kCarryError);
  const V largest = set1(1);
  if (any_greater(zz, largest)) return 0;
  if (!any_greater(error2, limit)) {
    terms[0] = p * fma(zz, set1(0.25f), set1(1));
    terms[1] = p * z * fma(zz, set1(0.125f), set1(1));
    terms[2] = terms[3] = zero();
    return 2;
  }
  terms[0] = p * fma(zz * zz, set1(-1.0f / 192), set1(1));
  terms[2] = p * zz * fma(zz, set1(1.0f / 24), set1(0.5f));
  if (!any_greater(error2 * abs(z) * set1(4.0f / 24), limit)) {
    terms[1] = p * z * fma(zz, set1(0.125f), set1(1));
    terms[3] = zero();
    return 3;
  }
  terms[1] = p * z;
  terms[3] = terms[1] * zz * fma(zz, set1(1.0f / 96), set1(1.0f / 6));
  return any_greater(error2 * zz * set1(4.0f / 192), limit) ? 0 : 4;
}

template <bool kDecays>
void carry_tokens(const ScanBlock& block, int first, int end, const int* alive, int count,
                  const float* begin) {
  CarryPlaces places;
  if (kDecays) find_places(block, first, end, places);
  for (int at = 0; at < count; at += kScanStates) {
    CarriedGroup group;
    V terms[kScanStates][kCarryTerms];
    int needed = 2;
    for (int i = 0; i < kScanStates; ++i) {
      const int state = group.states[i] = alive[at + i < count ? at + i : at];
      group.begin[i] = at + i < count ? load(begin + state * kWidth) : zero();
      group.decay[i] = load(block.decay + state * kWidth);
      const int own = kDecays ? carry_terms(places, group.begin[i], group.decay[i], terms[i]) : 0;
      needed = own == 0 || needed == 0 ? 0 : own > needed ? own : needed;
    }
    switch (needed) {
      case 0:
        carry_exactly<kDecays>(block, first, end, group);
        break;
      case 2:
        carry_polynomial<2>(block, first, end, group, terms, places.place);
        break;
      case 3:
        carry_polynomial<3>(block, first, end, group, terms, places.place);
        break;
      default:
        carry_polynomial<4>(block, first, end, group, terms, places.place);
    }
  }
}

// Whether any lane of x is at least `limit`, or not a number: that never decays.
HRSAM_INLINE bool any_lasts(V x, V limit) {
  return any_greater(select_greater(limit, x, zero(), set1(1)), zero());
}

// y += ⟨C_t, exp(A·ΣΔ) · begin⟩ for the states listed in alive; takes those off the list that have
// decayed in all lanes by the end of the block. block.total comes from add_steps(). Returns how
// many stay.
template <bool kDecays>
int carry(const ScanBlock& block, int* alive, int count, const float* begin) {
  for (int first = 0; first < block.count; first += kCarryTokens)
    carry_tokens<kDecays>(block, first,
                          block.count - first < kCarryTokens ? block.count : first + kCarryTokens,
                          alive, count, begin);
  if (!kDecays) return count;
  const V total = load(block.total + (block.count - 1) * kWidth);
  int stay = 0;
  for (int i = 0; i < count; ++i) {
    const V nan_or_zero = load(begin + alive[i] * kWidth) * zero();  // NaN of what is not finite
    const V left = fma(total, load(block.decay + alive[i] * kWidth), nan_or_zero);
    if (any_lasts(left, set1(kNegligible))) alive[stay++] = alive[i];
  }
  return stay;
}

}  // namespace hrsam::cpu::HRSAM_ISA
