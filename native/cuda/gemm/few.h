// f32 products of few rows, as a decoder's tokens are: tiles of 64 x 64 would be few and mostly
// empty, and a chain of k sums takes a block's time however many blocks idle.
//
// A block of 64 threads owns 8 x 16 results, a thread two neighbouring ones. A and B come in steps
// of 128 along k to shared memory, two buffers in turn; the next step's numbers wait in registers
// meanwhile. Sums are those of the large tiles, bit for bit. Bound by reads of shared memory and,
// where k is short, by the way to global memory and back.
#pragma once

#include "finish.h"
#include "tiles.h"

namespace hrsam::cuda {

struct FewShape {
  static constexpr int kRows = 8, kColumns = 16, kLines = kRows + kColumns;
  static constexpr int kThreads = kRows * kColumns / 2;
  static constexpr int kDepth = 128, kFours = kDepth / 4;
  static constexpr int kLine = kDepth + 4;  // floats: eight lines' fours lie in different banks
  static constexpr int kCarried = kLines * kFours / kThreads;
  static constexpr size_t kSharedBytes = sizeof(float) * 2 * kLines * kLine;
};

// One step's numbers of A and B, on their way through a thread's registers.
class FewCarried {
  using S = FewShape;

 public:
  HRSAM_DEVICE void read(const float* a, const float* b, const Gemm& g, int64_t row0,
                         int64_t column0, int64_t k) {
    const int64_t left = g.k - k - four() * 4;
    const int n = static_cast<int>(smaller(4, larger(0, left)));
#pragma unroll
    for (int i = 0; i < S::kCarried; ++i) {
      const bool is_a = line(i) < S::kRows;
      const int64_t row = is_a ? row0 + line(i) : column0 + line(i) - S::kRows;
      const float* from = (is_a ? a + row * g.a_stride : b + row * g.b_stride) + k + four() * 4;
      values_[i] = n > 0 && row < (is_a ? g.m : g.n) ? load_four(from, n) : Four{};
    }
  }
  HRSAM_DEVICE void write(float* to) const {
#pragma unroll
    for (int i = 0; i < S::kCarried; ++i)
      *reinterpret_cast<float4*>(to + place(line(i)) + four() * 4) =
          make_float4(values_[i].x[0], values_[i].x[1], values_[i].x[2], values_[i].x[3]);
  }
  // Where a line of A or, after those, of B lies: B's even ones first, since a thread reads a pair.
  HRSAM_DEVICE static int place(int line) {
    const int column = line - S::kRows;
    return S::kLine * (column < 0 ? line : S::kRows + column / 2 + column % 2 * (S::kColumns / 2));
  }

 private:
  static constexpr int kLinesAtOnce = S::kThreads / S::kFours;
  HRSAM_DEVICE static int line(int i) {
    return static_cast<int>(threadIdx.x) / S::kFours + i * kLinesAtOnce;
  }
  HRSAM_DEVICE static int four() { return static_cast<int>(threadIdx.x) % S::kFours; }
  Four values_[S::kCarried];
};

__global__ void __launch_bounds__(FewShape::kThreads)
    gemm_few_kernel(const __grid_constant__ Gemm g) {
  wait_for_earlier_kernels();
  using S = FewShape;
  auto* shared = static_cast<float*>(shared_memory());
  const Tile tile =
      tile_of(blockIdx.x, tiles_across(g.m, S::kRows), tiles_across(g.n, S::kColumns));
  const int64_t row0 = tile.row * S::kRows, column0 = tile.column * S::kColumns;
  const float* a = static_cast<const float*>(g.a) + blockIdx.y * g.a_batch;
  const float* b = static_cast<const float*>(g.b) + blockIdx.y * g.b_batch;
  constexpr int kPairs = S::kColumns / 2;
  const int row = static_cast<int>(threadIdx.x) / kPairs,
            pair = static_cast<int>(threadIdx.x) % kPairs;

  FewCarried carried;
  carried.read(a, b, g, row0, column0, 0);
  float sums[2] = {};
  for (int64_t k = 0; k < g.k; k += S::kDepth) {
    float* buffer = shared + k / S::kDepth % 2 * S::kLines * S::kLine;
    carried.write(buffer);
    __syncthreads();  // the other buffer was read before the barrier of the step before
    if (k + S::kDepth < g.k) carried.read(a, b, g, row0, column0, k + S::kDepth);
    const auto line = [&](int which) {
      return reinterpret_cast<const float4*>(buffer + FewCarried::place(which));
    };
    const float4 *left = line(row), *first = line(S::kRows + 2 * pair),
                 *second = line(S::kRows + 2 * pair + 1);
    const int fours = static_cast<int>(divide_up(smaller(S::kDepth, g.k - k), 4));
#pragma unroll 4
    for (int i = 0; i < fours; ++i) {
      const float4 x = left[i], y = first[i], z = second[i];
      sums[0] = fmaf(x.x, y.x, sums[0]);
      sums[1] = fmaf(x.x, z.x, sums[1]);
      sums[0] = fmaf(x.y, y.y, sums[0]);
      sums[1] = fmaf(x.y, z.y, sums[1]);
      sums[0] = fmaf(x.z, y.z, sums[0]);
      sums[1] = fmaf(x.z, z.z, sums[1]);
      sums[0] = fmaf(x.w, y.w, sums[0]);
      sums[1] = fmaf(x.w, z.w, sums[1]);
    }
  }

  struct Sums {
    static constexpr bool branches() { return true; }
    float (&of)[2];
    int64_t first_row, first_column;
    HRSAM_DEVICE int64_t row(int) const { return first_row; }
    HRSAM_DEVICE int offset(int) const { return 0; }
    HRSAM_DEVICE float& at(int, int, int k) const { return of[k]; }
  } finished{sums, row0 + row, column0 + 2 * pair};
  finish_sums<1, 1>(g.epilogue, g.m, g.n, blockIdx.y * g.m * g.n, finished);
}

}  // namespace hrsam::cuda
