// What the native tests share: one op (or a few) run through the C ABI, and a registry of tests
// with main().
//
//   TEST(adds_two_rows) {
//     const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({3}, 2, HRSAM_BF16);
//     const std::vector<float> sum = Call("add").input("a", a).constant("b", b).result({2,
//     3}).run(); CHECK_CLOSE(sum, expected, 1e-6);
//   }
//
// run() executes with 1, 2 and 3 threads and checks that the bytes are the same and that nothing
// was written past the end; elements that were not written are NaN. This header also defines
// main(): one source file per executable.
#pragma once

#include <dlfcn.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../cpu/core/backend.h"
#include "../cpu/core/registry.h"
#include "check.h"
#include "tensor.h"

namespace hrsam::test {

struct BackendError : std::runtime_error {
  explicit BackendError(const hrsam_error& error)
      : std::runtime_error(text(error.code, ": ", error.message)), code(error.code) {}
  std::string code;
};

// The CPU, or the library that HRSAM_TEST_BACKEND names.
inline const hrsam_backend& backend() {
  static const hrsam_backend* const chosen = [] {
    const char* path = std::getenv("HRSAM_TEST_BACKEND");
    if (path == nullptr) return hrsam_cpu_backend();
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    return reinterpret_cast<hrsam_backend_entry_fn>(dlsym(library, HRSAM_BACKEND_ENTRY))();
  }();
  return *chosen;
}
// Whether it is the CUDA backend, on a GPU or in the shim.
inline bool is_cuda() { return std::getenv("HRSAM_TEST_BACKEND") != nullptr; }
inline int& default_threads() {
  static int threads = 0;  // 0: run() tries 1, 2 and 3
  return threads;
}
inline hrsam_device*& device() {
  static hrsam_device* opened = nullptr;
  return opened;
}

// Calls backend().<function>(arguments..., error); throws what it reports.
#define BACKEND(function, ...)                                                       \
  do {                                                                               \
    hrsam_error error_{};                                                            \
    if (::hrsam::test::backend().function(__VA_ARGS__ __VA_OPT__(, ) & error_) != 0) \
      throw ::hrsam::test::BackendError(error_);                                     \
  } while (0)

class Buffer {
 public:
  explicit Buffer(uint64_t bytes) { BACKEND(buffer_create, device(), bytes, &handle_); }
  ~Buffer() { backend().buffer_destroy(handle_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  hrsam_buffer* handle() const { return handle_; }

 private:
  hrsam_buffer* handle_ = nullptr;
};

// A plan under construction. Values and nodes are numbered in the order of the calls.
class Plan {
 public:
  int value(int dtype, const Dims& dims, hrsam_storage storage, int slot, uint64_t offset = 0) {
    hrsam_value made{dtype, static_cast<int32_t>(dims.size()), {}, storage, slot, offset};
    for (size_t i = 0; i < dims.size() && i < HRSAM_MAX_RANK; ++i) made.dims[i] = dims[i];
    values.push_back(made);
    return static_cast<int>(values.size()) - 1;
  }
  void node(const char* op, std::vector<hrsam_operand> operands,
            const std::vector<std::pair<const char*, std::vector<double>>>& attributes,
            int result) {
    operands_.push_back(std::move(operands));
    attributes_.emplace_back();
    for (const auto& [name, list] : attributes) {
      lists_.push_back(list);
      attributes_.back().push_back({name, static_cast<int32_t>(list.size()), lists_.back().data()});
    }
    nodes.push_back({op, "test", static_cast<int32_t>(operands_.back().size()),
                     operands_.back().data(), static_cast<int32_t>(attributes_.back().size()),
                     attributes_.back().data(), result});
  }
  // Valid until the next call on this object.
  hrsam_plan view() const {
    return {static_cast<int32_t>(values.size()),
            values.data(),
            static_cast<int32_t>(nodes.size()),
            nodes.data(),
            static_cast<int32_t>(buffers.size()),
            buffers.data(),
            arena_bytes,
            input_count,
            output_count};
  }
  std::vector<hrsam_value> values;
  std::vector<hrsam_node> nodes;
  std::vector<hrsam_buffer*> buffers;
  uint64_t arena_bytes = 0;
  int input_count = 0, output_count = 0;

 private:
  std::deque<std::vector<hrsam_operand>> operands_;
  std::deque<std::vector<hrsam_attribute>> attributes_;
  std::deque<std::vector<double>> lists_;
};

// A compiled plan, to be run any number of times. Inputs and outputs by slot.
class Program {
 public:
  explicit Program(const hrsam_plan& plan) { BACKEND(program_create, device(), &plan, &handle_); }
  ~Program() { backend().program_destroy(handle_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  // How many seconds it took.
  double run(hrsam_buffer* const* inputs, hrsam_buffer* const* outputs) const {
    hrsam_run* run = nullptr;
    BACKEND(run_create, handle_, inputs, outputs, &run);
    const auto begin = std::chrono::steady_clock::now();
    hrsam_error error{};
    int state = 1;
    while (state == 1) state = backend().run_step(run, &error);
    const auto end = std::chrono::steady_clock::now();
    backend().run_destroy(run);
    if (state != 0) throw BackendError(error);
    return std::chrono::duration<double>(end - begin).count();
  }

 private:
  hrsam_program* handle_ = nullptr;
};

// Compiles and runs a plan.
inline void execute(const hrsam_plan& plan, hrsam_buffer* const* inputs,
                    hrsam_buffer* const* outputs, int repeats = 1, double* seconds = nullptr) {
  const Program program(plan);
  for (int i = 0; i < repeats; ++i) {
    const double took = program.run(inputs, outputs);
    if (seconds != nullptr && (i == 0 || took < *seconds)) *seconds = took;
  }
}

// One op, run on its own.
class Call {
 public:
  explicit Call(const char* op) : op_(op) {}
  // Operands the op sees only when it runs, and constants it already knows while compiling.
  Call& input(const char* name, const Tensor& data) { return operand(name, data, HRSAM_INPUT); }
  Call& constant(const char* name, const Tensor& data) {
    return operand(name, data, HRSAM_CONSTANT);
  }
  // An operand whose memory is the result's.
  Call& in_place(const char* name, const Tensor& data) { return operand(name, data, HRSAM_OUTPUT); }
  Call& attribute(const char* name, std::vector<double> list) {
    attributes_.emplace_back(name, std::move(list));
    return *this;
  }
  Call& attribute(const char* name, double value) {
    return attribute(name, std::vector<double>{value});
  }
  Call& result(const Dims& dims, int dtype = HRSAM_F32) {
    result_ = {dtype, dims, {}};
    return *this;
  }

  Tensor run_tensor(int repeats = 1, double* seconds = nullptr) {
    const int fixed = default_threads();
    const int runs = fixed == 0 ? 3 : std::getenv("HRSAM_TEST_TWICE") != nullptr ? 2 : 1;
    Tensor first;
    for (int i = 1; i <= runs; ++i) {
      const int threads = fixed == 0 ? i : fixed;
      Tensor made = run_once(threads, repeats, seconds);
      if (i == 1)
        first = std::move(made);
      else
        check(made.bytes == first.bytes, __FILE__, __LINE__,
              text(op_, ": other bytes in run ", i, ", with ", threads, " threads"));
    }
    return first;
  }
  std::vector<float> run() { return run_tensor().floats(); }
  // The best of a few runs, in seconds, with --threads threads (1 unless told).
  double seconds(int repeats = 5) {
    double best = 0;
    run_once(std::max(1, default_threads()), repeats, &best);
    return best;
  }
  // The error's code; empty when there was none.
  std::string error() {
    try {
      run_once(1, 1, nullptr);
    } catch (const BackendError& error) {
      return error.code;
    }
    return "";
  }

 private:
  struct Operand {
    const char* name;
    Tensor data;
    hrsam_storage storage;
  };
  Call& operand(const char* name, const Tensor& data, hrsam_storage storage) {
    operands_.push_back({name, data, storage});
    return *this;
  }

  Tensor run_once(int threads, int repeats, double* seconds) {
    constexpr size_t kGuard = 64;
    BACKEND(device_set_threads, device(), threads);
    Plan plan;
    std::deque<Buffer> buffers;
    std::vector<hrsam_buffer*> inputs;
    // 0xff: NaN in f32 and bf16, so that an element that is not written shows.
    Tensor made{result_.dtype, result_.dims, {}};
    made.bytes.assign(
        static_cast<size_t>(elements_of(made.dims)) * dtype_bytes_of(made.dtype) + kGuard, 0xff);
    std::vector<hrsam_operand> operands;
    for (const Operand& each : operands_) {
      const bool in_place = each.storage == HRSAM_OUTPUT;
      auto& slots = each.storage == HRSAM_CONSTANT ? plan.buffers : inputs;
      const int slot = in_place ? 0 : static_cast<int>(slots.size());
      operands.push_back(
          {each.name, plan.value(each.data.dtype, each.data.dims, each.storage, slot)});
      if (in_place) {
        std::memcpy(made.bytes.data(), each.data.bytes.data(), each.data.bytes.size());
        continue;
      }
      slots.push_back(buffers.emplace_back(each.data.bytes.size()).handle());
      BACKEND(buffer_write, slots.back(), 0, each.data.bytes.data(), each.data.bytes.size());
    }
    hrsam_buffer* output = buffers.emplace_back(made.bytes.size()).handle();
    BACKEND(buffer_write, output, 0, made.bytes.data(), made.bytes.size());
    plan.input_count = static_cast<int>(inputs.size());
    plan.output_count = 1;
    plan.node(op_, operands, attributes_, plan.value(made.dtype, made.dims, HRSAM_OUTPUT, 0));
    execute(plan.view(), inputs.data(), &output, repeats, seconds);
    BACKEND(buffer_read, output, 0, made.bytes.data(), made.bytes.size());
    for (size_t i = made.bytes.size() - kGuard; i < made.bytes.size(); ++i)
      if (made.bytes[i] != 0xff) {
        check(false, __FILE__, __LINE__, text(op_, ": wrote past the end of its result"));
        break;
      }
    made.bytes.resize(made.bytes.size() - kGuard);
    return made;
  }

  const char* op_;
  std::vector<Operand> operands_;
  std::vector<std::pair<const char*, std::vector<double>>> attributes_;
  Tensor result_;
};

}  // namespace hrsam::test

// <test> [--threads N] [part of a test's name]. With N threads all of it runs once, with
// HRSAM_TEST_TWICE twice, which must give the same bytes. Exit code 77: this processor lacks the
// instruction set asked for.
int main(int argc, char** argv) {
  using namespace hrsam::test;
  std::string filter;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
      default_threads() = std::atoi(argv[++i]);
    else
      filter = argv[i];
  }
  int isa_count = 0;
  const hrsam::cpu::Isa* isas = hrsam::cpu::isas(&isa_count);
  const char* wanted = std::getenv("HRSAM_CPU_ISA");
  for (int i = 0; wanted != nullptr && i < isa_count; ++i)
    if (std::strcmp(wanted, isas[i].name) == 0 && !isas[i].supported()) return 77;
  try {
    BACKEND(device_open, 0, &device());
  } catch (const BackendError& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
  int run = 0;
  for (const Test& test : tests()) {
    if (std::string(test.name).find(filter) == std::string::npos) continue;
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& error) {
      check(false, test.name, 0, error.what());
    }
    std::cout << (failures() == before ? "ok   " : "FAIL ") << test.name << std::endl;
    ++run;
  }
  hrsam_memory_info memory{};
  backend().device_trim(device());
  backend().device_memory(device(), &memory);
  CHECK_EQ(memory.buffer_bytes, 0u);
  CHECK_EQ(memory.packed_bytes, 0u);
  CHECK_EQ(memory.cached_bytes, 0u);
  backend().device_close(device());
  std::cout << run << " tests, " << failures() << " failed checks" << std::endl;
  return failures() == 0 && run > 0 ? 0 : 1;
}
