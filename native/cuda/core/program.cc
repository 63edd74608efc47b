#include "program.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "settings.h"

namespace hrsam::cuda {

using plan::fail;

namespace {

// Recordings kept per program: as many as there are sets of buffers in turn.
constexpr size_t kRecordings = 4;
// How long a worker looks after a run before it lets others have a look: the time of a short
// decode.
constexpr std::chrono::microseconds kWatch{200};
constexpr std::chrono::microseconds kNap{20};

bool records() {
  // Launch by launch, compute-sanitizer and profilers name kernels better.
  static const bool wanted = switch_setting("HRSAM_CUDA_GRAPHS") != "0";
  return wanted;
}

void run_step(const hrsam_program& program, const hrsam_program::Step& step,
              const std::vector<void*>& addresses, void* workspace, cudaStream_t stream) {
  std::vector<void*> operands;
  operands.reserve(step.operands.size());
  for (const int32_t i : step.operands) operands.push_back(addresses[static_cast<size_t>(i)]);
  void* result = addresses[static_cast<size_t>(step.result)];
  if (program.values[static_cast<size_t>(step.result)].elements() > 0)
    step.op->run(Run{stream, operands.data(), result, workspace});
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
    with_room(device_,
              [&] { step.op.reset(compile(Node(&from, program_->values.data()), compiler_)); });
    if (program_->is_folded(from.result)) fold(step, from);
    // Nothing to compute, however large its sides are.
    else if (program_->values[static_cast<size_t>(from.result)].elements() > 0)
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
      if (value.elements() > 0)
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

void* workspace_of(const hrsam_run& run) {
  return run.arena ? run.arena.as<char>() + run.program->workspace_begin : nullptr;
}

// Lets the values of a run be where its arena, inputs and outputs begin.
void place_values(hrsam_run& run, const std::vector<char*>& inputs,
                  const std::vector<char*>& outputs) {
  run.addresses = run.program->addresses(run.arena.as<char>(), inputs, outputs);
  run.places = inputs;
  run.places.insert(run.places.end(), outputs.begin(), outputs.end());
}

// Where blocks of such sizes begin, one after the other, each of them aligned; `end` goes on.
std::vector<size_t> offsets_of(const std::vector<uint64_t>& sizes, size_t* end) {
  std::vector<size_t> offsets;
  for (const uint64_t bytes : sizes) {
    offsets.push_back(*end);
    *end += (bytes + gpu::kAlignment - 1) / gpu::kAlignment * gpu::kAlignment;
  }
  return offsets;
}

// A run of a restless program works on a block of its own. Where there is no memory for it, on the
// inputs and outputs themselves.
void stage_run(hrsam_run& run, const std::vector<char*>& inputs,
               const std::vector<char*>& outputs) {
  const hrsam_program& program = *run.program;
  size_t bytes = 0;
  const auto in = offsets_of(program.input_bytes, &bytes);
  const auto out = offsets_of(program.output_bytes, &bytes);
  try {
    run.stage = DeviceBlock(program.device, MemoryKind::cached, bytes);
  } catch (const plan::Failure& failure) {
    if (std::strcmp(failure.error.code, "ERR_OUT_OF_MEMORY") != 0) throw;
    return place_values(run, inputs, outputs);
  }
  std::vector<char*> staged_in, staged_out;
  for (size_t i = 0; i < in.size(); ++i) {
    staged_in.push_back(run.stage.as<char>() + in[i]);
    run.before.push_back({staged_in[i], inputs[i], program.input_bytes[i]});
  }
  for (size_t i = 0; i < out.size(); ++i) {
    staged_out.push_back(run.stage.as<char>() + out[i]);
    run.after.push_back({outputs[i], staged_out[i], program.output_bytes[i]});
  }
  place_values(run, staged_in, staged_out);
}

void copy_all(const std::vector<hrsam_run::Copy>& copies, cudaStream_t stream) {
  for (const auto& [to, from, bytes] : copies)
    if (bytes > 0) gpu::copy(to, from, bytes, stream);
}

gpu::Graph& recording_for(hrsam_run& run) {
  auto& recordings = run.program->recordings;
  void* const arena = run.arena.as<void>();
  const auto found = std::find_if(recordings.begin(), recordings.end(), [&](const auto& each) {
    return each.places == run.places && each.arena == arena;
  });
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
    recordings.push_back({run.places, arena, gpu::end_recording(stream)});
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
  const auto in = plan::begins("input", program->input_bytes, inputs);
  const auto out = plan::begins("output", program->output_bytes, outputs);
  auto run = std::make_unique<hrsam_run>();
  run->program = program;
  run->stream = device->idle_stream();
  device->busy[run->stream] = true;
  if (program->arena_bytes > 0)
    run->arena = DeviceBlock(device, MemoryKind::cached, program->arena_bytes);
  for (size_t i = 0; i < out.size(); ++i) run->written.emplace_back(out[i], outputs[i]->bytes);
  if (!program->restless) {
    place_values(*run, in, out);
    const auto& recordings = program->recordings;
    program->restless = recordings.size() == kRecordings &&
                        std::none_of(recordings.begin(), recordings.end(),
                                     [&](const auto& each) { return each.places == run->places; });
  }
  if (program->restless) stage_run(*run, in, out);
  return run.release();
}

bool step_run(hrsam_run* run) {
  const auto& steps = run->program->steps;
  const cudaStream_t stream = run->program->device->streams[run->stream];
  gpu::select(run->program->device->ordinal);
  if (records()) {
    if (!run->launched) {
      run->launched = true;  // part of a run that fails may go on
      copy_all(run->before, stream);
      with_room(run->program->device, [&] { recording_for(*run).launch(stream); });
      copy_all(run->after, stream);
    }
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
  // Now: what was packed beside it may be of either content.
  for (const auto& [begin, bytes] : written) device->forget_packed(begin, bytes);
  device->busy[stream] = false;
}
