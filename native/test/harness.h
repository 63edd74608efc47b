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

#include <deque>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../cpu/core/backend.h"
#include "check.h"
#include "tensor.h"

namespace hrsam::test {

struct BackendError : std::runtime_error {
  explicit BackendError(const hrsam_error& error)
      : std::runtime_error(text(error.code, ": ", error.message)), code(error.code) {}
  std::string code;
};

// The CPU, or the library that HRSAM_TEST_BACKEND names.
const hrsam_backend& backend();
// Whether it is the CUDA backend, on a GPU, in the shim or interpreted.
bool is_cuda();
// How many random cases to try: `count`, or HRSAM_TEST_CASES if that is less.
int random_cases(int count);
extern int default_threads;  // 0: run() tries 1, 2 and 3
extern hrsam_device* device;

// Calls backend().<function>(arguments..., error); throws what it reports.
#define BACKEND(function, ...)                                                       \
  do {                                                                               \
    hrsam_error error_{};                                                            \
    if (::hrsam::test::backend().function(__VA_ARGS__ __VA_OPT__(, ) & error_) != 0) \
      throw ::hrsam::test::BackendError(error_);                                     \
  } while (0)

class Buffer {
 public:
  explicit Buffer(uint64_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  hrsam_buffer* handle() const { return handle_; }

 private:
  hrsam_buffer* handle_ = nullptr;
};

// A plan under construction. Values and nodes are numbered in the order of the calls.
class Plan {
 public:
  int value(int dtype, const Dims& dims, hrsam_storage storage, int slot, uint64_t offset = 0);
  void node(const char* op, std::vector<hrsam_operand> operands,
            const std::vector<std::pair<const char*, std::vector<double>>>& attributes, int result);
  // Valid until the next call on this object.
  hrsam_plan view() const;
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
  explicit Program(const hrsam_plan& plan);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  // How many seconds it took.
  double run(hrsam_buffer* const* inputs, hrsam_buffer* const* outputs) const;

 private:
  hrsam_program* handle_ = nullptr;
};

// Compiles and runs a plan.
void execute(const hrsam_plan& plan, hrsam_buffer* const* inputs, hrsam_buffer* const* outputs,
             int repeats = 1, double* seconds = nullptr);

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
  Call& attribute(const char* name, std::vector<double> list);
  Call& attribute(const char* name, double value);
  Call& result(const Dims& dims, int dtype = HRSAM_F32);

  Tensor run_tensor(int repeats = 1, double* seconds = nullptr);
  std::vector<float> run();
  // The best of a few runs, in seconds, with --threads threads (1 unless told).
  double seconds(int repeats = 5);
  // The error's code; empty when there was none.
  std::string error();

 private:
  struct Operand {
    const char* name;
    Tensor data;
    hrsam_storage storage;
  };
  Call& operand(const char* name, const Tensor& data, hrsam_storage storage);

  Tensor run_once(int threads, int repeats, double* seconds);

  const char* op_;
  std::vector<Operand> operands_;
  std::vector<std::pair<const char*, std::vector<double>>> attributes_;
  Tensor result_;
};

}  // namespace hrsam::test
