// Attention the plain way, in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

namespace hrsam::test {

// Rows come and go by the million, and AddressSanitizer's malloc would take most of the time: what
// was given back is kept.
template <class T>
struct KeptMemory {
  using value_type = T;
  static std::vector<T*>& kept(size_t count) {
    static auto& lists = *new std::map<size_t, std::vector<T*>>;  // to the end of the process
    static std::vector<T*>* last = nullptr;
    static size_t last_count = 0;
    if (last == nullptr || last_count != count) last = &lists[last_count = count];
    return *last;
  }
  T* allocate(size_t count) {
    std::vector<T*>& list = kept(count);
    if (list.empty()) return std::allocator<T>().allocate(count);
    T* memory = list.back();
    list.pop_back();
    return memory;
  }
  void deallocate(T* memory, size_t count) { kept(count).push_back(memory); }
  bool operator==(const KeptMemory&) const { return true; }
};

using Row = std::vector<double, KeptMemory<double>>;
using Rows = std::vector<Row, KeptMemory<Row>>;

// Cosine and sine of each pair's angle at a position, for `half` numbers; computed once.
inline const Row& turns(double position, size_t half, double theta) {
  static std::map<std::tuple<double, size_t, double>, Row> known;
  Row& row = known[{position, half, theta}];
  for (size_t c = row.size(); c < half; c += 2) {
    const double angle =
        position * std::pow(theta, -static_cast<double>(c) / static_cast<double>(half));
    row.push_back(std::cos(angle));
    row.push_back(std::sin(angle));
  }
  return row;
}

// Axial rotation of one head's query or key, as the paper's code has it.
inline Row rotated(const Row& x, double row, double column, double theta) {
  const size_t half = x.size() / 2;
  Row y(x.size());
  for (const size_t begin : {size_t{0}, half}) {
    const Row& turn = turns(begin == 0 ? row : column, half, theta);
    for (size_t c = 0; c < half; c += 2) {
      const double a = x[begin + c], b = x[begin + c + 1];
      y[begin + c] = a * turn[c] + b * turn[c + 1];
      y[begin + c + 1] = b * turn[c] - a * turn[c + 1];
    }
  }
  return y;
}

inline double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// softmax(logits) · values; logits of -INFINITY do not take part.
inline Row weighted(const Row& logits, const Rows& values) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  Row sum(values[0].size());
  double total = 0;
  for (size_t k = 0; k < logits.size(); ++k) {
    const double p = std::exp(logits[k] - largest);
    total += p;
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += p * values[k][c];
  }
  for (double& x : sum) x /= total;
  return sum;
}

// `count` numbers of a tensor's floats.
inline Row cut(const std::vector<float>& from, int64_t at, int64_t count) {
  return Row(from.begin() + at, from.begin() + at + count);
}

}  // namespace hrsam::test
