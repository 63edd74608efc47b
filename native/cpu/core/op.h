// What an op on the CPU is made of. An op lives in native/cpu/<op>.cc, which is compiled once per
// instruction set in namespace hrsam::cpu::HRSAM_ISA and defines
//
//   Op* compile_<op>(const Node& node, Compiler& compiler);
//
// compile_<op> checks what the graph cannot, prepares constants (packs weights, builds tables) and
// returns the op; Op::run does the work, on the device's worker thread, with Run::pool for the
// other threads.
//
// Files compiled per instruction set instantiate no templates of the standard library: the linker
// keeps one copy of such a function for all of them, and it could be the one that this processor
// cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "thread_pool.h"

namespace hrsam::cpu {

enum class DType : int32_t { f32 = 0, bf16 = 1, i32 = 2, u8 = 3 };
using bf16 = uint16_t;  // the upper half of an f32

constexpr int64_t dtype_bytes(DType type) {
  return type == DType::bf16 ? 2 : type == DType::u8 ? 1 : 4;
}

// Shape and type of an operand or result; row-major and contiguous.
struct Value {
  DType dtype = DType::f32;
  int rank = 0;
  int64_t dims[6] = {};
  // Constants (weights, folded values): known while compiling, valid as long as the program. Else
  // null.
  const void* data = nullptr;

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

 protected:
  friend class ProgramBuilder;
  Node() = default;
  struct Impl;
  const Impl* impl_ = nullptr;
};

// 64-byte aligned memory; throws the typed out-of-memory error.
class Block {
 public:
  Block() = default;
  explicit Block(size_t bytes);
  ~Block();
  Block(Block&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  Block& operator=(Block&& other) noexcept;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Services while compiling.
class Compiler {
 public:
  Pool& pool;
  // A block shared by all programs of the device that ask for the same constant in the same layout
  // (packed weights). The first caller gets *fresh = true and fills it before it returns from
  // compile. Layout: any static string that, with the constant's address and size, determines the
  // content. The op keeps the handle as long as it uses the memory: release() in its destructor.
  struct Shared;
  Shared* share(const Value& constant, const char* layout, size_t bytes, void** data, bool* fresh);
  static void release(Shared* shared);

 protected:
  explicit Compiler(Pool& p) : pool(p) {}
};

// One execution of a node: where its operands and its result are.
struct Run {
  Pool& pool;
  void* const* operands;  // by position, see Node::operand
  void* result;
  template <class T>
  const T* in(int operand) const {
    return static_cast<const T*>(operands[operand]);
  }
  template <class T>
  T* out() const {
    return static_cast<T*>(result);
  }
};

class Op {
 public:
  virtual ~Op();
  virtual void run(const Run& run) const = 0;
};

}  // namespace hrsam::cpu
