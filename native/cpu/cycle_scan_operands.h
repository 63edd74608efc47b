// The operands that the cycle scan and its gradient share, and what is expected of them.
#pragma once

#include "../plan/scan_shape.h"
#include "cycle_scan_kernel.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

// An f32 or bf16 operand of rows.
struct Rows {
  const void* data;
  DType type;
  int64_t stride;
  V lanes(int64_t row, int64_t column, int n) const {
    const int64_t at = row * stride + column;
    return type == DType::f32 ? load_lanes(static_cast<const float*>(data) + at, n)
                              : load_lanes(static_cast<const bf16*>(data) + at, n);
  }
  // to[i] = n <= kWidth lanes from `column` of rows [row, row + count); to's rows are ld apart.
  // With ld = kWidth the other lanes are zero.
  void copy(int64_t row, int count, int64_t column, int n, float* to, int64_t ld) const {
    type == DType::f32 ? copy_as<float>(row, count, column, n, to, ld)
                       : copy_as<bf16>(row, count, column, n, to, ld);
  }
  void prefetch(int64_t row, int64_t column, int n) const {
    const int64_t size = dtype_bytes(type);
    const char* at = static_cast<const char*>(data) + (row * stride + column) * size;
    for (int64_t i = 0; i < n * size; i += 64) __builtin_prefetch(at + i, 0, 2);
  }

 private:
  template <class T>
  void copy_as(int64_t row, int count, int64_t column, int n, float* to, int64_t ld) const {
    const T* from = static_cast<const T*>(data) + row * stride + column;
    if (n >= kWidth)
      for (int i = 0; i < count; ++i) store(to + i * ld, load(from + i * stride));
    else
      for (int i = 0; i < count; ++i) {
        const V lanes = load_n(from + i * stride, n);
        ld == kWidth ? store(to + i * ld, lanes) : store_n(to + i * ld, lanes, n);
      }
  }
};

class ScanOperands : public ScanShape {
 public:
  // Checks the node's operands; all but dy, and not its result.
  explicit ScanOperands(const Node& node)
      : ScanShape(node),
        u_(node.operand("u")),
        ssm_(node.operand("ssm")),
        a_log_(node.operand("a_log")),
        dt_bias_(node.operand_or("dt_bias")),
        d_(node.operand_or("d")),
        gamma_(node.operand_or("gamma")),
        u_type_(node.value("u").dtype),
        ssm_type_(node.value("ssm").dtype) {}

  bool has_bias() const { return dt_bias_ >= 0; }
  bool has_d() const { return d_ >= 0; }
  bool has_gamma() const { return gamma_ >= 0; }
  Rows u(const Run& run) const { return {run.operands[u_], u_type_, channels}; }
  Rows ssm(const Run& run) const {
    return {run.operands[ssm_], ssm_type_, channels + int64_t{2} * states};
  }
  const float* a_log(const Run& run) const { return run.in<float>(a_log_); }

  // `n` channels' numbers; zeros, or ones for gamma, where the operand is missing.
  V bias(const Run& run, int channel, int n) const { return vector(run, dt_bias_, channel, n); }
  V d(const Run& run, int channel, int n) const { return vector(run, d_, channel, n); }
  V gamma(const Run& run, int channel, int n, int reading) const {
    if (gamma_ < 0) return set1(1);
    return column(run.in<float>(gamma_), readings, channel, n, reading);
  }
  // A·log2(e) of a state: finite, so that no Δ of a sane size makes it infinite.
  V decay(const Run& run, int channel, int n, int state) const {
    const V a = -exp(column(a_log(run), states, channel, n, state));
    return max(set1(-1e30f), a * set1(1.442695041f));
  }

 private:
  V vector(const Run& run, int operand, int channel, int n) const {
    return operand < 0 ? zero() : load_lanes(run.in<float>(operand) + channel, n);
  }
  // One column of rows of `width` numbers, a row per lane.
  static V column(const float* rows, int width, int row, int n, int at) {
    float lanes[kWidth] = {};
    for (int i = 0; i < n; ++i) lanes[i] = rows[static_cast<int64_t>(row + i) * width + at];
    return load(lanes);
  }

  int u_, ssm_, a_log_, dt_bias_, d_, gamma_;
  DType u_type_, ssm_type_;
};

}  // namespace hrsam::cpu::HRSAM_ISA
