// Areas and edges of masks, see native/plan/mask_summary.h. A task owns a mask; bound by memory.
#include "../plan/mask_summary.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

struct Counts {
  int32_t inner = 0, outer = 0, mask = 0;
};

Counts count_row(const float* row, const MaskSummaryShape& s) {
  Counts counts;
  for (int64_t x = 0; x < s.columns; ++x) {
    counts.inner += row[x] > s.high ? 1 : 0;
    counts.outer += row[x] > s.low ? 1 : 0;
    counts.mask += row[x] > s.threshold ? 1 : 0;
  }
  return counts;
}

void summarise(const float* logits, const MaskSummaryShape& s, float* out) {
  int64_t inner = 0, outer = 0, x0 = s.columns, y0 = s.rows, x1 = 0, y1 = 0;
  for (int64_t y = 0; y < s.rows; ++y) {
    const float* row = logits + y * s.width;
    const Counts counts = count_row(row, s);
    inner += counts.inner;
    outer += counts.outer;
    if (counts.mask == 0) continue;
    int64_t first = 0, last = s.columns - 1;
    while (!(row[first] > s.threshold)) ++first;
    while (!(row[last] > s.threshold)) --last;
    x0 = smaller(x0, first);
    x1 = larger(x1, last + 1);
    y0 = smaller(y0, y);
    y1 = y + 1;
  }
  if (y1 == 0) x0 = y0 = 0;
  const int64_t numbers[kMaskNumbers] = {inner, outer, x0, y0, x1, y1};
  for (int i = 0; i < kMaskNumbers; ++i) out[i] = static_cast<float>(numbers[i]);
}

class MaskSummary : public Op {
 public:
  explicit MaskSummary(const Node& node)
      : logits_(node.operand("logits")), s_(read_mask_summary(node)) {}

  void run(const Run& run) const override {
    run.pool.each(s_.masks, [&](int64_t i, int) {
      summarise(run.in<float>(logits_) + i * s_.height * s_.width, s_,
                run.out<float>() + i * kMaskNumbers);
    });
  }

 private:
  int logits_;
  MaskSummaryShape s_;
};

}  // namespace

Op* compile_mask_summary(const Node& node, Compiler&) { return new MaskSummary(node); }

}  // namespace hrsam::cpu::HRSAM_ISA
