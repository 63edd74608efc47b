// Checks of a plan's shapes. The graph layer has made them already, with better words: these keep a
// wrong plan from reading or writing elsewhere.
#pragma once

#include "op.h"

namespace HRSAM_OPS {

inline bool is_float(const Value& value) {
  return value.dtype == DType::f32 || value.dtype == DType::bf16;
}

inline bool same_shape(const Value& a, const Value& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; ++i)
    if (a.dims[i] != b.dims[i]) return false;
  return true;
}

inline bool has_shape(const Value& value, int rank, const int64_t* dims) {
  if (value.rank != rank) return false;
  for (int i = 0; i < rank; ++i)
    if (value.dims[i] != dims[i]) return false;
  return true;
}
template <int rank>
bool has_shape(const Value& value, const int64_t (&dims)[rank]) {
  return has_shape(value, rank, dims);
}

inline void expect(const Node& node, bool good, const char* what) {
  if (!good) node.fail("ERR_SHAPE", "%s", what);
}
inline void expect_floats(const Node& node, const Value& value, const char* name) {
  if (!is_float(value)) node.fail("ERR_SHAPE", "%s: expected f32 or bf16", name);
}
inline void expect_f32(const Node& node, const Value& value, const char* name) {
  if (value.dtype != DType::f32) node.fail("ERR_SHAPE", "%s: expected f32", name);
}
// As many as LayerNorm takes.
inline void expect_channels(const Node& node, const Value& x) {
  expect(node, x.rank >= 1 && x.dim(-1) > 0 && x.dim(-1) < (1 << 24),
         "x: no channels, or too many");
}
inline void expect_rank(const Node& node, const Value& value, const char* name, int rank) {
  if (value.rank != rank)
    node.fail("ERR_SHAPE", "%s: expected %d dimensions, got %d", name, rank, value.rank);
}

// Exactly `count` integers from 0 to 2^31 (sizes, orders).
inline void integers(const Node& node, const char* attribute, int count, int64_t* values) {
  int given = 0;
  const double* list = node.list(attribute, &given);
  if (given != count)
    node.fail("ERR_ARGUMENT", "%s: expected %d numbers, got %d", attribute, count, given);
  for (int i = 0; i < count; ++i) {
    if (!(list[i] >= 0 && list[i] <= 2147483648.0) ||
        list[i] != static_cast<double>(static_cast<int64_t>(list[i])))
      node.fail("ERR_ARGUMENT", "%s: expected whole numbers from 0, got %g", attribute, list[i]);
    values[i] = static_cast<int64_t>(list[i]);
  }
}

}  // namespace HRSAM_OPS
