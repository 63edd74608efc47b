// The pixels under each position of a convolution's kernel as one row, so that a linear does the
// convolution.
//
// Rows are built from runs: with channels last the kernel's row of one position is contiguous in x
// (k·C values), with channels first k values of one channel are. What the padding covers is zero.
#include "../plan/patches.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// memcpy whose size is known to the compiler for the sizes that occur by the million.
inline void copy_short(char* to, const char* from, int64_t bytes) {
  switch (bytes) {
    case 64:
      memcpy(to, from, 64);
      break;
    case 32:
      memcpy(to, from, 32);
      break;
    case 8:
      memcpy(to, from, 8);
      break;
    case 4:
      memcpy(to, from, 4);
      break;
    default:
      memcpy(to, from, static_cast<size_t>(bytes));
  }
}

class Im2col : public Op {
 public:
  Im2col(int x, const PatchShape& shape) : x_(x), s_(shape) {
    pixel_bytes_ = (s_.channels_last ? s_.channels : 1) * s_.element_bytes;
    planes_ = s_.channels_last ? 1 : s_.channels;
    position_bytes_ = planes_ * s_.kernel * s_.kernel * pixel_bytes_;
  }

  void run(const Run& run) const override {
    const char* x = run.in<char>(x_);
    char* out = run.out<char>();
    // Some positions at a time: their runs of one row of x are neighbours, and what they write
    // stays in the cache until it is whole.
    constexpr int64_t kGroup = 8;
    const int64_t groups = divide_up(s_.columns, kGroup);
    each_block(run.pool, s_.batch * s_.rows * groups, kGroup * position_bytes_,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t row = i / groups;  // of all images
                   const int64_t column = i % groups * kGroup;
                   fill(x, row / s_.rows, row % s_.rows, column,
                        smaller(s_.columns, column + kGroup),
                        out + (row * s_.columns + column) * position_bytes_);
                 }
               });
  }

 private:
  // Positions [begin, end) of a row of the result.
  void fill(const char* x, int64_t image, int64_t row, int64_t begin, int64_t end,
            char* out) const {
    const int64_t run_bytes = s_.kernel * pixel_bytes_;
    for (int64_t plane = 0; plane < planes_; ++plane) {
      for (int64_t i = 0; i < s_.kernel; ++i, out += run_bytes) {
        const int64_t y = row * s_.stride - s_.padding + i;
        if (y < 0 || y >= s_.height) {
          for (int64_t j = begin; j < end; ++j)
            memset(out + (j - begin) * position_bytes_, 0, static_cast<size_t>(run_bytes));
          continue;
        }
        const char* line =
            x + ((image * planes_ + plane) * s_.height + y) * s_.width * pixel_bytes_;
        for (int64_t j = begin; j < end; ++j)
          fill_run(line, j * s_.stride - s_.padding, out + (j - begin) * position_bytes_);
      }
    }
  }

  // The kernel's width of a line, from column `left`, which may lie outside.
  void fill_run(const char* line, int64_t left, char* out) const {
    const int64_t run_bytes = s_.kernel * pixel_bytes_;
    if (left >= 0 && left + s_.kernel <= s_.width) {
      copy_short(out, line + left * pixel_bytes_, run_bytes);
      return;
    }
    const int64_t first = smaller(larger(0, -left), s_.kernel);
    const int64_t last = larger(first, smaller(s_.kernel, s_.width - left));
    memset(out, 0, static_cast<size_t>(run_bytes));
    if (last > first)
      memcpy(out + first * pixel_bytes_, line + (left + first) * pixel_bytes_,
             static_cast<size_t>((last - first) * pixel_bytes_));
  }

  int x_;
  PatchShape s_;
  int64_t pixel_bytes_, planes_, position_bytes_;
};

}  // namespace

Op* compile_im2col(const Node& node, Compiler&) {
  return new Im2col(node.operand("x"), read_im2col(node));
}

}  // namespace hrsam::cpu::HRSAM_ISA
