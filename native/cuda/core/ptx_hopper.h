// Inline PTX of what only Hopper has (sm_90a): barriers that count bytes, bulk tensor copies,
// products of whole warpgroups; and beside each instruction what stands for it on the CPU.
#pragma once

#include "ptx.h"
#include "tensor_map.h"

namespace hrsam::cuda {

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

// ---- barriers in shared memory
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

// At the barrier in the same place of another block of the cluster, or of this one. It orders
// nothing for that block's threads: .release.cluster would be a fence of the whole GPU.
HRSAM_DEVICE void arrive_at(uint64_t* barrier, uint32_t block) {
#ifdef __CUDACC__
  asm volatile(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(shared_address(barrier)),
      "r"(block)
      : "memory");
#else
  gpu_on_cpu::arrive_at(barrier, block);
#endif
}

// After publish_barriers(): no block of the cluster goes on before all have come.
HRSAM_DEVICE void begin_cluster() {
#ifdef __CUDACC__
  asm volatile("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait.acquire;" ::: "memory");
#else
  gpu_on_cpu::cluster_barrier();
#endif
}

// Of all threads of all blocks of the cluster. A block must not end before others are
// done reaching into it.
HRSAM_DEVICE void cluster_barrier() {
#ifdef __CUDACC__
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
#else
  gpu_on_cpu::cluster_barrier();
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

// ---- bulk tensor copies
// -------------------------------------------------------------------

// Fetches the description of a matrix, which the first copy of it would wait for.
HRSAM_DEVICE void prefetch(const TensorMap* map) {
#ifdef __CUDACC__
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  static_cast<void>(map);
#endif
}

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

// The same to that place of several blocks of the cluster, a bit each; the barrier of each, in the
// same place as this one's, hears of what comes to it.
HRSAM_DEVICE void copy_box_to(uint16_t blocks, void* shared, const TensorMap* map, int column,
                              int row, int item, uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row), "r"(item), "h"(blocks)
      : "memory");
#else
  gpu_on_cpu::copy_box(shared, map, column, row, item, barrier, blocks);
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

// ---- products of a warpgroup
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

// Before begin_products() and after the wait: the compiler moves no reading or writing of these
// registers across.
template <int kCount>
HRSAM_DEVICE void settle(float (&registers)[kCount]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
#endif
}
template <int kRows, int kCount>
HRSAM_DEVICE void settle(uint32_t (&registers)[kRows][kCount]) {
#ifdef __CUDACC__
#pragma unroll
  for (int i = 0; i < kRows * kCount; ++i)
    asm volatile("" : "+r"(registers[i / kCount][i % kCount])::"memory");
#endif
}

#define HRSAM_SUMS(c, i)                                                              \
  "+f"(c[i]), "+f"(c[(i) + 1]), "+f"(c[(i) + 2]), "+f"(c[(i) + 3]), "+f"(c[(i) + 4]), \
      "+f"(c[(i) + 5]), "+f"(c[(i) + 6]), "+f"(c[(i) + 7])

// A product of 64 x 128 sums, both operands in shared memory.
#define HRSAM_PRODUCT(instruction, flags, c, a, b, add)                                  \
  asm volatile(                                                                          \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"                                   \
      "wgmma.mma_async.sync.aligned." instruction                                        \
      " {"                                                                               \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"   \
      "}, %64, %65, add, " flags ";\n}"                                                  \
      : HRSAM_SUMS(c, 0), HRSAM_SUMS(c, 8), HRSAM_SUMS(c, 16), HRSAM_SUMS(c, 24),        \
        HRSAM_SUMS(c, 32), HRSAM_SUMS(c, 40), HRSAM_SUMS(c, 48), HRSAM_SUMS(c, 56)       \
      : "l"(a), "l"(b), "r"(static_cast<int>(add)))

// c (64 x 128, f32; or, where not `add`, zeros) + a (64 x 16, bf16) · bᵀ (128 x 16), both in shared
// memory. Warp w of the group holds rows 16w to 16w + 15, each in fragments of 8 columns as those
// of multiply_add().
HRSAM_DEVICE void multiply_group(float (&c)[64], uint64_t a, uint64_t b, bool add) {
#ifdef __CUDACC__
  HRSAM_PRODUCT("m64n128k16.f32.bf16.bf16", "1, 1, 0, 0", c, a, b, add);
#else
  gpu_on_cpu::multiply_group({a, b, nullptr, c, 128, false, add});
#endif
}

// The same with b of 192 rows.
#define HRSAM_WIDE_PRODUCT(instruction, flags, c, a, b, add)                             \
  asm volatile(                                                                          \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %98, 0;\n"                                   \
      "wgmma.mma_async.sync.aligned." instruction                                        \
      " {"                                                                               \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"   \
      "}, %96, %97, add, " flags ";\n}"                                                  \
      : HRSAM_SUMS(c, 0), HRSAM_SUMS(c, 8), HRSAM_SUMS(c, 16), HRSAM_SUMS(c, 24),        \
        HRSAM_SUMS(c, 32), HRSAM_SUMS(c, 40), HRSAM_SUMS(c, 48), HRSAM_SUMS(c, 56),      \
        HRSAM_SUMS(c, 64), HRSAM_SUMS(c, 72), HRSAM_SUMS(c, 80), HRSAM_SUMS(c, 88)       \
      : "l"(a), "l"(b), "r"(static_cast<int>(add)))

HRSAM_DEVICE void multiply_group(float (&c)[96], uint64_t a, uint64_t b, bool add) {
#ifdef __CUDACC__
  HRSAM_WIDE_PRODUCT("m64n192k16.f32.bf16.bf16", "1, 1, 0, 0", c, a, b, add);
#else
  gpu_on_cpu::multiply_group({a, b, nullptr, c, 192, false, add});
#endif
}

// a (64 x 32) and b (192 x 32) of e4m3; sums keep some 14 bits.
HRSAM_DEVICE void multiply_group_e4m3(float (&c)[96], uint64_t a, uint64_t b, bool add) {
#ifdef __CUDACC__
  HRSAM_WIDE_PRODUCT("m64n192k32.f32.e4m3.e4m3", "1, 1", c, a, b, add);
#else
  gpu_on_cpu::multiply_group({a, b, nullptr, c, 192, false, add, true});
#endif
}

// Keeps what computes x in front of the wait for products that follows: ptxas moves such a wait
// ahead of any arithmetic that does not depend on it. x is at least 0, or NaN: it never traps.
HRSAM_DEVICE void finish_first(float x) {
#ifdef __CUDACC__
  asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n@p trap;\n}" ::"f"(x) : "memory");
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

#undef HRSAM_PRODUCT
#undef HRSAM_WIDE_PRODUCT
#undef HRSAM_SUMS

}  // namespace hrsam::cuda
