#include "program.h"

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <utility>

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
    std::vector<plan::PlanBuffer> buffers;
    for (int i = 0; i < plan_.buffer_count; ++i)
      buffers.push_back({static_cast<char*>(plan_.buffers[i]->data()), plan_.buffers[i]->bytes});
    program_->add_values(plan_, buffers);
    for (int i = 0; i < plan_.node_count; ++i) add_node(plan_.nodes[i]);
    for (int i = 0; i < plan_.buffer_count; ++i) drop_pages(*plan_.buffers[i]);
    return std::move(program_);
  }

 private:
  void add_node(const hrsam_node& from) {
    hrsam_program::Step step;
    step.operands = program_->operands_of(from);
    step.result = from.result;
    const CompileFunction compile = device_->isa.find_op(from.op);
    if (compile == nullptr)
      fail("ERR_INTERNAL", "%s: the CPU backend has no op '%s'", from.layer, from.op);
    step.op.reset(compile(Node(&from, program_->values.data()), compiler_));
    if (program_->is_folded(from.result)) {
      fold(step, from);
      return;
    }
    // Nothing to compute, however large its sides are.
    if (program_->values[static_cast<size_t>(from.result)].elements() == 0) return;
    program_->steps.push_back(std::move(step));
    if (program_->profile) program_->profile.add_step(from.op, from.layer);
  }

  void fold(const hrsam_program::Step& step, const hrsam_node& node) {
    Block block(static_cast<size_t>(program_->values[static_cast<size_t>(step.result)].bytes()));
    program_->place_folded(node, block.as<char>());
    std::vector<void*> operands;
    for (const int32_t i : step.operands)
      operands.push_back(program_->constants[static_cast<size_t>(i)]);
    const DenormalsAreZero denormals;
    if (block.bytes() > 0) step.op->run(Run{device_->pool, operands.data(), block.as<void>()});
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
  const auto found = device->shared.find(shared->key);
  if (found != device->shared.end() && found->second == shared) device->shared.erase(found);
  delete shared;
}

hrsam_program* build_program(hrsam_device* device, const hrsam_plan& plan) {
  return ProgramBuilder(device, plan).build().release();
}

hrsam_run* start_run(hrsam_program* program, hrsam_buffer* const* inputs,
                     hrsam_buffer* const* outputs) {
  const auto in = plan::begins("input", program->input_bytes, inputs);
  const auto out = plan::begins("output", program->output_bytes, outputs);
  auto run = std::make_unique<hrsam_run>();
  run->program = program;
  for (size_t i = 0; i < out.size(); ++i) run->written.emplace_back(out[i], outputs[i]->bytes);
  if (program->arena_bytes > 0) run->arena = program->device->take_arena(program->arena_bytes);
  run->addresses = program->addresses(run->arena.as<char>(), in, out);
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
  // Now: what was packed while it ran, between two steps, may be of either content.
  for (const auto& [begin, bytes] : written) program->device->forget_packed(begin, bytes);
  if (arena) program->device->keep_arena(std::move(arena));
}
