// out = residual + activation(A·Wᵀ + bias), the engine's matrix product.
//
// A (m, k), f32 or bf16, is read where it is or a part of it at a time prepared; W (n, k) is packed
// once by gemm_pack. Sums are f32. Each result is summed in an order that depends on k alone:
// neither the number of threads nor the other rows change a bit of it.
#pragma once

#include "op.h"
#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  DType a_type = DType::f32;  // f32 or bf16; also the arithmetic's
  bool a_turned = false;      // A is stored as (k, m)
  const void* packed = nullptr;
  const float* bias = nullptr;  // (n), or null
  Activation activation = Activation::none;
  // (residual_rows, n), or null; row i is added to the rows i + j·residual_rows.
  const void* residual = nullptr;
  DType residual_type = DType::f32;
  int64_t residual_rows = 0;
  void* out = nullptr;  // may be the residual's memory where their types are the same
  DType out_type = DType::f32;
};

// Bytes of packed weights (n, k) for an A of type a_type.
size_t gemm_packed_bytes(int64_t n, int64_t k, DType a_type);
// A contiguous matrix (n, k), f32 or bf16, or its transpose (k, n).
struct Weights {
  const void* data;
  DType type;
  int64_t n, k;
  bool transposed;
};
// packed: 64-byte aligned.
void gemm_pack(Pool& pool, const Weights& weights, DType a_type, void* packed);
// In a task of a parallel section: on its thread alone.
void gemm_pack(const Weights& weights, DType a_type, void* packed);
// The same for arithmetic of a type T (micro_kernel.h), float or what f32 and bf16 are multiplied
// as.
template <class T>
size_t packed_bytes(int64_t n, int64_t k);
template <class T>
void pack_weights(Pool& pool, const Weights& weights, void* packed);
// Uses the beginning of each thread's scratch memory.
void gemm(Pool& pool, const Gemm& call);
// In a task; scratch: gemm_scratch_bytes(call, 1), 64-byte aligned.
void gemm(void* scratch, const Gemm& call);
size_t gemm_scratch_bytes(const Gemm& call, int threads);
// What the multiply-add units give, all threads together, in GFLOP/s: the micro-kernel's inner
// loop on data that stays in the first-level cache. The yardstick for everything else.
double peak_gflops(Pool& pool, DType a_type);

}  // namespace hrsam::cpu::HRSAM_ISA
