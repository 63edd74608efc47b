// The kernels of the cycle scan's gradient; cycle_scan_gradient.cu tells what they compute. A
// thread owns a channel and eight of its states, kLanes neighbouring threads a channel with more,
// as in the forward pass; chunks are short, so that a chunk's states fit local memory.
#pragma once

#include "cycle_scan.h"

namespace hrsam::cuda {

constexpr int kGradientStates = 8;                                        // of a thread
constexpr int gradient_tokens(int lanes) { return lanes <= 8 ? 16 : 4; }  // of a chunk
constexpr int kScanWarps = kScanThreads / kWarp;

// Sums over a chunk for parameters, per channel: N of a_log, then these.
enum ChunkSum { kBiasSum, kThroughSum, kReadingSum, kChunkSums };

struct ScanGradientCall {
  ScanCall scan;  // ends: [item][chunk][N + 1][channel], first as the forward kernel leaves them,
                  // then the states and ΣΔ before each chunk
  Numbers dy;
  float* right;   // [item][chunk][N][channel]: what a chunk gives to its left, then what it gets
  float* finals;  // [item][segment][2 N + 1][channel]: s_L, T, ΣΔ of whole segments
  float* joint;   // [item][segment][3 N][channel]: H, E, K
  float* shared;  // [channel block][token][2 N]: parts of the gradients of B and C
  float* sums;    // [item][chunk][N + kChunkSums][channel]
  const int32_t* segment_of;  // of each chunk
  float* du;                  // [token][channel]
  float* dssm;                // [token][channel + 2 N]
};

// What each chunk gives to its left from nothing on its right: τ = a_first·σ_first.
template <int kLanes, bool kFast>
__global__ void __launch_bounds__(kScanThreads)
    scan_right_kernel(const __grid_constant__ ScanGradientCall call) {
  wait_for_earlier_kernels();
  constexpr int kPadded = kGradientStates * kLanes, kTokens = gradient_tokens(kLanes);
  auto* b = static_cast<float*>(shared_memory());  // [kTokens][kPadded], then as much of C
  float* c = b + kTokens * kPadded;
  const ScanCall& scan = call.scan;
  const ScanPlace<kLanes> at(scan);
  const ScanChunk chunk = scan.chunks[at.chunk];
  const int first = at.lane * kGradientStates;
  const int64_t base = at.item * scan.tokens;
  const int count = static_cast<int>(chunk.end - chunk.begin);
  stage_states(scan, base + chunk.begin, count, kPadded, b, c);
  __syncthreads();
  ScanStates<kGradientStates> states;
  states.begin(scan, at, first);
  for (int t = count - 1; t >= 0; --t) {
    const int64_t token = base + chunk.begin + t;
    const float step = scan.step(token, at.channel);
    const float g = call.dy.at(token * scan.channels + at.channel);
#pragma unroll
    for (int i = 0; i < kGradientStates; ++i)
      states.h[i] = decay_of<kFast>(step * states.decay[i]) *
                    fmaf(g, c[t * kPadded + first + i], states.h[i]);
  }
  if (!at.here) return;
  float* to = call.right + (at.item * scan.chunk_count + at.chunk) * scan.states * scan.channels +
              at.channel;
#pragma unroll
  for (int i = 0; i < kGradientStates; ++i)
    if (first + i < scan.states) to[static_cast<int64_t>(first + i) * scan.channels] = states.h[i];
}

// ΣΔ of chunks -> ΣΔ before them; the segments' totals.
struct SumSteps {
  ScanGradientCall call;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const ScanCall& s = call.scan;
    const int channel = static_cast<int>(i % s.channels);
    const int64_t place = i / s.channels;  // item, segment
    const int segment = static_cast<int>(place % s.segment_count);
    const int64_t item = place / s.segment_count;
    LongSum sum;
    for (int k = s.segment_chunks[segment]; k < s.segment_chunks[segment + 1]; ++k) {
      float* own = s.end(item, k) + static_cast<int64_t>(s.states) * s.channels + channel;
      const float step = *own;
      *own = sum.sum;
      sum.add(step);
    }
    call.finals[(place * (2 * s.states + 1) + 2 * s.states) * s.channels + channel] = sum.sum;
  }
};

// Chunks' ends -> the states before and what comes from the right, of each chunk; what the readings
// have in common. After SumSteps.
struct CombineGradient {
  ScanGradientCall call;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const ScanCall& s = call.scan;
    const int channel = static_cast<int>(i % s.channels);
    const int n = static_cast<int>(i / s.channels % s.states);
    const int64_t place = i / s.channels / s.states;  // item, segment
    const int segment = static_cast<int>(place % s.segment_count);
    const int64_t item = place / s.segment_count;
    const int begin = s.segment_chunks[segment], end = s.segment_chunks[segment + 1];
    const float decay = s.decay(channel, n);
    float* finals = call.finals + place * (2 * s.states + 1) * s.channels + channel;
    const int64_t own = static_cast<int64_t>(n) * s.channels;
    const float total = finals[int64_t{2} * s.states * s.channels];
    // Of the segment's chunks, by their numbers in all: their ends, and ΣΔ of those before.
    const int end_width = (s.states + 1) * s.channels, right_width = s.states * s.channels;
    float* const first_end = s.end(item, begin) + own + channel;
    const auto ends_at = [&](int k) {
      return first_end + static_cast<int64_t>(k - begin) * end_width;
    };
    const int steps = (s.states - n) * s.channels;
    const auto before = [&](int k) { return k == end ? total : ends_at(k)[steps]; };
    const auto product = [&](float step) { return decay_of(decay * step); };
    constexpr int kAhead = 8;  // chunks whose numbers are asked for at once
    float state = 0;
    for (int k = begin; k < end; k += kAhead) {
      float ends[kAhead], sums[kAhead + 1];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) ends[i] = *ends_at(k + i < end ? k + i : end - 1);
#pragma unroll
      for (int i = 0; i <= kAhead; ++i) sums[i] = before(k + i < end ? k + i : end);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (k + i >= end) break;
        *ends_at(k + i) = state;
        state = fmaf(product(sums[i + 1] - sums[i]), state, ends[i]);
      }
    }
    float right = 0;
    float* const first_given =
        call.right + (item * s.chunk_count + begin) * right_width + own + channel;
    const auto given = [&](int k) {
      return first_given + static_cast<int64_t>(k - begin) * right_width;
    };
    for (int k = end; k > begin; k -= kAhead) {
      float lefts[kAhead], sums[kAhead + 1];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) lefts[i] = *given(k - 1 - i > begin ? k - 1 - i : begin);
#pragma unroll
      for (int i = 0; i <= kAhead; ++i) sums[i] = before(k - i > begin ? k - i : begin);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (k - 1 - i < begin) break;
        *given(k - 1 - i) = right;
        right = fmaf(product(sums[i] - sums[i + 1]), right, lefts[i]);
      }
    }
    finals[own] = state;
    finals[static_cast<int64_t>(s.states) * s.channels + own] = right;
    // Beginnings of the readings one by one; what reaches their ends from those after them.
    const float whole = decay_of(decay * total);
    float h_sum = 0, e_sum = 0, k_sum = 0, start = 0;
    for (int r = 0; r < s.readings; ++r) {
      float reaches = 0;
      for (int later = s.readings - 1; later > r; --later)
        reaches = fmaf(whole, reaches, s.gamma_at(channel, later) * right);
      h_sum = fmaf(s.gamma_at(channel, r), start, h_sum);
      e_sum += reaches;
      k_sum = fmaf(reaches, start, k_sum);
      start = fmaf(whole, start, state);
    }
    float* joint = call.joint + place * 3 * s.states * s.channels + own + channel;
    joint[0] = h_sum;
    joint[static_cast<int64_t>(s.states) * s.channels] = e_sum;
    joint[int64_t{2} * s.states * s.channels] = k_sum;
  }
};

// Sums of kCount numbers each over the lanes that are kMask, 2 kMask … apart. Each step halves the
// numbers that a lane goes on with; it is left with the sums of those from `first` on. With one
// number left, lanes share it.
template <int kMask, int kCount, int kAll>
HRSAM_DEVICE void fold(float (&x)[kAll], int& first) {
  if constexpr (kMask < kWarp) {
    const bool upper = (threadIdx.x & kMask) != 0;
    if constexpr (kCount > 1) {
      constexpr int kHalf = kCount / 2;
#pragma unroll
      for (int i = 0; i < kHalf; ++i) {
        const float given = upper ? x[i] : x[i + kHalf], kept = upper ? x[i + kHalf] : x[i];
        x[i] = kept + __shfl_xor_sync(kAllLanes, given, kMask);
      }
      first += upper ? kHalf : 0;
      fold<kMask * 2, kHalf>(x, first);
    } else {
      x[0] += __shfl_xor_sync(kAllLanes, x[0], kMask);
      fold<kMask * 2, 1>(x, first);
    }
  }
}
// How many a lane is left with; the bits of lanes that share theirs.
constexpr int folded(int mask, int count) {
  return mask < kWarp && count > 1 ? folded(mask * 2, count / 2) : count;
}
constexpr int folded_twice(int mask, int count) {
  return mask >= kWarp ? 0 : (count > 1 ? 0 : mask) | folded_twice(mask * 2, (count + 1) / 2);
}

// Blocks of a multiprocessor, as many as registers allow without spilling.
constexpr int gradient_blocks(int lanes) { return lanes > 8 ? 1 : lanes == 1 ? 3 : 4; }

template <int kLanes, bool kFast>
__global__ void __launch_bounds__(kScanThreads, gradient_blocks(kLanes))
    scan_gradient_kernel(const __grid_constant__ ScanGradientCall call) {
  wait_for_earlier_kernels();
  constexpr int kStates = kGradientStates, kPadded = kStates * kLanes;
  constexpr int kTokens = gradient_tokens(kLanes);
  auto* b = static_cast<float*>(shared_memory());  // [kTokens][kPadded]
  float* c = b + kTokens * kPadded;                // [kTokens][kPadded]
  float* parts = c + kTokens * kPadded;            // [kScanWarps][kTokens][2 kPadded]
  const ScanCall& s = call.scan;
  const ScanPlace<kLanes> at(s);
  const ScanChunk chunk = s.chunks[at.chunk];
  const int first = at.lane * kStates;
  const int64_t base = at.item * s.tokens;
  const int count = static_cast<int>(chunk.end - chunk.begin);
  stage_states(s, base + chunk.begin, count, kPadded, b, c);
  __syncthreads();

  const int64_t place = at.item * s.segment_count + call.segment_of[at.chunk];
  const float* finals = call.finals + place * (2 * s.states + 1) * s.channels + at.channel;
  const float* joint = call.joint + place * 3 * s.states * s.channels + at.channel;
  const float* end = s.end(at.item, at.chunk) + at.channel;
  const float* from_right =
      call.right + (at.item * s.chunk_count + at.chunk) * s.states * s.channels + at.channel;
  const float total = finals[int64_t{2} * s.states * s.channels];
  const float before = end[static_cast<int64_t>(s.states) * s.channels];
  const float all = s.all_gammas(at.channel);
  const float through = s.d != nullptr ? s.d[at.channel] : 0;

  ScanStates<kStates> states;
  states.begin(s, at, first);
  float right[kStates], h_sum[kStates], e_sum[kStates], k_sum[kStates];
#pragma unroll
  for (int i = 0; i < kStates; ++i) {
    const bool there = first + i < s.states;
    const int64_t own = static_cast<int64_t>(first + i) * s.channels;
    const int64_t block = static_cast<int64_t>(s.states) * s.channels;
    states.h[i] = there ? end[own] : 0;
    right[i] = there ? from_right[own] : 0;
    h_sum[i] = there ? joint[own] : 0;
    e_sum[i] = there ? joint[block + own] : 0;
    k_sum[i] = there ? joint[2 * block + own] : 0;
  }
  float past[kTokens][kStates], so_far[kTokens + 1];
  so_far[0] = before;
  LongSum sum;
  sum.sum = before;
  for (int t = 0; t < count; ++t) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) past[t][i] = states.h[i];
    const int64_t token = base + chunk.begin + t;
    const float step = s.step(token, at.channel);
    states.template advance<kFast>(step, step * s.inputs().at(token * s.channels + at.channel),
                                   b + t * kPadded + first);
    sum.add(step);
    so_far[t + 1] = sum.sum;
  }

  float p_now[kStates];
#pragma unroll
  for (int i = 0; i < kStates; ++i) p_now[i] = decay_of<kFast>(states.decay[i] * so_far[count]);
  float d_a[kStates] = {}, sums[kChunkSums] = {};
  for (int t = count - 1; t >= 0; --t) {
    const int64_t token = base + chunk.begin + t, i_u = token * s.channels + at.channel;
    const float step = s.step(token, at.channel);
    const float u = at.here ? s.inputs().at(i_u) : 0, g = at.here ? call.dy.at(i_u) : 0;
    float reading = 0, d_drive = 0, d_step = 0;
    float of[2 * kStates];  // of B, then of C
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      const float bt = b[t * kPadded + first + i], ct = c[t * kPadded + first + i];
      const float a = decay_of<kFast>(step * states.decay[i]);
      const float earlier = past[t][i], now = fmaf(a, earlier, step * u * bt);
      const float p_earlier = decay_of<kFast>(states.decay[i] * so_far[t]);
      const float q = decay_of<kFast>(states.decay[i] * (total - so_far[t + 1]));
      const float sigma = fmaf(g, ct, right[i]);
      const float lambda = fmaf(all, sigma, q * e_sum[i]);
      const float d_decay = fmaf(sigma, fmaf(all, earlier, p_earlier * h_sum[i]),
                                 q * fmaf(earlier, e_sum[i], p_earlier * k_sum[i])) *
                            a;
      reading = fmaf(ct, now, reading);
      d_drive = fmaf(lambda, bt, d_drive);
      d_step = fmaf(d_decay, states.decay[i] * 0.693147181f, d_step);
      d_a[i] = fmaf(d_decay, step, d_a[i]);
      right[i] = a * sigma;
      of[i] = lambda * step * u;
      of[kStates + i] = g * fmaf(all, now, p_now[i] * h_sum[i]);
      p_now[i] = p_earlier;
    }
    // The sums over the warp's channels.
    int sum = 0;
    fold<kLanes, 2 * kStates>(of, sum);
    constexpr int kLeft = folded(kLanes, 2 * kStates), kTwice = folded_twice(kLanes, 2 * kStates);
#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
      if ((threadIdx.x & kTwice) != 0) break;
      const int n = sum + i, part = n / kStates;
      parts[((threadIdx.x / kWarp) * kTokens + t) * 2 * kPadded + part * kPadded + first +
            n % kStates] = of[i];
    }
#pragma unroll
    for (int mask = kLanes / 2; mask > 0; mask /= 2) {
      reading += __shfl_xor_sync(kAllLanes, reading, mask);
      d_drive += __shfl_xor_sync(kAllLanes, d_drive, mask);
      d_step += __shfl_xor_sync(kAllLanes, d_step, mask);
    }
    d_step = fmaf(d_drive, u, d_step);
    if (s.softplus) d_step *= -expm1f(-step);
    sums[kBiasSum] += d_step;
    sums[kThroughSum] = fmaf(all * g, u, sums[kThroughSum]);
    sums[kReadingSum] = fmaf(g, fmaf(through, u, reading), sums[kReadingSum]);
    if (at.here && at.lane == 0) {
      call.du[i_u] = fmaf(d_drive, step, all * through * g);
      call.dssm[token * s.width() + at.channel] = d_step;
    }
  }
  __syncthreads();  // all warps' parts
  const int64_t rows = static_cast<int64_t>(gridDim.z) * s.tokens;
  for (int i = static_cast<int>(threadIdx.x); i < count * 2 * s.states; i += kScanThreads) {
    const int t = i / (2 * s.states), n = i % (2 * s.states);
    const int from = n < s.states ? n : kPadded + n - s.states;
    float value = 0;
    for (int warp = 0; warp < kScanWarps; ++warp)
      value += parts[(warp * kTokens + t) * 2 * kPadded + from];
    call.shared[(blockIdx.x * rows + base + chunk.begin + t) * 2 * s.states + n] = value;
  }
  if (!at.here) return;
  float* to = call.sums +
              (at.item * s.chunk_count + at.chunk) * (s.states + kChunkSums) * s.channels +
              at.channel;
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    if (first + i < s.states) to[static_cast<int64_t>(first + i) * s.channels] = d_a[i];
  if (at.lane == 0)
    for (int k = 0; k < kChunkSums; ++k)
      to[static_cast<int64_t>(s.states + k) * s.channels] = sums[k];
}

}  // namespace hrsam::cuda
