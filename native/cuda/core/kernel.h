// What kernels have in common: numbers of either type, four at a time where memory allows, sums
// across a warp, activations.
#pragma once

#include "../../plan/activation.h"
#include "../../plan/integers.h"
#include "op.h"
#include "ptx.h"

namespace hrsam::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

HRSAM_BOTH float to_f32(float x) { return x; }
HRSAM_BOTH float to_f32(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
#endif
}

template <class T>
HRSAM_DEVICE T from_f32(float x);
template <>
HRSAM_DEVICE float from_f32<float>(float x) {
  return x;
}
template <>
HRSAM_DEVICE bf16 from_f32<bf16>(float x) {
  return static_cast<bf16>(pack_bf16(x, 0));
}

struct Four {
  float x[4];
};

template <class T>
HRSAM_BOTH bool is_aligned(const T* p, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

// n <= 4 numbers; the others are zero. One access where n is 4 and the address allows it.
HRSAM_DEVICE Four load_four(const float* p, int n = 4) {
  Four y{};
  if (n == 4 && is_aligned(p, 16)) {
    const float4 v = *reinterpret_cast<const float4*>(p);
    return {{v.x, v.y, v.z, v.w}};
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < n) y.x[i] = p[i];
  return y;
}
HRSAM_DEVICE Four load_four(const bf16* p, int n = 4) {
  Four y{};
  if (n == 4 && is_aligned(p, 8)) {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    return {{to_f32(static_cast<bf16>(v.x & 0xffff)), to_f32(static_cast<bf16>(v.x >> 16)),
             to_f32(static_cast<bf16>(v.y & 0xffff)), to_f32(static_cast<bf16>(v.y >> 16))}};
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < n) y.x[i] = to_f32(p[i]);
  return y;
}
HRSAM_DEVICE void store_four(float* p, const Four& v, int n = 4) {
  if (n == 4 && is_aligned(p, 16)) {
    *reinterpret_cast<float4*>(p) = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < n) p[i] = v.x[i];
}
HRSAM_DEVICE void store_four(bf16* p, const Four& v, int n = 4) {
  if (n == 4 && is_aligned(p, 8)) {
    *reinterpret_cast<uint2*>(p) = make_uint2(pack_bf16(v.x[0], v.x[1]), pack_bf16(v.x[2], v.x[3]));
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < n) p[i] = from_f32<bf16>(v.x[i]);
}

// A number of either type, for operands whose type is not worth a template.
struct Numbers {
  const void* data;
  bool is_bf16;
  HRSAM_DEVICE float at(int64_t i) const {
    return is_bf16 ? to_f32(static_cast<const bf16*>(data)[i]) : static_cast<const float*>(data)[i];
  }
};

// Where such numbers go.
struct NumbersOut {
  void* data;
  bool is_bf16;
  HRSAM_DEVICE void put(int64_t i, float value) const {
    if (is_bf16)
      static_cast<bf16*>(data)[i] = from_f32<bf16>(value);
    else
      static_cast<float*>(data)[i] = value;
  }
};
HRSAM_DEVICE Four load_four(const Numbers& from, int64_t at, int n = 4) {
  return from.is_bf16 ? load_four(static_cast<const bf16*>(from.data) + at, n)
                      : load_four(static_cast<const float*>(from.data) + at, n);
}
HRSAM_DEVICE void store_four(const NumbersOut& to, int64_t at, const Four& v, int n = 4) {
  if (to.is_bf16)
    store_four(static_cast<bf16*>(to.data) + at, v, n);
  else
    store_four(static_cast<float*>(to.data) + at, v, n);
}
inline Numbers numbers_of(const void* data, DType type) { return {data, type == DType::bf16}; }
inline NumbersOut numbers_to(void* data, DType type) { return {data, type == DType::bf16}; }

// In an order that is the same for every lane.
HRSAM_DEVICE float warp_sum(float x) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(kAllLanes, x, mask);
  return x;
}

HRSAM_DEVICE float sigmoid(float x) { return reciprocal(1.0f + ::expf(-x)); }

HRSAM_DEVICE float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return 0.5f * x * (1.0f + ::erff(x * 0.707106781f));
    case Activation::silu:
      return x * sigmoid(x);
    case Activation::relu:
      return x < 0 ? 0 : x;  // NaN stays
    case Activation::sigmoid:
      return sigmoid(x);
    default:
      return x;
  }
}

// f(value of type T), T being the element type of a floating-point tensor.
template <class F>
auto with_floats(DType dtype, F&& f) {
  return dtype == DType::f32 ? f(float{}) : f(bf16{});
}

// ---- Kernels that do one thing for each of n indices
// ---------------------------------------------

constexpr int kEachThreads = 256;

template <class F>
__global__ void __launch_bounds__(kEachThreads)
    each_kernel(const __grid_constant__ F f, int64_t n) {
  wait_for_earlier_kernels();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kEachThreads + threadIdx.x;
  if (i < n) f(i);
}

// f(i) for i in [0, n): f is a struct of numbers and addresses with a device operator().
template <class F>
void each(cudaStream_t stream, int64_t n, const F& f) {
  launch({dim3(static_cast<unsigned>(divide_up(n, kEachThreads))), dim3(kEachThreads), 0, stream},
         each_kernel<F>, f, n);
}

// Two numbers of bf16 from 1 to 2 and of either sign, a pair's own: of equal ones fewer bits
// change, which takes less power, and a GPU at its limit runs faster than with a model's numbers.
HRSAM_DEVICE uint32_t any_pair(uint32_t which) {
  uint32_t bits = (which + 1) * 0x9e3779b1u;
  bits = (bits ^ bits >> 15) * 0x85ebca77u;
  return 0x3f803f80u | ((bits ^ bits >> 13) & 0x807f807fu);
}

}  // namespace hrsam::cuda
