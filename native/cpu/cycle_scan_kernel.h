// The two passes of the cycle scan over a block of tokens and kWidth channels, one per lane. All
// arrays are rows of kWidth numbers unless said. cycle_scan.cc tells what they are for.
#pragma once

#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

constexpr int kScanTokens =
    64;  // per block: step, drive and y of 16 channels take 12 KB of the L1 cache
constexpr int kScanStates = 4;  // taken through a block together, in registers
constexpr int kMaxStates = 256;
// A state's beginning is carried on until it has decayed by 2^-26: below the rounding of what it is
// added to.
constexpr float kNegligible = -26;

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
// f32 sum is off by a thousandth.
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

template <bool kDecays, int kCount>
void carry_states(const ScanBlock& block, const int* alive, const float* begin) {
  V h[kCount], decay[kCount];
  for (int i = 0; i < kCount; ++i) {
    h[i] = load(begin + alive[i] * kWidth);
    decay[i] = load(block.decay + alive[i] * kWidth);
  }
  for (int t = 0; t < block.count; ++t) {
    const V total = load(block.total + t * kWidth);
    const float* c = block.c + t * block.states;
    V y = load(block.y + t * kWidth);
    for (int i = 0; i < kCount; ++i)
      y = fma(decay_of<kDecays>(total * decay[i]) * h[i], set1(c[alive[i]]), y);
    store(block.y + t * kWidth, y);
  }
}

// y += ⟨C_t, exp(A·ΣΔ) · begin⟩ for the states listed in alive; takes those off the list that have
// decayed in all lanes by the end of the block. block.total comes from add_steps(). Returns how
// many stay.
template <bool kDecays>
int carry(const ScanBlock& block, int* alive, int count, const float* begin) {
  int i = 0;
  for (; i + kScanStates <= count; i += kScanStates)
    carry_states<kDecays, kScanStates>(block, alive + i, begin);
  for (; i < count; ++i) carry_states<kDecays, 1>(block, alive + i, begin);
  if (!kDecays) return count;
  const V total = load(block.total + (block.count - 1) * kWidth);
  int stay = 0;
  for (i = 0; i < count; ++i)
    if (any_greater(total * load(block.decay + alive[i] * kWidth), set1(kNegligible)))
      alive[stay++] = alive[i];
  return stay;
}

}  // namespace hrsam::cpu::HRSAM_ISA
