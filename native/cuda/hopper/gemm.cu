#include "gemm.h"

#include "../core/hopper.h"
#include "../core/runtime.h"
#include "launch.h"

namespace hrsam::cuda {

namespace {

// Narrower results and shorter sums leave most of a tile, or of the ring, unused.
constexpr int64_t kFewestColumns = 128, kShortestSum = 128;

bool is_multiple_of_16_bytes(int64_t elements) { return elements % 8 == 0; }

// Whether bulk tensor copies can read a matrix.
bool can_be_copied(const void* data, int64_t stride, int64_t batch_stride) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && is_multiple_of_16_bytes(stride) &&
         is_multiple_of_16_bytes(batch_stride);
}

Boxes boxes_of(const void* data, int64_t rows, int64_t stride, int64_t batch_stride,
               const Gemm& g) {
  // Of one item nobody asks for the next: any stride will do, the manual wants a multiple of the
  // rows'.
  const int64_t items = batch_stride == 0 ? 1 : g.batch;
  return {data,
          g.k,
          rows,
          items,
          stride * 2,
          items == 1 ? rows * stride * 2 : batch_stride * 2,
          HopperGemm::kTile};
}

template <bool kFp8>
void start(cudaStream_t stream, const Gemm& g, const TensorMap& a, const TensorMap& b,
           const Fp8Scales& scales) {
  const int64_t tiles =
      divide_up(g.m, HopperGemm::kTile) * divide_up(g.n, HopperGemm::kTile) * g.batch;
  const int64_t blocks = smaller(tiles, gpu::chip().processors);
  launch(
      {dim3(static_cast<unsigned>(blocks)), dim3(kHopperThreads), HopperGemm::kSharedBytes, stream},
      hopper_gemm_kernel<kFp8>, g, a, b, scales);
}

}  // namespace

bool hopper_gemm(cudaStream_t stream, const Gemm& g) {
  const HopperUse use = hopper_use();
  if (use == HopperUse::never || g.type != DType::bf16) return false;
  if (use == HopperUse::where_it_pays && (g.n < kFewestColumns || g.k < kShortestSum)) return false;
  const int64_t limit = INT32_MAX - HopperGemm::kTile;
  if (g.k < 1 || g.k > limit || g.m > limit || g.n > limit || g.batch > limit) return false;
  // Several products of one matrix: nobody asks for them in bf16.
  if (g.batch > 1 && (g.a_batch == 0 || g.b_batch == 0)) return false;
  if (!can_be_copied(g.a, g.a_stride, g.a_batch) || !can_be_copied(g.b, g.b_stride, g.b_batch))
    return false;
  TensorMap a, b;
  if (!gpu::map_boxes(boxes_of(g.a, g.m, g.a_stride, g.a_batch, g), &a) ||
      !gpu::map_boxes(boxes_of(g.b, g.n, g.b_stride, g.b_batch, g), &b))
    return false;
  start<false>(stream, g, a, b, {});
  return true;
}

void hopper_fp8_gemm(cudaStream_t stream, const Fp8Gemm& call) {
  Gemm g;
  g.m = call.m;
  g.n = call.n;
  g.k = call.width / 2;
  g.a_stride = g.b_stride = g.k;
  g.epilogue = call.epilogue;
  TensorMap a, b;
  if (!gpu::map_boxes(boxes_of(call.a.numbers, g.m, g.k, 0, g), &a) ||
      !gpu::map_boxes(boxes_of(call.b.numbers, g.n, g.k, 0, g), &b))
    plan::fail("ERR_DEVICE", "cuda: the driver is too old for bulk tensor copies");
  start<true>(stream, g, a, b, {call.a.scales, call.b.scales});
}

}  // namespace hrsam::cuda
