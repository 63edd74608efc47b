// The bound is the multiply-add units: at 8 x 48 a step of k keeps them busy for 12 cycles and asks
// the caches for 192 bytes of W and 32 of A. So:
//
//   task      kTaskRows rows of A and kTaskWeights of W, both resident in the second-level cache
//   panel     of W, a chunk of k deep (tiling.h): in the first level for all of the task's rows
//   kRows     (of a tile) rows of A, read in place: by the time the next panel wants them they have
//             left the first level, but the hardware streams them back unseen
//   tile      of sums, finished (epilogue.h) right after its last chunk of k
//
// What was tried and what it gave is in bench/NOTES.md.
#include "gemm.h"

#include "epilogue.h"
#include "steps.h"
#include "tiling.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

template <class T>
constexpr int64_t kTaskRows = 128 / Tile<T>::kRows * Tile<T>::kRows;
template <class T>
constexpr int64_t kTaskWeights = (sizeof(T) > 4 ? 1280 : 768) * 1024 / sizeof(float);
constexpr int64_t kSetBytes = 4096;  // lines so far apart meet in one set of the first-level cache
constexpr int64_t kTasks = 64;       // where few rows give less, n is cut finer …
constexpr int64_t kTaskProducts = 1 << 19;  // … but not below these multiply-adds: a few us

struct Range {
  int64_t begin, end;
};

// The grid of tasks.
struct Grid {
  int64_t row_groups;  // of kRows
  int64_t row_parts, panel_parts;
};

template <class T>
Grid grid_of(const Gemm& call, const Packing& p) {
  Grid grid;
  grid.row_groups = divide_up(call.m, Tile<T>::kRows);
  grid.row_parts = divide_up(call.m, kTaskRows<T>);
  const int64_t weights = panel_offset(p, call.k, 0, p.panels);
  grid.panel_parts = divide_up(weights, kTaskWeights<T>);
  const int64_t products = smaller(call.m, kTaskRows<T>) * call.k * p.vectors * kWidth;
  const int64_t wanted =
      smaller(divide_up(kTasks, grid.row_parts), divide_up(products, kTaskProducts));
  grid.panel_parts = smaller(p.panels, larger(grid.panel_parts, wanted));
  return grid;
}

// Asks for the lines that a tile's epilogue is going to touch, while its sums are computed.
HRSAM_INLINE void prefetch(const void* base, DType type, int64_t stride, int64_t row, int64_t rows,
                           int64_t column, int64_t columns) {
  const int64_t bytes = dtype_bytes(type);
  const char* line = static_cast<const char*>(base) + (row * stride + column) * bytes;
  for (int64_t i = 0; i < rows; ++i, line += stride * bytes)
    for (int64_t j = 0; j < columns * bytes; j += 64) __builtin_prefetch(line + j);
}

// A chunk of a task's rows, dense: for bf16 without its instructions, which is widened, and for
// rows whose beginnings fall into one set of the first-level cache, where few of them have room.
template <class From>
void copy_rows(const From* from, int64_t lda, int64_t rows, int64_t depth, float* to) {
  for (int64_t row = 0; row < rows; ++row, from += lda, to += depth) {
    int64_t i = 0;
    for (; i + kWidth <= depth; i += kWidth) store(to + i, load(from + i));
    const int rest = static_cast<int>(depth - i);
    if (rest > 0) store_n(to + i, load_n(from + i, rest), rest);
  }
}

#if defined(HRSAM_ISA_amx)
// Tiles take rows of A that lie a step after the other (micro_kernel.h). Loading them where A's
// rows are is as fast, but a last step must not read past them.
template <class T>
constexpr bool kPacksRows = sizeof(T) != sizeof(float);

void pack_rows(const bf16* from, int64_t lda, int64_t rows, int64_t depth, bf16* to) {
  constexpr int64_t kGroup = 2 * kTileRows;
  const int64_t padded = divide_up(depth, kTileDepth) * kTileDepth;
  for (int64_t row = 0; row < divide_up(rows, kGroup) * kGroup; ++row, from += lda) {
    bf16* at = to + row / kGroup * kGroup * padded + row % kGroup * kTileDepth;
    for (int64_t k = 0; k < padded; k += kTileDepth, at += kGroup * kTileDepth) {
      const int64_t count = row < rows ? smaller(kTileDepth, depth - k) : 0;
      const auto lanes = static_cast<__mmask32>((uint64_t{1} << count) - 1);
      _mm512_store_si512(at, _mm512_maskz_loadu_epi16(lanes, from + k));
    }
  }
}

// Cut off instead of rounded, parts hold all the bits as well, and a fraction of the operations is
// enough. The upper halves of two vectors' lanes, one after the other:
HRSAM_INLINE __m512i upper_halves(V first, V second) {
  alignas(64) static constexpr uint16_t kUpper[] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                    23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                    45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(_mm512_castps_si512(first), _mm512_load_si512(kUpper),
                                   _mm512_castps_si512(second));
}
HRSAM_INLINE V below_upper_half(V x) {
  return x - _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x),
                                                  _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

void pack_rows(const float* from, int64_t lda, int64_t rows, int64_t depth, Split* to) {
  constexpr int64_t kGroup = 2 * kTileRows;
  const int64_t padded = divide_up(depth, kTileDepth) * kTileDepth;
  for (int64_t row = 0; row < divide_up(rows, kGroup) * kGroup; ++row, from += lda) {
    bf16* at = to[row / kGroup * kGroup * padded].parts + row % kGroup * kTileDepth;
    for (int64_t k = 0; k < padded; k += kTileDepth, at += 3 * kLeftStep) {
      const int64_t left = row < rows ? larger(0, depth - k) : 0;
      V first = load_n(from + k, static_cast<int>(smaller(left, kWidth)));
      V second = left > kWidth
                     ? load_n(from + k + kWidth, static_cast<int>(smaller(left - kWidth, kWidth)))
                     : zero();
      for (int part = 0; part < 3; ++part) {
        _mm512_store_si512(at + part * kLeftStep, upper_halves(first, second));
        first = below_upper_half(first);
        second = below_upper_half(second);
      }
    }
  }
}
#else
template <class T>
constexpr bool kPacksRows = false;
#endif
// Done before lines that are asked for are there.
template <class T>
constexpr bool kShortTiles = kPacksRows<T> && sizeof(T) == sizeof(bf16);

// What an A multiplied as T is in memory.
template <class T>
struct Stored {
  using Type = T;
};
template <>
struct Stored<Full> {
  using Type = float;
};

// T: Full or Half (micro_kernel.h).
template <class T>
class Product {
 public:
  explicit Product(const Gemm& call)
      : call_(call),
        packing_(packing_of<T>(call.n, call.k)),
        grid_(grid_of<T>(call, packing_)),
        finish_(finish_for(call)),
        copies_(sizeof(T) == 4 && (call.a_type == DType::bf16 || call.k * 4 % kSetBytes == 0)) {
    const int64_t groups = divide_up(grid_.row_groups, grid_.row_parts);
    const int64_t panels = divide_up(packing_.panels, grid_.panel_parts);
    // Sums wait between chunks of k; where there is one chunk only, one tile will do.
    tile_floats_ = (packing_.chunks > 1 ? groups * panels : 1) * kTileFloats;
    if (copies_ || kPacksRows<T>)
      prepared_floats_ = groups * kRows * packing_.depth * static_cast<int64_t>(sizeof(T)) / 4;
  }

  void run(Pool& pool) const {
    pool.reserve(static_cast<size_t>(tile_floats_ + prepared_floats_) * sizeof(float));
    pool.each(grid_.row_parts * grid_.panel_parts, [&](int64_t task, int thread) {
      const MultiplyScope<T> scope;
      const int64_t i = task % grid_.row_parts, j = task / grid_.row_parts;
      const Range rows{cut(grid_.row_groups, grid_.row_parts, i) * kRows,
                       smaller(call_.m, cut(grid_.row_groups, grid_.row_parts, i + 1) * kRows)};
      const Range panels{cut(packing_.panels, grid_.panel_parts, j),
                         cut(packing_.panels, grid_.panel_parts, j + 1)};
      for (int64_t chunk = 0; chunk < packing_.chunks; ++chunk)
        multiply(rows, panels, chunk, static_cast<float*>(pool.scratch(thread)));
    });
  }

 private:
  static constexpr int64_t kRows = Tile<T>::kRows;
  static constexpr int64_t kTileFloats = kRows * Tile<T>::kVectors * kWidth;

  void multiply(Range rows, Range panels, int64_t chunk, float* tile) const {
    const int64_t k = chunk * packing_.depth, depth = smaller(packing_.depth, call_.k - k);
    const int64_t first_value = rows.begin * call_.k + k;
    const auto* stored = static_cast<const typename Stored<T>::Type*>(call_.a) + first_value;
    int64_t lda = call_.k;
    T* prepared = reinterpret_cast<T*>(tile + tile_floats_);
    const T* a = prepared;
    if constexpr (kPacksRows<T>) {
      pack_rows(stored, lda, rows.end - rows.begin, depth, prepared);
      lda = divide_up(depth, Tile<T>::kDepth) * Tile<T>::kDepth;
    } else if (copies_) {
      if constexpr (sizeof(T) == 4) {
        const int64_t count = rows.end - rows.begin;
        if (call_.a_type == DType::bf16)
          copy_rows(static_cast<const bf16*>(call_.a) + first_value, lda, count, depth, prepared);
        else
          copy_rows(stored, lda, count, depth, prepared);
        lda = depth;
      }
    } else {
      a = stored;
    }
    const bool last = chunk + 1 == packing_.chunks;
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const int64_t first = cut(packing_.vectors, packing_.panels, panel);
      const int64_t vectors = cut(packing_.vectors, packing_.panels, panel + 1) - first;
      const int64_t column = first * kWidth, width = vectors * kWidth;
      const int64_t columns = smaller(width, call_.n - column);
      const float* w =
          static_cast<const float*>(call_.packed) + panel_offset(packing_, call_.k, chunk, panel);
      for (int64_t row = rows.begin; row < rows.end; row += kRows) {
        const int64_t count = smaller(kRows, rows.end - row);
        if (last && !kShortTiles<T>) {
          prefetch(call_.out, call_.out_type, call_.n, row, count, column, columns);
          if (call_.residual != nullptr)
            prefetch(call_.residual, call_.residual_type, call_.n, row % call_.residual_rows, count,
                     column, columns);
        }
        multiply_tile(count, vectors, a + (row - rows.begin) * lda, lda, w, depth, tile, chunk > 0);
        if (last) finish_(call_, tile, width, row, count, column, columns);
        if (packing_.chunks > 1) tile += kTileFloats;
      }
    }
  }

  const Gemm& call_;
  Packing packing_;
  Grid grid_;
  FinishTile finish_;
  bool copies_;
  int64_t tile_floats_, prepared_floats_ = 0;
};

}  // namespace

void gemm(Pool& pool, const Gemm& call) {
  if (call.m == 0 || call.n == 0) return;
  if (call.a_type == DType::f32)
    Product<Full>(call).run(pool);
  else
    Product<Half>(call).run(pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA
