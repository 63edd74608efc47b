// One step of Muon for the matrices among the parameters, see native/plan/muon.h; `adamw` has
// brought the first moments up to date before. Bound by the products; those of matrices of one
// shape are made together, since a single one has too few tiles for a GPU.
#include "../plan/muon.h"

#include <utility>
#include <vector>

#include "carver.h"
#include "core/convert.h"
#include "gemm/gemm.h"
#include "samples.h"

namespace hrsam::cuda {

namespace {

// Of a group: a single matrix may have more, and a grid no more rows of blocks.
static_assert(kMuonBf16Side % kGemmDepth == 0, "gemm reads whole steps of k");
constexpr int64_t kMostElements = 16 << 20, kMostMatrices = 65535;

struct Member {
  int64_t offset;
  float rate, decay;
};

// Matrices of one shape.
struct Group {
  int64_t rows, columns, count;
  bool in_bf16;
  const Member* members;  // on the device

  HRSAM_BOTH int64_t elements() const { return rows * columns; }
  HRSAM_BOTH int64_t side() const { return smaller(rows, columns); }
  bool tall() const { return rows > columns; }
  DType type() const { return in_bf16 ? DType::bf16 : DType::f32; }
};

struct MomentNorm {
  Group group;
  const float* moments;
  float* inverse;  // of each matrix
  HRSAM_DEVICE void add(int64_t i, double* sums) const {
    const int64_t size = group.elements();
    const double m = moments[group.members[i / size].offset + i % size];
    sums[0] += m * m;
  }
  HRSAM_DEVICE void finish(int64_t matrix, const double* sums) const {
    inverse[matrix] = static_cast<float>(1 / (::sqrt(sums[0]) + kMuonEps));
  }
};

struct Copy {
  const float* from;
  float* to;
  HRSAM_DEVICE void operator()(int64_t i) const { to[i] = from[i]; }
};

template <class T>
struct Load {
  Group group;
  const float *moments, *inverse;
  T* x;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t size = group.elements(), matrix = i / size;
    x[i] = from_f32<T>(moments[group.members[matrix].offset + i % size] * inverse[matrix]);
  }
};

template <class T>
struct Blend {
  const T* gram;
  const float* square;
  T* factor;
  int64_t side;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t at = i % (side * side);
    const float own = at / side == at % side ? kMuonA : 0.0f;
    factor[i] = from_f32<T>(kMuonB * to_f32(gram[i]) + kMuonC * square[i] + own);
  }
};

template <class T>
struct Apply {
  Group group;
  const T* x;
  const float *inverse, *step;
  float *parameters, *averages;
  float scale;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t size = group.elements(), matrix = i / size;
    if (inverse[matrix] == 0) return;
    const Member member = group.members[matrix];
    const int64_t at = member.offset + i % size;
    const float change =
        -step[0] * member.rate * (scale * to_f32(x[i]) + member.decay * parameters[at]);
    parameters[at] += change;
    averages[at] += (1 - step[4]) * change;
  }
};

template <class T>
struct Workspace {
  T *x, *turned, *gram, *factor;
  float *square, *inverse;
  void* sums;
};

template <class T>
std::pair<Workspace<T>, size_t> carve(const Group& g, void* memory) {
  Carver carver(memory);
  Workspace<T> w{};
  w.x = carver.take<T>(g.count * g.elements());
  w.turned = carver.take<T>(g.count * g.elements());
  w.gram = carver.take<T>(g.count * g.side() * g.side());
  w.factor = carver.take<T>(g.count * g.side() * g.side());
  w.square = carver.take<float>(g.count * g.side() * g.side());
  w.inverse = carver.take<float>(g.count);
  w.sums = carver.take<char>(static_cast<int64_t>(sample_workspace<1>(g.count, g.elements())));
  return {w, carver.bytes()};
}

// a (m, k) · b (n, k)ᵀ -> out, of each matrix.
template <class T, class Out>
void multiply(cudaStream_t stream, const Group& g, int64_t m, int64_t n, int64_t k, const T* a,
              const T* b, Out* out) {
  Gemm call;
  call.m = m;
  call.n = n;
  call.k = k;
  call.type = g.type();
  call.a = a;
  call.b = b;
  call.a_stride = call.b_stride = k;
  call.batch = g.count;
  call.a_batch = m * k;
  call.b_batch = n * k;
  call.epilogue.out_is_bf16 = sizeof(Out) == sizeof(bf16);
  call.epilogue.out = out;
  gemm(stream, call);
}

template <class T>
void advance(cudaStream_t stream, const Group& g, const float* step, int64_t size, float* state,
             void* memory) {
  Workspace<T> w = carve<T>(g, memory).first;
  const int64_t rows = g.rows, columns = g.columns, side = g.side();
  const int64_t elements = g.count * g.elements();
  const float* moments = state + size;
  sum_samples<1>(stream, g.count, g.elements(), w.sums, MomentNorm{g, moments, w.inverse});
  each(stream, elements, Load<T>{g, moments, w.inverse, w.x});
  for (int i = 0; i < kMuonSteps; ++i) {
    convert_columns(stream, w.x, g.type(), w.turned, g.type(), columns, rows, rows, g.count);
    const T* wide = g.tall() ? w.turned : w.x;
    multiply(stream, g, side, side, larger(rows, columns), wide, wide, w.gram);
    multiply(stream, g, side, side, side, w.gram, w.gram, w.square);  // it is symmetric
    each(stream, g.count * side * side, Blend<T>{w.gram, w.square, w.factor, side});
    if (g.tall()) {
      multiply(stream, g, rows, side, side, w.x, w.factor, w.turned);
      std::swap(w.x, w.turned);
    } else {
      multiply(stream, g, side, columns, side, w.factor, w.turned, w.x);
    }
  }
  each(stream, elements,
       Apply<T>{g, w.x, w.inverse, step, state, state + 3 * size, muon_scale(rows, columns)});
}

// The matrices in groups, and in `members` in the groups' order.
std::vector<Group> grouped(const MuonMatrices& given, std::vector<Member>& members) {
  std::vector<Group> groups;
  std::vector<bool> taken(static_cast<size_t>(given.count));
  for (int first = 0; first < given.count; ++first) {
    if (taken[first]) continue;
    const MuonMatrix like = given[first];
    Group g{like.rows, like.columns, 0, like.in_bf16, nullptr};
    const int64_t most = smaller(kMostMatrices, larger(1, kMostElements / like.elements()));
    for (int i = first; i < given.count && g.count < most; ++i) {
      const MuonMatrix matrix = given[i];
      if (taken[i] || matrix.rows != g.rows || matrix.columns != g.columns) continue;
      taken[i] = true;
      members.push_back({matrix.offset, matrix.rate, matrix.decay});
      ++g.count;
    }
    groups.push_back(g);
  }
  return groups;
}

}  // namespace

Op* compile_muon(const Node& node, Compiler& compiler) {
  const int64_t size = node.value("state").dim(1);
  std::vector<Member> members;
  std::vector<Group> groups = grouped(read_muon(node), members);
  const SharedBlock table = compiler.upload(members.data(), sizeof(Member) * members.size());
  size_t workspace = 0;
  const Member* next = table->as<const Member>();
  for (Group& g : groups) {
    g.members = next;
    next += g.count;
    with_floats(g.type(), [&](auto number) {
      const size_t bytes = carve<decltype(number)>(g, nullptr).second;
      if (bytes > workspace) workspace = bytes;
    });
  }
  return make_op(workspace, [=, held = table, state = node.operand("state"),
                             step = node.operand("step")](const Run& run) {
    const float* from = run.in<float>(state);
    float* to = run.out<float>();
    if (to != from) each(run.stream, 4 * size, Copy{from, to});
    for (const Group& g : groups)
      with_floats(g.type(), [&](auto number) {
        advance<decltype(number)>(run.stream, g, run.in<float>(step), size, to, run.workspace);
      });
  });
}

}  // namespace hrsam::cuda
