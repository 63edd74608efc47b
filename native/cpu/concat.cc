// Operands x0, x1, … joined along one axis.
#include "../plan/joins.h"
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

}  // namespace

Op* compile_concat(const Node& node, Compiler&) {
  const int64_t bytes = dtype_bytes(node.result().dtype);
  int64_t outer = 0, run = 0;
  int count = 0;
  each_part(node, [&](const JoinedPart&) { ++count; });
  Block parts(static_cast<size_t>(count) * sizeof(Part));
  count = 0;
  each_part(node, [&](const JoinedPart& part) {
    parts.as<Part>()[count++] = {part.operand, part.run * bytes, part.offset * bytes};
    outer = part.outer;
    run = part.result_run * bytes;
  });
  return new Concat(static_cast<Block&&>(parts), count, outer, run);
}

}  // namespace hrsam::cpu::HRSAM_ISA
