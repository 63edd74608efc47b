// Bilinear resize with half-pixel centres and without antialiasing, channels last or first. Which
// lines an output reads, and how it mixes them, comes in tables. Bound by memory.
#include "../plan/bilinear.h"
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

// LerpAxis's table on the device: lo, hi, weight.
struct LerpTable {
  const int32_t* lines;
  int64_t out;
  HRSAM_DEVICE int32_t lo(int64_t i) const { return lines[i]; }
  HRSAM_DEVICE int32_t hi(int64_t i) const { return lines[out + i]; }
  HRSAM_DEVICE float weight(int64_t i) const {
    return reinterpret_cast<const float*>(lines)[2 * out + i];
  }
};

// n <= 4 neighbouring numbers of an output: channels of a pixel, or columns of a plane.
template <class T, bool kChannelsLast>
struct Resize {
  const T* x;
  T* y;
  int64_t channels, in_h, in_w;  // channels: 1 where they come first
  LerpTable rows, columns;

  HRSAM_DEVICE static float mix(float a, float b, float weight) { return fmaf(weight, b - a, a); }

  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t length = kChannelsLast ? channels : columns.out;  // of what is cut into fours
    const int64_t quads = divide_up(length, 4), at = i % quads * 4;
    const int n = static_cast<int>(smaller(4, length - at));
    int64_t rest = i / quads;
    int64_t column = 0;
    if (kChannelsLast) {
      column = rest % columns.out;
      rest /= columns.out;
    }
    const int64_t row = rest % rows.out, plane = rest / rows.out;
    const T* top = x + (plane * in_h + rows.lo(row)) * in_w * channels;
    const T* bottom = x + (plane * in_h + rows.hi(row)) * in_w * channels;
    const float wy = rows.weight(row);
    Four out{};
    if (kChannelsLast) {
      const int64_t lo = columns.lo(column) * channels + at,
                    hi = columns.hi(column) * channels + at;
      const float wx = columns.weight(column);
      const Four a = load_four(top + lo, n), b = load_four(top + hi, n);
      const Four c = load_four(bottom + lo, n), d = load_four(bottom + hi, n);
#pragma unroll
      for (int k = 0; k < 4; ++k)
        out.x[k] = mix(mix(a.x[k], b.x[k], wx), mix(c.x[k], d.x[k], wx), wy);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (k >= n) break;
        const int32_t lo = columns.lo(at + k), hi = columns.hi(at + k);
        const float left = mix(to_f32(top[lo]), to_f32(bottom[lo]), wy);
        const float right = mix(to_f32(top[hi]), to_f32(bottom[hi]), wy);
        out.x[k] = mix(left, right, columns.weight(at + k));
      }
    }
    const int64_t first = kChannelsLast
                              ? ((plane * rows.out + row) * columns.out + column) * channels
                              : (plane * rows.out + row) * columns.out;
    store_four(y + first + at, out, n);
  }
};

}  // namespace

Op* compile_bilinear_resize(const Node& node, Compiler& compiler) {
  check_bilinear_resize(node);
  const Value &value = node.value("x"), &result = node.result();
  const bool last = node.flag("channels_last");
  const int h = last ? 1 : 2;  // the axis of rows
  const int64_t in_h = value.dim(h), in_w = value.dim(h + 1);
  const int64_t out_h = result.dim(h), out_w = result.dim(h + 1);
  const int64_t channels = last ? value.dim(3) : 1;
  const int64_t planes = last ? value.dim(0) : value.dim(0) * value.dim(1);
  if (result.elements() == 0) return make_op([](const Run&) {});
  const SharedBlock rows = compiler.upload(LerpAxis(in_h, out_h).block());
  const SharedBlock columns = compiler.upload(LerpAxis(in_w, out_w).block());
  const int64_t count =
      planes * out_h * (last ? out_w * divide_up(channels, 4) : divide_up(out_w, 4));
  return make_op([=, x = node.operand("x"), dtype = value.dtype](const Run& run) {
    with_floats(dtype, [&](auto type) {
      using T = decltype(type);
      const LerpTable row_table{rows->as<int32_t>(), out_h};
      const LerpTable column_table{columns->as<int32_t>(), out_w};
      if (last)
        each(run.stream, count,
             Resize<T, true>{run.in<T>(x), run.out<T>(), channels, in_h, in_w, row_table,
                             column_table});
      else
        each(run.stream, count,
             Resize<T, false>{run.in<T>(x), run.out<T>(), channels, in_h, in_w, row_table,
                              column_table});
    });
  });
}

}  // namespace hrsam::cuda
