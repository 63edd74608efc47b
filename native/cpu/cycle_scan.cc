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
// other: it has no recurrence, since P_t = exp(A·ΣΔ); over a few tokens that is a polynomial in ΣΔ,
// and it ends, state by state, where P_t < 2^-22. Three readings then cost 1.27 of one with the
// decays that a model starts its training with, 1.06 with fast ones, 1.5 with the slowest.
// Sequences of few channels are also cut into chunks of tokens, so that there is work for all
// threads; the second pass then carries each chunk's beginning state into it.
#include <float.h>

#include "carver.h"
#include "cycle_scan_operands.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// A sequence of fewer channel blocks is cut into chunks of kChunk tokens: by its own shape alone,
// so that neither the threads nor the rest of a batch change a result.
constexpr int kFewBlocks = 8;
constexpr int64_t kChunk = 1024;

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

class CycleScan : public Op {
 public:
  CycleScan(const Node& node, Pool& pool)
      : in_(node), out_type_(node.result().dtype), literal_(node.flag("literal")) {
    expect_floats(node, node.result(), "result");
    expect(node, same_shape(node.result(), node.value("u")), "result: not of u's shape");
    blocks_ = static_cast<int>(divide_up(in_.channels, kWidth));
    chunk_ = blocks_ < kFewBlocks && !literal_ ? kChunk : larger(1, in_.longest);
    for (int i = 0; i < in_.segment_count; ++i) chunks_ += divide_up(in_.segment(i), chunk_);
    if (chunks_ > in_.segment_count) {
      const size_t units = static_cast<size_t>(in_.batch * chunks_ * blocks_);
      ends_ = Block(units * static_cast<size_t>(end_numbers()) * sizeof(float));
      if (out_type_ != DType::f32)
        gathered_ = Block(static_cast<size_t>(in_.batch * in_.tokens) *
                          static_cast<size_t>(in_.channels) * sizeof(float));
    }
    pool.reserve(plan(nullptr).bytes);
  }

  void run(const Run& run) const override {
    if (!ends_) {
      run.pool.each(in_.batch * in_.segment_count * blocks_,
                    [&](int64_t unit, int thread) { whole_segment(run, unit, thread); });
      return;
    }
    run.pool.each(in_.batch * chunks_ * blocks_, [&](int64_t unit, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      const Part part = chunk_part(unit);
      begin_part(run, part, s);
      scan(run, part, sum_of_gammas(run, part), false, sink(run, part, s), s);
      finish_scan(s, ends_.as<float>() + unit * end_numbers());
    });
    run.pool.each(in_.batch * in_.segment_count * blocks_, [&](int64_t unit, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      combine_segment(run, unit, s);
    });
    run.pool.each(in_.batch * chunks_ * blocks_, [&](int64_t unit, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      const Part part = chunk_part(unit);
      begin_part(run, part, s);
      add_carried(run, part, ends_.as<float>() + unit * end_numbers(), sink(run, part, s), s);
    });
  }

 private:
  // A scan's final state and ΣΔ.
  int64_t end_numbers() const { return static_cast<int64_t>(in_.states + 1) * kWidth; }

  Scratch plan(void* memory) const {
    Carver carver(memory);
    Scratch s;
    const int64_t tokens = kScanTokens * kWidth, states = static_cast<int64_t>(in_.states) * kWidth;
    s.block.states = in_.states;
    s.block.step = carver.take<float>(tokens);
    s.block.drive = carver.take<float>(tokens);
    s.block.y = carver.take<float>(tokens);
    s.block.b = carver.take<float>(kScanTokens * static_cast<int64_t>(in_.states));
    s.block.c = carver.take<float>(kScanTokens * static_cast<int64_t>(in_.states));
    s.totals = carver.take<float>(keeps_totals() ? in_.longest * kWidth : tokens);
    s.decay = carver.take<float>(states);
    s.block.decay = s.decay;
    s.state = carver.take<float>(states);
    s.ends = carver.take<float>(end_numbers());
    s.gathered = carver.take<float>(gathers() && !ends_ ? in_.longest * kWidth : 0);
    s.bytes = carver.bytes();
    return s;
  }

  bool needs_totals() const { return (in_.readings > 1 && !literal_) || ends_; }
  // Whether the first pass leaves ΣΔ of all its tokens for a second one.
  bool keeps_totals() const { return in_.readings > 1 && !literal_ && !ends_; }

  Part block_part(int64_t item, int64_t block, int64_t first, int64_t length) const {
    const int channel = static_cast<int>(block) * kWidth;
    const int64_t begin = item * in_.tokens + first;
    return {begin, begin + length, channel,
            static_cast<int>(smaller(kWidth, in_.channels - channel))};
  }
  // Unit of chunks: [item][block][chunk].
  Part chunk_part(int64_t unit) const {
    int64_t chunk = unit % chunks_, first = 0;
    int i = 0;
    for (; chunk >= divide_up(in_.segment(i), chunk_); ++i) {
      chunk -= divide_up(in_.segment(i), chunk_);
      first += in_.segment(i);
    }
    return block_part(unit / chunks_ / blocks_, unit / chunks_ % blocks_, first + chunk * chunk_,
                      smaller(chunk_, in_.segment(i) - chunk * chunk_));
  }

  // A second pass comes back to the results, so they wait in one piece of memory rather than in
  // rows of the output.
  bool gathers() const { return out_type_ != DType::f32 || keeps_totals(); }
  Sink sink(const Run& run, const Part& part, Scratch& s) const {
    const int64_t at = part.begin * in_.channels + part.channel;
    if (!ends_ && gathers()) return {s.gathered, kWidth};
    return {(out_type_ == DType::f32 ? run.out<float>() : gathered_.as<float>()) + at,
            in_.channels};
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
    T* to = out + begin * in_.channels + part.channel;
    for (int64_t t = 0; t < end - begin; ++t)
      store_lanes(to + t * in_.channels, load_lanes(from.y + t * from.stride, part.n), part.n);
  }
  void deliver_rest(const Run& run, const Part& part, int64_t begin, Sink from) const {
    from.y += (begin - part.begin) * from.stride;
    if (gathers()) deliver(run, part, begin, part.end, from);
  }

  V sum_of_gammas(const Run& run, const Part& part) const {
    V sum = zero();
    for (int r = 0; r < in_.readings; ++r) sum = sum + in_.gamma(run, part.channel, part.n, r);
    return sum;
  }

  // Decay rates, and a zero state.
  void begin_part(const Run& run, const Part& part, Scratch& s) const {
    for (int n = 0; n < in_.states; ++n) {
      store(s.decay + n * kWidth, in_.decay(run, part.channel, part.n, n));
      store(s.state + n * kWidth, zero());
    }
    s.sum = LongSum();
  }

  // The tokens' Δ, and its sum so far where that is needed.
  void read_steps(const Run& run, const Part& part, int64_t token, Scratch& s) const {
    const ScanBlock& block = s.block;
    const V bias = in_.bias(run, part.channel, part.n);
    in_.ssm(run).copy(token, block.count, part.channel, part.n, block.step, kWidth);
    for (int t = 0; t < block.count; ++t) {
      const V step = load(block.step + t * kWidth) + bias;
      store(block.step + t * kWidth, in_.softplus ? softplus(step) : step);
    }
    if (needs_totals()) add_steps(block, s.sum);
  }

  // The tokens' Δ·u, and D·u as y. After read_steps().
  void read_inputs(const Run& run, const Part& part, int64_t token, const Scratch& s) const {
    const ScanBlock& block = s.block;
    const V d = in_.d(run, part.channel, part.n);
    in_.u(run).copy(token, block.count, part.channel, part.n, block.y, kWidth);
    for (int t = 0; t < block.count; ++t) {
      const V u = load(block.y + t * kWidth);
      store(block.drive + t * kWidth, load(block.step + t * kWidth) * u);
      store(block.y + t * kWidth, d * u);
    }
  }

  // The tokens' B or C, from a column of ssm.
  void read_states(const Run& run, int64_t column, int64_t token, int count, float* to) const {
    for (int n = 0; n < in_.states; n += kWidth)
      in_.ssm(run).copy(token, count, column + n, in_.states - n, to + n, in_.states);
  }

  // First pass, from s.state: sink = (or +=) weight · y.
  void scan(const Run& run, const Part& part, V weight, bool add, Sink sink, Scratch& s) const {
    for (int64_t token = part.begin; token < part.end; token += kScanTokens) {
      s.block.count = static_cast<int>(smaller(kScanTokens, part.end - token));
      s.block.total = s.totals + (keeps_totals() ? (token - part.begin) * kWidth : 0);
      read_steps(run, part, token, s);
      read_inputs(run, part, token, s);
      read_states(run, in_.channels, token, s.block.count, s.block.b);
      read_states(run, in_.channels + in_.states, token, s.block.count, s.block.c);
      in_.softplus ? advance<true>(s.block, s.state) : advance<false>(s.block, s.state);
      float* y = sink.y + (token - part.begin) * sink.stride;
      for (int t = 0; t < s.block.count; ++t, y += sink.stride) {
        const V value = load(s.block.y + t * kWidth) * weight;
        store_lanes(y, add ? value + load_lanes(y, part.n) : value, part.n);
      }
    }
  }
  void finish_scan(const Scratch& s, float* ends) const {
    memcpy(ends, s.state, sizeof(float) * kWidth * static_cast<size_t>(in_.states));
    store(ends + in_.states * kWidth, s.sum.sum);
  }

  // ends of a sequence's chunks -> the states to carry into them: g_0 = H, g_{k+1} = P_k·g_k +
  // Γ·s_k.
  void combine(const Run& run, const Part& part, float* ends, int64_t chunks, Scratch& s) const {
    const V all = sum_of_gammas(run, part);
    for (int n = 0; n < in_.states; ++n) {
      const V decay = load(s.decay + n * kWidth);
      const auto product = [&](int64_t k) {
        return decay_of<false>(decay * load(ends + k * end_numbers() + in_.states * kWidth));
      };
      const auto state = [&](int64_t k) { return ends + k * end_numbers() + n * kWidth; };
      V begin = zero(), carried = zero();
      for (int r = 1; r < in_.readings; ++r) {
        for (int64_t k = 0; k < chunks; ++k) begin = fma(product(k), begin, load(state(k)));
        carried = fma(in_.gamma(run, part.channel, part.n, r), begin, carried);
      }
      for (int64_t k = 0; k < chunks; ++k) {
        const V next = fma(product(k), carried, all * load(state(k)));
        store(state(k), carried);
        carried = next;
      }
    }
  }

  // Second pass: result = sink + what is left of the state that the part begins with.
  void add_carried(const Run& run, const Part& part, const float* begin, Sink sink,
                   Scratch& s) const {
    int alive[kMaxStates], count = 0;
    for (int n = 0; n < in_.states; ++n)
      if (any_lasts(abs(load(begin + n * kWidth)), set1(FLT_MIN))) alive[count++] = n;
    int64_t token = part.begin;
    for (; token < part.end && count > 0; token += s.block.count) {
      s.block.count = static_cast<int>(smaller(kScanTokens, part.end - token));
      s.block.total = s.totals + (keeps_totals() ? (token - part.begin) * kWidth : 0);
      if (!keeps_totals()) read_steps(run, part, token, s);
      read_states(run, in_.channels + in_.states, token, s.block.count, s.block.c);
      const float* y = sink.y + (token - part.begin) * sink.stride;
      for (int t = 0; t < s.block.count; ++t)
        store(s.block.y + t * kWidth, load_lanes(y + t * sink.stride, part.n));
      count = in_.softplus ? carry<true>(s.block, alive, count, begin)
                           : carry<false>(s.block, alive, count, begin);
      deliver(run, part, token, token + s.block.count, {s.block.y, kWidth});
    }
    deliver_rest(run, part, token, sink);
  }

  void whole_segment(const Run& run, int64_t unit, int thread) const {
    Scratch s = plan(run.pool.scratch(thread));
    const int i = static_cast<int>(unit / blocks_ % in_.segment_count);
    const Part part = segment_part(unit / blocks_ / in_.segment_count, unit % blocks_, i);
    const Sink to = sink(run, part, s);
    begin_part(run, part, s);
    if (keeps_totals()) {
      scan(run, part, sum_of_gammas(run, part), false, to, s);
      finish_scan(s, s.ends);
      combine(run, part, s.ends, 1, s);
      add_carried(run, part, s.ends, to, s);
      return;
    }
    for (int r = 0; r < in_.readings; ++r)
      scan(run, part, in_.gamma(run, part.channel, part.n, r), r > 0, to, s);
    deliver_rest(run, part, part.begin, to);
  }

  void combine_segment(const Run& run, int64_t unit, Scratch& s) const {
    const int i = static_cast<int>(unit / blocks_ % in_.segment_count);
    const int64_t item = unit / blocks_ / in_.segment_count, block = unit % blocks_;
    const Part part = segment_part(item, block, i);
    begin_part(run, part, s);
    int64_t first = (item * blocks_ + block) * chunks_;
    for (int k = 0; k < i; ++k) first += divide_up(in_.segment(k), chunk_);
    combine(run, part, ends_.as<float>() + first * end_numbers(), divide_up(in_.segment(i), chunk_),
            s);
  }

  Part segment_part(int64_t item, int64_t block, int i) const {
    int64_t first = 0;
    for (int k = 0; k < i; ++k) first += in_.segment(k);
    return block_part(item, block, first, in_.segment(i));
  }

  ScanOperands in_;
  DType out_type_;
  bool literal_;
  int blocks_ = 0;
  int64_t chunk_ = 0, chunks_ = 0;  // tokens of a chunk; chunks of an item's channel block
  Block ends_;                      // [item][block][chunk][N + 1][kWidth] when chunked
  Block gathered_;                  // [item][token][channel] when chunked and the result is not f32
};

}  // namespace

Op* compile_cycle_scan(const Node& node, Compiler& compiler) {
  return new CycleScan(node, compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA
