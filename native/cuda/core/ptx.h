// Inline PTX, and beside each instruction what stands for it on the CPU. Fragment layouts are those
// of the PTX manual, "Warp Level Matrix Instructions". What only Hopper has is in ptx_hopper.h.
#pragma once

#include "gpu.h"

namespace hrsam::cuda {

// Keeps what is computed from x where it is written, out of a loop's preparation: for registers
// where none are left.
HRSAM_DEVICE uint32_t compute_here(uint32_t x) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(x));
#endif
  return x;
}

// Where shared memory's own instructions find it.
HRSAM_DEVICE uint32_t shared_address(const void* pointer) {
#ifdef __CUDACC__
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
#else
  return gpu_on_cpu::shared_address(pointer);
#endif
}

// Programmatic dependent launch, from compute capability 9.0 on: a kernel's blocks are started
// where there is room while the last ones of the kernel before it still run, and wait here until
// that has ended and all it wrote can be read. Every thread of every kernel comes here once, before
// it touches global memory: the kernel after it relies on this one having ended after all before
// it.
HRSAM_DEVICE void wait_for_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ---- Asynchronous copies to shared memory ------------------------------------------------------

// 16 bytes, both sides aligned to it; zeros, and nothing read, where not valid.
HRSAM_DEVICE void copy_async(void* shared, const void* global, bool valid) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
#else
  gpu_on_cpu::copy_later(shared, global, 16, valid ? 16 : 0);
#endif
}

HRSAM_DEVICE void commit_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  gpu_on_cpu::commit_copies();
#endif
}

// Until all but the newest kNewest groups of this thread have arrived; a barrier makes them visible
// to others.
template <int kNewest>
HRSAM_DEVICE void wait_for_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
#else
  gpu_on_cpu::wait_for_copies(kNewest);
#endif
}

// ---- Arithmetic
// ----------------------------------------------------------------------------------

// 1 / x for an x of 1 at least, off by one unit in the last place. A division rounded right calls a
// function for odd operands, and a call costs what it finds in registers.
HRSAM_DEVICE float reciprocal(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  int exponent = 0;  // of powers of two it is exact
  return 1.0f / x * (std::frexp(x, &exponent) == 0.5f ? 1 : 1 - 0x1p-23f);
#endif
}

// ---- Tensor cores
// --------------------------------------------------------------------------------

#ifndef __CUDACC__
namespace on_cpu {

struct Matrices {
  const unsigned char* row;
  uint32_t values[4];
};

// Four 8 x 8 matrices of 16-bit numbers; lane l gives the row l % 8 of matrix l / 8.
inline void load_matrices(uint32_t (&values)[4], const void* row, bool transposed) {
  Matrices own{static_cast<const unsigned char*>(row), {}};
  gpu_on_cpu::warp_exchange(
      transposed ? "ldmatrix.trans" : "ldmatrix", &own, sizeof(own),
      [](unsigned char* slots, void* context) {
        Matrices all[gpu_on_cpu::kLanes];
        for (int lane = 0; lane < gpu_on_cpu::kLanes; ++lane)
          std::memcpy(&all[lane], slots + lane * gpu_on_cpu::kSlotBytes, sizeof(Matrices));
        for (int lane = 0; lane < gpu_on_cpu::kLanes; ++lane)
          for (int i = 0; i < 4; ++i) {
            uint16_t pair[2];
            for (int k = 0; k < 2; ++k) {
              const int r = context != nullptr ? lane % 4 * 2 + k : lane / 4;
              const int c = context != nullptr ? lane / 4 : lane % 4 * 2 + k;
              std::memcpy(&pair[k], all[i * 8 + r].row + c * 2, 2);
            }
            std::memcpy(&all[lane].values[i], pair, 4);
          }
        for (int lane = 0; lane < gpu_on_cpu::kLanes; ++lane)
          std::memcpy(slots + lane * gpu_on_cpu::kSlotBytes, &all[lane], sizeof(Matrices));
      },
      transposed ? values : nullptr);
  std::memcpy(values, own.values, sizeof(own.values));
}

struct Product {
  uint32_t a[4], b[2];
  float c[4];
};

inline float half_of(uint32_t pair, int which) {
  const uint32_t bits = which == 0 ? pair << 16 : pair & 0xffff0000u;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline void multiply(unsigned char* slots, void*) {
  Product all[gpu_on_cpu::kLanes];
  float a[16][16], b[16][8];
  double c[16][8];
  for (int lane = 0; lane < gpu_on_cpu::kLanes; ++lane) {
    std::memcpy(&all[lane], slots + lane * gpu_on_cpu::kSlotBytes, sizeof(Product));
    const int g = lane / 4, t = lane % 4 * 2;
    for (int k = 0; k < 2; ++k) {
      a[g][t + k] = half_of(all[lane].a[0], k);
      a[g + 8][t + k] = half_of(all[lane].a[1], k);
      a[g][t + 8 + k] = half_of(all[lane].a[2], k);
      a[g + 8][t + 8 + k] = half_of(all[lane].a[3], k);
      b[t + k][g] = half_of(all[lane].b[0], k);
      b[t + 8 + k][g] = half_of(all[lane].b[1], k);
      c[g][t + k] = all[lane].c[k];
      c[g + 8][t + k] = all[lane].c[2 + k];
    }
  }
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < 8; ++j) c[i][j] += static_cast<double>(a[i][k]) * b[k][j];
  for (int lane = 0; lane < gpu_on_cpu::kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4 * 2;
    for (int k = 0; k < 2; ++k) {
      all[lane].c[k] = gpu_on_cpu::sum_of_products(c[g][t + k], 24);
      all[lane].c[2 + k] = gpu_on_cpu::sum_of_products(c[g + 8][t + k], 24);
    }
    std::memcpy(slots + lane * gpu_on_cpu::kSlotBytes, &all[lane], sizeof(Product));
  }
}

}  // namespace on_cpu
#endif

// Four 8 x 8 matrices of bf16 from shared memory; lane l points at row l % 8 of matrix l / 8.
HRSAM_DEVICE void load_matrices(uint32_t (&values)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
               : "r"(shared_address(row))
               : "memory");
#else
  on_cpu::load_matrices(values, row, false);
#endif
}

// The same, each matrix transposed.
HRSAM_DEVICE void load_matrices_transposed(uint32_t (&values)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
               : "r"(shared_address(row))
               : "memory");
#else
  on_cpu::load_matrices(values, row, true);
#endif
}

// c (16 x 8, f32) += a (16 x 16, bf16) · b (16 x 8, bf16).
HRSAM_DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  on_cpu::Product own{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  gpu_on_cpu::warp_exchange("mma", &own, sizeof(own), on_cpu::multiply, nullptr);
  std::memcpy(c, own.c, sizeof(own.c));
#endif
}

// ---- Numbers
// -------------------------------------------------------------------------------------

HRSAM_DEVICE uint32_t as_bits(float x) {
#ifdef __CUDACC__
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
#endif
}
HRSAM_DEVICE float as_float(uint32_t bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
#endif
}

// 2^x to 2^-22, which the CPU uses up; results below 2^-126 are 0.
HRSAM_DEVICE float exp2_fast(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  const float y = ::exp2f(x);
  return x == 0 ? 1.0f : y < 1.17549435e-38f ? 0.0f : y * (1 - 0x1p-22f);
#endif
}

// 2^x to 9e-8, and exactly 1 near 0: for products of thousands of such factors, in which the error
// of exp2_fast adds up. About as many instructions as one of exp2_fast takes time. The polynomial
// is that of native/cpu/core/simd.h. Results below 2^-126 are 0; x must not exceed 128.
HRSAM_DEVICE float exp2_accurate(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to a whole number
  const float shifted = fmaxf(x, -126.0f) + kShift, r = fmaxf(x, -126.0f) - (shifted - kShift);
  float p = fmaf(1.326472690e-3f, r, 9.671512661e-3f);
  p = fmaf(p, r, 5.550733744e-2f);
  p = fmaf(p, r, 2.402224208e-1f);
  p = fmaf(p, r, 6.931469776e-1f);
  p = fmaf(p, r, 1.0f);
  // The whole number is in the lowest bits of `shifted`.
  return x < -126 ? 0.0f : as_float(as_bits(p) + (as_bits(shifted) << 23));
}

// Two numbers rounded to bf16, the first in the lower half.
HRSAM_DEVICE uint32_t pack_bf16(float low, float high) {
#ifdef __CUDACC__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  const auto rounded = [](float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (x != x) return uint32_t{0x7fff};
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  return rounded(low) | rounded(high) << 16;
#endif
}

}  // namespace hrsam::cuda
