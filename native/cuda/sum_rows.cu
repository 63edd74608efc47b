// The sum of all rows. Bound by memory.
#include "../plan/gradient_checks.h"
#include "column_sums.h"

namespace hrsam::cuda {

namespace {

struct Rows {
  Numbers x;
  float* out;
  int64_t columns;
  HRSAM_DEVICE float at(int64_t row, int64_t column) const { return x.at(row * columns + column); }
  HRSAM_DEVICE void put(int64_t column, float sum) const { out[column] = sum; }
};

}  // namespace

Op* compile_sum_rows(const Node& node, Compiler&) {
  check_sum_rows(node);
  const Value& value = node.value("x");
  const int64_t rows = value.dim(0), columns = value.dim(1);
  return make_op(sum_workspace(rows, columns),
                 [=, x = node.operand("x"), type = value.dtype](const Run& run) {
                   sum_columns(run.stream, rows, columns, run.workspace,
                               Rows{numbers_of(run.in(x), type), run.out<float>(), columns});
                 });
}

}  // namespace hrsam::cuda
