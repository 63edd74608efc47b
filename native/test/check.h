// A registry of tests, and checks that say where they failed and with which values.
#pragma once

#include <cmath>
#include <cstdint>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace hrsam::test {

struct Test {
  const char* name;
  void (*body)();
};
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
inline int& failures() {
  static int count = 0;
  return count;
}
inline void check(bool good, const char* file, int line, const std::string& message) {
  if (good) return;
  if (++failures() <= 50) std::cerr << file << ':' << line << ": " << message << std::endl;
}
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream stream;
  stream.precision(9);
  (stream << ... << parts);
  return stream.str();
}

#define TEST(name)                                                                               \
  static void name();                                                                            \
  static const bool name##_registered = (::hrsam::test::tests().push_back({#name, name}), true); \
  static void name()
#define CHECK(condition) \
  ::hrsam::test::check(static_cast<bool>(condition), __FILE__, __LINE__, "not true: " #condition)
#define CHECK_COMPARE(a, op, b)                                                        \
  do {                                                                                 \
    const auto a_ = (a);                                                               \
    const auto b_ = (b);                                                               \
    if (!(a_ op b_))                                                                   \
      ::hrsam::test::check(false, __FILE__, __LINE__,                                  \
                           ::hrsam::test::text(#a " " #op " " #b ": ", a_, ", ", b_)); \
  } while (0)
#define CHECK_EQ(a, b) CHECK_COMPARE(a, ==, b)
#define CHECK_LE(a, b) CHECK_COMPARE(a, <=, b)
// Relative L2 of two lists of numbers.
#define CHECK_CLOSE(got, want, tolerance) \
  ::hrsam::test::check_close(got, want, tolerance, __FILE__, __LINE__, #got " against " #want)
// The largest difference of two lists of numbers.
#define CHECK_MAX(got, want, tolerance) CHECK_LE(::hrsam::test::max_abs(got, want), tolerance)

template <class A, class B>
double relative_l2(const std::vector<A>& got, const std::vector<B>& want) {
  if (got.size() != want.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    difference += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

template <class A, class B>
double max_abs(const std::vector<A>& got, const std::vector<B>& want) {
  if (got.size() != want.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;  // infinities, too
    const double d = std::fabs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  return worst;
}

template <class A, class B>
void check_close(const std::vector<A>& got, const std::vector<B>& want, double tolerance,
                 const char* file, int line, const char* what) {
  const double error = relative_l2(got, want);
  if (error <= tolerance) return;
  size_t at = 0;
  double worst = -1;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double d = std::fabs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (std::isnan(d) || d > worst) worst = d, at = i;
    if (std::isnan(d)) break;
  }
  std::string message = text(what, ": relative L2 ", error, " > ", tolerance, "; sizes ",
                             got.size(), ", ", want.size());
  if (worst >= 0) message += text("; worst at ", at, ": ", got[at], ", ", want[at]);
  check(false, file, line, message);
}

}  // namespace hrsam::test
