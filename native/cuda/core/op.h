// What an op on CUDA is made of. An op lives in native/cuda/<op>.cu and defines
//
//   Op* compile_<op>(const Node& node, Compiler& compiler);
//
// which checks what the graph cannot, prepares constants on the device (weights in another type,
// tables) and returns the op; Op::run launches its kernels on a stream and waits for nothing. An op
// takes no memory while it runs: what it needs besides operands and result is `workspace`, shared
// with the program's other ops.
//
// Results do not depend on the rest of a batch and are the same in every run: no atomics, and sums
// are cut by shapes alone.
#pragma once

#include <memory>
#include <utility>

#include "../../plan/node.h"
#include "gpu.h"

// Where the headers of native/plan/ that compute define what they define.
#define HRSAM_OPS hrsam::cuda

struct hrsam_device;

namespace hrsam::cuda {

using plan::bf16;
using plan::DType;
using plan::dtype_bytes;
using plan::Node;
using plan::Value;

// Host memory, for tables that are built before they are uploaded.
class Block {
 public:
  Block() = default;
  explicit Block(size_t bytes) : data_(new unsigned char[bytes]), bytes_(bytes) {}
  template <class T = void>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }
  size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<unsigned char[]> data_;
  size_t bytes_ = 0;
};

// What the report of a device's memory tells apart.
enum class MemoryKind { buffers, packed, cached };

// Memory of a device, given back to its cache when it goes.
class DeviceBlock {
 public:
  DeviceBlock() = default;
  // Throws the typed out-of-memory error.
  DeviceBlock(hrsam_device* device, MemoryKind kind, size_t bytes);
  ~DeviceBlock() { release(); }
  DeviceBlock(DeviceBlock&& other) noexcept { *this = std::move(other); }
  DeviceBlock& operator=(DeviceBlock&& other) noexcept;
  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void release();
  hrsam_device* device_ = nullptr;
  MemoryKind kind_ = MemoryKind::buffers;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

using SharedBlock = std::shared_ptr<DeviceBlock>;

// Services while compiling.
class Compiler {
 public:
  explicit Compiler(hrsam_device* device) : device_(device) {}
  // Kernels launched on it are done before the first run.
  cudaStream_t stream() const;
  int processors() const;       // multiprocessors of the device
  size_t shared_bytes() const;  // that a block may have
  // A copy on the device, valid as long as someone holds it.
  SharedBlock upload(const void* data, size_t bytes) const;
  SharedBlock upload(const Block& block) const { return upload(block.as<void>(), block.bytes()); }
  // A block shared by all programs of the device that ask for the same constant in the same layout.
  // The first caller gets *fresh = true and fills it before it returns from compile. Layout: any
  // static string that, with the constant's address and size, determines the content.
  SharedBlock share(const Value& constant, const char* layout, size_t bytes, bool* fresh) const;

 private:
  hrsam_device* device_;
};

// One execution of a node: where its operands and its result are, on the device.
struct Run {
  cudaStream_t stream;
  void* const* operands;  // by position, see Node::operand
  void* result;
  void* workspace;
  template <class T = void>
  const T* in(int operand) const {
    return operand < 0 ? nullptr : static_cast<const T*>(operands[operand]);
  }
  template <class T = void>
  T* out() const {
    return static_cast<T*>(result);
  }
};

class Op {
 public:
  explicit Op(size_t workspace_bytes) : workspace(workspace_bytes) {}
  virtual ~Op() = default;
  virtual void run(const Run& run) const = 0;
  const size_t workspace;
};

// An op whose run is f(run).
template <class F>
Op* make_op(size_t workspace, F f) {
  class Made : public Op {
   public:
    Made(size_t bytes, F&& body) : Op(bytes), body_(std::move(body)) {}
    void run(const Run& run) const override { body_(run); }

   private:
    F body_;
  };
  return new Made(workspace, std::move(f));
}
template <class F>
Op* make_op(F f) {
  return make_op(0, std::move(f));
}

using CompileFunction = Op* (*)(const Node& node, Compiler& compiler);
CompileFunction find_op(const char* name);  // null: no such op

}  // namespace hrsam::cuda
