// The dense position code of a grid: SAM's code of the centre of every cell.
//
// The angle is a sum of a part of the row and one of the column, so sines and cosines are taken of
// the parts alone and joined by the addition theorems.
#include <math.h>

#include "../plan/forward_checks.h"
#include "../plan/position_code.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// sin and cos of an angle.
struct Turn {
  double sine, cosine;
};

class PositionEncoding : public Op {
 public:
  PositionEncoding(int gaussian, int64_t height, int64_t width, int64_t half)
      : gaussian_(gaussian), height_(height), width_(width), half_(half) {}

  void run(const Run& run) const override {
    const float* gaussian = run.in<float>(gaussian_);
    run.pool.reserve(static_cast<size_t>((height_ + width_) * half_) * sizeof(Turn));
    Turn* turns = static_cast<Turn*>(run.pool.scratch(0));
    Turn* row_turns = turns + width_ * half_;
    each_block(run.pool, width_ + height_, half_ * kTurnCost, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const bool is_row = i >= width_;
        const double coordinate = is_row ? (static_cast<double>(i - width_) + 0.5) / height_
                                         : (static_cast<double>(i) + 0.5) / width_;
        for (int64_t e = 0; e < half_; ++e) {
          const double angle = position_angle(coordinate, gaussian[is_row ? half_ + e : e]);
          turns[i * half_ + e] = {sin(angle), cos(angle)};
        }
      }
    });

    float* out = run.out<float>();
    each_block(run.pool, height_, width_ * half_ * 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * width_; i < end * width_; ++i) {
        const Turn* column = turns + i % width_ * half_;
        const Turn* row = row_turns + i / width_ * half_;
        float* code = out + i * 2 * half_;
        for (int64_t e = 0; e < half_; ++e) {
          const Turn a = column[e], b = row[e];
          code[e] = static_cast<float>(a.sine * b.cosine + a.cosine * b.sine);
          code[half_ + e] = static_cast<float>(a.cosine * b.cosine - a.sine * b.sine);
        }
      }
    });
  }

 private:
  static constexpr int64_t kTurnCost = 128;  // a sine and a cosine, as bytes a task moves
  int gaussian_;
  int64_t height_, width_, half_;
};

}  // namespace

Op* compile_position_encoding(const Node& node, Compiler&) {
  check_position_encoding(node);
  const Value& result = node.result();
  return new PositionEncoding(node.operand("gaussian"), result.dim(1), result.dim(2),
                              result.dim(3) / 2);
}

}  // namespace hrsam::cpu::HRSAM_ISA
