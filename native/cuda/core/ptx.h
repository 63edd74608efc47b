// All inline PTX, and beside each instruction what stands for it on the CPU. Fragment layouts are
// those of the PTX manual, "Warp Level Matrix Instructions". What only Hopper has (sm_90a) comes
// last: barriers that count bytes, bulk tensor copies, products of whole warpgroups.
#pragma once

#include "gpu.h"
#include "tensor_map.h"

namespace hrsam::cuda {

// Where shared memory's own instructions find it.
HRSAM_DEVICE uint32_t shared_address(const void* pointer) {
#ifdef __CUDACC__
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
#else
  return gpu_on_cpu::shared_address(pointer);
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
  float a[16][16], b[16][8], c[16][8];
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
      for (int j = 0; j < 8; ++j) c[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < gpu_on_cpu::kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4 * 2;
    for (int k = 0; k < 2; ++k) {
      all[lane].c[k] = c[g][t + k];
      all[lane].c[2 + k] = c[g + 8][t + k];
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

// 2^x to about 2^-22; results below 2^-126 are 0.
HRSAM_DEVICE float exp2_fast(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  const float y = ::exp2f(x);
  return y < 1.17549435e-38f ? 0.0f : y;
#endif
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

// Two numbers rounded to e4m3 (4 bits of exponent, 3 of fraction; at most ±448), the first in the
// lower half. From sm_89 on.
HRSAM_DEVICE uint16_t pack_e4m3(float low, float high) {
#ifdef __CUDACC__
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return static_cast<uint16_t>(gpu_on_cpu::to_e4m3(low) | gpu_on_cpu::to_e4m3(high) << 8);
#endif
}

// ---- Hopper: barriers in shared memory
// ------------------------------------------------------------

// A barrier's phase ends when as many threads have arrived as it was made for and all bytes that
// they announced are there; the next one then begins. Phases have parities 0, 1, 0 …
HRSAM_DEVICE void make_barrier(uint64_t* barrier, int arrivals) {
#ifdef __CUDACC__
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
#else
  gpu_on_cpu::make_barrier(barrier, arrivals);
#endif
}

// After the last make_barrier(), by the same thread; then a __syncthreads().
HRSAM_DEVICE void publish_barriers() {
#ifdef __CUDACC__
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

HRSAM_DEVICE void arrive(uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
#else
  gpu_on_cpu::arrive(barrier, 0);
#endif
}

HRSAM_DEVICE void arrive_expecting(uint64_t* barrier, int bytes) {
#ifdef __CUDACC__
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
#else
  gpu_on_cpu::arrive(barrier, bytes);
#endif
}

// Until the barrier's phase of that parity has ended; the phase before its first counts as ended,
// with parity 1. Whoever may be two phases behind takes one for the other.
HRSAM_DEVICE void wait_for_phase(uint64_t* barrier, uint32_t parity) {
#ifdef __CUDACC__
  uint32_t ended;
  do {
    asm volatile(
        "{\n.reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n}"
        : "=r"(ended)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (ended == 0);
#else
  gpu_on_cpu::wait_for_phase(barrier, parity);
#endif
}

// ---- Hopper: bulk tensor copies
// -------------------------------------------------------------------

// A box of a matrix (see TensorMap) to shared memory, its first number that of the column, row and
// item; the barrier hears of all its bytes. `shared` is aligned to kSwizzleBytes.
HRSAM_DEVICE void copy_box(void* shared, const TensorMap* map, int column, int row, int item,
                           uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row), "r"(item)
      : "memory");
#else
  gpu_on_cpu::copy_box(shared, map, column, row, item, barrier);
#endif
}

// What this thread has written to shared memory may be read by products and bulk copies.
HRSAM_DEVICE void show_to_products() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  gpu_on_cpu::show_to_products();
#endif
}

// ---- Hopper: products of a warpgroup
// --------------------------------------------------------------

// Registers of each thread of the warpgroup; a block's warpgroups share what the launch got.
template <int kCount>
HRSAM_DEVICE void give_registers() {
#ifdef __CUDACC__
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
HRSAM_DEVICE void take_registers() {
#ifdef __CUDACC__
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

// An operand in shared memory: rows of 64 bf16 or 128 e4m3, 128 bytes apart, swizzled (see
// tensor_map.h), the first one aligned to kSwizzleBytes. Steps along a row or to other rows are
// added to it in units of 16 bytes.
HRSAM_DEVICE uint64_t operand_at(const void* shared) {
  constexpr uint64_t kRowsOfEight = kSwizzleBytes / 16, kSwizzle128 = uint64_t{1} << 62;
  return (shared_address(shared) >> 4 & 0x3fff) | uint64_t{1} << 16 | kRowsOfEight << 32 |
         kSwizzle128;
}

// Before the first product after commit_products(): registers of sums are as they were left.
HRSAM_DEVICE void begin_products() {
#ifdef __CUDACC__
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  gpu_on_cpu::begin_products();
#endif
}

HRSAM_DEVICE void commit_products() {
#ifdef __CUDACC__
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  gpu_on_cpu::commit_products();
#endif
}

// Until all but the newest kNewest groups are done, with what they read and with their sums.
template <int kNewest>
HRSAM_DEVICE void wait_for_products() {
#ifdef __CUDACC__
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kNewest) : "memory");
#else
  gpu_on_cpu::wait_for_products(kNewest);
#endif
}

// After the wait: keeps the compiler from reading or writing these before.
template <int kCount>
HRSAM_DEVICE void settle(float (&registers)[kCount]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
#endif
}

#define HRSAM_SUMS(c, i)                                                              \
  "+f"(c[i]), "+f"(c[(i) + 1]), "+f"(c[(i) + 2]), "+f"(c[(i) + 3]), "+f"(c[(i) + 4]), \
      "+f"(c[(i) + 5]), "+f"(c[(i) + 6]), "+f"(c[(i) + 7])

// c (64 x 128, f32; or, where not `add`, zeros) + a (64 x 16) · bᵀ (128 x 16), both in shared
// memory. Warp w of the group holds rows 16w to 16w + 15, each in fragments of 8 columns as those
// of multiply_add().
HRSAM_DEVICE void multiply_group(float (&c)[64], uint64_t a, uint64_t b, bool add) {
#ifdef __CUDACC__
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, add, 1, 1, 0, 0;\n}"
      : HRSAM_SUMS(c, 0), HRSAM_SUMS(c, 8), HRSAM_SUMS(c, 16), HRSAM_SUMS(c, 24), HRSAM_SUMS(c, 32),
        HRSAM_SUMS(c, 40), HRSAM_SUMS(c, 48), HRSAM_SUMS(c, 56)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
#else
  gpu_on_cpu::multiply_group({a, b, nullptr, c, 128, false, add});
#endif
}

// c (64 x 128, f32; or zeros) + a (64 x 32, e4m3) · bᵀ (128 x 32, e4m3), both in shared memory.
HRSAM_DEVICE void multiply_group_e4m3(float (&c)[64], uint64_t a, uint64_t b, bool add) {
#ifdef __CUDACC__
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, add, 1, 1;\n}"
      : HRSAM_SUMS(c, 0), HRSAM_SUMS(c, 8), HRSAM_SUMS(c, 16), HRSAM_SUMS(c, 24), HRSAM_SUMS(c, 32),
        HRSAM_SUMS(c, 40), HRSAM_SUMS(c, 48), HRSAM_SUMS(c, 56)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
#else
  gpu_on_cpu::multiply_group({a, b, nullptr, c, 128, false, add, true});
#endif
}

// c (64 x 64, f32; or zeros) + a (64 x 16) · b (16 x 64): a as fragments in registers, b in shared
// memory as it is, 16 rows.
HRSAM_DEVICE void multiply_group(float (&c)[32], const uint32_t (&a)[4], uint64_t b, bool add) {
#ifdef __CUDACC__
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, add, 1, 1, 1;\n}"
      : HRSAM_SUMS(c, 0), HRSAM_SUMS(c, 8), HRSAM_SUMS(c, 16), HRSAM_SUMS(c, 24)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
#else
  gpu_on_cpu::multiply_group({0, b, a, c, 64, true, add});
#endif
}

#undef HRSAM_SUMS

}  // namespace hrsam::cuda
