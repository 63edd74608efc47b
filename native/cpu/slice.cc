// x[start:end] along one axis.
#include "../plan/joins.h"
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
  const SliceShape s = read_slice(node);
  const int64_t bytes = dtype_bytes(node.result().dtype);
  return new Slice(node.operand("x"), s.outer, s.start * bytes, s.run * bytes, s.x_run * bytes);
}

}  // namespace hrsam::cpu::HRSAM_ISA
