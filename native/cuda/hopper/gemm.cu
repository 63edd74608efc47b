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

Boxes boxes_of(const void* data, int64_t rows, int64_t stride, int64_t batch_stride, const Gemm& g,
               int box_rows) {
  // Of one item nobody asks for the next: any stride will do, the manual wants a multiple of the
  // rows'.
  const int64_t items = batch_stride == 0 ? 1 : g.batch;
  return {data,    g.k, rows, items, stride * 2, items == 1 ? rows * stride * 2 : batch_stride * 2,
          box_rows};
}

struct Clusters {
  HopperTiles tiles;
  int64_t count, rounds;
};

// Squares read less of the L2; but where a part of the chip has no multiple of four
// multiprocessors, some do nothing, and an odd number of tiles across leaves half a square.
template <class Kernel>
Clusters clusters_for(const Gemm& g, Launch at, Kernel kernel) {
  const auto of = [&](uint32_t beside) {
    const HopperTiles tiles(g, beside);
    at.cluster = tiles.blocks();
    const int64_t all = tiles.all / beside;
    const int64_t count = larger(1, smaller(all, active_clusters(at, kernel)));
    return Clusters{tiles, count, divide_up(all, count)};
  };
  const Clusters pairs = of(1);
  if (pairs.tiles.across % 2 != 0 || !hopper_squares()) return pairs;
  const Clusters squares = of(2);
  return 10 * squares.rounds <= 11 * pairs.rounds ? squares : pairs;
}

// False: the driver makes no tensor map of a matrix.
template <bool kFp8>
bool start(cudaStream_t stream, const Gemm& g, const Fp8Scales& scales) {
  using H = HopperGemm;
  constexpr auto kKernel = hopper_gemm_kernel<kFp8>;
  Launch at{dim3(1), dim3(kHopperThreads), H::kSharedBytes, stream};
  const auto [tiles, count, rounds] = clusters_for(g, at, kKernel);
  at.cluster = tiles.blocks();
  at.grid = dim3(static_cast<unsigned>(count * at.cluster));
  TensorMap a, b;
  const int rows = H::kRows / static_cast<int>(tiles.beside);
  const bool made = gpu::map_boxes(boxes_of(g.a, g.m, g.a_stride, g.a_batch, g, rows), &a) &&
                    gpu::map_boxes(boxes_of(g.b, g.n, g.b_stride, g.b_batch, g, H::kShare), &b);
  if (made) launch(at, kKernel, g, tiles, a, b, scales);
  return made;
}

[[noreturn]] void fail_without_maps() {
  plan::fail("ERR_DEVICE",
             "cuda: the driver makes no tensor map of this product's matrices; with "
             "HRSAM_CUDA_WGMMA=0 none are used");
}

}  // namespace

bool hopper_gemm(cudaStream_t stream, const Gemm& g) {
  const HopperUse use = hopper_use();
  if (use == HopperUse::never || g.type != DType::bf16) return false;
  if (use == HopperUse::where_it_pays && (g.n < kFewestColumns || g.k < kShortestSum)) return false;
  const int64_t limit = INT32_MAX - 2 * HopperGemm::kColumns;
  if (g.k < 1 || g.k > limit || g.m > limit || g.n > limit || g.batch > limit) return false;
  // Several products of one matrix: nobody asks for them in bf16.
  if (g.batch > 1 && (g.a_batch == 0 || g.b_batch == 0)) return false;
  if (!can_be_copied(g.a, g.a_stride, g.a_batch) || !can_be_copied(g.b, g.b_stride, g.b_batch))
    return false;
  if (start<false>(stream, g, {})) return true;
  // Elsewhere every GPU's kernel does it.
  if (use == HopperUse::wherever_it_fits) fail_without_maps();
  return false;
}

void hopper_fp8_gemm(cudaStream_t stream, const Fp8Gemm& call) {
  Gemm g;
  g.m = call.m;
  g.n = call.n;
  g.k = call.width / 2;
  g.a_stride = g.b_stride = g.k;
  g.epilogue = call.epilogue;
  g.a = call.a.numbers;
  g.b = call.b.numbers;
  if (!start<true>(stream, g, {call.a.scales, call.b.scales})) fail_without_maps();
}

}  // namespace hrsam::cuda
