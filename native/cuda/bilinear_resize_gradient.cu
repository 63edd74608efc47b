// Gradient of the bilinear resize: each source number gets the sum over the outputs that read it.
// Which outputs those are, along an axis, comes in tables: they are neighbours.
#include "../plan/bilinear.h"
#include "../plan/gradient_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

// One axis: LerpAxis's table, then begin and end of the outputs that read each source line.
struct ReaderTable {
  const int32_t* lines;
  int64_t in, out;
  HRSAM_DEVICE int32_t begin(int64_t i) const { return lines[3 * out + i]; }
  HRSAM_DEVICE int32_t end(int64_t i) const { return lines[3 * out + in + i]; }
  // What output o takes of source line i.
  HRSAM_DEVICE float share(int64_t o, int64_t i) const {
    const float weight = reinterpret_cast<const float*>(lines)[2 * out + o];
    return (lines[o] == i ? 1 - weight : 0) + (lines[out + o] == i ? weight : 0);
  }
};

Block readers(int64_t in, int64_t out) {
  const LerpAxis axis(in, out);
  Block block(sizeof(int32_t) * static_cast<size_t>(3 * out + 2 * in));
  memcpy(block.as<void>(), axis.block().as<void>(), axis.block().bytes());
  int32_t* begin = block.as<int32_t>() + 3 * out;
  int32_t* end = begin + in;
  for (int64_t i = 0; i < in; ++i) begin[i] = end[i] = 0;
  for (int32_t o = static_cast<int32_t>(out) - 1; o >= 0; --o)
    for (const int32_t line : {axis.lo()[o], axis.hi()[o]}) {
      begin[line] = o;
      if (end[line] == 0) end[line] = o + 1;
    }
  return block;
}

struct Gather {
  Numbers dy;
  NumbersOut dx;
  int64_t channels;  // 1 where they come first
  ReaderTable rows, columns;
  // One number of the source.
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t c = i % channels, x = i / channels % columns.in;
    const int64_t y = i / (channels * columns.in) % rows.in;
    const int64_t plane = i / (channels * columns.in * rows.in);
    float sum = 0;
    for (int64_t oy = rows.begin(y); oy < rows.end(y); ++oy) {
      float line = 0;
      for (int64_t ox = columns.begin(x); ox < columns.end(x); ++ox)
        line = fmaf(columns.share(ox, x),
                    dy.at(((plane * rows.out + oy) * columns.out + ox) * channels + c), line);
      sum = fmaf(rows.share(oy, y), line, sum);
    }
    dx.put(i, sum);
  }
};

}  // namespace

Op* compile_bilinear_resize_gradient(const Node& node, Compiler& compiler) {
  check_bilinear_resize_gradient(node);
  const Value &value = node.value("dy"), &result = node.result();
  const bool last = node.flag("channels_last");
  const int h = last ? 1 : 2;  // the axis of rows
  const int64_t in_h = result.dim(h), in_w = result.dim(h + 1);
  const int64_t out_h = value.dim(h), out_w = value.dim(h + 1);
  if (result.elements() == 0) return make_op([](const Run&) {});
  return make_op([=, dy = node.operand("dy"), type = value.dtype, n = result.elements(),
                  channels = last ? value.dim(3) : 1, rows = compiler.upload(readers(in_h, out_h)),
                  columns = compiler.upload(readers(in_w, out_w))](const Run& run) {
    each(run.stream, n,
         Gather{numbers_of(run.in(dy), type), numbers_to(run.out(), type), channels,
                ReaderTable{rows->as<int32_t>(), in_h, out_h},
                ReaderTable{columns->as<int32_t>(), in_w, out_w}});
  });
}

}  // namespace hrsam::cuda
