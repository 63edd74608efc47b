#include "program.h"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstring>
#include <thread>

namespace hrsam::cuda {

using plan::fail;

namespace {

// Recordings kept per program: as many as there are sets of buffers in turn.
constexpr size_t kRecordings = 4;
// How long a worker looks after a run before it lets others have a look: the time of a short
// decode.
constexpr std::chrono::microseconds kWatch{200};
constexpr std::chrono::microseconds kNap{20};

void run_step(const hrsam_program& program, const hrsam_program::Step& step,
              const std::vector<void*>& addresses, void* workspace, cudaStream_t stream) {
  std::vector<void*> operands;
  operands.reserve(step.operands.size());
  for (const int32_t i : step.operands) operands.push_back(addresses[static_cast<size_t>(i)]);
  void* result = addresses[static_cast<size_t>(step.result)];
  if (program.values[static_cast<size_t>(step.result)].elements() > 0)
    step.op->run(Run{stream, operands.data(), result, workspace});
}

// Kernels' code, stacks and graphs take memory of the GPU as well, which kept blocks may fill.
template <typename Work>
void with_room(hrsam_device* device, Work work) {
  try {
    work();
  } catch (const plan::Failure& failure) {
    if (std::strcmp(failure.error.code, "ERR_OUT_OF_MEMORY") != 0) throw;
    device->memory.trim();
    work();
  }
}

class ProgramBuilder {
 public:
  ProgramBuilder(hrsam_device* device, const hrsam_plan& plan)
      : device_(device), plan_(plan), compiler_(device) {}

  std::unique_ptr<hrsam_program> build() {
    program_ = std::make_unique<hrsam_program>();
    program_->device = device_;
    std::vector<plan::PlanBuffer> buffers;
    for (int i = 0; i < plan_.buffer_count; ++i)
      buffers.push_back({plan_.buffers[i]->data(), plan_.buffers[i]->bytes});
    program_->add_values(plan_, buffers);
    for (int i = 0; i < plan_.node_count; ++i) add_node(plan_.nodes[i]);
    uint64_t workspace = 0;
    for (const auto& step : program_->steps)
      workspace = std::max<uint64_t>(workspace, step.op->workspace);
    program_->workspace_begin =
        (plan_.arena_bytes + gpu::kAlignment - 1) / gpu::kAlignment * gpu::kAlignment;
    program_->arena_bytes = program_->workspace_begin + workspace;
    return std::move(program_);
  }

 private:
  void add_node(const hrsam_node& from) {
    hrsam_program::Step step;
    step.operands = program_->operands_of(from);
    step.result = from.result;
    const CompileFunction compile = find_op(from.op);
    if (compile == nullptr)
      fail("ERR_INTERNAL", "%s: the CUDA backend has no op '%s'", from.layer, from.op);
    step.op.reset(compile(Node(&from, program_->values.data()), compiler_));
    if (program_->is_folded(from.result))
      fold(step, from);
    else
      program_->steps.push_back(std::move(step));
  }

  void fold(const hrsam_program::Step& step, const hrsam_node& node) {
    const Value& value = program_->values[static_cast<size_t>(step.result)];
    DeviceBlock block(device_, MemoryKind::packed, static_cast<size_t>(value.bytes()));
    program_->place_folded(node, block.as<char>());
    DeviceBlock workspace;
    if (step.op->workspace > 0)
      workspace = DeviceBlock(device_, MemoryKind::cached, step.op->workspace);
    const Settled settled(compiler_.stream());  // the op and its workspace go
    with_room(device_, [&] {
      run_step(*program_, step, program_->constants, workspace.as<void>(), compiler_.stream());
    });
    gpu::wait(compiler_.stream());
    program_->folded.push_back(std::move(block));
  }

  hrsam_device* device_;
  const hrsam_plan& plan_;
  Compiler compiler_;
  std::unique_ptr<hrsam_program> program_;
};

void check_sizes(const char* kind, const std::vector<uint64_t>& wanted,
                 hrsam_buffer* const* buffers) {
  for (size_t i = 0; i < wanted.size(); ++i)
    if (buffers[i]->bytes < wanted[i])
      fail("ERR_INTERNAL", "%s %zu: %" PRIu64 " bytes needed, got %" PRIu64, kind, i, wanted[i],
           buffers[i]->bytes);
}

void* workspace_of(const hrsam_run& run) {
  return run.arena ? run.arena.as<char>() + run.program->workspace_begin : nullptr;
}

gpu::Graph& recording_for(hrsam_run& run) {
  auto& recordings = run.program->recordings;
  std::vector<void*> key = run.addresses;
  key.push_back(run.arena.as<void>());
  auto found = std::find_if(recordings.begin(), recordings.end(),
                            [&](const Recording& each) { return each.addresses == key; });
  if (found == recordings.end()) {
    const cudaStream_t stream = run.program->device->streams[run.stream];
    gpu::begin_recording(stream);
    try {
      for (const auto& step : run.program->steps)
        run_step(*run.program, step, run.addresses, workspace_of(run), stream);
    } catch (...) {
      gpu::abandon_recording(stream);  // it must be usable again
      throw;
    }
    if (recordings.size() == kRecordings) recordings.erase(recordings.begin());
    recordings.push_back({std::move(key), gpu::end_recording(stream)});
  } else {
    std::rotate(found, found + 1, recordings.end());
  }
  return *recordings.back().graph;
}

// Whether the run is over, after a while of looking.
bool watch(cudaStream_t stream) {
  const auto end = std::chrono::steady_clock::now() + kWatch;
  while (!gpu::is_done(stream)) {
    if (std::chrono::steady_clock::now() >= end) {
      std::this_thread::sleep_for(kNap);
      return gpu::is_done(stream);
    }
  }
  return true;
}

}  // namespace

hrsam_program* build_program(hrsam_device* device, const hrsam_plan& plan) {
  gpu::select(device->ordinal);
  return ProgramBuilder(device, plan).build().release();
}

hrsam_run* start_run(hrsam_program* program, hrsam_buffer* const* inputs,
                     hrsam_buffer* const* outputs) {
  hrsam_device* device = program->device;
  gpu::select(device->ordinal);
  check_sizes("input", program->input_bytes, inputs);
  check_sizes("output", program->output_bytes, outputs);
  auto run = std::make_unique<hrsam_run>();
  run->program = program;
  run->stream = device->busy[0] ? 1 : 0;
  device->busy[run->stream] = true;
  if (program->arena_bytes > 0)
    run->arena = DeviceBlock(device, MemoryKind::cached, program->arena_bytes);
  run->addresses = program->constants;
  for (size_t i = 0; i < program->placement.size(); ++i) {
    const hrsam_value& value = program->placement[i];
    char* base = nullptr;
    if (value.storage == HRSAM_ARENA) base = run->arena.as<char>();
    if (value.storage == HRSAM_INPUT) base = inputs[value.slot]->data();
    if (value.storage == HRSAM_OUTPUT) base = outputs[value.slot]->data();
    if (base != nullptr) run->addresses[i] = base + value.offset;
  }
  return run.release();
}

bool step_run(hrsam_run* run) {
  const auto& steps = run->program->steps;
  const cudaStream_t stream = run->program->device->streams[run->stream];
  gpu::select(run->program->device->ordinal);
  if (gpu::can_record()) {
    if (!run->launched)
      with_room(run->program->device, [&] { recording_for(*run).launch(stream); });
    run->launched = true;
    return !watch(stream);
  }
  if (run->next < steps.size()) {
    run->launched = true;  // part of a step that fails may run
    run_step(*run->program, steps[run->next++], run->addresses, workspace_of(*run), stream);
  }
  if (run->next < steps.size()) return true;
  return !watch(stream);
}

}  // namespace hrsam::cuda

hrsam_run::~hrsam_run() {
  hrsam_device* device = program->device;
  if (stream < 0) return;
  if (launched) {
    const hrsam::cuda::Settled settled(device->streams[stream]);  // before the arena goes
  }
  device->busy[stream] = false;
}
