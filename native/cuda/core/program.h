// A compiled plan, and one execution of it.
#pragma once

#include <memory>
#include <vector>

#include "../../plan/program_values.h"
#include "device.h"

namespace hrsam::cuda {

// A recording of all of a program's launches. They hold addresses, so it serves runs whose memory
// lies at the same places. The memory's cache sees to it that most do; where they do not, as with
// pictures that are kept, inputs and outputs are copied from and to a place that the cache keeps.
struct Recording {
  std::vector<char*> places;  // of inputs, then outputs
  void* arena;
  std::unique_ptr<gpu::Graph> graph;
};

}  // namespace hrsam::cuda

struct hrsam_program : hrsam::plan::ProgramValues {
  struct Step {
    std::unique_ptr<hrsam::cuda::Op> op;
    std::vector<int32_t> operands;
    int32_t result;
  };
  hrsam_device* device = nullptr;
  std::vector<hrsam::cuda::DeviceBlock> folded;
  std::vector<Step> steps;
  uint64_t arena_bytes = 0;                        // with the ops' workspace at its end
  uint64_t workspace_begin = 0;                    // in the arena
  std::vector<hrsam::cuda::Recording> recordings;  // the one used last is the last
  bool restless = false;  // its inputs and outputs are never where a recording has them
};

struct hrsam_run {
  ~hrsam_run();
  hrsam_program* program = nullptr;
  int stream = -1;
  hrsam::cuda::DeviceBlock arena;
  std::vector<void*> addresses;  // by value
  std::vector<char*> places;     // that it works on: of inputs, then outputs
  // A restless program's inputs and outputs, and what is copied before and after the steps.
  struct Copy {
    void* to;
    const void* from;
    size_t bytes;
  };
  hrsam::cuda::DeviceBlock stage;
  std::vector<Copy> before, after;
  std::vector<std::pair<const void*, uint64_t>> written;  // the outputs' memory
  size_t next = 0;
  bool launched = false;
};

namespace hrsam::cuda {

hrsam_program* build_program(hrsam_device* device, const hrsam_plan& plan);
hrsam_run* start_run(hrsam_program* program, hrsam_buffer* const* inputs,
                     hrsam_buffer* const* outputs);
bool step_run(hrsam_run* run);  // true while steps remain

}  // namespace hrsam::cuda
