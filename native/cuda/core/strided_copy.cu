#include "strided_copy.h"

#include "kernel.h"

namespace hrsam::cuda {

namespace {

template <class Unit, class Index>
struct StridedCopy {
  const Unit* from;
  Unit* to;
  CopyAxes axes;
  HRSAM_DEVICE void operator()(int64_t i) const {
    Index rest = static_cast<Index>(i);
    int64_t source = 0, target = 0;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (k >= axes.count) break;
      const Index size = static_cast<Index>(axes.axis[k].size);
      const Index at = k + 1 < axes.count ? rest % size : rest;
      source += static_cast<int64_t>(at) * axes.axis[k].from;
      target += static_cast<int64_t>(at) * axes.axis[k].to;
      rest /= size;
    }
    to[target] = from[source];
  }
};

template <class Unit>
void copy_units(cudaStream_t stream, const void* from, void* to, const CopyAxes& axes) {
  const int64_t n = axes.elements();
  const auto* source = static_cast<const Unit*>(from);
  auto* target = static_cast<Unit*>(to);
  if (n <= INT32_MAX)
    each(stream, n, StridedCopy<Unit, uint32_t>{source, target, axes});
  else
    each(stream, n, StridedCopy<Unit, uint64_t>{source, target, axes});
}

}  // namespace

void strided_copy(cudaStream_t stream, const void* from, void* to, CopyAxes axes,
                  int64_t element_bytes) {
  if (axes.count == 0) axes.push(1, 1, 1);  // one number
  if (axes.elements() == 0) return;
  int64_t unit = element_bytes;
  const auto fits = [&](int64_t bytes) {
    const int64_t factor = bytes / element_bytes;
    if (reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes) != 0 ||
        reinterpret_cast<uintptr_t>(to) % static_cast<uintptr_t>(bytes) != 0)
      return false;
    for (int i = 1; i < axes.count; ++i)
      if (axes.axis[i].from % factor != 0 || axes.axis[i].to % factor != 0) return false;
    return axes.axis[0].from == 1 && axes.axis[0].to == 1 && axes.axis[0].size % factor == 0;
  };
  while (unit < 16 && fits(2 * unit)) unit *= 2;
  if (unit > element_bytes) {
    const int64_t factor = unit / element_bytes;
    axes.axis[0].size /= factor;
    for (int i = 1; i < axes.count; ++i) {
      axes.axis[i].from /= factor;
      axes.axis[i].to /= factor;
    }
  }
  switch (unit) {
    case 1:
      return copy_units<uint8_t>(stream, from, to, axes);
    case 2:
      return copy_units<uint16_t>(stream, from, to, axes);
    case 4:
      return copy_units<uint32_t>(stream, from, to, axes);
    case 8:
      return copy_units<uint2>(stream, from, to, axes);
    default:
      return copy_units<uint4>(stream, from, to, axes);
  }
}

}  // namespace hrsam::cuda
