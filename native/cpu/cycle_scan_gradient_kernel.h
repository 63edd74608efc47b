// The passes of the cycle scan's gradient over a block of tokens and kWidth channels, one per lane.
// All arrays are rows of kWidth numbers unless said. cycle_scan_gradient.cc tells what they are
// for.
#pragma once

#include "cycle_scan_kernel.h"
#include "lane_sums.h"

namespace hrsam::cpu::HRSAM_ISA {

// Tokens of a block: what a few states leave behind them, 4 KB per token and array, stays in L1.
constexpr int kReplayTokens = 32;

struct ReplayBlock {
  int count;           // of tokens, at most kReplayTokens
  int states;          // N
  float* step;         // [token] Δ
  float* total;        // [token] ΣΔ so far
  float* u;            // [token]
  float* drive;        // [token] Δ·u
  float* dy;           // [token]
  float* weighted;     // [token] Γ·dy
  float* y;            // [token] ⟨C, s⟩
  float* rate;         // [token] Σ_n A·log2(e)·dz
  float* ddrive;       // [token] gradient of Δ·u
  float* b;            // [token][N] numbers
  float* c;            // [token][N] numbers
  const float* decay;  // [N] A·log2(e)
  float* factors;      // [token][kScanStates] exp(Δ·A)
  float* before;       // [token][kScanStates] the state before the token
  float* products;     // [token][kScanStates]
  float* rows;         // [token][2N] numbers: gradients of B, then of C, summed over channels
};

template <bool kDecays, int kCount>
void skip_states(const ReplayBlock& block, int first, float* state) {
  V h[kCount], decay[kCount];
  for (int i = 0; i < kCount; ++i) {
    h[i] = load(state + (first + i) * kWidth);
    decay[i] = load(block.decay + (first + i) * kWidth);
  }
  const float* b = block.b + first;
  for (int t = 0; t < block.count; ++t, b += block.states) {
    const V step = load(block.step + t * kWidth), drive = load(block.drive + t * kWidth);
    for (int i = 0; i < kCount; ++i)
      h[i] = fma(decay_of<kDecays>(step * decay[i]), h[i], drive * set1(b[i]));
  }
  for (int i = 0; i < kCount; ++i) store(state + (first + i) * kWidth, h[i]);
}

// state [N] goes from before the block to after it.
template <bool kDecays>
void skip(const ReplayBlock& block, float* state) {
  int n = 0;
  for (; n + kScanStates <= block.states; n += kScanStates)
    skip_states<kDecays, kScanStates>(block, n, state);
  for (; n < block.states; ++n) skip_states<kDecays, 1>(block, n, state);
}

// rows[token][column + i] += the lanes' sum of products[token][i].
template <int kCount>
void sum_products(const ReplayBlock& block, int column) {
  const int vectors = block.count * kCount;
  for (int v = 0; v < vectors; v += kWidth) {
    V group[kWidth];
    const int present = vectors - v < kWidth ? vectors - v : kWidth;
    for (int i = 0; i < kWidth; ++i)
      group[i] = i < present ? load(block.products + (v + i) * kWidth) : zero();
    alignas(64) float sums[kWidth];
    store(sums, lane_sums(group));
    if (kWidth % kCount == 0) {
      float* row = block.rows + v / kCount * 2 * block.states + column;
      for (int i = 0; i < present; i += kCount, row += 2 * block.states)
        for (int j = 0; j < kCount; ++j) row[j] += sums[i + j];
    } else {
      for (int i = 0; i < present; ++i)
        block.rows[(v + i) / kCount * 2 * block.states + column + (v + i) % kCount] += sums[i];
    }
  }
}

// The states once more from the block's beginning, and with them the gradient of C.
template <bool kDecays, int kCount>
void replay_states(const ReplayBlock& block, int first, const float* state) {
  V h[kCount], decay[kCount];
  for (int i = 0; i < kCount; ++i) {
    h[i] = load(state + (first + i) * kWidth);
    decay[i] = load(block.decay + (first + i) * kWidth);
  }
  const float* b = block.b + first;
  const float* c = block.c + first;
  for (int t = 0; t < block.count; ++t, b += block.states, c += block.states) {
    const V step = load(block.step + t * kWidth), drive = load(block.drive + t * kWidth);
    const V weighted = load(block.weighted + t * kWidth);
    V y = load(block.y + t * kWidth);
    for (int i = 0; i < kCount; ++i) {
      const int at = (t * kCount + i) * kWidth;
      const V factor = decay_of<kDecays>(step * decay[i]);
      store(block.factors + at, factor);
      store(block.before + at, h[i]);
      h[i] = fma(factor, h[i], drive * set1(b[i]));
      y = fma(h[i], set1(c[i]), y);
      store(block.products + at, h[i] * weighted);
    }
    store(block.y + t * kWidth, y);
  }
  sum_products<kCount>(block, block.states + first);
}

// Back through the block. carry [N]: exp(Δ·A) · the gradient of the next token's input, from after
// the block to before it; decay_sum [N] += Σ Δ·dz.
template <int kCount>
void reverse_states(const ReplayBlock& block, int first, float* carry, float* decay_sum) {
  V w[kCount], decay[kCount], sum[kCount];
  for (int i = 0; i < kCount; ++i) {
    w[i] = load(carry + (first + i) * kWidth);
    decay[i] = load(block.decay + (first + i) * kWidth);
    sum[i] = zero();
  }
  for (int t = block.count - 1; t >= 0; --t) {
    const float* b = block.b + t * block.states + first;
    const float* c = block.c + t * block.states + first;
    const V step = load(block.step + t * kWidth), drive = load(block.drive + t * kWidth);
    const V weighted = load(block.weighted + t * kWidth);
    V rate = load(block.rate + t * kWidth), ddrive = load(block.ddrive + t * kWidth);
    for (int i = 0; i < kCount; ++i) {
      const int at = (t * kCount + i) * kWidth;
      const V input = fma(weighted, set1(c[i]), w[i]);
      w[i] = load(block.factors + at) * input;
      const V dz = w[i] * load(block.before + at);
      rate = fma(decay[i], dz, rate);
      sum[i] = fma(step, dz, sum[i]);
      ddrive = fma(input, set1(b[i]), ddrive);
      store(block.products + at, input * drive);
    }
    store(block.rate + t * kWidth, rate);
    store(block.ddrive + t * kWidth, ddrive);
  }
  for (int i = 0; i < kCount; ++i) {
    store(carry + (first + i) * kWidth, w[i]);
    float* total = decay_sum + (first + i) * kWidth;
    store(total, load(total) + sum[i]);
  }
  sum_products<kCount>(block, first);
}

// Through a block and back; state [N]: before the block.
template <bool kDecays>
void replay_and_reverse(const ReplayBlock& block, const float* state, float* carry,
                        float* decay_sum) {
  int n = 0;
  for (; n + kScanStates <= block.states; n += kScanStates) {
    replay_states<kDecays, kScanStates>(block, n, state);
    reverse_states<kScanStates>(block, n, carry, decay_sum);
  }
  for (; n < block.states; ++n) {
    replay_states<kDecays, 1>(block, n, state);
    reverse_states<1>(block, n, carry, decay_sum);
  }
}

// Whether anything is left of state n's beginning where ΣΔ is `total`.
template <bool kDecays>
HRSAM_INLINE bool is_alive(const ReplayBlock& block, int n, V total) {
  return !kDecays || any_greater(total * load(block.decay + n * kWidth), set1(kNegligible));
}

// + Σ P_t·C_t·dy_t of state n.
template <bool kDecays>
V beginning_gradient(const ReplayBlock& block, int n, V sum) {
  const V decay = load(block.decay + n * kWidth);
  for (int t = 0; t < block.count; ++t)
    sum = fma(decay_of<kDecays>(load(block.total + t * kWidth) * decay),
              load(block.dy + t * kWidth) * set1(block.c[t * block.states + n]), sum);
  return sum;
}

// What the beginning H of state n adds to the gradients, back through the block: dz = M_t·H + tail,
// dC = P_t·H·dy with M_t = Σ_{i >= t} P_i·C_i·dy_i. Returns M before the block.
template <bool kDecays>
V add_beginning(const ReplayBlock& block, int n, V beginning, V tail, V m, float* decay_sum) {
  const V decay = load(block.decay + n * kWidth);
  V sum = zero();
  for (int t = block.count - 1; t >= 0; --t) {
    const V product =
        decay_of<kDecays>(load(block.total + t * kWidth) * decay) * load(block.dy + t * kWidth);
    m = fma(product, set1(block.c[t * block.states + n]), m);
    const V dz = fma(m, beginning, tail);
    store(block.rate + t * kWidth, fma(decay, dz, load(block.rate + t * kWidth)));
    sum = fma(load(block.step + t * kWidth), dz, sum);
    store(block.products + t * kWidth, product * beginning);
  }
  store(decay_sum + n * kWidth, load(decay_sum + n * kWidth) + sum);
  sum_products<1>(block, block.states + n);
  return m;
}

}  // namespace hrsam::cpu::HRSAM_ISA
