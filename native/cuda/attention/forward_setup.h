// What both kinds of attention share on the host: operands as the kernels take them, relative
// positions, the call of the kernels.
#pragma once

#include <cmath>

#include "../core/convert.h"
#include "bias.h"

namespace hrsam::cuda {

// All but addresses. rows and columns of keys: 0 without relative positions.
inline AttendCall attend_call(const Node& node, int d, int rows, int columns) {
  AttendCall at{};
  at.d = d;
  at.scale = kLog2E / std::sqrt(static_cast<float>(d));
  at.out_is_bf16 = node.result().dtype == DType::bf16;
  at.bias.rows = rows;
  at.bias.columns = columns;
  return at;
}

// An operand, or its copy as f32 where `elements` says that there is one.
inline const void* operand_of(const Run& run, int operand, DType type, int64_t elements,
                              float* copy) {
  const void* from = run.in(operand);
  if (elements == 0 || from == nullptr) return from;
  convert(run.stream, from, type, copy, DType::f32, elements);
  return copy;
}

// Tables of relative positions, null where there are none; where their products go.
struct Relative {
  const float *h, *w;
  float* products;
};

template <class Unit, class T>
void add_bias(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
              const Relative& relative, AttendCall& at) {
  if (relative.h == nullptr) return;
  launch({dim3(static_cast<unsigned>(units)), dim3(kBiasThreads), 0, stream},
         bias_products_kernel<Unit, T>, call, at.rope, at.bias, relative.h, relative.w,
         relative.products, at.d);
  at.bias.products = relative.products;
}

}  // namespace hrsam::cuda
