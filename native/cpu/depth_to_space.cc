// (B, h, w, k·k·C), last axis ordered (row in the block, column, channel) → (B, k·h, k·w, C): the
// second half of a transposed convolution whose stride is its kernel's size. A row of k·C values
// stays together.
#include "expect.h"
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
  const Value& x = node.value("x");
  const Value& result = node.result();
  const int64_t block = node.integer("block");
  expect_rank(node, x, "x", 4);
  expect(node, block >= 1 && block <= 1024, "block: expected 1 to 1024");
  expect(node, x.dim(3) % (block * block) == 0, "x: its channels do not fill whole blocks");
  expect(node,
         result.dtype == x.dtype && has_shape(result, {x.dim(0), block * x.dim(1), block * x.dim(2),
                                                       x.dim(3) / (block * block)}),
         "the result's shape or type is not that of x's blocks");
  return new DepthToSpace(node.operand("x"), x.dim(0) * x.dim(1), x.dim(2), block,
                          x.dim(3) / block * dtype_bytes(x.dtype));
}

}  // namespace hrsam::cpu::HRSAM_ISA
