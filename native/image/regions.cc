#include "regions.h"

#include <algorithm>
#include <cstddef>

namespace hrsam::image {

namespace {

// A stretch of a row that is mask. Its region is the tree of runs that it is in, whose root has the
// region's area.
struct Run {
  int32_t begin, end;
  uint32_t parent;
  int64_t area;
  bool clicked = false;  // of a root: whether a click is on its region
};

class Regions {
 public:
  Regions(const float* logits, const LogitGrid& grid) : logits_(logits), grid_(grid) {
    for (int64_t y = 0; y < grid.height; ++y) {
      rows_.push_back(runs_.size());
      find_runs(y);
      if (y > 0) join_rows(y);
    }
    rows_.push_back(runs_.size());
  }

  // The largest clicked region's area, 0 where no click is on the mask.
  int64_t mark(const std::vector<Cell>& clicks) {
    int64_t largest = 0;
    for (const auto& [x, y] : clicks)
      for (size_t i = rows_[static_cast<size_t>(y)]; i < rows_[static_cast<size_t>(y) + 1]; ++i)
        if (runs_[i].begin <= x && x < runs_[i].end) {
          Run& region = root(i);
          region.clicked = true;
          largest = std::max(largest, region.area);
        }
    return largest;
  }

  // visit(y, begin, end) for the runs of regions without a click and smaller than `least`.
  template <class Visit>
  void each_below(double least, Visit&& visit) {
    for (int64_t y = 0; y < grid_.height; ++y)
      for (size_t i = rows_[static_cast<size_t>(y)]; i < rows_[static_cast<size_t>(y) + 1]; ++i) {
        const Run& region = root(i);
        if (!region.clicked && static_cast<double>(region.area) < least)
          visit(y, runs_[i].begin, runs_[i].end);
      }
  }

 private:
  double at(int64_t x, int64_t y) const { return logits_[y * grid_.stride + x]; }

  void find_runs(int64_t y) {
    const auto width = static_cast<int32_t>(grid_.width);
    const float* row = logits_ + y * grid_.stride;
    for (int32_t x = 0; x < width; ++x) {
      if (!(row[x] > 0)) continue;
      const int32_t begin = x;
      while (x < width && row[x] > 0) ++x;
      runs_.push_back({begin, x, static_cast<uint32_t>(runs_.size()), x - begin});
    }
  }

  Run& root(size_t i) {
    while (runs_[i].parent != i) {
      runs_[i].parent = runs_[runs_[i].parent].parent;
      i = runs_[i].parent;
    }
    return runs_[i];
  }

  // Between four cells, the mask of two in opposite corners is connected where these weigh more
  // than the other two.
  bool touch(const Run& above, const Run& below, int64_t y) const {
    const auto joined = [&](int64_t a, int64_t b) {
      return at(a, y - 1) * at(b, y) > at(b, y - 1) * at(a, y);
    };
    if (above.end == below.begin) return joined(above.end - 1, below.begin);
    if (above.begin == below.end) return joined(above.begin, below.end - 1);
    return above.begin < below.end && below.begin < above.end;
  }

  void join_rows(int64_t y) {
    const size_t middle = rows_.back();
    size_t first = rows_[static_cast<size_t>(y) - 1];
    for (size_t i = middle; i < runs_.size(); ++i) {
      while (first < middle && runs_[first].end < runs_[i].begin) ++first;
      // The last one that touches this run may touch the next one, too.
      for (size_t k = first; k < middle && runs_[k].begin <= runs_[i].end; ++k) {
        if (!touch(runs_[k], runs_[i], y)) continue;
        Run &one = root(k), &other = root(i);
        if (&one == &other) continue;
        other.parent = one.parent;
        one.area += other.area;
      }
    }
  }

  const float* logits_;
  const LogitGrid grid_;
  std::vector<Run> runs_;
  std::vector<size_t> rows_;  // where each row's runs begin, and where the last one's end
};

}  // namespace

bool drop_regions(float* logits, const LogitGrid& grid, const std::vector<Cell>& clicks,
                  double share) {
  if (clicks.empty()) return false;
  Regions regions(logits, grid);
  const int64_t largest = regions.mark(clicks);
  bool dropped = false;
  regions.each_below(
      share * static_cast<double>(largest), [&](int64_t y, int64_t begin, int64_t end) {
        float* row = logits + y * grid.stride;
        std::transform(row + begin, row + end, row + begin, [](float logit) { return -logit; });
        dropped = true;
      });
  return dropped;
}

}  // namespace hrsam::image
