// A compiled plan, and one execution of it.
#pragma once

#include <memory>
#include <vector>

#include "../../plan/program_values.h"
#include "device.h"
#include "profile.h"

struct hrsam_program : hrsam::plan::ProgramValues {
  ~hrsam_program();
  struct Step {
    std::unique_ptr<hrsam::cpu::Op> op;
    std::vector<int32_t> operands;
    int32_t result;
  };
  hrsam_device* device = nullptr;
  std::vector<hrsam::cpu::Block> folded;
  std::vector<Step> steps;
  uint64_t arena_bytes = 0;
  hrsam::cpu::Profile profile;
};

struct hrsam_run {
  hrsam_program* program = nullptr;
  hrsam::cpu::Block arena;
  std::vector<void*> addresses;                           // by value
  std::vector<void*> operands;                            // of the current step
  std::vector<std::pair<const void*, uint64_t>> written;  // the outputs' memory
  size_t next = 0;

  ~hrsam_run();
};

namespace hrsam::cpu {

hrsam_program* build_program(hrsam_device* device, const hrsam_plan& plan);
hrsam_run* start_run(hrsam_program* program, hrsam_buffer* const* inputs,
                     hrsam_buffer* const* outputs);
bool step_run(hrsam_run* run);  // true while steps remain

}  // namespace hrsam::cpu
