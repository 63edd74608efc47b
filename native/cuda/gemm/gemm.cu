#include "gemm.h"

#include "../hopper/launch.h"
#include "bf16.h"
#include "f32.h"
#include "few.h"

namespace hrsam::cuda {

namespace {

using LargeBf16 = Bf16Shape<2, 4, 4, 4>;  // 128 x 128 by 8 warps
using SmallBf16 = Bf16Shape<2, 2, 2, 4>;  // 64 x 64 by 4 warps
using LargeF32 = F32Shape<128>;
using SmallF32 = F32Shape<64>;

// Large tiles read least; small ones give more blocks. At least this many large ones fill a GPU.
constexpr int64_t kEnoughTiles = 96;
// An H200 is done with so many of the smallest tiles when one of 64 x 64 is.
constexpr int64_t kFewTiles = 1024;

int64_t tiles_of(const Gemm& g, int64_t rows, int64_t columns) {
  return divide_up(g.m, rows) * divide_up(g.n, columns);
}

template <class S>
void launch_bf16(cudaStream_t stream, const Gemm& g) {
  const bool aligned =
      reinterpret_cast<uintptr_t>(g.a) % 16 == 0 && g.a_stride % 8 == 0 && g.k % 8 == 0;
  const Launch at{dim3(static_cast<unsigned>(tiles_of(g, S::kRows, S::kColumns)),
                       static_cast<unsigned>(g.batch)),
                  dim3(S::kThreads), S::kSharedBytes, stream};
  launch(at, aligned ? gemm_bf16_kernel<S, true> : gemm_bf16_kernel<S, false>, g);
}

template <class S>
void launch_f32(cudaStream_t stream, const Gemm& g) {
  const Launch at{
      dim3(static_cast<unsigned>(tiles_of(g, S::kTile, S::kTile)), static_cast<unsigned>(g.batch)),
      dim3(S::kThreads), S::kSharedBytes, stream};
  launch(at, gemm_f32_kernel<S>, g);
}

void launch_few(cudaStream_t stream, const Gemm& g) {
  using S = FewShape;
  const Launch at{dim3(static_cast<unsigned>(tiles_of(g, S::kRows, S::kColumns)),
                       static_cast<unsigned>(g.batch)),
                  dim3(S::kThreads), S::kSharedBytes, stream};
  launch(at, gemm_few_kernel, g);
}

}  // namespace

void gemm(cudaStream_t stream, const Gemm& g) {
  if (g.m == 0 || g.n == 0 || hopper_gemm(stream, g)) return;
  const bool large = tiles_of(g, 128, 128) * g.batch >= kEnoughTiles;
  if (g.type == DType::bf16)
    large ? launch_bf16<LargeBf16>(stream, g) : launch_bf16<SmallBf16>(stream, g);
  else if (tiles_of(g, FewShape::kRows, FewShape::kColumns) * g.batch <= kFewTiles)
    launch_few(stream, g);
  else
    large ? launch_f32<LargeF32>(stream, g) : launch_f32<SmallF32>(stream, g);
}

}  // namespace hrsam::cuda
