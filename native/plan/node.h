// A plan as ops see it while they are compiled: values with shape and type, nodes with operands and
// attributes by name. Common to all backends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../include/hrsam_backend.h"

namespace hrsam::plan {

enum class DType : int32_t { f32 = 0, bf16 = 1, i32 = 2, u8 = 3 };
using bf16 = uint16_t;  // the upper half of an f32

constexpr int64_t dtype_bytes(DType type) {
  return type == DType::bf16 ? 2 : type == DType::u8 ? 1 : 4;
}

// Shape and type of an operand or result; row-major and contiguous.
struct Value {
  DType dtype = DType::f32;
  int rank = 0;
  int64_t dims[HRSAM_MAX_RANK] = {};
  // Constants (weights, folded values): known while compiling, valid as long as the program. Else
  // null.
  const void* data = nullptr;
  uint64_t offset = 0;  // bytes from the beginning of its buffer or arena

  int64_t dim(int i) const { return dims[i < 0 ? i + rank : i]; }  // negative: from the end
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  int64_t rows() const { return rank == 0 || dim(-1) == 0 ? 0 : elements() / dim(-1); }
  int64_t bytes() const { return elements() * dtype_bytes(dtype); }
};

// A node while it is compiled. Accessors by name fail with a typed error when the plan lacks the
// name.
class Node {
 public:
  Node(const hrsam_node* node, const Value* values) : node_(node), values_(values) {}
  const char* op() const;
  const char* layer() const;
  bool has(const char* operand) const;
  int operand(const char* name) const;     // position for Run::in
  int operand_or(const char* name) const;  // -1 when absent
  const Value& value(const char* operand) const;
  const Value& result() const;
  int64_t integer(const char* attribute) const;
  double number(const char* attribute) const;
  bool flag(const char* attribute) const { return integer(attribute) != 0; }
  // The attribute's numbers; *count is their number.
  const double* list(const char* attribute, int* count) const;
  // Ends compilation with a typed error that names op and layer. printf-style.
  [[noreturn]] void fail(const char* code, const char* format, ...) const
      __attribute__((format(printf, 3, 4)));

 private:
  const hrsam_node* node_;
  const Value* values_;  // of the plan
};

}  // namespace hrsam::plan
