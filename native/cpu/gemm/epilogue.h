// What happens to a finished tile of sums on its way out of the first-level cache: bias,
// activation, residual, conversion. Activation and types are template arguments; a vector costs no
// branch.
#pragma once

#include "gemm.h"

namespace hrsam::cpu::HRSAM_ISA {

// tile (rows, stride) -> out[row.., column..], columns wide.
template <Activation kActivation, class Residual, class Out>
void finish_tile(const Gemm& call, const float* tile, int64_t stride, int64_t row, int64_t rows,
                 int64_t column, int64_t columns) {
  const Residual* residual = static_cast<const Residual*>(call.residual);
  int64_t residual_row = residual != nullptr ? row % call.residual_rows : 0;
  const int64_t whole = columns / kWidth * kWidth;
  const int tail = static_cast<int>(columns - whole);
  for (int64_t i = 0; i < rows; ++i, tile += stride) {
    Out* out = static_cast<Out*>(call.out) + (row + i) * call.n + column;
    const float* bias = call.bias != nullptr ? call.bias + column : nullptr;
    const Residual* added =
        residual != nullptr ? residual + residual_row * call.n + column : nullptr;
    if (++residual_row == call.residual_rows) residual_row = 0;
    int64_t j = 0;
    for (; j < whole; j += kWidth) {
      V x = load(tile + j);
      if (bias != nullptr) x = x + load(bias + j);
      x = activate(x, kActivation);
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
