// A picture of bytes to the model's input: resized, normalised, planar, zeros at the right and
// bottom.
//
// antialias 0: bilinear with half-pixel centres in f32, as HRSAM's protocol.
// antialias 1: what Pillow's resize(BILINEAR) gives, byte for byte, as SAM's protocol: a triangle
// as wide as the reduction, coefficients in fixed point, rounded to bytes after the horizontal pass
// and again after the vertical one. A task owns a band of output rows, whose horizontally resized
// source rows stay in its scratch (so the band's height follows from the L2 cache). The horizontal
// pass takes 16 rows at a time, transposed, so that a vector holds one column of 16 rows; the
// vertical pass runs along the rows. Bound by the multiplications of the horizontal pass.
#include "../plan/picture.h"
#include "bytes.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {
namespace {

// Row y of the result's planes, from a row of pixels; stride: values from pixel to pixel.
template <class T>
void write_row(const PictureShape& s, const T* pixels, int64_t stride, int64_t y, float* out) {
  for (int64_t plane = 0; plane < 3; ++plane) {
    const T* from = pixels + s.channel(plane);
    const float mean = s.mean[plane], deviation = s.deviation[plane];
    float* to = out + (plane * s.padded[0] + y) * s.padded[1];
    for (int64_t x = 0; x < s.size[1]; ++x)
      to[x] = (static_cast<float>(from[x * stride]) - mean) / deviation;
    memset(to + s.size[1], 0, sizeof(float) * static_cast<size_t>(s.padded[1] - s.size[1]));
  }
}

// Rows [begin, end) of all planes, zero.
void clear_rows(const PictureShape& s, int64_t begin, int64_t end, float* out) {
  for (int64_t plane = 0; plane < 3 && begin < end; ++plane)
    memset(out + (plane * s.padded[0] + begin) * s.padded[1], 0,
           sizeof(float) * static_cast<size_t>((end - begin) * s.padded[1]));
}

class PlainPreprocess : public Op {
 public:
  PlainPreprocess(int operand, const PictureShape& shape)
      : operand_(operand),
        s_(shape),
        rows_(s_.height, s_.size[0]),
        columns_(s_.width, s_.size[1]) {}

  void run(const Run& run) const override {
    constexpr int64_t kRows = 16;
    run.pool.reserve(sizeof(float) * static_cast<size_t>(s_.size[1] * 3));
    run.pool.each(divide_up(s_.padded[0], kRows), [&](int64_t task, int thread) {
      float* row = static_cast<float*>(run.pool.scratch(thread));
      const int64_t end = smaller(s_.padded[0], (task + 1) * kRows);
      int64_t y = task * kRows;
      for (; y < smaller(s_.size[0], end); ++y) {
        mix(run.in<uint8_t>(operand_), y, row);
        write_row(s_, row, s_.colours(), y, run.out<float>());
      }
      clear_rows(s_, y, end, run.out<float>());
    });
  }

 private:
  void mix(const uint8_t* pixels, int64_t y, float* out) const {
    const uint8_t* top = pixels + rows_.lo()[y] * s_.width * s_.channels;
    const uint8_t* bottom = pixels + rows_.hi()[y] * s_.width * s_.channels;
    const float wy = rows_.weight()[y];
    const int64_t colours = s_.colours();
    for (int64_t x = 0; x < s_.size[1]; ++x) {
      const int64_t lo = columns_.lo()[x] * s_.channels, hi = columns_.hi()[x] * s_.channels;
      const float wx = columns_.weight()[x];
      for (int64_t c = 0; c < colours; ++c) {
        const float a = top[lo + c], b = top[hi + c], d = bottom[lo + c], e = bottom[hi + c];
        const float upper = a + wx * (b - a), lower = d + wx * (e - d);
        out[x * colours + c] = upper + wy * (lower - upper);
      }
    }
  }

  int operand_;
  PictureShape s_;
  LerpAxis rows_, columns_;
};

class PillowPreprocess : public Op {
 public:
  PillowPreprocess(int operand, const PictureShape& shape)
      : operand_(operand), s_(shape), rows_(s_.height, s_.size[0]), columns_(s_.width, s_.size[1]) {
    row_bytes_ = s_.size[1] * s_.colours();
    // Neighbouring bands both resize the rows at their border: 2 of band_ output rows' worth.
    const int64_t per_row = row_bytes_ * divide_up(s_.height, s_.size[0]);
    band_ = smaller(64, larger(8, kBandBytes / per_row));
    for (int64_t y = 0; y < s_.size[0]; y += band_)
      source_rows_ = larger(source_rows_, rows_.end(last_of(y)) - rows_.begin(y));
    source_rows_ = divide_up(source_rows_, kLanes) * kLanes;
    for (int64_t x = 0; x < s_.size[1]; x += kColumns) {
      const int64_t last = smaller(s_.size[1], x + kColumns) - 1;
      source_columns_ = larger(source_columns_, columns_.end(last) - columns_.begin(x));
    }
  }

  void run(const Run& run) const override {
    run.pool.reserve(scratch_bytes());
    run.pool.each(divide_up(s_.padded[0], band_), [&](int64_t task, int thread) {
      const int64_t begin = task * band_, end = smaller(s_.padded[0], begin + band_);
      const int64_t filled = larger(begin, smaller(s_.size[0], end));
      if (filled > begin)
        band(run.in<uint8_t>(operand_), begin, filled, run.out<float>(),
             static_cast<uint8_t*>(run.pool.scratch(thread)));
      clear_rows(s_, filled, end, run.out<float>());
    });
  }

 private:
  static constexpr int64_t kBandBytes = 256 << 10;
  static constexpr int64_t kColumns = 64;  // output columns whose sources are transposed at a time

  int64_t last_of(int64_t y) const { return smaller(s_.size[0], y + band_) - 1; }
  // Scratch: the band's resized rows, one output row, transposed columns in and out.
  int64_t columns_in_bytes() const {
    return divide_up(source_columns_ * s_.channels, kLanes) * kLanes * kLanes;
  }
  int64_t columns_out_bytes() const {
    return divide_up(kColumns * s_.colours(), kLanes) * kLanes * kLanes;
  }
  int64_t row_stride() const { return divide_up(row_bytes_, kLanes) * kLanes; }
  size_t scratch_bytes() const {
    return static_cast<size_t>((source_rows_ + 1) * row_stride() + columns_in_bytes() +
                               columns_out_bytes());
  }

  void band(const uint8_t* pixels, int64_t begin, int64_t end, float* out, uint8_t* scratch) const {
    uint8_t* resized = scratch;
    uint8_t* row = resized + source_rows_ * row_stride();
    const int64_t first = rows_.begin(begin), last = rows_.end(end - 1);
    for (int64_t y = first; y < last; y += kLanes)
      horizontal(pixels + y * s_.width * s_.channels, smaller(kLanes, last - y),
                 resized + (y - first) * row_stride(), row + row_stride());
    for (int64_t y = begin; y < end; ++y) {
      weigh_rows(resized + (rows_.begin(y) - first) * row_stride(), rows_.coefficient(y),
                 rows_.count(y), row);
      write_row(s_, row, s_.colours(), y, out);
    }
  }

  // Up to 16 rows of pixels to as many rows of the output's width.
  void horizontal(const uint8_t* pixels, int64_t rows, uint8_t* out, uint8_t* scratch) const {
    const int64_t colours = s_.colours();
    uint8_t* columns_in = scratch;
    uint8_t* columns_out = scratch + columns_in_bytes();
    for (int64_t x = 0; x < s_.size[1]; x += kColumns) {
      const int64_t end = smaller(s_.size[1], x + kColumns);
      const int64_t first = columns_.begin(x);
      transpose(pixels + first * s_.channels, s_.width * s_.channels, rows,
                (columns_.end(end - 1) - first) * s_.channels, columns_in);
      for (int64_t i = x; i < end; ++i)
        for (int64_t c = 0; c < colours; ++c)
          weigh_column(columns_in + ((columns_.begin(i) - first) * s_.channels + c) * kLanes,
                       columns_.coefficient(i), columns_.count(i),
                       columns_out + ((i - x) * colours + c) * kLanes);
      transpose_back(columns_out, (end - x) * colours, rows, out + x * colours, row_stride());
    }
  }

  void weigh_column(const uint8_t* from, const int32_t* coefficient, int64_t count,
                    uint8_t* to) const {
    int32_t sum[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] = kHalf;
    for (int64_t j = 0; j < count; ++j, from += s_.channels * kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] += from[lane] * coefficient[j];
    for (int64_t lane = 0; lane < kLanes; ++lane)
      to[lane] = static_cast<uint8_t>(sum[lane] >> kPrecision);
  }

  void weigh_rows(const uint8_t* from, const int32_t* coefficient, int64_t count,
                  uint8_t* to) const {
    constexpr int64_t kChunk = 64;  // row_stride() is a multiple of 16 only: the last is shorter
    for (int64_t x = 0; x < row_bytes_; x += kChunk) {
      int32_t sum[kChunk];
      const int64_t n = smaller(kChunk, row_stride() - x);
      for (int64_t i = 0; i < n; ++i) sum[i] = kHalf;
      for (int64_t j = 0; j < count; ++j) {
        const uint8_t* line = from + j * row_stride() + x;
        for (int64_t i = 0; i < n; ++i) sum[i] += line[i] * coefficient[j];
      }
      for (int64_t i = 0; i < n; ++i) to[x + i] = static_cast<uint8_t>(sum[i] >> kPrecision);
    }
  }

  int operand_;
  PictureShape s_;
  TriangleAxis rows_, columns_;
  int64_t row_bytes_ = 0, band_ = 0;
  int64_t source_rows_ = 0,
          source_columns_ = 0;  // the most that a band or a group of columns needs
};

}  // namespace

Op* compile_preprocess(const Node& node, Compiler&) {
  const PictureShape s = read_preprocess(node);
  const int operand = node.operand("pixels");
  if (node.flag("antialias")) return new PillowPreprocess(operand, s);
  return new PlainPreprocess(operand, s);
}

}  // namespace hrsam::cpu::HRSAM_ISA
