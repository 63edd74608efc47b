#include "tensor.h"

#include <cstring>
#include <random>

namespace hrsam::test {

std::vector<float> Tensor::floats() const {
  std::vector<float> values(bytes.size() / dtype_bytes_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint8_t* at = bytes.data() + i * dtype_bytes_of(dtype);
    uint16_t half = 0;
    int32_t integer = 0;
    if (dtype == HRSAM_F32) std::memcpy(&values[i], at, 4);
    if (dtype == HRSAM_BF16) std::memcpy(&half, at, 2), values[i] = from_bf16(half);
    if (dtype == HRSAM_I32) std::memcpy(&integer, at, 4), values[i] = static_cast<float>(integer);
    if (dtype == HRSAM_U8) values[i] = *at;
  }
  return values;
}

Tensor random_tensor(const Dims& dims, uint32_t seed, int dtype, double scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, scale);
  std::vector<double> values(static_cast<size_t>(elements_of(dims)));
  for (double& value : values)
    value = dtype == HRSAM_F32 || dtype == HRSAM_BF16 ? normal(generator)
                                                      : static_cast<double>(generator() % 256);
  return tensor(dims, values, dtype);
}

}  // namespace hrsam::test
