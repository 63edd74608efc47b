// Parts of a value along one axis: shapes of slice, pad and concat, in elements.
#pragma once

#include <stdio.h>

#include "expect.h"

namespace HRSAM_OPS {

// Elements along the axes before `axis`, and along those after it.
struct AroundAxis {
  int64_t outer = 1, inner = 1;
  AroundAxis(const Value& value, int64_t axis) {
    for (int i = 0; i < value.rank; ++i) {
      if (i < axis) outer *= value.dims[i];
      if (i > axis) inner *= value.dims[i];
    }
  }
};

// `outer` runs of `run` elements, taken `start` elements into runs of x_run.
struct SliceShape {
  int64_t outer, start, run, x_run;
};

inline SliceShape read_slice(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  const int64_t axis = node.integer("axis");
  const int64_t start = node.integer("start"), end = node.integer("end");
  expect(node, axis >= 0 && axis < x.rank, "axis: not one of x's");
  expect(node, 0 <= start && start <= end && end <= x.dims[axis], "start, end: outside x");
  Value expected = x;
  expected.dims[axis] = end - start;
  expect(node, same_shape(result, expected) && result.dtype == x.dtype,
         "the result's shape or type is not the slice's");
  const AroundAxis around(x, axis);
  return {around.outer, start * around.inner, (end - start) * around.inner,
          x.dims[axis] * around.inner};
}

// `outer` runs of `run` elements, put `before` elements into runs of result_run.
struct PadShape {
  int64_t outer, before, run, result_run;
};

inline PadShape read_pad(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  const int64_t axis = node.integer("axis"), start = node.integer("start");
  const int64_t size = node.integer("size");
  expect(node, axis >= 0 && axis < x.rank, "axis: not one of x's");
  expect(node, start >= 0 && start <= size && x.dims[axis] <= size - start,
         "x: does not fit into the size from start on");
  Value expected = x;
  expected.dims[axis] = size;
  expect(node, result.dtype == x.dtype && same_shape(result, expected),
         "the result's shape is not x's with the new size");
  const AroundAxis around(x, axis);
  return {around.outer, start * around.inner, x.dims[axis] * around.inner, size * around.inner};
}

// One operand of concat: `outer` runs of `run` elements, put `offset` elements into runs of
// result_run.
struct JoinedPart {
  int operand;
  int64_t outer, run, offset, result_run;
};

// f(part) for x0, x1, …, all of them checked before the last call.
template <class F>
void each_part(const Node& node, F&& f) {
  const Value& result = node.result();
  const int64_t axis = node.integer("axis");
  expect(node, axis >= 0 && axis < result.rank, "axis: not one of the result's");
  const AroundAxis around(result, axis);
  int64_t length = 0;
  for (int i = 0;; ++i) {
    char name[16];
    snprintf(name, sizeof(name), "x%d", i);
    if (!node.has(name)) break;
    const Value& x = node.value(name);
    Value expected = result;
    if (x.rank == result.rank) expected.dims[axis] = x.dims[axis];
    if (x.dtype != result.dtype || !same_shape(x, expected))
      node.fail("ERR_SHAPE", "%s: its type or a side other than axis %d differs from the result's",
                name, static_cast<int>(axis));
    expect(node, x.dims[axis] <= result.dims[axis] - length, "the parts do not fit the result");
    f(JoinedPart{node.operand(name), around.outer, x.dims[axis] * around.inner,
                 length * around.inner, result.dims[axis] * around.inner});
    length += x.dims[axis];
  }
  expect(node, length == result.dims[axis], "the parts do not add up to the result");
}

}  // namespace HRSAM_OPS
