// What kernels ask of a GPU, counted while they are interpreted: instructions by the unit that runs
// them, passes over the banks of shared memory, sectors of global memory, and which accesses take
// more than they must. No time is measured: a kernel's time is at least what its busiest unit
// needs.
//
// HRSAM_PTX_COUNTS=FILE: written there when the process ends, to PID.txt in it where it is a
// folder. HRSAM_PTX_SAMPLE=N: of each launch's clusters only N run, and count for all; results are
// then worthless. PTX is counted, of which ptxas drops moves and what it can foresee: whole
// numbers' instructions are an upper bound.
#pragma once

#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "machine.h"

namespace ptx {

// The units of a multiprocessor, and what lies behind it.
enum class Unit : uint8_t { issue, multiply, whole, special, shared, first, second, tensor, none };
constexpr int kUnits = static_cast<int>(Unit::none);

class Counts {
 public:
  // Of one kernel: sums over its launches.
  struct Kernel {
    struct Line {
      double issued = 0, lanes = 0;    // warps' instructions, and of how many lanes
      double passes = 0, fewest = 0;   // over shared memory: taken, and needed for those bytes
      double sectors = 0, needed = 0;  // of 32 bytes of global memory
    };
    std::shared_ptr<const Code> code;
    std::vector<Line> lines;
    double launches = 0, blocks = 0;
    double cycles[kUnits] = {};  // of the multiprocessor that has most to do
  };

  // Where HRSAM_PTX_COUNTS asks for it; else null.
  static Counts* wanted();

  uint64_t sample = 0;  // clusters of a launch that run; 0: all

  // A launch of which each cluster that runs stands for so many.
  void begin(const Launch& launch, double weight);
  void begin_cluster() { seen_.clear(); }
  void add(Warp& warp, uint32_t pc, uint32_t lanes);
  void end(const Launch& launch);

  std::vector<const Kernel*> kernels() const;
  // Kernels by time, what each unit's share of it is, and the accesses that take more than they
  // must.
  std::string report() const;

 private:
  void shared(const std::vector<uint64_t>& at, uint32_t bytes, Kernel::Line& line);
  void global(const std::vector<uint64_t>& at, uint32_t bytes, Kernel::Line& line);
  void spend(Unit unit, double cycles) { now_[static_cast<int>(unit)] += cycles * weight_; }

  std::map<const Code*, Kernel> kernels_;
  Kernel* kernel_ = nullptr;
  double weight_ = 1, now_[kUnits] = {};
  std::unordered_set<uint64_t> seen_;  // sectors that a cluster's blocks asked for
};

}  // namespace ptx
