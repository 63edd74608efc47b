// Kernels for Hopper. Each op's returns false, and does nothing, where it is not for this GPU or
// this call; the choice depends on shapes of one item alone, never on how many rows there are, so
// that a result does not depend on the rest of its batch.
#pragma once

#include "../attention/attend.h"
#include "../gemm/gemm.h"

namespace hrsam::cuda {

bool hopper_gemm(cudaStream_t stream, const Gemm& call);
bool hopper_window_attention(cudaStream_t stream, const WindowCall& call, int64_t items,
                             const AttendCall& at);
bool hopper_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                      const AttendCall& at);

// Rows of e4m3, `width` bytes apart, a multiple of 16; what each row was divided by. In one block
// of fp8_bytes() bytes, aligned to 256.
struct Fp8Rows {
  unsigned char* numbers;
  float* scales;
};
constexpr int64_t fp8_width(int64_t columns) { return divide_up(columns, 16) * 16; }
constexpr size_t fp8_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>(divide_up(rows * fp8_width(columns), 256) * 256 + 4 * rows);
}
inline Fp8Rows fp8_rows(void* memory, int64_t rows, int64_t columns) {
  auto* numbers = static_cast<unsigned char*>(memory);
  return {numbers,
          reinterpret_cast<float*>(numbers + divide_up(rows * fp8_width(columns), 256) * 256)};
}

// Each row divided by 1/448 of its largest size (1e-30 at least), and rounded; zeros up to its
// width.
void hopper_quantise(cudaStream_t stream, const void* x, DType type, int64_t rows, int64_t columns,
                     const Fp8Rows& to);

// out = residual + activation(A·Bᵀ + bias) of such rows, any shape.
struct Fp8Gemm {
  int64_t m, n, width;
  Fp8Rows a, b;
  Epilogue epilogue;
};
void hopper_fp8_gemm(cudaStream_t stream, const Fp8Gemm& call);

// Rounds of products and nothing else; `out` has room for 256 numbers a block. Returns how many
// operations that are, 0 where there is no Hopper.
double hopper_peak_rounds(cudaStream_t stream, int blocks, int rounds, float* out);

}  // namespace hrsam::cuda
