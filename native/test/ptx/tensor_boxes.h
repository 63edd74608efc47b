// What cuTensorMapEncodeTiled makes here.
#pragma once
#include <cstdint>
namespace ptx {
struct TensorBoxes {
  static constexpr uint64_t kMark = 0x7465736f72626f78;
  uint64_t mark = kMark;
  uint64_t data = 0;
  int64_t sizes[3] = {}, strides[2] = {};
  uint32_t rows = 0;
};
}  // namespace ptx
