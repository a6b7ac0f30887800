// NonMaxSuppression: greedy, one batch and class after another.
#include <algorithm>
#include <cmath>

#include "kernels/movement.h"

namespace toolkit {
namespace {

struct Box {
  float x0, y0, x1, y1;
  float Area() const { return (x1 - x0) * (y1 - y0); }
};

// [y, x, y, x] of two opposite corners, or [x, y, width, height] around the centre.
Box ReadBox(const float* b, bool center) {
  if (center) return {b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2};
  return {std::min(b[1], b[3]), std::min(b[0], b[2]), std::max(b[1], b[3]), std::max(b[0], b[2])};
}

// Whether intersection over union exceeds the threshold.
bool Overlap(const Box& a, const Box& b, float threshold) {
  const float w = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  const float h = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  if (!(w > 0) || !(h > 0)) return false;
  const float both = w * h, either = a.Area() + b.Area() - both;
  return both > 0 && either > 0 && a.Area() > 0 && b.Area() > 0 && both / either > threshold;
}

class NonMaxSuppression : public Kernel {
 public:
  explicit NonMaxSuppression(const Attributes& a) : center_(a.Int("center_point_box", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& boxes = c.input(0);
    const Tensor& scores = c.input(1);
    TK_REQUIRE(boxes.rank() == 3 && boxes.dim(2) == 4 && scores.rank() == 3 &&
                   scores.dtype() == DType::kFloat && scores.dim(0) == boxes.dim(0) &&
                   scores.dim(2) == boxes.dim(1),
               ErrorKind::kShape,
               "boxes must be (batches, n, 4) and scores float32 (batches, classes, n), got ",
               boxes.shape().ToString(), " and ", scores.shape().ToString());
    const Tensor* limit = c.optional_input(2);
    const int64_t most = limit ? ReadInt(*limit, "max_output_boxes_per_class") : 0;
    const float iou = Threshold(c.optional_input(3), 0);
    const float least = Threshold(c.optional_input(4), -INFINITY);
    TK_REQUIRE(iou >= 0 && iou <= 1, ErrorKind::kInvalidArgument,
               "iou_threshold must lie in [0, 1], got ", iou);
    std::vector<int64_t> selected;  // Triples (batch, class, box).
    const int64_t classes = scores.dim(1), n = boxes.dim(1);
    for (int64_t b = 0; most > 0 && b < boxes.dim(0); ++b) {
      for (int64_t k = 0; k < classes; ++k) {
        const float* score = scores.data<float>() + (b * classes + k) * n;
        for (int64_t i : Select(boxes.data<float>() + b * n * 4, score, n, most, iou, least))
          selected.insert(selected.end(), {b, k, i});
      }
    }
    const int64_t rows = static_cast<int64_t>(selected.size()) / 3;
    Tensor& y = c.Output(0, DType::kInt64, {rows, 3});
    std::copy(selected.begin(), selected.end(), y.data<int64_t>());
  }

 private:
  static float Threshold(const Tensor* t, float fallback) {
    if (!t || t->size() == 0) return fallback;
    TK_REQUIRE(t->dtype() == DType::kFloat && t->size() == 1, ErrorKind::kInvalidArgument,
               "thresholds must be one float32, got ", Name(t->dtype()), " ",
               t->shape().ToString());
    return *t->data<float>();
  }

  // Boxes by falling score (the lower index on ties), each kept unless a kept one overlaps it.
  std::vector<int64_t> Select(const float* boxes, const float* scores, int64_t n, int64_t most,
                              float iou, float least) const {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < n; ++i)
      if (scores[i] > least) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    std::vector<int64_t> kept;
    std::vector<Box> kept_boxes;
    for (int64_t i : order) {
      if (static_cast<int64_t>(kept.size()) >= most) break;
      const Box box = ReadBox(boxes + i * 4, center_);
      const bool hidden = std::any_of(kept_boxes.begin(), kept_boxes.end(),
                                      [&](const Box& k) { return Overlap(box, k, iou); });
      if (hidden) continue;
      kept.push_back(i);
      kept_boxes.push_back(box);
    }
    return kept;
  }

  bool center_;
};

static const bool kNms = Register<NonMaxSuppression>("NonMaxSuppression").Types(Bit(DType::kFloat));

}  // namespace
}  // namespace toolkit
