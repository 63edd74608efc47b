// out = residual + activation(A·Bᵀ + bias), the backend's matrix product.
//
// A (m, k) and B (n, k) are row-major, both f32 or both bf16. f32 is multiplied as f32 (never
// TF32); bf16 goes through the tensor cores with f32 sums. Each result is summed in an order that
// depends on k alone: neither tiles nor the other rows change a bit of it.
#pragma once

#include <type_traits>

#include "../core/kernel.h"

namespace hrsam::cuda {

// What happens to a sum on its way out.
struct Epilogue {
  const float* bias = nullptr;  // (n), or null
  Activation activation = Activation::none;
  // (residual_rows, n), or null; row i is added to the rows i + j·residual_rows.
  const void* residual = nullptr;
  int64_t residual_rows = 1;
  bool residual_is_bf16 = false, out_is_bf16 = false;
  void* out = nullptr;  // may be the residual's memory where their types are the same

  // Where a row of a product's result begins, and what is added to it.
  struct Row {
    int64_t out, residual;
  };
  // `first`: where a batch's product has its result, in elements.
  HRSAM_DEVICE Row row(int64_t first, int64_t row, int64_t n) const {
    return {first + row * n, residual != nullptr ? row % residual_rows * n : 0};
  }

  // Two neighbouring columns of one row, of which count are there.
  template <Activation kActivation>
  HRSAM_DEVICE void finish(const Row& row, int64_t column, float x, float y, int count) const {
    float v[2] = {x, y};
    const int64_t at = row.out + column, from = row.residual + column;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= count) break;
      if (bias != nullptr) v[i] += bias[column + i];
      v[i] = activate(v[i], kActivation);
    }
    if (residual != nullptr) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (i >= count) break;
        v[i] += residual_is_bf16 ? to_f32(static_cast<const bf16*>(residual)[from + i])
                                 : static_cast<const float*>(residual)[from + i];
      }
    }
    if (count == 2 && at % 2 == 0) {  // `out` itself is aligned to a pair
      if (out_is_bf16)
        *reinterpret_cast<uint32_t*>(static_cast<bf16*>(out) + at) = pack_bf16(v[0], v[1]);
      else
        *reinterpret_cast<float2*>(static_cast<float*>(out) + at) = make_float2(v[0], v[1]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= count) break;
      if (out_is_bf16)
        static_cast<bf16*>(out)[at + i] = from_f32<bf16>(v[i]);
      else
        static_cast<float*>(out)[at + i] = v[i];
    }
  }
};

// Calls `with` with the activation as a constant, so that an unrolled loop holds the code of one.
template <class With>
HRSAM_DEVICE void for_activation(Activation activation, const With& with) {
  switch (activation) {
    case Activation::none:
      return with(std::integral_constant<Activation, Activation::none>());
    case Activation::gelu:
      return with(std::integral_constant<Activation, Activation::gelu>());
    case Activation::silu:
      return with(std::integral_constant<Activation, Activation::silu>());
    case Activation::relu:
      return with(std::integral_constant<Activation, Activation::relu>());
    case Activation::sigmoid:
      return with(std::integral_constant<Activation, Activation::sigmoid>());
  }
}

struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  DType type = DType::f32;  // of a and b
  const void* a = nullptr;
  const void* b = nullptr;
  int64_t a_stride = 0, b_stride = 0;  // from row to row, in elements
  // Several products of one shape, without residual: elements from one to the next.
  int64_t batch = 1, a_batch = 0, b_batch = 0;
  Epilogue epilogue;
};

void gemm(cudaStream_t stream, const Gemm& call);

// bf16 weights as gemm reads them fastest: rows padded with zeros to whole steps of k.
constexpr int64_t kGemmDepth = 32;
constexpr int64_t gemm_padded(int64_t k) { return divide_up(k, kGemmDepth) * kGemmDepth; }

}  // namespace hrsam::cuda
