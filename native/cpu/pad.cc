// x from some position on along an axis, zeros around it.
#include "../plan/joins.h"
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
  const PadShape s = read_pad(node);
  const int64_t bytes = dtype_bytes(node.result().dtype);
  return new Pad(node.operand("x"), s.outer, s.before * bytes, s.run * bytes, s.result_run * bytes);
}

}  // namespace hrsam::cpu::HRSAM_ISA
