#include "profile.h"

#include "../../plan/failure.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

namespace hrsam::cpu {

namespace {

struct Row {
  Profile::Clock::duration time{};
  int count = 0;
};

double milliseconds(Profile::Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

Profile::Profile() {
  const char* wanted = std::getenv("HRSAM_PROFILE");
  if (wanted == nullptr || *wanted == 0) return;
  by_op_ = std::strcmp(wanted, "ops") == 0;
  by_node_ = std::strcmp(wanted, "nodes") == 0;
  if (!by_op_ && !by_node_)
    plan::fail("ERR_ARGUMENT", "HRSAM_PROFILE=%s: expected ops or nodes", wanted);
}

void Profile::add_step(const char* op, const char* layer) {
  names_.push_back(by_node_ ? std::string(op) + "  " + layer : op);
  times_.emplace_back();
}

void Profile::print() const {
  if (runs_ < 2) return;
  std::map<std::string, Row> rows;
  Clock::duration total{};
  for (size_t i = 0; i < names_.size(); ++i) {
    Row& row = rows[names_[i]];
    row.time += times_[i];
    ++row.count;
    total += times_[i];
  }
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.time > b.second.time; });
  const double runs = static_cast<double>(runs_ - 1);
  std::fprintf(stderr, "%zu steps, %.3f ms a run, %.0f runs\n", names_.size(),
               milliseconds(total) / runs, runs);
  for (const auto& [name, row] : sorted)
    std::fprintf(stderr, "%9.3f ms %5.1f %% %5d x  %s\n", milliseconds(row.time) / runs,
                 100 * milliseconds(row.time) / std::max(1e-9, milliseconds(total)), row.count,
                 name.c_str());
}

}  // namespace hrsam::cpu
