// Points and box corners as SAM's sparse prompt embeddings: the position code of the pixel's centre
// plus what the label stands for. A few hundred numbers.
#include "../plan/forward_checks.h"
#include "../plan/position_code.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct EmbedPoints {
  const float *points, *labels, *gaussian, *embeddings, *not_a_point;
  float* out;
  int64_t half;
  double height, width;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t e = i % half, point = i / half;
    float* to = out + point * 2 * half + e;
    const float label = labels[point];
    if (label == -1) {
      to[0] = not_a_point[e];
      to[half] = not_a_point[half + e];
      return;
    }
    const double x = (static_cast<double>(points[2 * point]) + 0.5) / width;
    const double y = (static_cast<double>(points[2 * point + 1]) + 0.5) / height;
    const double angle = position_angle(x, gaussian[e]) + position_angle(y, gaussian[half + e]);
    float sine = static_cast<float>(::sin(angle)), cosine = static_cast<float>(::cos(angle));
    for (int k = 0; k < 4; ++k) {
      if (label != static_cast<float>(k)) continue;
      sine += embeddings[k * 2 * half + e];
      cosine += embeddings[k * 2 * half + half + e];
    }
    to[0] = sine;
    to[half] = cosine;
  }
};

}  // namespace

Op* compile_prompt_points(const Node& node, Compiler&) {
  check_prompt_points(node);
  int64_t size[2];
  integers(node, "size", 2, size);
  const int64_t half = node.value("gaussian").dim(1);
  const int64_t count = node.value("labels").elements() * half;
  const double height = static_cast<double>(size[0]), width = static_cast<double>(size[1]);
  return make_op([=, points = node.operand("points"), labels = node.operand("labels"),
                  gaussian = node.operand("gaussian"), embeddings = node.operand("embeddings"),
                  none = node.operand("not_a_point")](const Run& run) {
    each(run.stream, count,
         EmbedPoints{run.in<float>(points), run.in<float>(labels), run.in<float>(gaussian),
                     run.in<float>(embeddings), run.in<float>(none), run.out<float>(), half, height,
                     width});
  });
}

}  // namespace hrsam::cuda
