// The yardstick: what the multiply-add units give when nothing has to be waited for.
#include <time.h>

#include "gemm.h"
#include "micro_kernel.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kDepth = 64;  // steps; W's part is 12 KB at most

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Numbers in (-1, 1): of zeros, which take less power, matrix tiles multiply a fifth more.
template <class T>
void fill(T* data, size_t count) {
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    const float value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
    if constexpr (sizeof(T) == sizeof(float))
      data[i] = value;
    else
      data[i] = to_bf16(value);
  }
}

// The micro-kernel's steps over the same small data, again and again: no sum comes near overflow.
template <class T>
void spin(float* data, int64_t repeats) {
  constexpr int kRows = Tile<T>::kRows, kVectors = Tile<T>::kVectors;
  using M = Multiply<T>;
  const T* a = reinterpret_cast<const T*>(data);
  const float* b = data + kRows * kDepth;
  Sums<kRows, kVectors> sums;
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kVectors; ++j) sums.v[i][j] = zero();
  for (int64_t repeat = 0; repeat < repeats; ++repeat)
    for (int64_t k = 0; k < kDepth; ++k)
      multiply_step<T>(sums, b + k * kVectors * kWidth,
                       [&](int i) { return M::broadcast(a + (i * kDepth + k) * M::kStep); });
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kVectors; ++j) store(data + (i * kVectors + j) * kWidth, sums.v[i][j]);
}

#if defined(HRSAM_ISA_amx)
template <>
void spin<bf16>(float* data, int64_t repeats) {
  constexpr int64_t kSteps = kDepth * 2 / kTileDepth;
  const Tiles tiles;
  before_tile_loads();
  const float* b = data + kDepth * Tile<bf16>::kRows;
  for (int64_t repeat = 0; repeat < repeats; ++repeat)
    for (int64_t k = 0; k < kSteps; ++k)
      tiles_step<true, true>(reinterpret_cast<const bf16*>(data) + k * 2 * kTileRows * kTileDepth,
                             b + k * kTileDepth * kWidth);
  _tile_stored(0, data, 64);
  _tile_stored(1, data, 64);
  _tile_stored(2, data, 64);
  _tile_stored(3, data, 64);
}
#endif

template <class T>
double measure(Pool& pool) {
  constexpr int kRows = Tile<T>::kRows, kVectors = Tile<T>::kVectors;
  constexpr size_t kFloats = kRows * (kDepth + kVectors * kWidth) + kDepth * kVectors * kWidth;
  pool.reserve(kFloats * sizeof(float));
  const int64_t threads = pool.threads();
  const double operations = 2.0 * kRows * kVectors * kWidth * kDepth * Multiply<T>::kStep;
  int64_t repeats = 16;
  double best = 0;
  for (int trial = 0; trial < 8;) {
    const double begin = seconds();
    pool.each(threads, [&](int64_t, int thread) {
      float* data = static_cast<float*>(pool.scratch(thread));
      fill(reinterpret_cast<T*>(data), kFloats * sizeof(float) / sizeof(T));
      spin<T>(data, repeats);
    });
    const double took = seconds() - begin;
    if (took < 0.02) {
      repeats *= 2;
      continue;
    }
    const double rate = operations * static_cast<double>(repeats * threads) / took * 1e-9;
    best = rate > best ? rate : best;
    ++trial;
  }
  return best;
}

}  // namespace

double peak_gflops(Pool& pool, DType a_type) {
  return a_type == DType::f32 ? measure<float>(pool) : measure<Half>(pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA
