// The cycle scan's state-space model: h_t = exp(Δ_t·A)·h_{t−1} + Δ_t·B_t·u_t, y_t = ⟨C_t, h_t⟩ +
// D·u_t, read R times without resetting h; the result is Σ_r γ_r·y^(r).
//
// A lane is a channel: B_t and C_t are shared by all lanes and nothing is summed across them. A
// unit of work is a block of kWidth channels of one sequence. It goes through the tokens in blocks
// that stay in L1, and takes a few states at a time through all tokens of a block, so that they
// stay in registers. The bound is the exponentials: one per token, channel and state, 8 of the 11
// vector operations that a state costs.
//
// The recurrence is linear, so R readings collapse into one. With s_t the scan from a zero state,
// P_t = Π a_i and h0_r the state that reading r begins with (h0_1 = 0, h0_{r+1} = P_L·h0_r + s_L),
//   Σ_r γ_r·⟨C_t, h_t^(r)⟩ = Γ·⟨C_t, s_t⟩ + ⟨C_t, P_t·H⟩,   Γ = Σ γ_r,  H = Σ γ_r·h0_r.
// The first pass computes the first term, exactly as one reading does, and s_L. The second adds the
// other: it has no recurrence, since P_t = exp(A·ΣΔ), and ends, state by state, where P_t < 2^-22.
// Sequences of few channels are also cut into chunks of tokens, so that there is work for all
// threads; the second pass then carries each chunk's beginning state into it.
#include "carver.h"
#include "cycle_scan_kernel.h"
#include "expect.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr float kLog2E = 1.442695041f;
// A sequence of fewer channel blocks is cut into chunks of kChunk tokens: by its own shape alone,
// so that neither the threads nor the rest of a batch change a result.
constexpr int kFewBlocks = 8;
constexpr int64_t kChunk = 1024;

// An f32 or bf16 operand of rows.
struct Rows {
  const void* data;
  DType type;
  int64_t stride;

  // to[i] = columns [column, column + n) of rows [row, row + count), n <= kWidth lanes of them;
  // to's rows are ld apart.
  void copy(int64_t row, int count, int64_t column, int n, float* to, int64_t ld) const {
    type == DType::f32 ? copy_as<float>(row, count, column, n, to, ld)
                       : copy_as<bf16>(row, count, column, n, to, ld);
  }

 private:
  template <class T>
  void copy_as(int64_t row, int count, int64_t column, int n, float* to, int64_t ld) const {
    const T* from = static_cast<const T*>(data) + row * stride + column;
    if (n >= kWidth)
      for (int i = 0; i < count; ++i) store(to + i * ld, load(from + i * stride));
    else
      for (int i = 0; i < count; ++i) {
        const V lanes = load_n(from + i * stride, n);
        ld == kWidth ? store(to + i * ld, lanes) : store_n(to + i * ld, lanes, n);
      }
  }
};

// Tokens [begin, end) of channels [channel, channel + n), n <= kWidth; tokens count through all
// items.
struct Part {
  int64_t begin, end;
  int channel, n;
};

// Where a part's result is gathered in f32: rows of kWidth or more numbers, from the part's first
// token.
struct Sink {
  float* y;
  int64_t stride;
};

struct Scratch {
  ScanBlock block;
  float* decay;     // [N][kWidth]
  float* state;     // [N][kWidth]
  float* ends;      // [N + 1][kWidth]
  float* totals;    // ΣΔ of a block's tokens, or of [longest segment][kWidth]
  LongSum sum;      // of Δ so far
  float* gathered;  // [longest segment][kWidth], see gathers()
  size_t bytes;
};

struct Inputs {
  Rows u, ssm;
  const float *a_log, *dt_bias, *d, *gamma;
};

class CycleScan : public Op {
 public:
  CycleScan(const Node& node, Block segments, int segment_count, Pool& pool)
      : u_(node.operand("u")),
        ssm_(node.operand("ssm")),
        a_log_(node.operand("a_log")),
        dt_bias_(node.operand_or("dt_bias")),
        d_(node.operand_or("d")),
        gamma_(node.operand_or("gamma")),
        u_type_(node.value("u").dtype),
        ssm_type_(node.value("ssm").dtype),
        out_type_(node.result().dtype),
        batch_(node.value("u").dim(0)),
        tokens_(node.value("u").dim(1)),
        channels_(static_cast<int>(node.value("u").dim(2))),
        states_(static_cast<int>(node.value("a_log").dim(1))),
        readings_(gamma_ < 0 ? 1 : static_cast<int>(node.value("gamma").dim(1))),
        softplus_(node.flag("softplus")),
        literal_(node.flag("literal")),
        segments_(static_cast<Block&&>(segments)),
        segment_count_(segment_count) {
    blocks_ = static_cast<int>(divide_up(channels_, kWidth));
    for (int i = 0; i < segment_count_; ++i) longest_ = larger(longest_, segment(i));
    chunk_ = blocks_ < kFewBlocks && !literal_ ? kChunk : larger(1, longest_);
    for (int i = 0; i < segment_count_; ++i) chunks_ += divide_up(segment(i), chunk_);
    if (chunks_ > segment_count_) {
      const size_t units = static_cast<size_t>(batch_ * chunks_ * blocks_);
      ends_ = Block(units * static_cast<size_t>(end_numbers()) * sizeof(float));
      if (out_type_ != DType::f32)
        gathered_ = Block(static_cast<size_t>(batch_ * tokens_) * static_cast<size_t>(channels_) *
                          sizeof(float));
    }
    pool.reserve(plan(nullptr).bytes);
  }

  void run(const Run& run) const override {
    const Inputs in = inputs(run);
    if (!ends_) {
      run.pool.each(batch_ * segment_count_ * blocks_,
                    [&](int64_t unit, int thread) { whole_segment(run, in, unit, thread); });
      return;
    }
    run.pool.each(batch_ * chunks_ * blocks_, [&](int64_t unit, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      const Part part = chunk_part(unit);
      begin_part(in, part, s);
      scan(in, part, sum_of_gammas(in, part), false, sink(run, part, s), s);
      finish_scan(s, ends_.as<float>() + unit * end_numbers());
    });
    run.pool.each(batch_ * segment_count_ * blocks_, [&](int64_t unit, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      combine_segment(in, unit, s);
    });
    run.pool.each(batch_ * chunks_ * blocks_, [&](int64_t unit, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      const Part part = chunk_part(unit);
      begin_part(in, part, s);
      add_carried(run, in, part, ends_.as<float>() + unit * end_numbers(), sink(run, part, s), s);
    });
  }

 private:
  int64_t segment(int i) const { return segments_.as<int64_t>()[i]; }
  // A scan's final state and ΣΔ.
  int64_t end_numbers() const { return static_cast<int64_t>(states_ + 1) * kWidth; }

  Inputs inputs(const Run& run) const {
    const auto maybe = [&](int operand) { return operand < 0 ? nullptr : run.in<float>(operand); };
    return {{run.operands[u_], u_type_, channels_},
            {run.operands[ssm_], ssm_type_, channels_ + 2 * static_cast<int64_t>(states_)},
            run.in<float>(a_log_),
            maybe(dt_bias_),
            maybe(d_),
            maybe(gamma_)};
  }

  Scratch plan(void* memory) const {
    Carver carver(memory);
    Scratch s;
    const int64_t tokens = kScanTokens * kWidth, states = static_cast<int64_t>(states_) * kWidth;
    s.block.states = states_;
    s.block.step = carver.take<float>(tokens);
    s.block.drive = carver.take<float>(tokens);
    s.block.y = carver.take<float>(tokens);
    s.block.b = carver.take<float>(kScanTokens * static_cast<int64_t>(states_));
    s.block.c = carver.take<float>(kScanTokens * static_cast<int64_t>(states_));
    s.totals = carver.take<float>(keeps_totals() ? longest_ * kWidth : tokens);
    s.decay = carver.take<float>(states);
    s.block.decay = s.decay;
    s.state = carver.take<float>(states);
    s.ends = carver.take<float>(end_numbers());
    s.gathered = carver.take<float>(gathers() && !ends_ ? longest_ * kWidth : 0);
    s.bytes = carver.bytes();
    return s;
  }

  bool needs_totals() const { return (readings_ > 1 && !literal_) || ends_; }
  // Whether the first pass leaves ΣΔ of all its tokens for a second one.
  bool keeps_totals() const { return readings_ > 1 && !literal_ && !ends_; }

  Part block_part(int64_t item, int64_t block, int64_t first, int64_t length) const {
    const int channel = static_cast<int>(block) * kWidth;
    const int64_t begin = item * tokens_ + first;
    return {begin, begin + length, channel, static_cast<int>(smaller(kWidth, channels_ - channel))};
  }
  // Unit of chunks: [item][block][chunk].
  Part chunk_part(int64_t unit) const {
    int64_t chunk = unit % chunks_, first = 0;
    int i = 0;
    for (; chunk >= divide_up(segment(i), chunk_); ++i) {
      chunk -= divide_up(segment(i), chunk_);
      first += segment(i);
    }
    return block_part(unit / chunks_ / blocks_, unit / chunks_ % blocks_, first + chunk * chunk_,
                      smaller(chunk_, segment(i) - chunk * chunk_));
  }

  // A second pass comes back to the results, so they wait in one piece of memory rather than in
  // rows of the output.
  bool gathers() const { return out_type_ != DType::f32 || keeps_totals(); }
  Sink sink(const Run& run, const Part& part, Scratch& s) const {
    const int64_t at = part.begin * channels_ + part.channel;
    if (!ends_ && gathers()) return {s.gathered, kWidth};
    return {(out_type_ == DType::f32 ? run.out<float>() : gathered_.as<float>()) + at, channels_};
  }
  // Tokens [begin, end) from a sink to the output.
  void deliver(const Run& run, const Part& part, int64_t begin, int64_t end, Sink from) const {
    if (out_type_ == DType::f32)
      deliver_as(run.out<float>(), part, begin, end, from);
    else
      deliver_as(run.out<bf16>(), part, begin, end, from);
  }
  template <class T>
  void deliver_as(T* out, const Part& part, int64_t begin, int64_t end, Sink from) const {
    T* to = out + begin * channels_ + part.channel;
    for (int64_t t = 0; t < end - begin; ++t)
      store_lanes(to + t * channels_, load_lanes(from.y + t * from.stride, part.n), part.n);
  }
  void deliver_rest(const Run& run, const Part& part, int64_t begin, Sink from) const {
    from.y += (begin - part.begin) * from.stride;
    if (gathers()) deliver(run, part, begin, part.end, from);
  }

  // γ of a reading (all ones: there is one reading), or their sum.
  V gamma(const Inputs& in, const Part& part, int reading) const {
    if (in.gamma == nullptr) return set1(1);
    float lanes[kWidth] = {};
    for (int i = 0; i < part.n; ++i)
      lanes[i] = in.gamma[static_cast<int64_t>(part.channel + i) * readings_ + reading];
    return load(lanes);
  }
  V sum_of_gammas(const Inputs& in, const Part& part) const {
    V sum = zero();
    for (int r = 0; r < readings_; ++r) sum = sum + gamma(in, part, r);
    return sum;
  }

  // Decay rates, and a zero state.
  void begin_part(const Inputs& in, const Part& part, Scratch& s) const {
    for (int n = 0; n < states_; ++n) {
      float lanes[kWidth] = {};
      for (int i = 0; i < part.n; ++i)
        lanes[i] = in.a_log[static_cast<int64_t>(part.channel + i) * states_ + n];
      // Finite, so that no Δ of a sane size makes it infinite.
      store(s.decay + n * kWidth, max(set1(-1e30f), -exp(load(lanes)) * set1(kLog2E)));
      store(s.state + n * kWidth, zero());
    }
    s.sum = LongSum();
  }

  // The tokens' Δ, and its sum so far where that is needed.
  void read_steps(const Inputs& in, const Part& part, int64_t token, Scratch& s) const {
    const ScanBlock& block = s.block;
    const V bias = in.dt_bias == nullptr ? zero() : load_lanes(in.dt_bias + part.channel, part.n);
    in.ssm.copy(token, block.count, part.channel, part.n, block.step, kWidth);
    for (int t = 0; t < block.count; ++t) {
      const V step = load(block.step + t * kWidth) + bias;
      store(block.step + t * kWidth, softplus_ ? softplus(step) : step);
    }
    if (needs_totals()) add_steps(block, s.sum);
  }

  // The tokens' Δ·u, and D·u as y. After read_steps().
  void read_inputs(const Inputs& in, const Part& part, int64_t token, const Scratch& s) const {
    const ScanBlock& block = s.block;
    const V d = in.d == nullptr ? zero() : load_lanes(in.d + part.channel, part.n);
    in.u.copy(token, block.count, part.channel, part.n, block.y, kWidth);
    for (int t = 0; t < block.count; ++t) {
      const V u = load(block.y + t * kWidth);
      store(block.drive + t * kWidth, load(block.step + t * kWidth) * u);
      store(block.y + t * kWidth, d * u);
    }
  }

  // The tokens' B or C, from a column of ssm.
  void read_states(const Inputs& in, int64_t column, int64_t token, int count, float* to) const {
    for (int n = 0; n < states_; n += kWidth)
      in.ssm.copy(token, count, column + n, states_ - n, to + n, states_);
  }

  // First pass, from s.state: sink = (or +=) weight · y.
  void scan(const Inputs& in, const Part& part, V weight, bool add, Sink sink, Scratch& s) const {
    for (int64_t token = part.begin; token < part.end; token += kScanTokens) {
      s.block.count = static_cast<int>(smaller(kScanTokens, part.end - token));
      s.block.total = s.totals + (keeps_totals() ? (token - part.begin) * kWidth : 0);
      read_steps(in, part, token, s);
      read_inputs(in, part, token, s);
      read_states(in, channels_, token, s.block.count, s.block.b);
      read_states(in, channels_ + states_, token, s.block.count, s.block.c);
      softplus_ ? advance<true>(s.block, s.state) : advance<false>(s.block, s.state);
      float* y = sink.y + (token - part.begin) * sink.stride;
      for (int t = 0; t < s.block.count; ++t, y += sink.stride) {
        const V value = load(s.block.y + t * kWidth) * weight;
        store_lanes(y, add ? value + load_lanes(y, part.n) : value, part.n);
      }
    }
  }
  void finish_scan(const Scratch& s, float* ends) const {
    memcpy(ends, s.state, sizeof(float) * kWidth * static_cast<size_t>(states_));
    store(ends + states_ * kWidth, s.sum.sum);
  }

  // ends of a sequence's chunks -> the states to carry into them: g_0 = H, g_{k+1} = P_k·g_k +
  // Γ·s_k.
  void combine(const Inputs& in, const Part& part, float* ends, int64_t chunks, Scratch& s) const {
    const V all = sum_of_gammas(in, part);
    for (int n = 0; n < states_; ++n) {
      const V decay = load(s.decay + n * kWidth);
      const auto product = [&](int64_t k) {
        return decay_of<false>(decay * load(ends + k * end_numbers() + states_ * kWidth));
      };
      const auto state = [&](int64_t k) { return ends + k * end_numbers() + n * kWidth; };
      V begin = zero(), carried = zero();
      for (int r = 1; r < readings_; ++r) {
        for (int64_t k = 0; k < chunks; ++k) begin = fma(product(k), begin, load(state(k)));
        carried = fma(gamma(in, part, r), begin, carried);
      }
      for (int64_t k = 0; k < chunks; ++k) {
        const V next = fma(product(k), carried, all * load(state(k)));
        store(state(k), carried);
        carried = next;
      }
    }
  }

  // Second pass: result = sink + what is left of the state that the part begins with.
  void add_carried(const Run& run, const Inputs& in, const Part& part, const float* begin,
                   Sink sink, Scratch& s) const {
    int alive[kMaxStates], count = 0;
    for (int n = 0; n < states_; ++n)
      if (any_greater(abs(load(begin + n * kWidth)), zero())) alive[count++] = n;
    int64_t token = part.begin;
    for (; token < part.end && count > 0; token += s.block.count) {
      s.block.count = static_cast<int>(smaller(kScanTokens, part.end - token));
      s.block.total = s.totals + (keeps_totals() ? (token - part.begin) * kWidth : 0);
      if (!keeps_totals()) read_steps(in, part, token, s);
      read_states(in, channels_ + states_, token, s.block.count, s.block.c);
      const float* y = sink.y + (token - part.begin) * sink.stride;
      for (int t = 0; t < s.block.count; ++t)
        store(s.block.y + t * kWidth, load_lanes(y + t * sink.stride, part.n));
      count = softplus_ ? carry<true>(s.block, alive, count, begin)
                        : carry<false>(s.block, alive, count, begin);
      deliver(run, part, token, token + s.block.count, {s.block.y, kWidth});
    }
    deliver_rest(run, part, token, sink);
  }

  void whole_segment(const Run& run, const Inputs& in, int64_t unit, int thread) const {
    Scratch s = plan(run.pool.scratch(thread));
    const int i = static_cast<int>(unit / blocks_ % segment_count_);
    const Part part = segment_part(unit / blocks_ / segment_count_, unit % blocks_, i);
    const Sink to = sink(run, part, s);
    begin_part(in, part, s);
    if (keeps_totals()) {
      scan(in, part, sum_of_gammas(in, part), false, to, s);
      finish_scan(s, s.ends);
      combine(in, part, s.ends, 1, s);
      add_carried(run, in, part, s.ends, to, s);
      return;
    }
    for (int r = 0; r < readings_; ++r) scan(in, part, gamma(in, part, r), r > 0, to, s);
    deliver_rest(run, part, part.begin, to);
  }

  void combine_segment(const Inputs& in, int64_t unit, Scratch& s) const {
    const int i = static_cast<int>(unit / blocks_ % segment_count_);
    const int64_t item = unit / blocks_ / segment_count_, block = unit % blocks_;
    const Part part = segment_part(item, block, i);
    begin_part(in, part, s);
    int64_t first = (item * blocks_ + block) * chunks_;
    for (int k = 0; k < i; ++k) first += divide_up(segment(k), chunk_);
    combine(in, part, ends_.as<float>() + first * end_numbers(), divide_up(segment(i), chunk_), s);
  }

  Part segment_part(int64_t item, int64_t block, int i) const {
    int64_t first = 0;
    for (int k = 0; k < i; ++k) first += segment(k);
    return block_part(item, block, first, segment(i));
  }

  int u_, ssm_, a_log_, dt_bias_, d_, gamma_;
  DType u_type_, ssm_type_, out_type_;
  int64_t batch_, tokens_;
  int channels_, states_, readings_;
  bool softplus_, literal_;
  Block segments_;  // int64_t lengths
  int segment_count_;
  int blocks_ = 0;
  int64_t longest_ = 0;
  int64_t chunk_ = 0, chunks_ = 0;  // tokens of a chunk; chunks of an item's channel block
  Block ends_;                      // [item][block][chunk][N + 1][kWidth] when chunked
  Block gathered_;                  // [item][token][channel] when chunked and the result is not f32
};

}  // namespace

Op* compile_cycle_scan(const Node& node, Compiler& compiler) {
  const Value &u = node.value("u"), &ssm = node.value("ssm"), &a_log = node.value("a_log");
  expect_rank(node, u, "u", 3);
  expect_floats(node, u, "u");
  expect_floats(node, ssm, "ssm");
  expect_floats(node, node.result(), "result");
  expect(node, same_shape(node.result(), u), "result: not of u's shape");
  expect_f32(node, a_log, "a_log");
  const int64_t channels = u.dim(2);
  expect(node, channels > 0 && channels < (1 << 24), "u: no channels, or too many");
  expect(node, a_log.rank == 2 && a_log.dim(0) == channels, "a_log: expected (channels, states)");
  const int64_t states = a_log.dim(1);
  expect(node, states >= 1 && states <= kMaxStates, "a_log: expected 1 to 256 states");
  expect(node, has_shape(ssm, {u.dim(0), u.dim(1), channels + 2 * states}),
         "ssm: expected (batch, tokens, channels + 2 states)");
  const char* const vectors[] = {"dt_bias", "d"};
  for (const char* name : vectors) {
    if (!node.has(name)) continue;
    expect_f32(node, node.value(name), name);
    expect(node, has_shape(node.value(name), {channels}), "dt_bias, d: not one number per channel");
  }
  if (node.has("gamma")) {
    const Value& gamma = node.value("gamma");
    expect_f32(node, gamma, "gamma");
    expect(node,
           gamma.rank == 3 && gamma.dim(0) == channels && gamma.dim(1) >= 1 &&
               gamma.dim(1) <= 1024 && gamma.dim(2) == 1,
           "gamma: expected (channels, readings, 1)");
  }
  int count = 0;
  node.list("segments", &count);
  Block segments(static_cast<size_t>(count + 1) * sizeof(int64_t));
  integers(node, "segments", count, segments.as<int64_t>());
  int64_t total = 0;
  for (int i = 0; i < count; ++i) total += segments.as<int64_t>()[i];
  expect(node, total == u.dim(1), "segments: their sum is not the number of tokens");
  return new CycleScan(node, static_cast<Block&&>(segments), count, compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA
