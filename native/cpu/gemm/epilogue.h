// What happens to a finished tile of sums on its way out of the first-level cache: bias,
// activation, residual, conversion. Activation and types are template arguments; a vector costs no
// branch.
#pragma once

#include "gemm.h"
#include "micro_kernel.h"

namespace hrsam::cpu::HRSAM_ISA {

// Large results of matrix tiles go past the caches: they would not stay there until they are read,
// and a line that is written whole need not be fetched before. Only where all lines are.
constexpr int64_t kLineBytes = 64;
HRSAM_INLINE bool streams(const Gemm& call) {
#if defined(HRSAM_ISA_amx)
  constexpr int64_t kLeastBytes = 6 << 20;
  const int64_t row_bytes = call.n * dtype_bytes(call.out_type);
  return call.residual == nullptr && call.m * row_bytes >= kLeastBytes &&
         row_bytes % kLineBytes == 0 && reinterpret_cast<uintptr_t>(call.out) % kLineBytes == 0;
#else
  return false;
#endif
}

#if defined(HRSAM_ISA_amx)
HRSAM_INLINE void end_streams() { _mm_sfence(); }  // other threads see what was written
HRSAM_INLINE void stream(float* line, const V* x) { _mm512_stream_ps(line, *x); }
HRSAM_INLINE void stream(bf16* line, const V* x) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(line),
                      reinterpret_cast<__m512i>(Multiply<bf16>::join(x[0], x[1])));
}
#else
HRSAM_INLINE void end_streams() {}
#endif

// tile (rows, stride) -> out[row.., column..], columns wide.
template <Activation kActivation, class Residual, class Out>
void finish_tile(const Gemm& call, const float* tile, int64_t stride, int64_t row, int64_t rows,
                 int64_t column, int64_t columns) {
  const Residual* residual = static_cast<const Residual*>(call.residual);
  int64_t residual_row = residual != nullptr ? row % call.residual_rows : 0;
#if defined(HRSAM_ISA_amx)
  const bool past_caches = streams(call);
#endif
  const int64_t whole = columns / kWidth * kWidth;
  const int tail = static_cast<int>(columns - whole);
  for (int64_t i = 0; i < rows; ++i, tile += stride) {
    Out* out = static_cast<Out*>(call.out) + (row + i) * call.n + column;
    const float* bias = call.bias != nullptr ? call.bias + column : nullptr;
    const Residual* added =
        residual != nullptr ? residual + residual_row * call.n + column : nullptr;
    if (++residual_row == call.residual_rows) residual_row = 0;
    const auto finished = [&](int64_t j) {
      V x = load(tile + j);
      if (bias != nullptr) x = x + load(bias + j);
      return activate(x, kActivation);
    };
    int64_t j = 0;
#if defined(HRSAM_ISA_amx)
    constexpr int64_t kVectors = kLineBytes / static_cast<int64_t>(sizeof(Out)) / kWidth;
    if (past_caches)
      for (V line[kVectors]; j < whole; j += kVectors * kWidth) {
        for (int64_t v = 0; v < kVectors; ++v) line[v] = finished(j + v * kWidth);
        stream(out + j, line);
      }
#endif
    for (; j < whole; j += kWidth) {
      V x = finished(j);
      if (added != nullptr) x = x + load(added + j);
      store(out + j, x);
    }
    if (tail > 0) {
      V x = load(tile + j);
      if (bias != nullptr) x = x + load_n(bias + j, tail);
      x = activate(x, kActivation);
      if (added != nullptr) x = x + load_n(added + j, tail);
      store_n(out + j, x, tail);
    }
  }
}

using FinishTile = void (*)(const Gemm&, const float*, int64_t, int64_t, int64_t, int64_t, int64_t);

template <Activation kActivation>
FinishTile finish_for(const Gemm& call) {
  if (call.residual != nullptr && call.residual_type == DType::bf16)
    return call.out_type == DType::bf16 ? finish_tile<kActivation, bf16, bf16>
                                        : finish_tile<kActivation, bf16, float>;
  return call.out_type == DType::bf16 ? finish_tile<kActivation, float, bf16>
                                      : finish_tile<kActivation, float, float>;
}

HRSAM_INLINE FinishTile finish_for(const Gemm& call) {
  switch (call.activation) {
    case Activation::gelu:
      return finish_for<Activation::gelu>(call);
    case Activation::silu:
      return finish_for<Activation::silu>(call);
    case Activation::relu:
      return finish_for<Activation::relu>(call);
    case Activation::sigmoid:
      return finish_for<Activation::sigmoid>(call);
    default:
      return finish_for<Activation::none>(call);
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA
