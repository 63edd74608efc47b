// x[start:end] along one axis.
#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Slice : public Op {
 public:
  Slice(int x, int64_t outer, int64_t skip_bytes, int64_t bytes, int64_t run_bytes)
      : x_(x), outer_(outer), skip_bytes_(skip_bytes), bytes_(bytes), run_bytes_(run_bytes) {}

  void run(const Run& run) const override {
    copy_runs(run.pool, {outer_, bytes_, run.in<char>(x_) + skip_bytes_, run_bytes_,
                         run.out<char>(), bytes_});
  }

 private:
  int x_;
  int64_t outer_, skip_bytes_, bytes_, run_bytes_;
};

}  // namespace

Op* compile_slice(const Node& node, Compiler&) {
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
  int64_t outer = 1, inner_bytes = dtype_bytes(x.dtype);
  for (int i = 0; i < x.rank; ++i) {
    if (i < axis) outer *= x.dims[i];
    if (i > axis) inner_bytes *= x.dims[i];
  }
  return new Slice(node.operand("x"), outer, start * inner_bytes, (end - start) * inner_bytes,
                   x.dims[axis] * inner_bytes);
}

}  // namespace hrsam::cpu::HRSAM_ISA
