#pragma once

#include "expect.h"

namespace HRSAM_OPS {

// Which of x's axes each axis of permute's result is.
inline void read_permute(const Node& node, int64_t (&order)[HRSAM_MAX_RANK]) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  integers(node, "order", x.rank, order);
  bool seen[HRSAM_MAX_RANK] = {};
  Value expected = x;
  for (int i = 0; i < x.rank; ++i) {
    if (order[i] >= x.rank || seen[order[i]])
      node.fail("ERR_ARGUMENT", "order: not a permutation of the axes of x");
    seen[order[i]] = true;
    expected.dims[i] = x.dims[order[i]];
  }
  expect(node, same_shape(result, expected) && result.dtype == x.dtype,
         "the result's shape or type is not that of x in this order");
}

}  // namespace HRSAM_OPS
