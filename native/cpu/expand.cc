// One item repeated over the leading axis.
#include "../plan/forward_checks.h"
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
  check_expand(node);
  const Value& x = node.value("x");
  const Value& result = node.result();
  return new Expand(node.operand("x"), result.dims[0], x.bytes());
}

}  // namespace hrsam::cpu::HRSAM_ISA
