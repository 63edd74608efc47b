// (B, h, w, k·k·C), last axis ordered (row in the block, column, channel) → (B, k·h, k·w, C): the
// second half of a transposed convolution whose stride is its kernel's size. A row of k·C values
// stays together.
#include "../plan/forward_checks.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class DepthToSpace : public Op {
 public:
  DepthToSpace(int x, int64_t rows, int64_t width, int64_t block, int64_t run_bytes)
      : x_(x), rows_(rows), width_(width), block_(block), run_bytes_(run_bytes) {}

  void run(const Run& run) const override {
    const char* x = run.in<char>(x_);
    char* out = run.out<char>();
    each_block(run.pool, rows_ * block_, width_ * run_bytes_, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {  // of the result
        const char* from = x + (row / block_ * width_ * block_ + row % block_) * run_bytes_;
        char* to = out + row * width_ * run_bytes_;
        for (int64_t j = 0; j < width_; ++j)
          memcpy(to + j * run_bytes_, from + j * block_ * run_bytes_,
                 static_cast<size_t>(run_bytes_));
      }
    });
  }

 private:
  int x_;
  int64_t rows_, width_, block_, run_bytes_;
};

}  // namespace

Op* compile_depth_to_space(const Node& node, Compiler&) {
  check_depth_to_space(node);
  const Value& x = node.value("x");
  const int64_t block = node.integer("block");
  return new DepthToSpace(node.operand("x"), x.dim(0) * x.dim(1), x.dim(2), block,
                          x.dim(3) / block * dtype_bytes(x.dtype));
}

}  // namespace hrsam::cpu::HRSAM_ISA
