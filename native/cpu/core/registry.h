#pragma once

#include "op.h"

namespace hrsam::cpu {

using CompileFunction = Op* (*)(const Node& node, Compiler& compiler);

// One instruction set that this library was built with.
struct Isa {
  const char* name;
  bool (*supported)();
  CompileFunction (*find_op)(const char* name);
  // Register-resident multiply-adds of that type on all threads, as measured now, in GFLOP/s.
  double (*peak_gflops)(Pool& pool, DType type);
};

// Best first; the last is "scalar", which every processor has.
const Isa* isas(int* count);
// The best supported one, or the one that HRSAM_CPU_ISA names. Throws a typed error for an unknown
// or unsupported name.
const Isa& active_isa();

}  // namespace hrsam::cpu
