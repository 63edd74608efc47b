// The cycle scan's state-space model: h_t = exp(Δ_t·A)·h_{t−1} + Δ_t·B_t·u_t, y_t = ⟨C_t, h_t⟩ +
// D·u_t, read R times without resetting h; the result is Σ_r γ_r·y^(r).
//
// The recurrence is linear, so R readings collapse into one. With s_t the scan from a zero state,
// P_t = Π a_i and h0_r the state that reading r begins with (h0_1 = 0, h0_{r+1} = P_L·h0_r + s_L),
//   Σ_r γ_r·h_t^(r) = Γ·s_t + P_t·H =: g_t,   Γ = Σ γ_r,  H = Σ γ_r·h0_r,
// which is a scan itself: g_0 = H, g_t = a_t·g_{t−1} + Γ·Δ_t·B_t·u_t. Sequences are cut into
// chunks: a first kernel finds each chunk's end from a zero state, a second, small one the states
// that go into the chunks, and the third scans each chunk from there. Bound by the exponentials,
// two per token, channel and state whatever R is: in bf16 by the unit for them, else by the
// multiply-add units.
#include "carver.h"
#include "cycle_scan.h"

namespace hrsam::cuda {

namespace {

// Tokens of a chunk: 64 of them keep a GPU's threads busy from one image of 1024 x 1024 on.
constexpr int64_t kChunkTokens = 64;

template <int kStates, int kLanes, bool kFast>
void scan_as(cudaStream_t stream, const ScanCall& call, int64_t batch) {
  const dim3 grid(static_cast<unsigned>(divide_up(call.channels, kScanThreads / kLanes)),
                  static_cast<unsigned>(call.chunk_count), static_cast<unsigned>(batch));
  constexpr size_t kShared = sizeof(float) * kScanTokens * kStates * kLanes;
  launch({grid, dim3(kScanThreads), kShared, stream}, scan_ends_kernel<kStates, kLanes, kFast>,
         call);
  each(stream, batch * call.segment_count * call.states * call.channels, CombineChunks{call});
  launch({grid, dim3(kScanThreads), 2 * kShared, stream},
         scan_result_kernel<kStates, kLanes, kFast>, call);
}

template <int kStates, int kLanes>
void scan(cudaStream_t stream, const ScanCall& call, int64_t batch) {
  const bool fast = call.ssm_is_bf16 && call.out_is_bf16;
  (fast ? scan_as<kStates, kLanes, true> : scan_as<kStates, kLanes, false>)(stream, call, batch);
}

}  // namespace

Op* compile_cycle_scan(const Node& node, Compiler& compiler) {
  const ScanShape shape(node);
  expect_floats(node, node.result(), "result");
  expect(node, same_shape(node.result(), node.value("u")), "result: not of u's shape");
  const bool literal = node.flag("literal");
  ScanCall call{};
  call.u_is_bf16 = node.value("u").dtype == DType::bf16;
  call.ssm_is_bf16 = node.value("ssm").dtype == DType::bf16;
  call.out_is_bf16 = node.result().dtype == DType::bf16;
  call.tokens = shape.tokens;
  call.channels = shape.channels;
  call.states = shape.states;
  call.readings = shape.readings;
  call.softplus = shape.softplus;
  call.segment_count = shape.segment_count;

  // Longer chunks where a grid could not hold so many.
  const int64_t length =
      literal ? larger(1, shape.longest) : larger(kChunkTokens, divide_up(shape.tokens, 32768));
  const ChunkLists lists(shape, length);
  const int64_t count = lists.count;
  if (count > 65535 || shape.batch > 65535) node.fail("ERR_SHAPE", "segments: too many");
  call.chunk_count = lists.count;

  const int64_t batch = shape.batch;
  const auto plan = [=](void* memory, size_t* bytes) {
    Carver carver(memory);
    float* states = carver.take<float>(batch * count * (call.states + 1) * call.channels);
    float* sums = carver.take<float>(literal ? batch * call.tokens * call.channels : 0);
    if (bytes != nullptr) *bytes = carver.bytes();
    return std::make_pair(states, sums);
  };
  size_t workspace = 0;
  plan(nullptr, &workspace);
  return make_op(workspace, [=, u = node.operand("u"), ssm = node.operand("ssm"),
                             a_log = node.operand("a_log"), dt_bias = node.operand_or("dt_bias"),
                             d = node.operand_or("d"), gamma = node.operand_or("gamma"),
                             chunk_list = compiler.upload(lists.chunks),
                             start_list = compiler.upload(lists.starts)](const Run& run) {
    const auto [states, sums] = plan(run.workspace, nullptr);
    ScanCall made = call;
    made.u = run.in(u);
    made.ssm = run.in(ssm);
    made.a_log = run.in<float>(a_log);
    made.dt_bias = run.in<float>(dt_bias);
    made.d = run.in<float>(d);
    made.gamma = run.in<float>(gamma);
    made.out = run.out();
    made.chunks = chunk_list->as<ScanChunk>();
    made.segment_chunks = start_list->as<int32_t>();
    made.ends = states;
    if (literal) {
      const int64_t n = batch * made.segment_count * made.channels;
      const dim3 blocks(static_cast<unsigned>(divide_up(n, kScanThreads)));
      return launch({blocks, dim3(kScanThreads), 0, run.stream}, literal_scan_kernel<LiteralScan>,
                    LiteralScan{made, states, sums}, n);
    }
    if (made.states <= 16) return scan<16, 1>(run.stream, made, batch);
    if (made.states <= 32) return scan<32, 1>(run.stream, made, batch);
    if (made.states <= 64) return scan<32, 2>(run.stream, made, batch);
    if (made.states <= 128) return scan<32, 4>(run.stream, made, batch);
    return scan<32, 8>(run.stream, made, batch);
  });
}

}  // namespace hrsam::cuda
