// One item repeated over the leading axis.
#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Expand : public Op {
 public:
  Expand(int x, int64_t batch, int64_t bytes) : x_(x), batch_(batch), bytes_(bytes) {}

  void run(const Run& run) const override {
    copy_runs(run.pool, {batch_, bytes_, run.in<char>(x_), 0, run.out<char>(), bytes_});
  }

 private:
  int x_;
  int64_t batch_, bytes_;
};

}  // namespace

Op* compile_expand(const Node& node, Compiler&) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  Value expected = x;
  if (x.rank > 0) expected.dims[0] = node.integer("batch");
  expect(node,
         x.rank > 0 && x.dims[0] == 1 && x.dtype == result.dtype && same_shape(expected, result),
         "x (1, ...) to (batch, ...)");
  return new Expand(node.operand("x"), result.dims[0], x.bytes());
}

}  // namespace hrsam::cpu::HRSAM_ISA
