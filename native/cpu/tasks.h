// How ops cut their work into tasks: by shape alone, so that results do not depend on the threads.
#pragma once

#include <string.h>

#include "../plan/integers.h"

namespace hrsam::cpu::HRSAM_ISA {

// Bytes a task should move: large against the cost of handing it out, small against the L2 cache.
constexpr int64_t kTaskBytes = 128 << 10;

// body(begin, end) for blocks of [0, count), each moving about kTaskBytes when an item moves
// item_bytes.
template <class F>
void each_block(Pool& pool, int64_t count, int64_t item_bytes, F&& body) {
  const int64_t grain = larger(1, kTaskBytes / larger(1, item_bytes));
  pool.each(divide_up(count, grain),
            [&](int64_t i, int) { body(i * grain, smaller(count, (i + 1) * grain)); });
}

// body(run, begin, end) for pieces [begin, end) that together are `runs` runs of `length` elements;
// a piece is a whole run unless that is longer than a task should be.
template <class F>
void each_piece(Pool& pool, int64_t runs, int64_t length, int64_t element_bytes, F&& body) {
  if (runs == 0 || length == 0) return;
  const int64_t piece = kTaskBytes / element_bytes;
  const int64_t pieces = divide_up(length, piece);  // of one run
  each_block(pool, runs * pieces, smaller(length, piece) * element_bytes,
             [&](int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i) {
                 const int64_t start = i % pieces * piece;
                 body(i / pieces, start, smaller(length, start + piece));
               }
             });
}

// `count` runs of `bytes`, whose starts are from_stride and to_stride bytes apart.
struct Runs {
  int64_t count, bytes;
  const char* from;
  int64_t from_stride;
  char* to;
  int64_t to_stride;
};

inline void copy_runs(Pool& pool, const Runs& runs) {
  each_piece(pool, runs.count, runs.bytes, 1, [&](int64_t run, int64_t begin, int64_t end) {
    memcpy(runs.to + run * runs.to_stride + begin, runs.from + run * runs.from_stride + begin,
           static_cast<size_t>(end - begin));
  });
}

// f(value of type T), T being the element type of a floating-point tensor.
template <class F>
void with_floats(DType dtype, F&& f) {
  if (dtype == DType::f32)
    f(float{});
  else
    f(bf16{});
}

}  // namespace hrsam::cpu::HRSAM_ISA
