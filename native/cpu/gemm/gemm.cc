// The bound is the multiply-add units: at 8 x 48 a step of k keeps them busy for 12 cycles and asks
// the caches for 192 bytes of W and 32 of A. So:
//
//   task      rows of A, a block of k of them resident in the second-level cache, by W or a part
//             of it, which streams through
//   panel     of W, a chunk of k deep (tiling.h): in the first level for all of the task's rows
//   kRows     (of a tile) rows of A, where they are or prepared: by the time the next panel wants
//             them they have left the first level, but the hardware streams them back unseen
//   tile      of sums, finished (epilogue.h) after its last chunk of k: at once, or by the vector
//             units while matrix tiles compute the next one
//
// What was tried and what it gave is in bench/NOTES.md.
#include "gemm.h"

#include "epilogue.h"
#include "rows.h"
#include "tiling.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// Of a task: rows of A, bytes of them at a time, bytes of sums where these wait for the next ones.
template <class T>
constexpr int64_t kLeastRows = 128 / Tile<T>::kRows * Tile<T>::kRows;
constexpr int64_t kMostRows = 256, kTurnedRows = 64;
constexpr int64_t kRowsBytes = 256 << 10;  // between these
// Processors without AVX-512 have 256 or 512 KiB of second-level cache, others 1 MiB and more.
constexpr int64_t kBlockBytes = (kMicroVectors * kWidth > 32 ? 640 : 256) << 10;
constexpr int64_t kSumsBytes = 512 << 10;

constexpr int64_t kTasks = 4;               // a thread's; where rows give fewer, n is cut …
constexpr int64_t kTaskProducts = 1 << 19;  // … but not below these multiply-adds: a few us

struct Range {
  int64_t begin, end;
};

// Asks for the lines that a tile's epilogue is going to touch, while its sums are computed.
HRSAM_INLINE void ask_for(const void* base, DType type, int64_t stride, int64_t row, int64_t rows,
                          int64_t column, int64_t columns) {
  const int64_t bytes = dtype_bytes(type);
  const char* line = static_cast<const char*>(base) + (row * stride + column) * bytes;
  for (int64_t i = 0; i < rows; ++i, line += stride * bytes)
    for (int64_t j = 0; j < columns * bytes; j += 64) __builtin_prefetch(line + j);
}

// Matrix tiles of bf16 are done before the lines are there.
template <class T>
constexpr bool kAsks = !kMatrixTiles<T> || sizeof(T) != sizeof(bf16);

template <class T>
int64_t task_rows(const Gemm& call, int threads) {
  const int64_t fitting = kRowsBytes / larger(1, call.k * static_cast<int64_t>(sizeof(T)));
  int64_t rows = kLeastRows<T>;
  if (kMatrixTiles<T>)
    rows = larger(rows, smaller(kMostRows, fitting / Tile<T>::kRows * Tile<T>::kRows));
  // To turn them again for another part of W costs more than to have fewer of them.
  if (call.a_turned) rows = larger(kTurnedRows, smaller(rows, divide_up(call.m, kTasks * threads)));
  return rows;
}

// What is done beside a matrix tile's steps: finishing the tile before it, and asking for the part
// of W that comes next.
class Beside {
 public:
  Beside(const Gemm& call, FinishTile finish) : call_(call), finish_(finish) {}

  // Of the next tile.
  void plan(int64_t steps, const char* wanted, int64_t lines) {
    rows_a_step_ = divide_up(rows_, steps);
    wanted_ = wanted;
    lines_a_step_ = divide_up(lines, steps);
  }

  void finish_later(const float* tile, int64_t stride, int64_t row, int64_t rows, int64_t column,
                    int64_t columns) {
    tile_ = tile;
    stride_ = stride;
    row_ = row;
    rows_ = rows;
    column_ = column;
    columns_ = columns;
  }

  void step() {
    for (int64_t i = 0; i < lines_a_step_; ++i, wanted_ += 64) __builtin_prefetch(wanted_, 0, 2);
    if (rows_ > 0) finish(smaller(rows_, rows_a_step_));
  }
  void rest() {
    if (rows_ > 0) finish(rows_);
  }

 private:
  void finish(int64_t rows) {
    finish_(call_, tile_, stride_, row_, rows, column_, columns_);
    tile_ += rows * stride_;
    row_ += rows;
    rows_ -= rows;
  }

  const Gemm& call_;
  FinishTile finish_;
  const float* tile_ = nullptr;
  int64_t stride_ = 0, row_ = 0, rows_ = 0, column_ = 0, columns_ = 0;
  int64_t rows_a_step_ = 0, lines_a_step_ = 0;
  const char* wanted_ = nullptr;
};

// T: Full or Half (micro_kernel.h).
template <class T>
class Product {
 public:
  Product(const Gemm& call, int threads)
      : call_(call), packing_(packing_of<T>(call.n, call.k)), finish_(finish_for(call)) {
    row_groups_ = divide_up(call.m, kRows);
    row_parts_ = divide_up(call.m, task_rows<T>(call, threads));
    const int64_t groups = divide_up(row_groups_, row_parts_);
    const int64_t depth = call.a_turned ? turned_depth<T>(packing_.depth) : packing_.depth;
    const int64_t chunk_bytes = groups * kRows * depth * static_cast<int64_t>(sizeof(T));
    block_ = smaller(packing_.chunks, larger(1, kBlockBytes / larger(1, chunk_bytes)));
    const int64_t sums = groups * packing_.vectors * kRows * kWidth * 4;
    panel_parts_ = block_ < packing_.chunks ? divide_up(sums, kSumsBytes) : 1;
    const int64_t products = groups * kRows * call.k * packing_.vectors * kWidth;
    const int64_t wanted =
        smaller(divide_up(kTasks * threads, row_parts_), divide_up(products, kTaskProducts));
    panel_parts_ = smaller(packing_.panels, larger(panel_parts_, wanted));
    // Sums wait between chunks of k, those of all panels between blocks of them.
    const int64_t waiting = block_ < packing_.chunks ? divide_up(packing_.panels, panel_parts_) : 1;
    tile_floats_ = (packing_.chunks > 1 ? groups * waiting : 1) * kTileFloats;
    prepares_ = kMatrixTiles<T> || call.a_turned || copies_rows<T>(call.a_type, call.k);
    chunk_floats_ = prepares_ ? chunk_bytes / 4 : 0;
  }

  size_t scratch_bytes() const {
    return static_cast<size_t>(tile_floats_ + block_ * chunk_floats_) * sizeof(float);
  }

  void run(Pool& pool) const {
    pool.reserve(scratch_bytes());
    pool.each(row_parts_ * panel_parts_,
              [&](int64_t task, int thread) { run_task(task, pool.scratch(thread)); });
  }

  void run(void* scratch) const {
    for (int64_t task = 0; task < row_parts_ * panel_parts_; ++task) run_task(task, scratch);
  }

 private:
  static constexpr int64_t kRows = Tile<T>::kRows;
  static constexpr int64_t kTileFloats = kRows * Tile<T>::kVectors * kWidth;

  void run_task(int64_t task, void* scratch) const {
    const MultiplyScope<T> scope;
    const int64_t i = task % row_parts_, j = task / row_parts_;
    const Range rows{cut(row_groups_, row_parts_, i) * kRows,
                     smaller(call_.m, cut(row_groups_, row_parts_, i + 1) * kRows)};
    const Range panels{cut(packing_.panels, panel_parts_, j),
                       cut(packing_.panels, panel_parts_, j + 1)};
    Beside beside(call_, finish_);
    for (int64_t chunk = 0; chunk < packing_.chunks; chunk += block_)
      multiply(rows, panels, {chunk, smaller(packing_.chunks, chunk + block_)},
               static_cast<float*>(scratch), beside);
    beside.rest();
    end_streams();
  }

  int64_t depth_of(int64_t chunk) const {
    return smaller(packing_.depth, call_.k - chunk * packing_.depth);
  }

  // A chunk of rows as the kernel reads them. Prepares it, if that is needed and it is not `ready`.
  Rows<T> rows_of(Range rows, int64_t chunk, float* prepared, bool ready) const {
    const int64_t depth = depth_of(chunk), k = chunk * packing_.depth;
    const int64_t first = call_.a_turned ? k * call_.m + rows.begin : rows.begin * call_.k + k;
    if constexpr (!kMatrixTiles<T>)
      if (!prepares_) return {static_cast<const T*>(call_.a) + first, call_.k};
    T* to = reinterpret_cast<T*>(prepared);
    const int64_t count = rows.end - rows.begin;
    if (!ready && call_.a_type == DType::f32)
      prepare(static_cast<const float*>(call_.a) + first, count, depth, to);
    else if (!ready)
      prepare(static_cast<const bf16*>(call_.a) + first, count, depth, to);
    return {to, prepared_stride<T>(depth, call_.a_turned)};
  }

  template <class From>
  void prepare(const From* from, int64_t rows, int64_t depth, T* to) const {
    if constexpr (kPrepares<From, T>) {
      if (call_.a_turned)
        turn_rows(from, call_.m, rows, depth, to);
      else
        pack_rows(from, call_.k, rows, depth, to);
    }
  }

  void multiply(Range rows, Range panels, Range chunks, float* sums, Beside& beside) const {
    const int64_t groups = divide_up(rows.end - rows.begin, kRows);
    float* prepared = sums + tile_floats_;
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const int64_t first = cut(packing_.vectors, packing_.panels, panel);
      const int64_t vectors = cut(packing_.vectors, packing_.panels, panel + 1) - first;
      const int64_t column = first * kWidth, width = vectors * kWidth;
      const int64_t columns = smaller(width, call_.n - column);
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const Rows<T> a = rows_of(rows, chunk, prepared + (chunk - chunks.begin) * chunk_floats_,
                                  panel > panels.begin);
        const int64_t depth = depth_of(chunk);
        const int64_t steps = divide_up(depth, Tile<T>::kDepth);
        const bool last = chunk + 1 == packing_.chunks;
        const float* w =
            static_cast<const float*>(call_.packed) + panel_offset(packing_, call_.k, chunk, panel);
        const char* wanted = reinterpret_cast<const char*>(w) + width * steps * 64 * packing_.parts;
        const int64_t lines = divide_up(width * steps * packing_.parts, groups);
        float* tile = sums;
        if (packing_.chunks > block_) tile += (panel - panels.begin) * groups * kTileFloats;
        for (int64_t row = rows.begin; row < rows.end; row += kRows) {
          const int64_t count = smaller(kRows, rows.end - row);
          const T* left = a.begin + (row - rows.begin) * a.stride;
          if (last && kAsks<T>) ask_for_out(row, count, column, columns);
          if constexpr (kMatrixTiles<T>) {
            beside.plan(steps, wanted, lines);
            wanted += lines * 64;
            multiply_tile(count, vectors, left, a.stride, w, depth, tile, chunk > 0, beside);
            if (last) beside.finish_later(tile, width, row, count, column, columns);
          } else {
            multiply_tile(count, vectors, left, a.stride, w, depth, tile, chunk > 0);
            if (last) finish_(call_, tile, width, row, count, column, columns);
          }
          if (packing_.chunks > 1) tile += kTileFloats;
        }
      }
    }
  }

  void ask_for_out(int64_t row, int64_t rows, int64_t column, int64_t columns) const {
    if (streams(call_)) return;
    ask_for(call_.out, call_.out_type, call_.n, row, rows, column, columns);
    if (call_.residual != nullptr)
      ask_for(call_.residual, call_.residual_type, call_.n, row % call_.residual_rows, rows, column,
              columns);
  }

  const Gemm& call_;
  Packing packing_;
  FinishTile finish_;
  bool prepares_;  // rows of A; others are read where they are
  int64_t row_groups_, row_parts_, panel_parts_;
  int64_t block_;                       // chunks of k
  int64_t tile_floats_, chunk_floats_;  // of sums, and of a chunk of prepared rows
};

}  // namespace

size_t gemm_scratch_bytes(const Gemm& call, int threads) {
  return call.a_type == DType::f32 ? Product<Full>(call, threads).scratch_bytes()
                                   : Product<Half>(call, threads).scratch_bytes();
}

void gemm(Pool& pool, const Gemm& call) {
  if (call.m == 0 || call.n == 0) return;
  if (call.a_type == DType::f32)
    Product<Full>(call, pool.threads()).run(pool);
  else
    Product<Half>(call, pool.threads()).run(pool);
}

void gemm(void* scratch, const Gemm& call) {
  if (call.m == 0 || call.n == 0) return;
  if (call.a_type == DType::f32)
    Product<Full>(call, 1).run(scratch);
  else
    Product<Half>(call, 1).run(scratch);
}

}  // namespace hrsam::cpu::HRSAM_ISA
