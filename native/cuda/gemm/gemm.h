// out = residual + activation(A·Bᵀ + bias), the backend's matrix product.
//
// A (m, k) and B (n, k) are row-major, both f32 or both bf16. f32 is multiplied as f32 (never
// TF32); bf16 goes through the tensor cores with f32 sums. Each result is summed in an order that
// depends on k alone: neither tiles nor the other rows change a bit of it.
#pragma once

#include "../core/kernel.h"

namespace hrsam::cuda {

// What happens to a sum on its way out.
struct Epilogue {
  const float* bias = nullptr;  // (n), or null
  Activation activation = Activation::none;
  // (residual_rows, n), or null; row i is added to the rows i + j·residual_rows.
  const void* residual = nullptr;
  int64_t residual_rows = 1;
  bool residual_is_bf16 = false;
  bool out_is_bf16 = false;
  void* out = nullptr;  // may be the residual's memory where their types are the same

  HRSAM_DEVICE int64_t residual_row(int64_t row) const {
    if (row < residual_rows) return row;
    // 32 bits divide faster, and without a function call.
    return static_cast<uint32_t>(row) % static_cast<uint32_t>(residual_rows);
  }
};

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
