// What the gradients of both kinds of attention share on the host: operands as f32, the forward
// pass's statistics, the calls of the kernels in gradient.h.
#pragma once

#include <cmath>

#include "../carver.h"
#include "../core/convert.h"
#include "bias.h"
#include "gradient.h"
#include "start.h"

namespace hrsam::cuda {

// How the work of one kind of attention is cut: units of at most so many queries each.
template <class Call>
struct Cut {
  Call call;
  int64_t units;
};

struct GradientSizes {
  DType type;                    // of q, k and v
  bool tensor;                   // bf16 on tensor cores; else all is made f32
  int64_t q, k, v, pad;          // elements of the operands; k, v and pad may be none
  int64_t queries;               // of all heads and items
  int64_t tokens, heads;         // of queries of an item
  int d, key_rows, key_columns;  // rows and columns: 0 without relative positions
  int64_t positions;             // of padding, at most
  // Where few queries face many keys or the other way round, the many are cut: that many chunks.
  int key_chunks = 1, query_chunks = 1;
};

struct GradientMemory {
  float *q, *k, *v, *pad, *products, *statistics, *sums, *axes, *padding;
  float4* query;
  float* parts;  // of chunks
  void* rest;    // for the op
};

inline GradientMemory plan_gradient(const GradientSizes& s, void* memory, int64_t rest,
                                    size_t* bytes) {
  Carver carver(memory);
  const bool convert = s.type == DType::bf16 && !s.tensor;
  const int64_t axes = s.queries * (s.key_rows + s.key_columns);
  GradientMemory m{};
  m.q = carver.take<float>(convert ? s.q : 0);
  m.k = carver.take<float>(convert ? s.k : 0);
  m.v = carver.take<float>(convert ? s.v : 0);
  m.pad = carver.take<float>(convert ? s.pad : 0);
  m.products = carver.take<float>(axes);
  m.axes = carver.take<float>(axes);
  m.statistics = carver.take<float>(2 * s.queries * s.key_chunks);
  m.sums = carver.take<float>(s.queries * s.d * s.key_chunks);
  m.query = carver.take<float4>(s.queries);
  m.padding = carver.take<float>(s.positions * 2 * s.d);
  m.parts = carver.take<float>(larger(s.key_chunks > 1 ? s.key_chunks * s.q : 0,
                                      s.query_chunks > 1 ? s.query_chunks * (s.k + s.v) : 0));
  m.rest = carver.take<char>(rest);
  if (bytes != nullptr) *bytes = carver.bytes();
  return m;
}

// An operand as the kernels take it: itself or its copy as f32.
inline const void* gradient_operand(const Run& run, int operand, const GradientSizes& s,
                                    int64_t elements, float* copy) {
  const void* from = run.in(operand);
  if (s.tensor || s.type == DType::f32 || from == nullptr) return from;
  convert(run.stream, from, s.type, copy, DType::f32, elements);
  return copy;
}

struct GradientOperands {
  Rope rope;
  const float *rel_h, *rel_w;
  const void* dy;
  DType dy_type;
};

// Runs the forward pass for its statistics and fills in what all gradients need. `forward`: units
// as the forward kernels take them; Unit: in f32.
template <class Unit>
GradientCall prepare_gradient(const Run& run, const GradientSizes& s, const GradientMemory& m,
                              const GradientOperands& given,
                              const Cut<typename Unit::Call>& forward) {
  GradientCall g{};
  g.at.rope = given.rope;
  g.at.bias.rows = s.key_rows;
  g.at.bias.columns = s.key_columns;
  g.at.d = s.d;
  g.at.scale = kLog2E / std::sqrt(static_cast<float>(s.d));
  g.factor = 1 / std::sqrt(static_cast<float>(s.d));
  g.dy = numbers_of(given.dy, given.dy_type);
  g.query = m.query;
  g.padding = m.padding;
  g.items = 1;
  if (given.rel_h != nullptr) {
    launch({dim3(static_cast<unsigned>(forward.units)), dim3(kBiasThreads), 0, run.stream},
           bias_products_kernel<Unit, float>, forward.call, given.rope, g.at.bias, given.rel_h,
           given.rel_w, m.products, s.d);
    g.at.bias.products = m.products;
    g.axes = m.axes;
    g.rel_h = given.rel_h;
    g.rel_w = given.rel_w;
  }
  AttendCall at = g.at;
  at.partials.statistics = m.statistics;
  at.partials.sums = m.sums;
  at.partials.chunks = s.key_chunks;
  if (s.tensor)
    tensor_attention(run.stream, forward.call, forward.units, at);
  else
    plain_attention(run.stream, forward.call, forward.units, at);
  each(run.stream, s.queries, Deltas{at.partials, g.dy, m.query, s.tokens, s.heads, s.d});
  return g;
}

}  // namespace hrsam::cuda
