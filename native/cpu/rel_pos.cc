// SAM's relative position table as one vector per pair (query, key) of an axis. Coordinates are
// float32 as in the reference, since they are truncated to indices.
#include <math.h>

#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class RelPos : public Op {
 public:
  RelPos(int table, int64_t length, int64_t width, int64_t q_size, int64_t k_size)
      : table_(table), length_(length), width_(width), q_size_(q_size), k_size_(k_size) {}

  void run(const Run& run) const override {
    const float* table = run.in<float>(table_);
    float* out = run.out<float>();
    const float q_step = static_cast<float>(larger(q_size_, k_size_)) / static_cast<float>(q_size_);
    const float k_step = static_cast<float>(larger(q_size_, k_size_)) / static_cast<float>(k_size_);
    const float shift = static_cast<float>(k_size_ - 1) * k_step;
    each_block(run.pool, q_size_ * k_size_, width_ * 8, [&](int64_t begin, int64_t end) {
      for (int64_t pair = begin; pair < end; ++pair) {
        const float i = static_cast<float>(pair / k_size_), j = static_cast<float>(pair % k_size_);
        copy_row(table, static_cast<int64_t>((i * q_step - j * k_step) + shift),
                 out + pair * width_);
      }
    });
  }

 private:
  // Row `index` of the table resized linearly to all distances there are.
  void copy_row(const float* table, int64_t index, float* out) const {
    const int64_t rows = 2 * larger(q_size_, k_size_) - 1;
    if (rows == length_) {
      memcpy(out, table + index * width_, static_cast<size_t>(width_) * sizeof(float));
      return;
    }
    const float scale = static_cast<float>(length_) / static_cast<float>(rows);
    const float source = fmaxf(0, scale * (static_cast<float>(index) + 0.5f) - 0.5f);
    const int64_t low = smaller(length_ - 1, static_cast<int64_t>(source));
    const int64_t high = smaller(length_ - 1, low + 1);
    const float part = source - static_cast<float>(low);
    for (int64_t d = 0; d < width_; ++d)
      out[d] = (1 - part) * table[low * width_ + d] + part * table[high * width_ + d];
  }

  int table_;
  int64_t length_, width_, q_size_, k_size_;
};

}  // namespace

Op* compile_rel_pos(const Node& node, Compiler&) {
  const Value& table = node.value("table");
  const int64_t q_size = node.integer("q_size"), k_size = node.integer("k_size");
  expect_rank(node, table, "table", 2);
  expect_f32(node, table, "table");
  expect_f32(node, node.result(), "the result");
  expect(node, table.dim(0) >= 1 && q_size >= 1 && k_size >= 1, "table or sizes: empty");
  expect(node, has_shape(node.result(), {q_size, k_size, table.dim(1)}),
         "the result's shape is not (q_size, k_size, d)");
  return new RelPos(node.operand("table"), table.dim(0), table.dim(1), q_size, k_size);
}

}  // namespace hrsam::cpu::HRSAM_ISA
