#include "gemm.h"
#include "steps.h"
#include "tiling.h"
#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// A matrix W (n, k), or its transpose.
template <class W>
struct Source {
  const W* data;
  int64_t n, k;
  bool transposed;
};

// Rows [begin, begin + width) of W, values [k0, k0 + depth), to panel[step of k][row], a lane each;
// of split numbers (Split) first the high part of a unit's steps, then the others.
template <class T, class W>
void pack_panel(const Source<W>& from, int64_t begin, int64_t width, int64_t k0, int64_t depth,
                float* panel) {
  constexpr int64_t kStep = Multiply<T>::kStep;
  constexpr int kParts = packing_parts<T>();
  const int64_t steps = divide_up(depth, Tile<T>::kDepth) * (Tile<T>::kDepth / kStep);
  for (int64_t step = 0; step < steps; step += kWidth) {
    const int64_t count = smaller(kWidth, steps - step), k = k0 + step * kStep;
    const int64_t left = depth - step * kStep;
    for (int part = 0; part < kParts; ++part) {
      float* to = panel + (step * kParts + part * count) * width;
      for (int64_t column = 0; column < width; column += kWidth) {
        const int64_t row = begin + column, rows = smaller(kWidth, from.n - row);
        V block[kWidth];
        if (from.transposed) {
          for (int64_t i = 0; i < count; ++i)
            block[i] = load_step<T>(from.data + (k + i * kStep) * from.n + row, from.n,
                                    left - i * kStep, static_cast<int>(rows), part);
        } else {
          for (int64_t i = 0; i < kWidth; ++i)
            block[i] =
                i < rows ? load_steps<T>(from.data + (row + i) * from.k + k, left, part) : zero();
          transpose(block);
        }
        for (int64_t i = 0; i < count; ++i) store(to + i * width + column, block[i]);
      }
    }
  }
}

// The calling thread, in place of a pool.
struct Alone {
  template <class F>
  void each(int64_t count, F&& f) {
    for (int64_t i = 0; i < count; ++i) f(i, 0);
  }
};

template <class T, class W, class Threads>
void pack(Threads& threads, const Source<W>& from, float* packed) {
  const Packing p = packing_of<T>(from.n, from.k);
  threads.each(p.chunks * p.panels, [&](int64_t task, int) {
    const int64_t chunk = task / p.panels, panel = task % p.panels;
    const int64_t begin = cut(p.vectors, p.panels, panel) * kWidth;
    const int64_t width = cut(p.vectors, p.panels, panel + 1) * kWidth - begin;
    const int64_t k0 = chunk * p.depth;
    pack_panel<T>(from, begin, width, k0, smaller(p.depth, from.k - k0),
                  packed + panel_offset(p, from.k, chunk, panel));
  });
}

template <class T, class Threads>
void pack(Threads& threads, const Weights& weights, void* packed) {
  const auto [data, type, n, k, transposed] = weights;
  if (n == 0 || k == 0) return;
  float* to = static_cast<float*>(packed);
  if (type == DType::f32)
    pack<T>(threads, Source<float>{static_cast<const float*>(data), n, k, transposed}, to);
  else
    pack<T>(threads, Source<bf16>{static_cast<const bf16*>(data), n, k, transposed}, to);
}

}  // namespace

template <class T>
size_t packed_bytes(int64_t n, int64_t k) {
  if (n == 0 || k == 0) return 0;
  const Packing p = packing_of<T>(n, k);
  return static_cast<size_t>(panel_offset(p, k, 0, p.panels)) * sizeof(float);
}

template <class T>
void pack_weights(Pool& pool, const Weights& weights, void* packed) {
  pack<T>(pool, weights, packed);
}

// For matmul, which multiplies as nothing else does where f32 is split.
template size_t packed_bytes<float>(int64_t, int64_t);
template void pack_weights<float>(Pool&, const Weights&, void*);

size_t gemm_packed_bytes(int64_t n, int64_t k, DType a_type) {
  return a_type == DType::f32 ? packed_bytes<Full>(n, k) : packed_bytes<Half>(n, k);
}

void gemm_pack(Pool& pool, const Weights& weights, DType a_type, void* packed) {
  if (a_type == DType::f32)
    pack_weights<Full>(pool, weights, packed);
  else
    pack_weights<Half>(pool, weights, packed);
}

void gemm_pack(const Weights& weights, DType a_type, void* packed) {
  Alone alone;
  if (a_type == DType::f32)
    pack<Full>(alone, weights, packed);
  else
    pack<Half>(alone, weights, packed);
}

}  // namespace hrsam::cpu::HRSAM_ISA
