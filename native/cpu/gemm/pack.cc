#include "gemm.h"
#include "tiling.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

HRSAM_INLINE void convert(float from, float* to) { *to = from; }
[[maybe_unused]] HRSAM_INLINE void convert(float from, bf16* to) { *to = to_bf16(from); }

// Rows [begin, begin + width) of W, values [k0, k0 + depth), to panel[step of k][row][kStep].
template <class T, class W>
void pack_panel(const W* weights, int64_t n, int64_t k, int64_t begin, int64_t width, int64_t k0,
                int64_t depth, T* panel) {
  constexpr int64_t kStep = Multiply<T>::kStep;
  constexpr int64_t kBlock = 16;  // a cache line of W at a time, as its rows may share a cache set
  const int64_t padded = divide_up(depth, kStep) * kStep;
  for (int64_t block = 0; block < padded; block += kBlock) {
    const int64_t end = smaller(padded, block + kBlock);
    for (int64_t column = 0; column < width; ++column) {
      const W* row = weights + (begin + column) * k + k0;
      const int64_t valid = begin + column < n ? smaller(end, depth) : block;
      for (int64_t i = block; i < end; ++i) {
        T* to = panel + (i / kStep * width + column) * kStep + i % kStep;
        if (i < valid)
          convert(to_f32(row[i]), to);
        else
          *to = T{};
      }
    }
  }
}

template <class T, class W>
void pack(Pool& pool, const W* weights, int64_t n, int64_t k, float* packed) {
  const Packing p = packing_of<T>(n, k);
  pool.each(p.chunks * p.panels, [&](int64_t task, int) {
    const int64_t chunk = task / p.panels, panel = task % p.panels;
    const int64_t begin = cut(p.vectors, p.panels, panel) * kWidth;
    const int64_t width = cut(p.vectors, p.panels, panel + 1) * kWidth - begin;
    const int64_t k0 = chunk * p.depth;
    pack_panel(weights, n, k, begin, width, k0, smaller(p.depth, k - k0),
               reinterpret_cast<T*>(packed + panel_offset(p, k, chunk, panel)));
  });
}

template <class T>
size_t packed_bytes(int64_t n, int64_t k) {
  const Packing p = packing_of<T>(n, k);
  return static_cast<size_t>(panel_offset(p, k, p.chunks - 1, p.panels)) * sizeof(float);
}

}  // namespace

size_t gemm_packed_bytes(int64_t n, int64_t k, DType a_type) {
  if (n == 0 || k == 0) return 0;
  return a_type == DType::f32 ? packed_bytes<float>(n, k) : packed_bytes<Half>(n, k);
}

void gemm_pack(Pool& pool, const void* weights, DType weights_type, int64_t n, int64_t k,
               DType a_type, void* packed) {
  if (n == 0 || k == 0) return;
  float* to = static_cast<float*>(packed);
  const float* full = static_cast<const float*>(weights);
  const bf16* half = static_cast<const bf16*>(weights);
  if (a_type == DType::f32)
    weights_type == DType::f32 ? pack<float>(pool, full, n, k, to)
                               : pack<float>(pool, half, n, k, to);
  else
    weights_type == DType::f32 ? pack<Half>(pool, full, n, k, to)
                               : pack<Half>(pool, half, n, k, to);
}

}  // namespace hrsam::cpu::HRSAM_ISA
