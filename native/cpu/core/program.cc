#include "program.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <utility>

#include "../../plan/check_value.h"
#include "denormals.h"

namespace hrsam::cpu {

namespace {

class DeviceCompiler : public Compiler {
 public:
  explicit DeviceCompiler(hrsam_device* d) : Compiler(d->pool), device(d) {}
  hrsam_device* device;
};

// A mapped weights file has been read into kernel order: its pages need not stay resident.
void drop_pages(const hrsam_buffer& buffer) {
  if (buffer.wrapped == nullptr) return;
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(buffer.wrapped) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(buffer.wrapped) + buffer.bytes) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

class ProgramBuilder {
 public:
  ProgramBuilder(hrsam_device* device, const hrsam_plan& plan)
      : device_(device), plan_(plan), compiler_(device) {}

  std::unique_ptr<hrsam_program> build() {
    program_ = std::make_unique<hrsam_program>();
    program_->device = device_;
    program_->arena_bytes = plan_.arena_bytes;
    add_values();
    for (int i = 0; i < plan_.node_count; ++i) add_node(plan_.nodes[i]);
    for (int i = 0; i < plan_.buffer_count; ++i) drop_pages(*plan_.buffers[i]);
    return std::move(program_);
  }

 private:
  void add_values() {
    program_->input_bytes.assign(static_cast<size_t>(plan_.input_count), 0);
    program_->output_bytes.assign(static_cast<size_t>(plan_.output_count), 0);
    for (int i = 0; i < plan_.value_count; ++i) {
      const hrsam_value& from = plan_.values[i];
      plan::check_value(plan_, from, i, buffer_bytes(from));
      Value value;
      value.dtype = static_cast<DType>(from.dtype);
      value.rank = from.rank;
      std::copy(from.dims, from.dims + from.rank, value.dims);
      void* data = nullptr;
      if (from.storage == HRSAM_CONSTANT)
        data = static_cast<char*>(plan_.buffers[from.slot]->data()) + from.offset;
      value.data = data;
      const auto bytes = from.offset + static_cast<uint64_t>(value.bytes());
      if (from.storage == HRSAM_INPUT)
        grow(program_->input_bytes[static_cast<size_t>(from.slot)], bytes);
      if (from.storage == HRSAM_OUTPUT)
        grow(program_->output_bytes[static_cast<size_t>(from.slot)], bytes);
      program_->placement.push_back(from);
      program_->values.push_back(value);
      program_->constants.push_back(data);
    }
  }

  uint64_t buffer_bytes(const hrsam_value& value) const {
    const bool known =
        value.storage == HRSAM_CONSTANT && value.slot >= 0 && value.slot < plan_.buffer_count;
    return known ? plan_.buffers[value.slot]->bytes : 0;
  }

  static void grow(uint64_t& size, uint64_t bytes) { size = std::max(size, bytes); }

  void check_index(int32_t value, const hrsam_node& node) const {
    if (value < 0 || value >= plan_.value_count)
      fail("ERR_INTERNAL", "%s (%s): value index", node.layer, node.op);
  }

  hrsam_storage storage_of(int32_t value) const {
    return static_cast<hrsam_storage>(program_->placement[static_cast<size_t>(value)].storage);
  }

  void add_node(const hrsam_node& from) {
    check_index(from.result, from);
    const hrsam_storage storage = storage_of(from.result);
    if (storage == HRSAM_INPUT || storage == HRSAM_CONSTANT)
      fail("ERR_INTERNAL", "%s (%s): writes an input or a constant", from.layer, from.op);
    for (int i = 0; i < from.operand_count; ++i) {
      const int32_t value = from.operands[i].value;
      check_index(value, from);
      if (storage_of(value) == HRSAM_FOLDED &&
          program_->constants[static_cast<size_t>(value)] == nullptr)
        fail("ERR_INTERNAL", "%s (%s): reads a folded value before it is there", from.layer,
             from.op);
    }
    const CompileFunction compile = device_->isa.find_op(from.op);
    if (compile == nullptr)
      fail("ERR_INTERNAL", "%s: the CPU backend has no op '%s'", from.layer, from.op);
    const Node node(&from, program_->values.data());

    hrsam_program::Step step;
    step.op.reset(compile(node, compiler_));
    for (int i = 0; i < from.operand_count; ++i) step.operands.push_back(from.operands[i].value);
    step.result = from.result;
    if (storage == HRSAM_FOLDED) {
      fold(step, from);
      return;
    }
    program_->steps.push_back(std::move(step));
    if (program_->profile) program_->profile.add_step(from.op, from.layer);
  }

  void fold(const hrsam_program::Step& step, const hrsam_node& node) {
    std::vector<void*> operands;
    for (const int32_t i : step.operands) {
      void* data = program_->constants[static_cast<size_t>(i)];
      if (data == nullptr)
        fail("ERR_INTERNAL", "%s (%s): folded, but reads a value that is not", node.layer, node.op);
      operands.push_back(data);
    }
    Value& value = program_->values[static_cast<size_t>(step.result)];
    Block block(static_cast<size_t>(value.bytes()));
    const DenormalsAreZero denormals;
    step.op->run(Run{device_->pool, operands.data(), block.as<void>()});
    value.data = block.as<void>();
    program_->constants[static_cast<size_t>(step.result)] = block.as<void>();
    // Reshapes of it share its memory: the plan gives them the same slot.
    const int32_t slot = program_->placement[static_cast<size_t>(step.result)].slot;
    for (size_t i = 0; i < program_->values.size(); ++i) {
      if (program_->placement[i].storage != HRSAM_FOLDED || program_->placement[i].slot != slot)
        continue;
      if (static_cast<uint64_t>(program_->values[i].bytes()) + program_->placement[i].offset >
          static_cast<uint64_t>(value.bytes()))
        fail("ERR_INTERNAL", "%s (%s): a view of it is larger", node.layer, node.op);
      void* data = block.as<char>() + program_->placement[i].offset;
      program_->values[i].data = data;
      program_->constants[i] = data;
    }
    device_->ledger.add(device_->ledger.packed, block.bytes());
    program_->folded.push_back(std::move(block));
  }

  hrsam_device* device_;
  const hrsam_plan& plan_;
  DeviceCompiler compiler_;
  std::unique_ptr<hrsam_program> program_;
};

Compiler::Shared* Compiler::share(const Value& constant, const char* layout, size_t bytes,
                                  void** data, bool* fresh) {
  hrsam_device* device = static_cast<DeviceCompiler*>(this)->device;
  const auto key = std::make_tuple(constant.data, std::string(layout), bytes);
  std::lock_guard<std::mutex> lock(device->mutex);
  const auto found = device->shared.find(key);
  Shared* shared = found == device->shared.end() ? nullptr : found->second;
  *fresh = shared == nullptr;
  if (shared == nullptr) {
    auto made = std::make_unique<Shared>();
    made->device = device;
    made->key = key;
    made->block = Block(bytes);
    device->ledger.add(device->ledger.packed, bytes);
    device->shared.emplace(key, made.get());
    shared = made.release();
  }
  ++shared->holders;
  *data = shared->block.as<void>();
  return shared;
}

void Compiler::release(Shared* shared) {
  if (shared == nullptr) return;
  hrsam_device* device = shared->device;
  std::lock_guard<std::mutex> lock(device->mutex);
  if (--shared->holders > 0) return;
  device->ledger.remove(device->ledger.packed, shared->block.bytes());
  device->shared.erase(shared->key);
  delete shared;
}

hrsam_program* build_program(hrsam_device* device, const hrsam_plan& plan) {
  return ProgramBuilder(device, plan).build().release();
}

hrsam_run* start_run(hrsam_program* program, hrsam_buffer* const* inputs,
                     hrsam_buffer* const* outputs) {
  for (size_t i = 0; i < program->input_bytes.size(); ++i)
    if (inputs[i]->bytes < program->input_bytes[i])
      fail("ERR_INTERNAL", "input %zu: %" PRIu64 " bytes needed, got %" PRIu64, i,
           program->input_bytes[i], inputs[i]->bytes);
  for (size_t i = 0; i < program->output_bytes.size(); ++i)
    if (outputs[i]->bytes < program->output_bytes[i])
      fail("ERR_INTERNAL", "output %zu: %" PRIu64 " bytes needed, got %" PRIu64, i,
           program->output_bytes[i], outputs[i]->bytes);
  auto run = std::make_unique<hrsam_run>();
  run->program = program;
  if (program->arena_bytes > 0) run->arena = program->device->take_arena(program->arena_bytes);
  run->addresses = program->constants;
  for (size_t i = 0; i < program->placement.size(); ++i) {
    const hrsam_value& value = program->placement[i];
    char* base = nullptr;
    if (value.storage == HRSAM_ARENA) base = run->arena.as<char>();
    if (value.storage == HRSAM_INPUT) base = static_cast<char*>(inputs[value.slot]->data());
    if (value.storage == HRSAM_OUTPUT) base = static_cast<char*>(outputs[value.slot]->data());
    if (base != nullptr) run->addresses[i] = base + value.offset;
  }
  return run.release();
}

bool step_run(hrsam_run* run) {
  const auto& steps = run->program->steps;
  if (run->next < steps.size()) {
    const size_t at = run->next++;
    const hrsam_program::Step& step = steps[at];
    run->operands.clear();
    for (const int32_t i : step.operands)
      run->operands.push_back(run->addresses[static_cast<size_t>(i)]);
    Profile& profile = run->program->profile;
    const auto begin = profile ? Profile::Clock::now() : Profile::Clock::time_point();
    const DenormalsAreZero denormals;
    step.op->run(Run{run->program->device->pool, run->operands.data(),
                     run->addresses[static_cast<size_t>(step.result)]});
    if (profile) profile.count(at, Profile::Clock::now() - begin);
  }
  return run->next < steps.size();
}

}  // namespace hrsam::cpu

hrsam_program::~hrsam_program() {
  if (profile) profile.print();
  for (const auto& block : folded) device->ledger.remove(device->ledger.packed, block.bytes());
}

hrsam_run::~hrsam_run() {
  if (arena) program->device->keep_arena(std::move(arena));
}
