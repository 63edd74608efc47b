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

#include "../../plan/node.h"
#include "thread_pool.h"

// Where the headers of native/plan/ that compute define what they define.
#define HRSAM_OPS hrsam::cpu::HRSAM_ISA
// For functions that a GPU needs as well.
#define HRSAM_BOTH inline

namespace hrsam::cpu {

using plan::bf16;
using plan::DType;
using plan::dtype_bytes;
using plan::Node;
using plan::Value;

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
