// Gradients of all operands of the cycle scan, f32, one after the other.
//
// With G_t the gradient of the result, a reading's adjoint is λ_t = γ_r·C_t·G_t + a_{t+1}·λ_{t+1},
// and readings follow each other. Let σ be the reverse scan from nothing of C_t·G_t, s the forward
// scan from nothing, P_t = Π_{i≤t} a_i, Q_t = Π_{i>t} a_i, h0_r and η_r the state a reading begins
// with and what reaches its end. Then h_t^(r) = s_t + P_t·h0_r and λ_t^(r) = γ_r·σ_t + Q_t·η_r, and
// the sums over readings that the gradients consist of are
//   Σ γ_r·h_t = Γ·s_t + P_t·H,   Σ λ_t = Γ·σ_t + Q_t·E,
//   Σ λ_t·h_{t−1} = σ_t·(Γ·s_{t−1} + P_{t−1}·H) + Q_t·(s_{t−1}·E + P_{t−1}·K)
// with H = Σ γ_r·h0_r, E = Σ η_r, K = Σ η_r·h0_r: one pass whatever R is. Chunks as in the forward
// pass; what is summed over channels (B, C) or tokens (the parameters) leaves each block as a part.
#include "carver.h"
#include "column_sums.h"
#include "cycle_scan_call.h"
#include "cycle_scan_gradient.h"

namespace hrsam::cuda {

namespace {

// Gradients of B and C from the channel blocks' parts.
struct AddShared {
  const float* shared;
  float* dssm;
  int64_t rows, states, channels;
  int blocks;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / (2 * states), n = i % (2 * states);
    float sum = 0;
    for (int block = 0; block < blocks; ++block)
      sum += shared[(block * rows + row) * 2 * states + n];
    dssm[row * (channels + 2 * states) + channels + n] = sum;
  }
};

// Rows: chunks of all items; columns: (number, channel). Absent operands' are null.
struct ParameterSums {
  ScanGradientCall call;
  float *a_log, *dt_bias, *d, *readings;
  HRSAM_DEVICE float at(int64_t row, int64_t column) const {
    return call.sums[row * (call.scan.states + kChunkSums) * call.scan.channels + column];
  }
  HRSAM_DEVICE void put(int64_t column, float sum) const {
    const ScanCall& s = call.scan;
    const int64_t channel = column % s.channels, number = column / s.channels;
    if (number < s.states) {
      const int64_t i = channel * s.states + number;
      a_log[i] = sum * -::expf(s.a_log[i]);
      return;
    }
    float* to[] = {dt_bias, d, readings};
    if (to[number - s.states] != nullptr) to[number - s.states][channel] = sum;
  }
};

// γ_r: the readings' common part, and the state each begins with.
struct GammaGradient {
  ScanGradientCall call;
  const float* readings;
  float* out;
  int64_t places;  // items · segments
  HRSAM_DEVICE void operator()(int64_t i) const {
    const ScanCall& s = call.scan;
    const int channel = static_cast<int>(i / s.readings), r = static_cast<int>(i % s.readings);
    float sum = readings[channel];
    for (int64_t place = 0; place < places; ++place) {
      const float* finals = call.finals + place * (2 * s.states + 1) * s.channels + channel;
      const float total = finals[int64_t{2} * s.states * s.channels];
      for (int n = 0; n < s.states; ++n) {
        const float whole = decay_of(s.decay(channel, n) * total);
        float start = 0;
        for (int k = 0; k < r; ++k)
          start = fmaf(whole, start, finals[static_cast<int64_t>(n) * s.channels]);
        sum = fmaf(start, finals[static_cast<int64_t>(s.states + n) * s.channels], sum);
      }
    }
    out[i] = sum;
  }
};

template <int kLanes>
void differentiate(cudaStream_t stream, const ScanGradientCall& call, int64_t batch) {
  const ScanCall& s = call.scan;
  const dim3 grid(static_cast<unsigned>(divide_up(s.channels, kScanThreads / kLanes)),
                  static_cast<unsigned>(s.chunk_count), static_cast<unsigned>(batch));
  constexpr size_t kTile =
      sizeof(float) * gradient_tokens(kLanes) * kGradientStates * static_cast<size_t>(kLanes);
  const dim3 block(kScanThreads);
  scan_ends(stream, s, batch);
  launch({grid, block, 2 * kTile, stream},
         s.fast ? scan_right_kernel<kLanes, true> : scan_right_kernel<kLanes, false>, call);
  each(stream, batch * s.segment_count * s.channels, SumSteps{call});
  each(stream, batch * s.segment_count * s.states * s.channels, CombineGradient{call});
  launch({grid, block, (2 + 2 * kScanWarps) * kTile, stream},
         s.fast ? scan_gradient_kernel<kLanes, true> : scan_gradient_kernel<kLanes, false>, call);
}

// Threads of a channel: there are kernels for a few numbers.
int lanes_of(int states) {
  const int needed = (states + kGradientStates - 1) / kGradientStates;
  return needed <= 1 ? 1 : needed <= 4 ? 4 : needed <= 8 ? 8 : 32;
}

void differentiate_any(int lanes, cudaStream_t stream, const ScanGradientCall& call,
                       int64_t batch) {
  switch (lanes) {
    case 1:
      return differentiate<1>(stream, call, batch);
    case 4:
      return differentiate<4>(stream, call, batch);
    case 8:
      return differentiate<8>(stream, call, batch);
    default:
      return differentiate<32>(stream, call, batch);
  }
}

struct Sizes {
  Sizes(const ScanShape& shape, const ChunkLists& lists, int lanes)
      : batch(shape.batch),
        channels(shape.channels),
        states(shape.states),
        rows(batch * shape.tokens),
        chunks(batch * lists.count),
        places(batch * shape.segment_count),
        columns((states + kChunkSums) * channels),
        blocks(static_cast<int>(divide_up(channels, kScanThreads / lanes))) {}
  int64_t batch, channels, states;
  int64_t rows, chunks, places;  // of all items: tokens, chunks, segments
  int64_t columns;               // of a chunk's sums
  int blocks;                    // of channels
};

// The op's own memory.
struct Memory {
  ScanGradientCall call;
  float* readings;
  void* column_sums;
};

Memory plan_scan_gradient(const ScanCall& scan, const Sizes& s, void* memory, size_t* bytes) {
  Carver carver(memory);
  Memory m{};
  m.call.scan = scan;
  m.call.scan.ends = carver.take<float>(s.chunks * (s.states + 1) * s.channels);
  m.call.right = carver.take<float>(s.chunks * s.states * s.channels);
  m.call.finals = carver.take<float>(s.places * (2 * s.states + 1) * s.channels);
  m.call.joint = carver.take<float>(s.places * 3 * s.states * s.channels);
  m.call.shared = carver.take<float>(s.blocks * s.rows * 2 * s.states);
  m.call.sums = carver.take<float>(s.chunks * s.columns);
  m.readings = carver.take<float>(s.channels);
  m.column_sums = carver.take<char>(static_cast<int64_t>(sum_workspace(s.chunks, s.columns)));
  if (bytes != nullptr) *bytes = carver.bytes();
  return m;
}

// The parts of the result; those of absent operands are null, and there is no room for them.
struct Gradients {
  Gradients(float* result, const Sizes& s, const ScanCall& scan) : next_(result) {
    u = take(true, s.rows * s.channels);
    ssm = take(true, s.rows * (s.channels + 2 * s.states));
    a_log = take(true, s.channels * s.states);
    dt_bias = take(scan.dt_bias != nullptr, s.channels);
    d = take(scan.d != nullptr, s.channels);
    gamma = take(scan.gamma != nullptr, s.channels * scan.readings);
  }
  float *u, *ssm, *a_log, *dt_bias, *d, *gamma;

 private:
  float* take(bool there, int64_t count) {
    float* at = there ? next_ : nullptr;
    next_ += there ? count : 0;
    return at;
  }
  float* next_;
};

}  // namespace

Op* compile_cycle_scan_gradient(const Node& node, Compiler& compiler) {
  const ScanShape shape = read_scan_gradient(node);
  const int lanes = lanes_of(shape.states);
  const ChunkLists lists(shape, gradient_tokens(lanes));
  expect_grid(node, shape, lists);
  const ScanCall scan = scan_call(node, shape, lists);
  const Sizes s(shape, lists, lanes);

  size_t workspace = 0;
  plan_scan_gradient(scan, s, nullptr, &workspace);
  return make_op(workspace,
                 [=, operands = ScanOperands(node, compiler, lists),
                  segment_list = compiler.upload(lists.segment_of), dy = node.operand("dy"),
                  dy_type = node.value("dy").dtype](const Run& run) {
                   Memory m = plan_scan_gradient(scan, s, run.workspace, nullptr);
                   operands.put(run, m.call.scan);
                   m.call.segment_of = segment_list->as<int32_t>();
                   m.call.dy = numbers_of(run.in(dy), dy_type);
                   const Gradients to(run.out<float>(), s, m.call.scan);
                   m.call.du = to.u;
                   m.call.dssm = to.ssm;
                   differentiate_any(lanes, run.stream, m.call, s.batch);
                   each(run.stream, s.rows * 2 * s.states,
                        AddShared{m.call.shared, to.ssm, s.rows, s.states, s.channels, s.blocks});
                   sum_columns(run.stream, s.chunks, s.columns, m.column_sums,
                               ParameterSums{m.call, to.a_log, to.dt_bias, to.d, m.readings});
                   if (to.gamma != nullptr)
                     each(run.stream, s.channels * scan.readings,
                          GammaGradient{m.call, m.readings, to.gamma, s.places});
                 });
}

}  // namespace hrsam::cuda
