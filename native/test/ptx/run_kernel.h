// Kernels written by tests, run for their results and their errors.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../check.h"
#include "machine.h"

namespace ptx::test {

using hrsam::test::text;

// A kernel with one parameter; %d0 is the address of the memory that it may read and write, %r0 the
// thread.
inline std::string kernel(const std::string& body, const char* target = "sm_80") {
  return text(".version 9.0\n.target ", target,
              "\n.address_size 64\n.extern .shared .align 128 .b8 memory[];\n.visible .entry "
              "test(.param .u64 test_0)\n{\n"
              ".reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<64>;\n.reg .f32 %f<64>;\n.reg "
              ".b64 %d<16>;\n.reg .f64 %e<8>;\n"
              "ld.param.u64 %d0, [test_0];\ncvta.to.global.u64 %d0, %d0;\nmov.u32 %r0, %tid.x;\n",
              body, "\nret;\n}\n");
}

struct Shape {
  unsigned threads = 32, blocks = 1, cluster = 1;
  size_t shared = 0;
  bool early = false;
};

// What went wrong, or nothing.
inline std::string run(const std::string& ptx, void* data, size_t bytes, const Shape& shape,
                       uint64_t seed = 1, Counts* counts = nullptr) {
  try {
    const Module module = parse(ptx);
    Launch launch;
    launch.code = decode(module.functions.at("test"), {});
    launch.grid = {shape.blocks, 1, 1};
    launch.block = {shape.threads, 1, 1};
    launch.cluster = shape.cluster;
    launch.shared_bytes = shape.shared;
    launch.early = shape.early;
    launch.parameters.resize(8);
    std::memcpy(launch.parameters.data(), &data, 8);
    Memory memory;
    memory.add(data, bytes);
    ptx::run(launch, memory, seed, counts);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}
template <class T>
std::string run(const std::string& ptx, std::vector<T>& data, const Shape& shape = {},
                uint64_t seed = 1) {
  return run(ptx, data.data(), data.size() * sizeof(T), shape, seed);
}

inline bool says(const std::string& message, const char* part) {
  return message.find(part) != std::string::npos;
}

// Whatever the order of the warps: in twenty of them.
template <class T>
bool always_says(const std::string& ptx, const std::vector<T>& data, const Shape& shape,
                 const char* part) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<T> copy = data;
    const std::string message = run(ptx, copy, shape, seed);
    if (says(message, part)) continue;
    hrsam::test::check(false, __FILE__, __LINE__, text("not said: ", part, "; but: ", message));
    return false;
  }
  return true;
}

}  // namespace ptx::test
