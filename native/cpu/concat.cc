// Operands x0, x1, … joined along one axis.
#include <stdio.h>

#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

struct Part {
  int operand;
  int64_t bytes;   // of one run: the axis and all that is inside it
  int64_t offset;  // in a run of the result
};

class Concat : public Op {
 public:
  Concat(Block parts, int count, int64_t outer, int64_t run_bytes)
      : parts_(static_cast<Block&&>(parts)), count_(count), outer_(outer), run_bytes_(run_bytes) {}

  void run(const Run& run) const override {
    for (const Part* part = parts_.as<Part>(); part < parts_.as<Part>() + count_; ++part) {
      const char* from = run.in<char>(part->operand);
      char* to = run.out<char>() + part->offset;
      if (from != to)  // or it was computed in its place
        copy_runs(run.pool, {outer_, part->bytes, from, part->bytes, to, run_bytes_});
    }
  }

 private:
  Block parts_;
  int count_;
  int64_t outer_, run_bytes_;
};

const char* part_name(char (&name)[16], int i) {
  snprintf(name, sizeof(name), "x%d", i);
  return name;
}

}  // namespace

Op* compile_concat(const Node& node, Compiler&) {
  const Value& result = node.result();
  const int64_t axis = node.integer("axis");
  expect(node, axis >= 0 && axis < result.rank, "axis: not one of the result's");
  int64_t outer = 1, inner_bytes = dtype_bytes(result.dtype);
  for (int i = 0; i < result.rank; ++i) {
    if (i < axis) outer *= result.dims[i];
    if (i > axis) inner_bytes *= result.dims[i];
  }

  char name[16];
  int count = 0;
  while (node.has(part_name(name, count))) ++count;
  Block parts(static_cast<size_t>(count) * sizeof(Part));
  int64_t length = 0;
  for (int i = 0; i < count; ++i) {
    const Value& x = node.value(part_name(name, i));
    Value expected = result;
    if (x.rank == result.rank) expected.dims[axis] = x.dims[axis];
    if (x.dtype != result.dtype || !same_shape(x, expected))
      node.fail("ERR_SHAPE", "%s: its type or a side other than axis %d differs from the result's",
                name, static_cast<int>(axis));
    parts.as<Part>()[i] = {node.operand(name), x.dims[axis] * inner_bytes, length * inner_bytes};
    length += x.dims[axis];
  }
  expect(node, length == result.dims[axis], "the parts do not add up to the result");
  return new Concat(static_cast<Block&&>(parts), count, outer, length * inner_bytes);
}

}  // namespace hrsam::cpu::HRSAM_ISA
