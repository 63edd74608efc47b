// The axes of x in another order. Where the last axis changes, tiles go through shared memory, so
// that rows of x and of the result are both read and written in runs. Bound by memory.
#include "../plan/forward_checks.h"
#include "../plan/order.h"
#include "core/kernel.h"
#include "core/strided_copy.h"

namespace hrsam::cuda {

namespace {

constexpr int kTile = 32;
constexpr int kRows = 8;  // of threads

// Planes of i_count x j_count, i contiguous in the result, j in x.
struct Planes {
  int64_t i_count, j_count, x_stride, y_stride;  // of i in x, of j in y
  int count;                                     // further axes
  CopyAxis axis[8];
};

// A block owns one tile of one plane.
template <class Unit>
__global__ void __launch_bounds__(kTile* kRows)
    transpose_kernel(const Unit* x, Unit* y, const __grid_constant__ Planes p) {
  wait_for_earlier_kernels();
  auto* tile = static_cast<Unit*>(shared_memory());  // [kTile][kTile + 1]
  const int64_t i_tiles = divide_up(p.i_count, kTile);
  const int64_t i0 = blockIdx.x % i_tiles * kTile, j0 = blockIdx.x / i_tiles * kTile;
  const int column = static_cast<int>(threadIdx.x % kTile);
  const int row = static_cast<int>(threadIdx.x / kTile);
  for (int64_t plane = blockIdx.y;; plane += gridDim.y) {
    int64_t rest = plane, from = 0, to = 0;
    for (int k = 0; k < p.count; ++k) {
      const int64_t at = rest % p.axis[k].size;
      from += at * p.axis[k].from;
      to += at * p.axis[k].to;
      rest /= p.axis[k].size;
    }
    if (rest > 0) return;
    for (int r = row; r < kTile; r += kRows)
      if (i0 + r < p.i_count && j0 + column < p.j_count)
        tile[r * (kTile + 1) + column] = x[from + (i0 + r) * p.x_stride + j0 + column];
    __syncthreads();
    for (int r = row; r < kTile; r += kRows)
      if (j0 + r < p.j_count && i0 + column < p.i_count)
        y[to + (j0 + r) * p.y_stride + i0 + column] = tile[column * (kTile + 1) + r];
    __syncthreads();
  }
}

template <class Unit>
void transpose(cudaStream_t stream, const void* x, void* y, const Planes& p) {
  int64_t planes = 1;
  for (int k = 0; k < p.count; ++k) planes *= p.axis[k].size;
  const auto tiles =
      static_cast<unsigned>(divide_up(p.i_count, kTile) * divide_up(p.j_count, kTile));
  launch({dim3(tiles, static_cast<unsigned>(smaller(planes, 65535))), dim3(kTile * kRows),
          sizeof(Unit) * kTile * (kTile + 1), stream},
         transpose_kernel<Unit>, static_cast<const Unit*>(x), static_cast<Unit*>(y), p);
}

}  // namespace

Op* compile_permute(const Node& node, Compiler&) {
  int64_t order[HRSAM_MAX_RANK];
  read_permute(node, order);
  const Value& value = node.value("x");
  int64_t strides[HRSAM_MAX_RANK], stride = 1;
  for (int i = value.rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= value.dims[i];
  }
  CopyAxes axes;
  stride = 1;
  for (int i = value.rank - 1; i >= 0; --i) {  // the result's axes from the last to the first
    axes.push(value.dims[order[i]], strides[order[i]], stride);
    stride *= value.dims[order[i]];
  }
  const int x = node.operand("x");
  const int64_t bytes = dtype_bytes(value.dtype);
  Planes p{};
  int j = 0;  // x's last axis
  for (int k = 1; k < axes.count; ++k)
    if (axes.axis[k].from == 1 && axes.axis[k].size > 1) j = k;
  if (j == 0 || value.elements() == 0)
    return make_op(
        [=](const Run& run) { strided_copy(run.stream, run.in(x), run.out(), axes, bytes); });
  p.i_count = axes.axis[0].size;
  p.x_stride = axes.axis[0].from;
  p.j_count = axes.axis[j].size;
  p.y_stride = axes.axis[j].to;
  for (int k = 1; k < axes.count; ++k)
    if (k != j) p.axis[p.count++] = axes.axis[k];
  return make_op([=](const Run& run) {
    if (bytes == 4)
      transpose<uint32_t>(run.stream, run.in(x), run.out(), p);
    else if (bytes == 2)
      transpose<uint16_t>(run.stream, run.in(x), run.out(), p);
    else
      transpose<uint8_t>(run.stream, run.in(x), run.out(), p);
  });
}

}  // namespace hrsam::cuda
