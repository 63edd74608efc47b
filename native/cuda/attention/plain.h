// Attention in f32 on the ordinary units: any head up to 512 channels.
//
// A block owns 128 / kLanes queries; kLanes neighbouring threads own one, each kFours·4 of its
// channels in registers, in turns of four. Keys and values come in tiles of 32 or 16 through shared
// memory, rotated on the way; all threads read the same row of the tile at a time, which costs one
// access for the warp. Eight keys share one step of the online softmax. Bound by the reads from
// shared memory, a quarter of the multiply-add units.
#pragma once

#include "attend.h"

namespace hrsam::cuda {

constexpr int kPlainThreads = 128;
// Keys of a tile: fewer where heads are wide, so that tiles fit the 99 KB of the smaller chips.
constexpr int plain_keys(int lanes) { return lanes <= 2 ? 32 : 16; }
constexpr int kPlainStep = 8;
// Threads that share a query at that head size.
constexpr int plain_lanes(int d) { return d <= 64 ? 1 : d <= 128 ? 2 : 8; }
// Queries that a block takes.
constexpr int plain_queries(int d) { return kPlainThreads / plain_lanes(d); }
// The first query or key that a thread's warp owns of its block's: where there is none, the warp
// only helps to bring tiles.
HRSAM_DEVICE int first_of_warp(int thread, int lanes) { return thread / kWarp * kWarp / lanes; }
// From row to row of a tile: threads that write neighbouring rows meet other banks.
constexpr int plain_pitch(int width) { return width + 4; }

// A row of d numbers as f32, rotated, zeros up to `width`; by `threads` threads of which this is
// one.
HRSAM_DEVICE void stage_row(const float* from, const Place& place, const Rope& rope, int d,
                            int width, int thread, int threads, float* to) {
  for (int c = thread * 2; c < width; c += threads * 2) {
    float x = from != nullptr && c < d ? from[c] : 0;
    float y = from != nullptr && c + 1 < d ? from[c + 1] : 0;
    if (from != nullptr && c < d) rope.rotate(place, c, x, y);
    to[c] = x;
    to[c + 1] = y;
  }
}

template <class Unit, int kFours, int kLanes>
__global__ void __launch_bounds__(kPlainThreads, 2)
    plain_attention_kernel(const __grid_constant__ typename Unit::Call call,
                           const __grid_constant__ AttendCall at) {
  wait_for_earlier_kernels();
  constexpr int kWidth = kFours * 4 * kLanes, kPitch = plain_pitch(kWidth);
  constexpr int kKeys = plain_keys(kLanes);
  constexpr int kRowThreads = kPlainThreads / kKeys;
  auto* keys = static_cast<float*>(shared_memory());  // [kKeys][kPitch]
  float* values = keys + kKeys * kPitch;
  const Unit unit(call, blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes;
  const int own = thread / kLanes;
  const bool helps = first_of_warp(thread, kLanes) >= unit.queries;
  const bool here = own < unit.queries && unit.query(own).data != nullptr;

  float q[kFours][4], sums[kFours][4] = {};
#pragma unroll
  for (int f = 0; f < kFours; ++f)
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
      const int c = (f * kLanes + lane) * 4 + k;
      q[f][k] = q[f][k + 1] = 0;
      if (!here || c >= at.d) continue;
      const HeadRow<float> row = unit.query(own);
      q[f][k] = row.data[c];
      if (c + 1 < at.d) q[f][k + 1] = row.data[c + 1];
      at.rope.rotate(row.place, c, q[f][k], q[f][k + 1]);
    }
  const float* bias =
      at.bias.products != nullptr && here ? at.bias.of(unit.query_index(own)) : nullptr;
  const int region = here ? unit.region(unit.query(own).place) : 0;
  float largest = kMasked, total = 0;

  for (int first = 0; first < unit.keys; first += kKeys) {
    __syncthreads();  // the tile before is read
    {
      const int j = first + thread / kRowThreads, part = thread % kRowThreads;
      const HeadRow<float> key = j < unit.keys ? unit.key(j) : HeadRow<float>{nullptr, {0, 0}};
      stage_row(key.data, key.place, at.rope, at.d, kWidth, part, kRowThreads,
                keys + thread / kRowThreads * kPitch);
      stage_row(j < unit.keys ? unit.value(j) : nullptr, {0, 0}, Rope(), at.d, kWidth, part,
                kRowThreads, values + thread / kRowThreads * kPitch);
    }
    __syncthreads();
    if (helps) continue;
    const int count = unit.keys - first < kKeys ? unit.keys - first : kKeys;
    for (int step = 0; step < count; step += kPlainStep) {
      float logit[kPlainStep];
#pragma unroll
      for (int j = 0; j < kPlainStep; ++j) {
        const float* key = keys + (step + j) * kPitch + lane * 4;
        float sum = 0;
#pragma unroll
        for (int f = 0; f < kFours; ++f) {
          const float4 k = *reinterpret_cast<const float4*>(key + f * kLanes * 4);
          sum = fmaf(q[f][0], k.x, fmaf(q[f][1], k.y, fmaf(q[f][2], k.z, fmaf(q[f][3], k.w, sum))));
        }
#pragma unroll
        for (int mask = kLanes / 2; mask > 0; mask /= 2)
          sum += __shfl_xor_sync(kAllLanes, sum, mask);
        logit[j] = sum * at.scale;
        if (step + j >= count) {
          logit[j] = kMasked;
          continue;
        }
        const Place place = unit.key(first + step + j).place;
        if (bias != nullptr) logit[j] += at.bias.at(bias, place);
        if (unit.has_regions() && unit.region(place) != region) logit[j] += kMasked;
      }
      float next = largest;
#pragma unroll
      for (int j = 0; j < kPlainStep; ++j) next = fmaxf(next, logit[j]);
      const float shrink = exp2_fast(largest - next);
      largest = next;
      total *= shrink;
#pragma unroll
      for (int f = 0; f < kFours; ++f)
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[f][k] *= shrink;
#pragma unroll
      for (int j = 0; j < kPlainStep; ++j) {
        const float p = exp2_fast(logit[j] - largest);
        total += p;
        const float* value = values + (step + j) * kPitch + lane * 4;
#pragma unroll
        for (int f = 0; f < kFours; ++f) {
          const float4 v = *reinterpret_cast<const float4*>(value + f * kLanes * 4);
          sums[f][0] = fmaf(p, v.x, sums[f][0]);
          sums[f][1] = fmaf(p, v.y, sums[f][1]);
          sums[f][2] = fmaf(p, v.z, sums[f][2]);
          sums[f][3] = fmaf(p, v.w, sums[f][3]);
        }
      }
    }
  }

  if (!here) return;
  const bool partial = at.partials.statistics != nullptr;
  const int64_t slot = partial ? unit.query_index(own) * at.partials.chunks + unit.chunk() : 0;
  if (partial && lane == 0) {
    at.partials.statistics[2 * slot] = largest;
    at.partials.statistics[2 * slot + 1] = total;
  }
  const float factor = partial ? 1.0f : total > 0 ? 1.0f / total : 0.0f;
  const int64_t to = partial ? slot * at.d : unit.out(own);
  const NumbersOut out =
      partial ? NumbersOut{at.partials.sums, false} : NumbersOut{at.out, at.out_is_bf16};
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
    const int c = (f * kLanes + lane) * 4;
    if (c >= at.d) continue;
    const int n = at.d - c < 4 ? at.d - c : 4;
    const Four v{
        {sums[f][0] * factor, sums[f][1] * factor, sums[f][2] * factor, sums[f][3] * factor}};
    store_four(out, to + c, v, n);
  }
}

}  // namespace hrsam::cuda
