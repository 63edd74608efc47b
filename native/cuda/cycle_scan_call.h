// What the cycle scan and its gradient alike tell their kernels: sizes while compiling, addresses
// when they run.
#pragma once

#include "cycle_scan.h"

namespace hrsam::cuda {

// What a grid holds in one of its directions.
inline void expect_grid(const Node& node, const ScanShape& shape, const ChunkLists& lists) {
  constexpr int64_t kMost = 65535;
  if (shape.batch > kMost)
    node.fail("ERR_SHAPE", "u: a batch of at most %lld on a GPU, not %lld",
              static_cast<long long>(kMost), static_cast<long long>(shape.batch));
  if (lists.count > kMost)
    node.fail("ERR_SHAPE",
              "segments: at most %lld on a GPU, the longer ones counted in chunks, not %lld",
              static_cast<long long>(kMost), static_cast<long long>(lists.count));
}

// All but addresses, and the result's type.
inline ScanCall scan_call(const Node& node, const ScanShape& shape, const ChunkLists& lists) {
  ScanCall call{};
  call.u_is_bf16 = node.value("u").dtype == DType::bf16;
  call.ssm_is_bf16 = node.value("ssm").dtype == DType::bf16;
  call.tokens = shape.tokens;
  call.channels = shape.channels;
  call.states = shape.states;
  call.readings = shape.readings;
  call.softplus = shape.softplus;
  call.fast = node.flag("fast");
  call.segment_count = shape.segment_count;
  call.chunk_count = lists.count;
  return call;
}

// Where a run finds what the kernels read.
struct ScanOperands {
  ScanOperands(const Node& node, const Compiler& compiler, const ChunkLists& lists)
      : u(node.operand("u")),
        ssm(node.operand("ssm")),
        a_log(node.operand("a_log")),
        dt_bias(node.operand_or("dt_bias")),
        d(node.operand_or("d")),
        gamma(node.operand_or("gamma")),
        chunks(compiler.upload(lists.chunks)),
        starts(compiler.upload(lists.starts)) {}

  void put(const Run& run, ScanCall& call) const {
    call.u = run.in(u);
    call.ssm = run.in(ssm);
    call.a_log = run.in<float>(a_log);
    call.dt_bias = run.in<float>(dt_bias);
    call.d = run.in<float>(d);
    call.gamma = run.in<float>(gamma);
    call.chunks = chunks->as<ScanChunk>();
    call.segment_chunks = starts->as<int32_t>();
  }

  int u, ssm, a_log, dt_bias, d, gamma;  // -1: absent
  SharedBlock chunks, starts;
};

// The chunks' ends and ΣΔ: the first of the scan's kernels, and of its gradient's.
void scan_ends(cudaStream_t stream, const ScanCall& call, int64_t batch);

}  // namespace hrsam::cuda
