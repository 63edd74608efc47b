// Gradient of the cycle scan. The result is one list of numbers: the gradients of u, ssm, a_log
// and, where the node has them, dt_bias, d and gamma.
//
// In the terms of cycle_scan.cc the forward pass is y_t = ⟨C_t, Γ·s_t + P_t·H⟩ + Γ·D·u_t. Let M_t =
// Σ_{i >= t} P_i·C_i·dy_i. M_1 is the gradient of H, and through H = Σ γ_r·h0_r and h0_{r+1} =
// P_L·h0_r + s_L there follow, per channel and state, the gradients of s_L (σ), of P_L (π) and of
// each γ_r. With X_t the gradient of the state's input Δ_t·B_t·u_t and z_t = Δ_t·A:
//   X_t = Γ·C_t·dy_t + exp(z_{t+1})·X_{t+1}, beginning at the end with σ,
//   dz_t = exp(z_t)·X_t·s_{t−1} + M_t·H + π·P_L,   dC_t = (Γ·s_t + P_t·H)·dy_t.
// So R readings cost one here as well: one scan forwards, one backwards, and terms in P, which end
// where P has decayed (there is nothing to add after that).
//
// A unit of work is a few blocks of kWidth channels of one sequence. A first pass keeps the states
// that blocks of tokens begin with, and M_1; the second takes the blocks from the last to the first
// and computes their states again: memory is states · tokens / kReplayTokens. Gradients of B and C
// are sums over channels: each unit has rows of its own, which are added up in order at the end, as
// are the sums over items and segments that the weights get.
#include <initializer_list>

#include "carver.h"
#include "cycle_scan_gradient_kernel.h"
#include "cycle_scan_operands.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr float kLn2 = 0.6931471806f;
constexpr int kMostGroups = 16;  // of channel blocks: bounds the memory for gradients of B and C

struct Scratch {
  ReplayBlock block;
  float *decay, *state, *carry, *decay_sum;  // [N]
  float *beginning, *m, *tail;               // [N] H; M, or M_1; π·P_L
  float* starts;                             // [block of tokens][N] states
  LongSum* sums;                             // [block of tokens] ΣΔ before it
  float* begins;                             // [R] h0_r of one state
  size_t bytes;
};

// Tokens of one segment (they count through all items) and channels [channel, channel + n).
struct Part {
  int64_t begin, end;
  int channel, n;
};

class CycleScanGradient : public Op {
 public:
  CycleScanGradient(const Node& node, ScanOperands&& operands, Pool& pool)
      : in_(static_cast<ScanOperands&&>(operands)),
        dy_(node.operand("dy")),
        dy_type_(node.value("dy").dtype) {
    blocks_ = divide_up(in_.channels, kWidth);
    group_ = divide_up(blocks_, kMostGroups);
    groups_ = divide_up(blocks_, group_);
    rows_ = Block(sizeof(float) * static_cast<size_t>(groups_ * in_.batch * in_.tokens) *
                  static_cast<size_t>(2 * in_.states));
    weights_ = Block(sizeof(float) * static_cast<size_t>(sequences() * blocks_) *
                     static_cast<size_t>(weight_rows() * kWidth));
    pool.reserve(plan(nullptr).bytes);
  }

  void run(const Run& run) const override {
    run.pool.each(sequences() * groups_, [&](int64_t unit, int thread) {
      const int64_t sequence = unit / groups_, group = unit % groups_;
      Scratch s = plan(run.pool.scratch(thread));
      Part part = sequence_part(sequence);
      float* rows = rows_of(group, part.begin);
      memset(rows, 0,
             sizeof(float) * static_cast<size_t>((part.end - part.begin) * 2 * in_.states));
      for (int64_t block = group * group_; block < smaller(blocks_, (group + 1) * group_);
           ++block) {
        part.channel = static_cast<int>(block) * kWidth;
        part.n = static_cast<int>(smaller(kWidth, in_.channels - part.channel));
        float* weights =
            weights_.as<float>() + (sequence * blocks_ + block) * weight_rows() * kWidth;
        in_.softplus ? scan<true>(run, part, rows, weights, s)
                     : scan<false>(run, part, rows, weights, s);
      }
    });
    add_rows(run);
    run.pool.each(blocks_, [&](int64_t block, int) { add_weights(run, block); });
  }

 private:
  int64_t sequences() const { return in_.batch * in_.segment_count; }
  // Gradients per channel: states, dt_bias, d, readings.
  int64_t weight_rows() const { return in_.states + 2 + in_.readings; }
  float* rows_of(int64_t group, int64_t token) const {
    return rows_.as<float>() + (group * in_.batch * in_.tokens + token) * 2 * in_.states;
  }
  float* ssm_gradient(const Run& run) const {
    return run.out<float>() + in_.batch * in_.tokens * in_.channels;
  }
  int64_t ssm_width() const { return in_.channels + int64_t{2} * in_.states; }

  Scratch plan(void* memory) const {
    Carver carver(memory);
    Scratch s;
    const int64_t tokens = kReplayTokens * kWidth, states = int64_t{in_.states} * kWidth;
    s.block.states = in_.states;
    for (float** each : {&s.block.step, &s.block.total, &s.block.u, &s.block.drive, &s.block.dy,
                         &s.block.weighted, &s.block.y, &s.block.rate, &s.block.ddrive})
      *each = carver.take<float>(tokens);
    s.block.b = carver.take<float>(int64_t{kReplayTokens} * in_.states);
    s.block.c = carver.take<float>(int64_t{kReplayTokens} * in_.states);
    for (float** each : {&s.block.factors, &s.block.before, &s.block.products})
      *each = carver.take<float>(tokens * kScanStates);
    for (float** each : {&s.decay, &s.state, &s.carry, &s.decay_sum, &s.beginning, &s.m, &s.tail})
      *each = carver.take<float>(states);
    s.block.decay = s.decay;
    const int64_t blocks = divide_up(in_.longest, kReplayTokens);
    s.starts = carver.take<float>(blocks * states);
    s.sums = carver.take<LongSum>(blocks);
    s.begins = carver.take<float>(int64_t{in_.readings} * kWidth);
    s.bytes = carver.bytes();
    return s;
  }

  Part sequence_part(int64_t sequence) const {
    const int i = static_cast<int>(sequence % in_.segment_count);
    int64_t begin = sequence / in_.segment_count * in_.tokens;
    for (int k = 0; k < i; ++k) begin += in_.segment(k);
    return {begin, begin + in_.segment(i), 0, 0};
  }

  V raw_step(const Run& run, const Part& part, int64_t token, V bias) const {
    return in_.ssm(run).lanes(token, part.channel, part.n) + bias;
  }

  // All that a block of tokens begins with; `sum` goes to its end.
  void read_tokens(const Run& run, const Part& part, int64_t token, V weight, LongSum& sum,
                   const ReplayBlock& block) const {
    const V bias = in_.bias(run, part.channel, part.n);
    const Rows u = in_.u(run), ssm = in_.ssm(run);
    const Rows dy{run.operands[dy_], dy_type_, in_.channels};
    for (int t = 0; t < block.count; ++t)
      store(block.step + t * kWidth, raw_step(run, part, token + t, bias));
    for (int t = 0; in_.softplus && t < block.count; ++t)
      store(block.step + t * kWidth, softplus(load(block.step + t * kWidth)));
    for (int t = 0; t < block.count; ++t) {
      const int at = t * kWidth;
      const V step = load(block.step + at), x = u.lanes(token + t, part.channel, part.n);
      const V gradient = dy.lanes(token + t, part.channel, part.n);
      add_to(sum, step);
      store(block.total + at, sum.sum);
      store(block.u + at, x);
      store(block.drive + at, step * x);
      store(block.dy + at, gradient);
      store(block.weighted + at, weight * gradient);
      for (float* zeros : {block.y, block.rate, block.ddrive}) store(zeros + at, zero());
    }
    for (int n = 0; n < in_.states; n += kWidth)
      for (int t = 0; t < block.count; ++t) {
        const int left = in_.states - n, at = t * in_.states + n;
        store_lanes(block.b + at, ssm.lanes(token + t, in_.channels + n, left), left);
        store_lanes(block.c + at, ssm.lanes(token + t, in_.channels + in_.states + n, left), left);
      }
  }
  void prefetch_tokens(const Run& run, const Part& part, int64_t first, int64_t end) const {
    const Rows dy{run.operands[dy_], dy_type_, in_.channels};
    for (int64_t token = larger(first, part.begin); token < smaller(end, part.end); ++token) {
      in_.u(run).prefetch(token, part.channel, kWidth);
      dy.prefetch(token, part.channel, kWidth);
      in_.ssm(run).prefetch(token, part.channel, kWidth);
      in_.ssm(run).prefetch(token, in_.channels, 2 * in_.states);
    }
  }

  template <bool kDecays>
  void scan(const Run& run, const Part& part, float* rows, float* weights, Scratch& s) const {
    V weight = zero();
    for (int r = 0; r < in_.readings; ++r)
      weight = weight + in_.gamma(run, part.channel, part.n, r);
    for (int n = 0; n < in_.states; ++n) {
      store(s.decay + n * kWidth, in_.decay(run, part.channel, part.n, n));
      for (float* zeros : {s.state, s.carry, s.decay_sum, s.beginning, s.m, s.tail})
        store(zeros + n * kWidth, zero());
    }
    for (int64_t i = 0; i < weight_rows(); ++i) store(weights + i * kWidth, zero());

    LongSum sum;
    for (int64_t token = part.begin; token < part.end; token += kReplayTokens)
      scan_forwards<kDecays>(run, part, token, weight, sum, s);
    if (in_.readings > 1) begin_readings<kDecays>(run, part, sum.sum, weights, s);
    const int64_t blocks = divide_up(part.end - part.begin, kReplayTokens);
    for (int64_t k = blocks - 1; k >= 0; --k)
      scan_backwards<kDecays>(run, part, k, weight, rows, weights, s);
    for (int n = 0; n < in_.states; ++n)
      store(weights + n * kWidth,
            load(s.decay_sum + n * kWidth) * load(s.decay + n * kWidth) * set1(kLn2));
  }

  // First pass, one block: keeps what it begins with, and adds to M_1.
  template <bool kDecays>
  void scan_forwards(const Run& run, const Part& part, int64_t token, V weight, LongSum& sum,
                     Scratch& s) const {
    const int64_t k = (token - part.begin) / kReplayTokens;
    const int64_t states = int64_t{in_.states} * kWidth;
    s.block.count = static_cast<int>(smaller(kReplayTokens, part.end - token));
    prefetch_tokens(run, part, token + kReplayTokens, token + 2 * kReplayTokens);
    s.sums[k] = sum;
    memcpy(s.starts + k * states, s.state, sizeof(float) * static_cast<size_t>(states));
    read_tokens(run, part, token, weight, sum, s.block);
    skip<kDecays>(s.block, s.state);
    for (int n = 0; in_.readings > 1 && n < in_.states; ++n)
      if (is_alive<kDecays>(s.block, n, s.sums[k].sum))
        store(s.m + n * kWidth, beginning_gradient<kDecays>(s.block, n, load(s.m + n * kWidth)));
  }

  // After the first pass: H, σ (as the carry of the second pass), π·P_L, and γ's gradients through
  // H.
  template <bool kDecays>
  void begin_readings(const Run& run, const Part& part, V total, float* weights, Scratch& s) const {
    for (int n = 0; n < in_.states; ++n) {
      const int at = n * kWidth;
      const V end = load(s.state + at), dh = load(s.m + at);
      const V product = decay_of<kDecays>(load(s.decay + at) * total);
      V begin = zero(), beginning = zero();
      for (int r = 0; r < in_.readings; ++r) {
        const V gamma = in_.gamma(run, part.channel, part.n, r);
        store(s.begins + r * kWidth, begin);
        beginning = fma(gamma, begin, beginning);
        float* to = weights + (in_.states + 2 + r) * kWidth;
        store(to, fma(dh, begin, load(to)));
        begin = fma(product, begin, end);
      }
      V gradient = zero(), dend = zero(), dproduct = zero();
      for (int r = in_.readings - 1; r > 0; --r) {
        gradient = fma(product, gradient, in_.gamma(run, part.channel, part.n, r) * dh);
        dend = dend + gradient;
        dproduct = fma(gradient, load(s.begins + (r - 1) * kWidth), dproduct);
      }
      store(s.beginning + at, beginning);
      store(s.carry + at, dend);
      store(s.tail + at, dproduct * product);
      store(s.m + at, zero());
    }
  }

  // Second pass, block k.
  template <bool kDecays>
  void scan_backwards(const Run& run, const Part& part, int64_t k, V weight, float* rows,
                      float* weights, Scratch& s) const {
    const int64_t first = k * kReplayTokens, token = part.begin + first;
    s.block.count = static_cast<int>(smaller(kReplayTokens, part.end - token));
    s.block.rows = rows + first * 2 * in_.states;
    prefetch_tokens(run, part, token - kReplayTokens, token);
    LongSum sum = s.sums[k];
    read_tokens(run, part, token, weight, sum, s.block);
    replay_and_reverse<kDecays>(s.block, s.starts + k * in_.states * kWidth, s.carry, s.decay_sum);
    for (int n = 0; in_.readings > 1 && n < in_.states; ++n) {
      const int at = n * kWidth;
      if (is_alive<kDecays>(s.block, n, s.sums[k].sum))
        store(s.m + at, add_beginning<kDecays>(s.block, n, load(s.beginning + at),
                                               load(s.tail + at), load(s.m + at), s.decay_sum));
    }
    store_tokens(run, part, token, weight, weights, s.block);
  }

  // Gradients of a block's u and Δ, and its share of those of dt_bias, d and gamma.
  void store_tokens(const Run& run, const Part& part, int64_t token, V weight, float* weights,
                    const ReplayBlock& block) const {
    const V bias = in_.bias(run, part.channel, part.n), d = in_.d(run, part.channel, part.n);
    float* du = run.out<float>() + token * in_.channels + part.channel;
    float* dssm = ssm_gradient(run) + token * ssm_width() + part.channel;
    V bias_sum = zero(), d_sum = zero(), gamma_sum = zero();
    for (int t = 0; t < block.count; ++t, du += in_.channels, dssm += ssm_width()) {
      const int at = t * kWidth;
      const V u = load(block.u + at), dy = load(block.dy + at), ddrive = load(block.ddrive + at);
      V dstep = fma(load(block.rate + at), set1(kLn2), ddrive * u);
      if (in_.softplus) {
        const V raw = raw_step(run, part, token + t, bias);
        dstep = select_greater(raw, set1(20), dstep, dstep * sigmoid(raw));
      }
      store_lanes(du, fma(ddrive, load(block.step + at), weight * d * dy), part.n);
      store_lanes(dssm, dstep, part.n);
      bias_sum = bias_sum + dstep;
      d_sum = fma(u, dy, d_sum);
      gamma_sum = fma(dy, fma(d, u, load(block.y + at)), gamma_sum);
    }
    const auto add = [&](int64_t row, V x) {
      store(weights + row * kWidth, load(weights + row * kWidth) + x);
    };
    add(in_.states, bias_sum);
    add(in_.states + 1, d_sum * weight);
    for (int r = 0; r < in_.readings; ++r) add(in_.states + 2 + r, gamma_sum);
  }

  // The groups' gradients of B and C -> the result's.
  void add_rows(const Run& run) const {
    const int width = 2 * in_.states;
    each_block(run.pool, in_.batch * in_.tokens, groups_ * width * 4,
               [&](int64_t begin, int64_t end) {
                 for (int64_t token = begin; token < end; ++token) {
                   float* to = ssm_gradient(run) + token * ssm_width() + in_.channels;
                   for (int c = 0; c < width; c += kWidth) {
                     V sum = zero();
                     for (int64_t group = 0; group < groups_; ++group)
                       sum = sum + load_lanes(rows_of(group, token) + c, width - c);
                     store_lanes(to + c, sum, width - c);
                   }
                 }
               });
  }

  // The sequences' gradients of a block's weights -> the result's.
  void add_weights(const Run& run, int64_t block) const {
    const int channel = static_cast<int>(block) * kWidth;
    const int n = static_cast<int>(smaller(kWidth, in_.channels - channel));
    const auto sum = [&](int64_t row) {
      V total = zero();
      for (int64_t sequence = 0; sequence < sequences(); ++sequence)
        total = total + load(weights_.as<float>() +
                             ((sequence * blocks_ + block) * weight_rows() + row) * kWidth);
      return total;
    };
    const auto store_columns = [&](float* to, int64_t row, int64_t width) {
      for (int64_t column = 0; column < width; ++column) {
        float lanes[kWidth];
        store(lanes, sum(row + column));
        for (int i = 0; i < n; ++i) to[(channel + i) * width + column] = lanes[i];
      }
      return to + in_.channels * width;
    };
    float* to = ssm_gradient(run) + in_.batch * in_.tokens * ssm_width();
    to = store_columns(to, 0, in_.states);
    if (in_.has_bias()) to = store_columns(to, in_.states, 1);
    if (in_.has_d()) to = store_columns(to, in_.states + 1, 1);
    if (in_.has_gamma()) store_columns(to, in_.states + 2, in_.readings);
  }

  ScanOperands in_;
  int dy_;
  DType dy_type_;
  int64_t blocks_, group_, groups_;  // channel blocks; those of a unit; units of a sequence
  Block rows_;                       // [group][item, token][2N]
  Block weights_;                    // [item, segment][block][weight_rows()][kWidth]
};

}  // namespace

Op* compile_cycle_scan_gradient(const Node& node, Compiler& compiler) {
  read_scan_gradient(node);
  return new CycleScanGradient(node, ScanOperands(node), compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA
