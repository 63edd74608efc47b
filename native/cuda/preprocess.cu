// A picture of bytes to the model's input: resized, normalised, planar, zeros at the right and
// bottom.
//
// antialias 0: bilinear with half-pixel centres in f32, as HRSAM's protocol; one kernel.
// antialias 1: what Pillow's resize(BILINEAR) gives, byte for byte, as SAM's protocol: a horizontal
// pass over all source rows to bytes in the workspace, then a vertical one, both with coefficients
// in fixed point. Bound by the multiplications of the horizontal pass.
#include "../plan/picture.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct PlainPicture {
  static constexpr int kColumns = 4;  // of a thread, in all planes

  const uint8_t* pixels;
  float* out;
  PictureShape s;
  const int32_t *rows, *columns;  // LerpAxis's tables

  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t across = divide_up(s.padded[1], kColumns), y = i / across;
    const int64_t x0 = i % across * kColumns, plane_size = s.padded[0] * s.padded[1];
    float* to = out + y * s.padded[1] + x0;
    const int n = static_cast<int>(smaller(kColumns, s.padded[1] - x0));
    Four values[3] = {};
    if (y < s.size[0]) {
      const uint8_t* top = pixels + rows[y] * s.width * s.channels;
      const uint8_t* bottom = pixels + rows[s.size[0] + y] * s.width * s.channels;
      const float wy = reinterpret_cast<const float*>(rows)[2 * s.size[0] + y];
#pragma unroll
      for (int k = 0; k < kColumns; ++k) {
        const int64_t x = x0 + k;
        if (x >= s.size[1]) continue;
        const float wx = reinterpret_cast<const float*>(columns)[2 * s.size[1] + x];
        const int64_t lo = columns[x] * s.channels, hi = columns[s.size[1] + x] * s.channels;
#pragma unroll
        for (int plane = 0; plane < 3; ++plane) {
          const int64_t c = s.channel(plane);
          const float a = top[lo + c], b = top[hi + c], d = bottom[lo + c], e = bottom[hi + c];
          const float upper = a + wx * (b - a), lower = d + wx * (e - d);
          values[plane].x[k] = (upper + wy * (lower - upper) - s.mean[plane]) / s.deviation[plane];
        }
      }
    }
#pragma unroll
    for (int plane = 0; plane < 3; ++plane) store_four(to + plane * plane_size, values[plane], n);
  }
};

// TriangleAxis's table on the device.
struct TriangleTable {
  const int32_t* bounds;
  int64_t out, stride;
  HRSAM_DEVICE int64_t begin(int64_t i) const { return bounds[2 * i]; }
  HRSAM_DEVICE int32_t count(int64_t i) const { return bounds[2 * i + 1]; }
  HRSAM_DEVICE const int32_t* coefficients(int64_t i) const {
    return bounds + 2 * out + i * stride;
  }
};

// from[0], from[step], … weighed.
HRSAM_DEVICE uint8_t weigh(const uint8_t* from, int64_t step, const int32_t* coefficients,
                           int32_t count) {
  int32_t sum = kHalf;
  for (int32_t j = 0; j < count; ++j) sum += from[j * step] * coefficients[j];
  return static_cast<uint8_t>(sum >> kPrecision);
}

// (height, width, channels) → (height, size[1], colours).
struct WeighColumns {
  const uint8_t* pixels;
  uint8_t* out;
  int64_t width, channels, colours;
  TriangleTable columns;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t c = i % colours, x = i / colours % columns.out, y = i / (colours * columns.out);
    const uint8_t* from = pixels + (y * width + columns.begin(x)) * channels + c;
    out[i] = weigh(from, channels, columns.coefficients(x), columns.count(x));
  }
};

struct WeighRows {
  const uint8_t* resized;
  float* out;
  PictureShape s;
  TriangleTable rows;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t x = i % s.padded[1], y = i / s.padded[1] % s.padded[0];
    const int64_t plane = i / (s.padded[0] * s.padded[1]);
    if (x >= s.size[1] || y >= s.size[0]) {
      out[i] = 0;
      return;
    }
    const int64_t colours = s.colours(), line = s.size[1] * colours;
    const uint8_t* from = resized + rows.begin(y) * line + x * colours + s.channel(plane);
    const uint8_t value = weigh(from, line, rows.coefficients(y), rows.count(y));
    out[i] = (static_cast<float>(value) - s.mean[plane]) / s.deviation[plane];
  }
};

}  // namespace

Op* compile_preprocess(const Node& node, Compiler& compiler) {
  const PictureShape s = read_preprocess(node);
  const int pixels = node.operand("pixels");
  const int64_t n = 3 * s.padded[0] * s.padded[1];
  if (!node.flag("antialias")) {
    return make_op(
        [=, rows = compiler.upload(LerpAxis(s.height, s.size[0]).block()),
         columns = compiler.upload(LerpAxis(s.width, s.size[1]).block())](const Run& run) {
          each(run.stream, s.padded[0] * divide_up(s.padded[1], PlainPicture::kColumns),
               PlainPicture{run.in<uint8_t>(pixels), run.out<float>(), s, rows->as<int32_t>(),
                            columns->as<int32_t>()});
        });
  }
  const TriangleAxis row_axis(s.height, s.size[0]), column_axis(s.width, s.size[1]);
  const int64_t resized = s.height * s.size[1] * s.colours();
  return make_op(
      static_cast<size_t>(resized),
      [=, rows = compiler.upload(row_axis.block()), columns = compiler.upload(column_axis.block()),
       row_stride = row_axis.stride(), column_stride = column_axis.stride()](const Run& run) {
        auto* between = static_cast<uint8_t*>(run.workspace);
        each(run.stream, resized,
             WeighColumns{run.in<uint8_t>(pixels),
                          between,
                          s.width,
                          s.channels,
                          s.colours(),
                          {columns->as<int32_t>(), s.size[1], column_stride}});
        each(run.stream, n,
             WeighRows{between, run.out<float>(), s, {rows->as<int32_t>(), s.size[0], row_stride}});
      });
}

}  // namespace hrsam::cuda
