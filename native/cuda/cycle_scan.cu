// The cycle scan's state-space model: h_t = exp(Δ_t·A)·h_{t−1} + Δ_t·B_t·u_t, y_t = ⟨C_t, h_t⟩ +
// D·u_t, read R times without resetting h; the result is Σ_r γ_r·y^(r).
//
// The recurrence is linear, so R readings collapse into one. With s_t the scan from a zero state,
// P_t = Π a_i and h0_r the state that reading r begins with (h0_1 = 0, h0_{r+1} = P_L·h0_r + s_L),
//   Σ_r γ_r·h_t^(r) = Γ·s_t + P_t·H =: g_t,   Γ = Σ γ_r,  H = Σ γ_r·h0_r,
// which is a scan itself: g_0 = H, g_t = a_t·g_{t−1} + Γ·Δ_t·B_t·u_t. Sequences are cut into
// chunks: a first kernel finds each chunk's end from a zero state, a second, small one the states
// that go into the chunks, and the third scans each chunk from there. Bound by the exponentials,
// two per token, channel and state whatever R is: with `fast` by the unit for them, else by the
// multiply-add units.
#include "carver.h"
#include "cycle_scan_call.h"

namespace hrsam::cuda {

namespace {

// Tokens of a chunk: 64 of them keep a GPU's threads busy from one image of 1024 x 1024 on.
constexpr int64_t kChunkTokens = 64;

// The kernels of one number of states.
template <int kStates, int kLanes>
struct Scan {
  using Shared = ScanShared<kStates, kLanes>;
  static dim3 grid(const ScanCall& call, int64_t batch) {
    return {static_cast<unsigned>(divide_up(call.channels, kScanThreads / kLanes)),
            static_cast<unsigned>(call.chunk_count), static_cast<unsigned>(batch)};
  }
  static void ends(cudaStream_t stream, const ScanCall& call, int64_t batch) {
    launch({grid(call, batch), dim3(kScanThreads), Shared::bytes(1), stream},
           call.fast ? scan_ends_kernel<kStates, kLanes, true>
                     : scan_ends_kernel<kStates, kLanes, false>,
           call);
  }
  static void result(cudaStream_t stream, const ScanCall& call, int64_t batch) {
    launch({grid(call, batch), dim3(kScanThreads), Shared::bytes(2), stream},
           call.fast ? scan_result_kernel<kStates, kLanes, true>
                     : scan_result_kernel<kStates, kLanes, false>,
           call);
  }
};

// f of the kernels for so many states.
template <class F>
void with_states(int states, F&& f) {
  if (states <= 16) return f(Scan<16, 1>());
  if (states <= 32) return f(Scan<32, 1>());
  if (states <= 64) return f(Scan<32, 2>());
  if (states <= 128) return f(Scan<32, 4>());
  return f(Scan<32, 8>());
}

void scan_once(cudaStream_t stream, const ScanCall& call, int64_t batch) {
  scan_ends(stream, call, batch);
  each(stream, batch * call.segment_count * call.states * call.channels, CombineChunks{call});
  with_states(call.states, [&](auto scan) { scan.result(stream, call, batch); });
}

void scan_literally(cudaStream_t stream, const LiteralScan& scan, int64_t batch) {
  const int64_t n = batch * scan.call.segment_count * scan.call.channels;
  const dim3 blocks(static_cast<unsigned>(divide_up(n, kScanThreads)));
  launch({blocks, dim3(kScanThreads), 0, stream}, literal_scan_kernel<LiteralScan>, scan, n);
}

// The op's own memory.
struct ScanMemory {
  float* states;  // of chunks' ends, and ΣΔ; the literal scan's of segments, be they empty
  float* sums;    // of readings: the literal scan's
};

ScanMemory plan_scan(const ScanCall& call, int64_t batch, bool literal, void* memory,
                     size_t* bytes) {
  Carver carver(memory);
  ScanMemory m{};
  const int64_t rows = literal ? static_cast<int64_t>(call.segment_count) * call.states
                               : static_cast<int64_t>(call.chunk_count) * (call.states + 1);
  m.states = carver.take<float>(batch * rows * call.channels);
  m.sums = carver.take<float>(literal ? batch * call.tokens * call.channels : 0);
  if (bytes != nullptr) *bytes = carver.bytes();
  return m;
}

}  // namespace

void scan_ends(cudaStream_t stream, const ScanCall& call, int64_t batch) {
  with_states(call.states, [&](auto scan) { scan.ends(stream, call, batch); });
}

Op* compile_cycle_scan(const Node& node, Compiler& compiler) {
  const ScanShape shape(node);
  expect_floats(node, node.result(), "result");
  expect(node, same_shape(node.result(), node.value("u")), "result: not of u's shape");
  const bool literal = node.flag("literal");
  // Longer chunks where a grid could not hold so many.
  const int64_t length =
      literal ? larger(1, shape.longest) : larger(kChunkTokens, divide_up(shape.tokens, 32768));
  const ChunkLists lists(shape, length);
  expect_grid(node, shape, lists);
  const int64_t batch = shape.batch;
  ScanCall call = scan_call(node, shape, lists);
  call.out_is_bf16 = node.result().dtype == DType::bf16;

  size_t workspace = 0;
  plan_scan(call, batch, literal, nullptr, &workspace);
  return make_op(workspace, [=, operands = ScanOperands(node, compiler, lists)](const Run& run) {
    const ScanMemory memory = plan_scan(call, batch, literal, run.workspace, nullptr);
    ScanCall made = call;
    operands.put(run, made);
    made.out = run.out();
    made.ends = memory.states;
    if (literal)
      scan_literally(run.stream, {made, memory.states, memory.sums}, batch);
    else
      scan_once(run.stream, made, batch);
  });
}

}  // namespace hrsam::cuda
