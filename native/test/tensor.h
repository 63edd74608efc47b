// Tensors in the tests' own memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "../include/hrsam_backend.h"

namespace hrsam::test {

using Dims = std::vector<int64_t>;

inline uint16_t to_bf16(float value) {  // to nearest even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float from_bf16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
inline float rounded_bf16(float value) { return from_bf16(to_bf16(value)); }

inline int64_t elements_of(const Dims& dims) {
  int64_t count = 1;
  for (const int64_t dim : dims) count *= dim;
  return count;
}
inline uint64_t dtype_bytes_of(int dtype) {
  return dtype == HRSAM_BF16 ? 2 : dtype == HRSAM_U8 ? 1 : 4;
}

struct Tensor {
  int dtype = HRSAM_F32;
  Dims dims;
  std::vector<uint8_t> bytes;

  // The elements as floats, whatever the type.
  std::vector<float> floats() const;
};

// Values converted to dtype (bf16 rounded to nearest even).
template <class T>
Tensor tensor(const Dims& dims, const std::vector<T>& values, int dtype = HRSAM_F32) {
  if (static_cast<int64_t>(values.size()) != elements_of(dims))
    throw std::logic_error("tensor: shape and values differ");
  Tensor made{dtype, dims, std::vector<uint8_t>(values.size() * dtype_bytes_of(dtype))};
  for (size_t i = 0; i < values.size(); ++i) {
    uint8_t* at = made.bytes.data() + i * dtype_bytes_of(dtype);
    const float f = static_cast<float>(values[i]);
    const uint16_t half = to_bf16(f);
    const int32_t integer = dtype == HRSAM_I32 ? static_cast<int32_t>(values[i]) : 0;
    if (dtype == HRSAM_F32) std::memcpy(at, &f, 4);
    if (dtype == HRSAM_BF16) std::memcpy(at, &half, 2);
    if (dtype == HRSAM_I32) std::memcpy(at, &integer, 4);
    if (dtype == HRSAM_U8) *at = static_cast<uint8_t>(values[i]);
  }
  return made;
}

// Normally distributed with standard deviation `scale`; i32 and u8: integers from 0 to 255.
Tensor random_tensor(const Dims& dims, uint32_t seed, int dtype = HRSAM_F32, double scale = 1);

}  // namespace hrsam::test
