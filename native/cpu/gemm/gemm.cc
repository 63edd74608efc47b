#include "gemm.h"

#include "epilogue.h"
#include "tiling.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kTileFloats = kRows * kVectors * kWidth;
#ifndef TASK_ROWS
#define TASK_ROWS 64
#define TASK_BYTES (512 * 1024)
#define PANEL_OUTER 1
#endif
constexpr int64_t kTaskRows = TASK_ROWS / kRows * kRows;
constexpr int64_t kTaskWeights = TASK_BYTES / sizeof(float);  // floats of packed W
constexpr int64_t kTaskProducts = 1 << 19;                    // not less, to be worth handing out

// The grid of tasks; in each, panels and rows.
struct Cut {
  int64_t row_parts;
  int64_t panel_parts;
};

Cut cut_of(const Gemm& call, const Packing& p) {
  Cut c;
  c.row_parts = divide_up(call.m, kTaskRows);
  const int64_t panel_floats = smaller(p.depth, call.k) / p.step * kVectors * kWidth;
  c.panel_parts = divide_up(p.panels * panel_floats, kTaskWeights);
  // Few rows: cut n finer, for the threads to share it.
  const int64_t panel_products = smaller(call.m, kTaskRows) * call.k * kVectors * kWidth;
  const int64_t fine = divide_up(p.panels * panel_products, kTaskProducts);
  constexpr int64_t kTasks = 16;
  if (c.row_parts * c.panel_parts < kTasks && fine > c.panel_parts)
    c.panel_parts = smaller(fine, divide_up(kTasks, c.row_parts));
  c.panel_parts = smaller(c.panel_parts, p.panels);
  return c;
}

struct Part {
  int64_t begin, end;
};

// Rows of A as the kernel reads them.
HRSAM_INLINE const float* rows_of(const Gemm& call, const float*, int64_t row, int64_t k) {
  return static_cast<const float*>(call.a) + row * call.lda + k;
}

// bf16 without its instructions: a task's rows are widened to f32 first.
[[maybe_unused]] void widen_rows(const Gemm& call, Part rows, int64_t k, int64_t depth, float* to) {
  for (int64_t row = rows.begin; row < rows.end; ++row, to += depth) {
    const bf16* from = static_cast<const bf16*>(call.a) + row * call.lda + k;
    int64_t i = 0;
    for (; i + kWidth <= depth; i += kWidth) store(to + i, load(from + i));
    if (i < depth)
      store_n(to + i, load_n(from + i, static_cast<int>(depth - i)), static_cast<int>(depth - i));
  }
}

template <class T>
void multiply(Pool& pool, const Gemm& call) {
  const Packing p = packing_of<T>(call.n, call.k);
  const Cut grid = cut_of(call, p);
  const bool widen = sizeof(T) == 4 && call.a_type == DType::bf16;
  const int64_t row_groups = divide_up(call.m, kRows);
  const int64_t max_rows = divide_up(row_groups, grid.row_parts) * kRows;
  const int64_t max_panels = divide_up(p.panels, grid.panel_parts);
  // Sums wait here between chunks of k; with one chunk a single tile is enough.
  const int64_t tile_floats =
      p.chunks == 1 ? kTileFloats : max_rows / kRows * max_panels * kTileFloats;
  const int64_t widened_floats = widen ? max_rows * p.depth : 0;
  pool.reserve(static_cast<size_t>(tile_floats + widened_floats) * sizeof(float));
  const FinishTile finish = finish_for(call);

  pool.each(grid.row_parts * grid.panel_parts, [&](int64_t task, int thread) {
    float* tiles = static_cast<float*>(pool.scratch(thread));
    const int64_t part = task % grid.row_parts, panels = task / grid.row_parts;
    const Part rows{cut(row_groups, grid.row_parts, part) * kRows,
                    smaller(call.m, cut(row_groups, grid.row_parts, part + 1) * kRows)};
    const Part range{cut(p.panels, grid.panel_parts, panels),
                     cut(p.panels, grid.panel_parts, panels + 1)};
    for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
      const int64_t k = chunk * p.depth, depth = smaller(p.depth, call.k - k);
      const T* a = static_cast<const T*>(call.a) + rows.begin * call.lda + k;
      int64_t lda = call.lda;
      if constexpr (sizeof(T) == 4) {
        if (widen) {
          widen_rows(call, rows, k, depth, tiles + tile_floats);
          a = tiles + tile_floats;
          lda = depth;
        }
      }
      float* tile = tiles;
      auto body = [&](int64_t panel, int64_t row) {
        const int64_t first = cut(p.vectors, p.panels, panel);
        const int64_t vectors = cut(p.vectors, p.panels, panel + 1) - first;
        const float* w =
            static_cast<const float*>(call.packed) + panel_offset(p, call.k, chunk, panel);
        const int64_t count = smaller(kRows, rows.end - row);
        kernel_for<T>(count, vectors)(a + (row - rows.begin) * lda, lda, w, depth, tile, chunk > 0);
        if (chunk + 1 == p.chunks)
          finish(call, tile, vectors * kWidth, row, count, first * kWidth,
                 smaller(vectors * kWidth, call.n - first * kWidth));
        if (p.chunks > 1) tile += kTileFloats;
      };
      if (PANEL_OUTER) {
        for (int64_t panel = range.begin; panel < range.end; ++panel)
          for (int64_t row = rows.begin; row < rows.end; row += kRows) body(panel, row);
      } else
        for (int64_t row = rows.begin; row < rows.end; row += kRows)
          for (int64_t panel = range.begin; panel < range.end; ++panel) body(panel, row);
    }
  });
}

}  // namespace

void gemm(Pool& pool, const Gemm& call) {
  if (call.m == 0 || call.n == 0) return;
  if (call.a_type == DType::f32)
    multiply<float>(pool, call);
  else
    multiply<Half>(pool, call);
}

}  // namespace hrsam::cpu::HRSAM_ISA
