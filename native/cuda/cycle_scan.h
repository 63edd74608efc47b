// The cycle scan's kernels. cycle_scan.cu tells what they are for.
//
// A thread owns a channel and kStates of its states in registers; kLanes neighbouring threads share
// a channel that has more. A block takes 128 threads' worth of channels through a chunk of tokens.
// What 32 tokens bring is read at once, many numbers under way, to shared memory: B and C, which
// all threads read at the same time, Δ and u of each channel. Nothing is summed across threads but
// y where kLanes > 1.
#pragma once

#include "../plan/scan_shape.h"
#include "core/kernel.h"

namespace hrsam::cuda {

constexpr int kScanThreads = 128;
constexpr int kScanBlocks =
    3;  // of a multiprocessor: left to itself, ptxas saves registers and spills
constexpr int kScanTokens = 32;  // whose Δ, u, B and C are in shared memory

// A piece of a sequence, of one item's tokens.
struct ScanChunk {
  int64_t begin, end;
};

// The chunks of an item's segments, none longer than `length`.
struct ChunkLists {
  ChunkLists(const ScanShape& shape, int64_t length) {
    for (int i = 0; i < shape.segment_count; ++i)
      count += static_cast<int>(divide_up(shape.segment(i), length));
    chunks = Block(sizeof(ScanChunk) * static_cast<size_t>(count + 1));
    segment_of = Block(sizeof(int32_t) * static_cast<size_t>(count + 1));
    starts = Block(sizeof(int32_t) * static_cast<size_t>(shape.segment_count + 1));
    int32_t at = 0;
    int64_t first = 0;
    for (int i = 0; i < shape.segment_count; ++i) {
      starts.as<int32_t>()[i] = at;
      const int64_t end = first + shape.segment(i);
      for (int64_t t = first; t < end; t += length) {
        segment_of.as<int32_t>()[at] = i;
        chunks.as<ScanChunk>()[at++] = {t, smaller(end, t + length)};
      }
      first = end;
    }
    starts.as<int32_t>()[shape.segment_count] = at;
  }
  int count = 0;
  Block chunks, starts, segment_of;
};

struct ScanCall {
  const void *u, *ssm;
  bool u_is_bf16, ssm_is_bf16, out_is_bf16;
  const float *a_log, *dt_bias, *d, *gamma;  // the last three may be null
  void* out;
  int64_t tokens;
  int channels, states, readings;
  bool softplus, fast;
  const ScanChunk* chunks;  // of one item
  int chunk_count;
  const int32_t* segment_chunks;  // where each segment's chunks begin, and the end
  int segment_count;
  float* ends;  // [item][chunk][N + 1][channel]: states, and ΣΔ at N

  HRSAM_DEVICE Numbers inputs() const { return {u, u_is_bf16}; }
  HRSAM_DEVICE Numbers ssms() const { return {ssm, ssm_is_bf16}; }
  HRSAM_DEVICE int64_t width() const { return channels + int64_t{2} * states; }
  HRSAM_DEVICE float gamma_at(int channel, int reading) const {
    return gamma == nullptr ? 1.0f : gamma[static_cast<int64_t>(channel) * readings + reading];
  }
  HRSAM_DEVICE float all_gammas(int channel) const {
    float sum = 0;
    for (int r = 0; r < readings; ++r) sum += gamma_at(channel, r);
    return sum;
  }
  // A·log2(e): finite, so that no Δ of a sane size makes it infinite.
  HRSAM_DEVICE float decay(int channel, int state) const {
    const float a = 1.442695041f * -::expf(a_log[static_cast<int64_t>(channel) * states + state]);
    return a < -1e30f ? -1e30f : a;  // NaN stays
  }
  HRSAM_DEVICE float bias(int channel) const { return dt_bias != nullptr ? dt_bias[channel] : 0; }
  // Δ, of what the token has for it and the channel's bias: x itself above 20, as PyTorch has it.
  HRSAM_DEVICE float step(float x) const { return softplus && x <= 20 ? log1pf(::expf(x)) : x; }
  // Of a token and channel.
  HRSAM_DEVICE float step(int64_t token, int channel) const {
    float x = ssms().at(token * width() + channel);
    if (dt_bias != nullptr) x += dt_bias[channel];
    return step(x);
  }
  HRSAM_DEVICE float* end(int64_t item, int64_t chunk) const {
    return ends + (item * chunk_count + chunk) * (states + 1) * channels;
  }
  HRSAM_DEVICE void store(int64_t at, float y) const {
    if (out_is_bf16)
      static_cast<bf16*>(out)[at] = from_f32<bf16>(y);
    else
      static_cast<float*>(out)[at] = y;
  }
};

// A sum of many small positive numbers, kept to twice the precision: over 65536 equal steps a plain
// f32 sum can be off by a thousandth.
struct LongSum {
  float sum = 0, rest = 0;
  HRSAM_DEVICE void add(float x) {
    const float y = x + rest;
    const float next = sum + y;
    rest = y - (next - sum);
    sum = next;
  }
};

// exp(Δ·A) for x = Δ·A·log2(e). kFast: to 2^-22, where what comes of it is rounded to bf16.
template <bool kFast = false>
HRSAM_DEVICE float decay_of(float x) {
  return kFast ? exp2_fast(x) : exp2_accurate(fminf(x, 128.0f));
}

// Numbers `stride` apart, asked for all at once.
template <int kCount, class T>
HRSAM_DEVICE void read_apart(const T* from, int64_t stride, float (&to)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i, from += stride) to[i] = to_f32(*from);
}
template <int kCount>
HRSAM_DEVICE void read_apart(const Numbers& from, int64_t at, int64_t stride, float (&to)[kCount]) {
  if (from.is_bf16)
    read_apart(static_cast<const bf16*>(from.data) + at, stride, to);
  else
    read_apart(static_cast<const float*>(from.data) + at, stride, to);
}

// One thread's place.
template <int kLanes>
struct ScanPlace {
  int channel, lane;
  int64_t chunk, item;
  bool here;
  HRSAM_DEVICE explicit ScanPlace(const ScanCall& call) {
    channel = static_cast<int>(blockIdx.x * (kScanThreads / kLanes) + threadIdx.x / kLanes);
    lane = static_cast<int>(threadIdx.x % kLanes);
    chunk = blockIdx.y;
    item = blockIdx.z;
    here = channel < call.channels;
    if (!here) channel = call.channels - 1;
  }
};

// B, and C if wanted, of tokens [first, first + count) to shared memory: [token][state].
HRSAM_DEVICE void stage_states(const ScanCall& call, int64_t first, int count, int padded, float* b,
                               float* c) {
  for (int i = static_cast<int>(threadIdx.x); i < count * padded; i += kScanThreads) {
    const int t = i / padded, n = i % padded;
    const int64_t at = (first + t) * call.width() + call.channels + n;
    b[i] = n < call.states ? call.ssms().at(at) : 0;
    if (c != nullptr) c[i] = n < call.states ? call.ssms().at(at + call.states) : 0;
  }
}

// Δ and u of a block's channels and tokens [first, first + count) to shared memory, a pair for each
// token and channel; a channel's threads share the tokens.
template <int kLanes>
HRSAM_DEVICE void stage_inputs(const ScanCall& call, const ScanPlace<kLanes>& at, int64_t first,
                               int count, float2* inputs) {
  constexpr int kAhead = kScanTokens / kLanes < 8 ? kScanTokens / kLanes : 8;
  constexpr int kChannels = kScanThreads / kLanes;
  const float bias = call.bias(at.channel);
  const auto stage = [&](int t, auto some) {
    float steps[some()], values[some()];
    read_apart(call.ssms(), (first + t) * call.width() + at.channel, kLanes * call.width(), steps);
    read_apart(call.inputs(), (first + t) * call.channels + at.channel,
               int64_t{kLanes} * call.channels, values);
    float2* to = inputs + t * kChannels + threadIdx.x / kLanes;
#pragma unroll
    for (int i = 0; i < some(); ++i, to += kLanes * kChannels)
      *to = make_float2(call.step(steps[i] + bias), values[i]);
  };
  int t = at.lane;
  for (; t + (kAhead - 1) * kLanes < count; t += kAhead * kLanes)
    stage(t, std::integral_constant<int, kAhead>());
  for (; t < count; t += kLanes) stage(t, std::integral_constant<int, 1>());
}

// Shared memory of the kernels.
template <int kStates, int kLanes>
struct ScanShared {
  static constexpr int kPadded = kStates * kLanes, kChannels = kScanThreads / kLanes;
  // Pairs, B and, for the result, C.
  static constexpr size_t bytes(int rows) {
    return sizeof(float) * kScanTokens * (2 * kChannels + rows * kPadded);
  }
  float2* inputs = static_cast<float2*>(shared_memory());  // [kScanTokens][kChannels]
  float* b = reinterpret_cast<float*>(inputs + kScanTokens * kChannels);  // [kScanTokens][kPadded]
  float* c = b + kScanTokens * kPadded;

  // Δ and u of a token.
  HRSAM_DEVICE float2 input(int token) const {
    return inputs[token * kChannels + threadIdx.x / kLanes];
  }
};

// One thread's states.
template <int kStates>
struct ScanStates {
  float h[kStates], decay[kStates];

  template <class Place>
  HRSAM_DEVICE void begin(const ScanCall& call, const Place& at, int first) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      h[i] = 0;
      decay[i] = first + i < call.states ? call.decay(at.channel, first + i) : 0;
    }
  }
  // h = exp(Δ·A)·h + drive·B.
  template <bool kFast>
  HRSAM_DEVICE void advance(float step, float drive, const float* b) {
#pragma unroll
    for (int i = 0; i < kStates; ++i)
      h[i] = fmaf(decay_of<kFast>(step * decay[i]), h[i], drive * b[i]);
  }
  HRSAM_DEVICE float product(const float* c) const {
    float y = 0;
#pragma unroll
    for (int i = 0; i < kStates; ++i) y = fmaf(h[i], c[i], y);
    return y;
  }
};

// What each chunk does to a zero state: its end, and ΣΔ.
template <int kStates, int kLanes, bool kFast>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_ends_kernel(const __grid_constant__ ScanCall call) {
  wait_for_earlier_kernels();
  using Shared = ScanShared<kStates, kLanes>;
  const Shared shared;
  const ScanPlace<kLanes> at(call);
  const ScanChunk chunk = call.chunks[at.chunk];
  const int first = at.lane * kStates;
  ScanStates<kStates> states;
  states.begin(call, at, first);
  LongSum total;
  const int64_t base = at.item * call.tokens;
  for (int64_t t0 = chunk.begin; t0 < chunk.end; t0 += kScanTokens) {
    const int count = static_cast<int>(smaller(kScanTokens, chunk.end - t0));
    __syncthreads();  // the tokens before are read
    stage_inputs(call, at, base + t0, count, shared.inputs);
    stage_states(call, base + t0, count, Shared::kPadded, shared.b, nullptr);
    __syncthreads();
    for (int t = 0; t < count; ++t) {
      const float2 input = shared.input(t);
      total.add(input.x);
      states.template advance<kFast>(input.x, input.x * input.y,
                                     shared.b + t * Shared::kPadded + first);
    }
  }
  if (!at.here) return;
  float* end = call.end(at.item, at.chunk) + at.channel;
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    if (first + i < call.states) end[static_cast<int64_t>(first + i) * call.channels] = states.h[i];
  if (at.lane == 0) end[static_cast<int64_t>(call.states) * call.channels] = total.sum;
}

// Ends of a segment's chunks -> the states to carry into them: g_0 = H, g_{k+1} = P_k·g_k + Γ·s_k.
struct CombineChunks {
  ScanCall call;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int channel = static_cast<int>(i % call.channels);
    const int n = static_cast<int>(i / call.channels % call.states);
    const int64_t rest = i / call.channels / call.states;
    const int segment = static_cast<int>(rest % call.segment_count);
    const int64_t item = rest / call.segment_count;
    const float decay = call.decay(channel, n);
    const int begin = call.segment_chunks[segment], end = call.segment_chunks[segment + 1];
    const int chunk = (call.states + 1) * call.channels;
    const int steps = (call.states - n) * call.channels;  // from a state's end
    // f(where its end is, its product, its end) of each chunk in order; what several chunks need is
    // asked for at once.
    const auto walk = [&](auto&& f) {
      constexpr int kAhead = 8;
      float* at = call.end(item, begin) + static_cast<int64_t>(n) * call.channels + channel;
      for (int left = end - begin; left > 0; left -= kAhead) {
        float sums[kAhead], ends[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const float* from = at + static_cast<int64_t>(i < left ? i : left - 1) * chunk;
          sums[i] = from[steps];
          ends[i] = *from;
        }
#pragma unroll
        for (int i = 0; i < kAhead; ++i, at += chunk)
          if (i < left) f(at, decay_of(decay * sums[i]), ends[i]);
      }
    };
    float whole = 1, alone = 0;  // a reading takes a state h to whole·h + alone
    walk([&](float*, float product, float state) {
      whole *= product;
      alone = fmaf(product, alone, state);
    });
    float start = 0, carried = 0;
    for (int r = 1; r < call.readings; ++r) {
      start = fmaf(whole, start, alone);
      carried = fmaf(call.gamma_at(channel, r), start, carried);
    }
    const float all = call.all_gammas(channel);
    walk([&](float* at, float product, float state) {
      *at = carried;
      carried = fmaf(product, carried, all * state);
    });
  }
};

// The result: g from what was carried into the chunk, y = ⟨C, g⟩ + Γ·D·u.
template <int kStates, int kLanes, bool kFast>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_result_kernel(const __grid_constant__ ScanCall call) {
  wait_for_earlier_kernels();
  using Shared = ScanShared<kStates, kLanes>;
  const Shared shared;
  const ScanPlace<kLanes> at(call);
  const ScanChunk chunk = call.chunks[at.chunk];
  const int first = at.lane * kStates;
  ScanStates<kStates> states;
  states.begin(call, at, first);
  const float* carried = call.end(at.item, at.chunk) + at.channel;
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    if (first + i < call.states)
      states.h[i] = carried[static_cast<int64_t>(first + i) * call.channels];
  const float all = call.all_gammas(at.channel);
  const float through = call.d != nullptr ? all * call.d[at.channel] : 0;
  const int64_t base = at.item * call.tokens;
  for (int64_t t0 = chunk.begin; t0 < chunk.end; t0 += kScanTokens) {
    const int count = static_cast<int>(smaller(kScanTokens, chunk.end - t0));
    __syncthreads();  // the tokens before are read
    stage_inputs(call, at, base + t0, count, shared.inputs);
    stage_states(call, base + t0, count, Shared::kPadded, shared.b, shared.c);
    __syncthreads();
    int64_t to = (base + t0) * call.channels + at.channel;
    for (int t = 0; t < count; ++t, to += call.channels) {
      const float2 input = shared.input(t);
      const int from = t * Shared::kPadded + first;
      states.template advance<kFast>(input.x, all * input.x * input.y, shared.b + from);
      float y = states.product(shared.c + from);
#pragma unroll
      for (int mask = kLanes / 2; mask > 0; mask /= 2) y += __shfl_xor_sync(kAllLanes, y, mask);
      if (at.here && at.lane == 0) call.store(to, fmaf(through, input.y, y));
    }
  }
}

// The paper's own way, one thread for a channel of a segment: each reading after the other, the
// state going on. What the other kernels are compared with.
struct LiteralScan {
  ScanCall call;
  float* states;  // [item][segment][N][channel]
  float* sums;    // [item][token][channel]
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int channel = static_cast<int>(i % call.channels);
    const int64_t rest = i / call.channels;
    const int segment = static_cast<int>(rest % call.segment_count);
    const int64_t item = rest / call.segment_count;
    float* h = states + rest * call.states * call.channels + channel;
    for (int n = 0; n < call.states; ++n) h[static_cast<int64_t>(n) * call.channels] = 0;
    // A segment is one chunk here, or none.
    if (call.segment_chunks[segment] == call.segment_chunks[segment + 1]) return;
    const ScanChunk chunk = call.chunks[call.segment_chunks[segment]];
    for (int r = 0; r < call.readings; ++r)
      for (int64_t t = chunk.begin; t < chunk.end; ++t) {
        const int64_t token = item * call.tokens + t, at = token * call.channels + channel;
        const float step = call.step(token, channel), u = call.inputs().at(at);
        float y = call.d != nullptr ? call.d[channel] * u : 0;
        for (int n = 0; n < call.states; ++n) {
          float& state = h[static_cast<int64_t>(n) * call.channels];
          const int64_t from = token * call.width() + call.channels + n;
          state =
              fmaf(decay_of(step * call.decay(channel, n)), state, step * u * call.ssms().at(from));
          y = fmaf(call.ssms().at(from + call.states), state, y);
        }
        sums[at] = (r > 0 ? sums[at] : 0) + call.gamma_at(channel, r) * y;
        if (r + 1 == call.readings) call.store(at, sums[at]);
      }
  }
};

template <class Scan>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    literal_scan_kernel(const __grid_constant__ Scan scan, int64_t n) {
  wait_for_earlier_kernels();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kScanThreads + threadIdx.x;
  if (i < n) scan(i);
}

}  // namespace hrsam::cuda
