// Where a program's time goes: HRSAM_PROFILE=ops (or nodes: each with its layer) prints, when the
// program ends, wall time by op to stderr, its first run (pages that are touched for the first
// time) left out.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace hrsam::cpu {

class Profile {
 public:
  using Clock = std::chrono::steady_clock;

  Profile();  // reads the variable
  explicit operator bool() const { return by_op_ || by_node_; }
  // The next step of the program.
  void add_step(const char* op, const char* layer);
  void count(size_t step, Clock::duration time) {
    if (step == 0) ++runs_;
    if (runs_ > 1) times_[step] += time;
  }
  void print() const;

 private:
  bool by_op_ = false, by_node_ = false;
  int64_t runs_ = 0;
  std::vector<std::string> names_;  // by step
  std::vector<Clock::duration> times_;
};

}  // namespace hrsam::cpu
