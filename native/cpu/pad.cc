// x from some position on along an axis, zeros around it.
#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Pad : public Op {
 public:
  Pad(int x, int64_t runs, int64_t before, int64_t bytes, int64_t total)
      : x_(x), runs_(runs), before_(before), bytes_(bytes), total_(total) {}

  void run(const Run& run) const override {
    const char* x = run.in<char>(x_);
    char* out = run.out<char>();
    each_piece(run.pool, runs_, total_, 1, [&](int64_t i, int64_t begin, int64_t end) {
      // The piece [begin, end) of a run: zeros up to `first`, x up to `last`, zeros.
      const int64_t first = larger(begin, smaller(end, before_));
      const int64_t last = larger(first, smaller(end, before_ + bytes_));
      char* to = out + i * total_;
      memset(to + begin, 0, static_cast<size_t>(first - begin));
      if (last > first)
        memcpy(to + first, x + i * bytes_ + first - before_, static_cast<size_t>(last - first));
      memset(to + last, 0, static_cast<size_t>(end - last));
    });
  }

 private:
  int x_;
  int64_t runs_;
  int64_t before_, bytes_, total_;  // of a run of the result: zeros, x, all
};

}  // namespace

Op* compile_pad(const Node& node, Compiler&) {
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
  int64_t runs = 1, inner = dtype_bytes(x.dtype);
  for (int i = 0; i < axis; ++i) runs *= x.dims[i];
  for (int i = static_cast<int>(axis) + 1; i < x.rank; ++i) inner *= x.dims[i];
  return new Pad(node.operand("x"), runs, start * inner, x.dims[axis] * inner, size * inner);
}

}  // namespace hrsam::cpu::HRSAM_ISA
