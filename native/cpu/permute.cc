// The axes of x in another order.
//
// Axes of one element are dropped and those that stay neighbours are joined. When the last axis
// stays the last, runs are copied. Otherwise the result's last axis (i) crosses x's last axis (j),
// and each such plane is transposed in tiles, so that the lines of x and of the result that a tile
// touches are used whole while they are in the cache.
#include "../plan/order.h"
#include "squares.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// y[j * y_stride + i] = x[i * x_stride + j] for a square as wide as a register.
template <class Lanes, class T>
HRSAM_INLINE void copy_square(const T* x, int64_t x_stride, T* y, int64_t y_stride) {
  constexpr int n = 16 / sizeof(T);
  Lanes rows[n];
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) memcpy(&rows[i], x + i * x_stride, 16);
  transpose_square(rows);
#pragma GCC unroll 16
  for (int j = 0; j < n; ++j) memcpy(y + j * y_stride, &rows[j], 16);
}

// The same for any rectangle of i_count by j_count.
template <class Lanes, class T>
void transpose(const T* x, int64_t x_stride, T* y, int64_t y_stride, int64_t i_count,
               int64_t j_count) {
  constexpr int64_t n = 16 / sizeof(T);
  constexpr int64_t line = 64 / sizeof(T);  // a line of the result is completed before the next
  const int64_t i_end = i_count / n * n, j_end = j_count / n * n;
  for (int64_t i0 = 0; i0 < i_end; i0 += line)
    for (int64_t j = 0; j < j_end; j += n)
      for (int64_t i = i0; i < smaller(i_end, i0 + line); i += n)
        copy_square<Lanes>(x + i * x_stride + j, x_stride, y + j * y_stride + i, y_stride);
  for (int64_t i = 0; i < i_count; ++i)
    for (int64_t j = i < i_end ? j_end : 0; j < j_count; ++j)
      y[j * y_stride + i] = x[i * x_stride + j];
}

struct Axis {
  int64_t size, x_stride, y_stride;  // strides in elements
};

constexpr int64_t kTile = 64;

class Permute : public Op {
 public:
  Permute(const Node& node, const Value& x, const int64_t* order)
      : x_(node.operand("x")), element_bytes_(dtype_bytes(x.dtype)) {
    int64_t strides[HRSAM_MAX_RANK];
    int64_t stride = 1;
    for (int i = x.rank - 1; i >= 0; --i) {
      strides[i] = stride;
      stride *= x.dims[i];
    }
    elements_ = stride;
    int count = 0;
    stride = 1;
    for (int i = x.rank - 1; i >= 0; --i) {  // the result's axes from the last to the first
      const Axis axis{x.dims[order[i]], strides[order[i]], stride};
      stride *= axis.size;
      if (axis.size == 1) continue;
      Axis& inner = axes_[count - (count > 0)];
      if (count > 0 && axis.x_stride == inner.size * inner.x_stride)
        inner.size *= axis.size;
      else
        axes_[count++] = axis;
    }
    if (count == 0) axes_[count++] = {1, 1, 1};
    i_ = axes_[0];
    outer_count_ = 0;
    for (int k = 1; k < count; ++k) {
      if (axes_[k].x_stride == 1)
        j_ = axes_[k];
      else
        axes_[outer_count_++] = axes_[k];
      if (axes_[k].x_stride != 1) outer_ *= axes_[k].size;
    }
  }

  void run(const Run& run) const override {
    if (elements_ == 0) return;
    if (i_.x_stride == 1)
      copy(run);
    else if (element_bytes_ == 4)
      transpose_planes<Lanes4, uint32_t>(run);
    else if (element_bytes_ == 2)
      transpose_planes<Lanes2, uint16_t>(run);
    else
      transpose_planes<Lanes1, uint8_t>(run);
  }

 private:
  struct Start {
    int64_t x, y;
  };
  // Where the plane or run of that number starts, in elements.
  Start start(int64_t number) const {
    Start at{0, 0};
    for (int k = 0; k < outer_count_; ++k) {
      const int64_t index = number % axes_[k].size;
      at.x += index * axes_[k].x_stride;
      at.y += index * axes_[k].y_stride;
      number /= axes_[k].size;
    }
    return at;
  }

  void copy(const Run& run) const {
    const char* x = run.in<char>(x_);
    char* y = run.out<char>();
    each_piece(run.pool, outer_, i_.size * element_bytes_, 1,
               [&](int64_t number, int64_t begin, int64_t end) {
                 const Start at = start(number);
                 memcpy(y + at.y * element_bytes_ + begin, x + at.x * element_bytes_ + begin,
                        static_cast<size_t>(end - begin));
               });
  }

  template <class Lanes, class T>
  void transpose_planes(const Run& run) const {
    const T* x = run.in<T>(x_);
    T* y = run.out<T>();
    const int64_t i_tiles = divide_up(i_.size, kTile), j_tiles = divide_up(j_.size, kTile);
    each_block(run.pool, outer_ * i_tiles * j_tiles, 2 * kTile * kTile * element_bytes_,
               [&](int64_t begin, int64_t end) {
                 for (int64_t tile = begin; tile < end; ++tile) {
                   const Start at = start(tile / (i_tiles * j_tiles));
                   const int64_t i = tile % i_tiles * kTile, j = tile / i_tiles % j_tiles * kTile;
                   transpose<Lanes>(x + at.x + i * i_.x_stride + j, i_.x_stride,
                                    y + at.y + j * j_.y_stride + i, j_.y_stride,
                                    smaller(kTile, i_.size - i), smaller(kTile, j_.size - j));
                 }
               });
  }

  int x_;
  int64_t element_bytes_, elements_;
  Axis i_, j_{};                 // j_ unused where runs are copied
  Axis axes_[HRSAM_MAX_RANK]{};  // the others, the result's last first
  int outer_count_ = 0;
  int64_t outer_ = 1;  // their product
};

}  // namespace

Op* compile_permute(const Node& node, Compiler&) {
  int64_t order[HRSAM_MAX_RANK];
  read_permute(node, order);
  return new Permute(node, node.value("x"), order);
}

}  // namespace hrsam::cpu::HRSAM_ISA
