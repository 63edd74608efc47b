// A matrix in device memory as Hopper's bulk tensor copies see it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hrsam::cuda {

// Rows of 128 bytes in shared memory: the piece of 16 bytes at p lies at p ^ (r & 7), r being the
// row, so that eight rows' pieces lie in different banks. That is a matter of addresses: it repeats
// every 1024 bytes.
constexpr int kSwizzleBytes = 1024;

// What a map is made of: `items` matrices of bf16, of which boxes of box_rows rows and 64 columns
// are copied. Zeros are copied for what lies outside. Strides in bytes, multiples of 16.
struct Boxes {
  const void* data;
  int64_t columns, rows, items;
  int64_t row_stride, item_stride;
  int box_rows;
};
constexpr int kBoxColumns = 64;

// Made by gpu::map_boxes() and passed to kernels by value; the driver's own encoding.
struct alignas(128) TensorMap {
  unsigned char bytes[128];
};

}  // namespace hrsam::cuda
