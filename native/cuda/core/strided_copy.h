// Copies between arrays whose axes lie differently: what slices, joins, repetitions and
// permutations come down to. Bound by memory where the innermost runs are long.
#pragma once

#include "op.h"

namespace hrsam::cuda {

struct CopyAxis {
  int64_t size, from, to;  // strides in elements
};

// Axes from the innermost out.
struct CopyAxes {
  int count = 0;
  CopyAxis axis[8];

  // The next axis outwards; one that goes on where the last ends becomes part of it.
  void push(int64_t size, int64_t from, int64_t to) {
    if (size == 1 && count > 0) return;
    if (count > 0) {
      CopyAxis& last = axis[count - 1];
      if (last.size == 1) {
        last = {size, from, to};
        return;
      }
      if (from == last.from * last.size && to == last.to * last.size) {
        last.size *= size;
        return;
      }
    }
    axis[count++] = {size, from, to};
  }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < count; ++i) n *= axis[i].size;
    return n;
  }
};

// In the widest units that sizes, strides and addresses allow.
void strided_copy(cudaStream_t stream, const void* from, void* to, CopyAxes axes,
                  int64_t element_bytes);

}  // namespace hrsam::cuda
