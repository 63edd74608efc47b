#include "harness.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "../cpu/core/registry.h"

namespace hrsam::test {

int default_threads = 0;
hrsam_device* device = nullptr;

const hrsam_backend& backend() {
  static const hrsam_backend* const chosen = [] {
    const char* path = std::getenv("HRSAM_TEST_BACKEND");
    if (path == nullptr) return hrsam_cpu_backend();
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    return reinterpret_cast<hrsam_backend_entry_fn>(dlsym(library, HRSAM_BACKEND_ENTRY))();
  }();
  return *chosen;
}

int random_cases(int count) {
  const char* most = std::getenv("HRSAM_TEST_CASES");
  return most == nullptr ? count : std::min(count, std::atoi(most));
}

bool is_cuda() { return std::getenv("HRSAM_TEST_BACKEND") != nullptr; }

int Plan::value(int dtype, const Dims& dims, hrsam_storage storage, int slot, uint64_t offset) {
  hrsam_value made{dtype, static_cast<int32_t>(dims.size()), {}, storage, slot, offset};
  for (size_t i = 0; i < dims.size() && i < HRSAM_MAX_RANK; ++i) made.dims[i] = dims[i];
  values.push_back(made);
  return static_cast<int>(values.size()) - 1;
}

void Plan::node(const char* op, std::vector<hrsam_operand> operands,
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

hrsam_plan Plan::view() const {
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

double Program::run(hrsam_buffer* const* inputs, hrsam_buffer* const* outputs) const {
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

Buffer::Buffer(uint64_t bytes) { BACKEND(buffer_create, device, bytes, &handle_); }

Buffer::~Buffer() { backend().buffer_destroy(handle_); }

Program::Program(const hrsam_plan& plan) { BACKEND(program_create, device, &plan, &handle_); }

Program::~Program() { backend().program_destroy(handle_); }

void execute(const hrsam_plan& plan, hrsam_buffer* const* inputs, hrsam_buffer* const* outputs,
             int repeats, double* seconds) {
  const Program program(plan);
  for (int i = 0; i < repeats; ++i) {
    const double took = program.run(inputs, outputs);
    if (seconds != nullptr && (i == 0 || took < *seconds)) *seconds = took;
  }
}

Call& Call::attribute(const char* name, std::vector<double> list) {
  attributes_.emplace_back(name, std::move(list));
  return *this;
}

Call& Call::attribute(const char* name, double value) {
  return attribute(name, std::vector<double>{value});
}

Call& Call::result(const Dims& dims, int dtype) {
  result_ = {dtype, dims, {}};
  return *this;
}

Tensor Call::run_tensor(int repeats, double* seconds) {
  const int fixed = default_threads;
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

std::vector<float> Call::run() { return run_tensor().floats(); }

double Call::seconds(int repeats) {
  double best = 0;
  run_once(std::max(1, default_threads), repeats, &best);
  return best;
}

std::string Call::error() {
  try {
    run_once(1, 1, nullptr);
  } catch (const BackendError& error) {
    return error.code;
  }
  return "";
}

Call& Call::operand(const char* name, const Tensor& data, hrsam_storage storage) {
  operands_.push_back({name, data, storage});
  return *this;
}

Tensor Call::run_once(int threads, int repeats, double* seconds) {
  constexpr size_t kGuard = 64;
  BACKEND(device_set_threads, device, threads);
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

}  // namespace hrsam::test

// <test> [--threads N] [part of a test's name]. With N threads all of it runs once, with
// HRSAM_TEST_TWICE twice, which must give the same bytes. Exit code 77: this processor lacks the
// instruction set asked for.
int main(int argc, char** argv) {
  using namespace hrsam::test;
  std::string filter;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
      default_threads = std::atoi(argv[++i]);
    else
      filter = argv[i];
  }
  int isa_count = 0;
  const hrsam::cpu::Isa* isas = hrsam::cpu::isas(&isa_count);
  const char* wanted = std::getenv("HRSAM_CPU_ISA");
  for (int i = 0; wanted != nullptr && i < isa_count; ++i)
    if (std::strcmp(wanted, isas[i].name) == 0 && !isas[i].supported()) return 77;
  try {
    BACKEND(device_open, 0, &device);
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
  backend().device_trim(device);
  backend().device_memory(device, &memory);
  CHECK_EQ(memory.buffer_bytes, 0u);
  CHECK_EQ(memory.packed_bytes, 0u);
  CHECK_EQ(memory.cached_bytes, 0u);
  backend().device_close(device);
  std::cout << run << " tests, " << failures() << " failed checks" << std::endl;
  return failures() == 0 && run > 0 ? 0 : 1;
}
