#include "kernels/einsum_plan.h"

#include <algorithm>
#include <cctype>

namespace toolkit {

namespace {

int LabelOf(char letter) {
  return letter >= 'a' ? 26 + (letter - 'a') : letter - 'A';  // In ASCII order.
}

bool Has(const std::vector<int>& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

}  // namespace

EinsumEquation::EinsumEquation(const std::string& text) {
  std::vector<int>* term = &terms_.emplace_back();
  const auto require = [&](bool condition) {
    TK_REQUIRE(condition, ErrorKind::kInvalidArgument,
               "equation must hold terms of letters and at most one '...' each, parted by commas, "
               "and at most one '->', got '",
               text, "'");
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ') continue;
    if (c == ',') {
      require(!explicit_output_);
      term = &terms_.emplace_back();
    } else if (c == '-') {
      require(!explicit_output_ && i + 1 < text.size() && text[i + 1] == '>');
      explicit_output_ = true;
      term = &output_;
      ++i;
    } else if (c == '.') {
      require(text.compare(i, 3, "...") == 0 && !Has(*term, kEllipsis));
      term->push_back(kEllipsis);
      i += 2;
    } else {
      require((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
      term->push_back(LabelOf(c));
    }
  }
}

void EinsumEquation::Resolve(const std::vector<Shape>& shapes,
                             std::vector<std::vector<int>>* operands,
                             std::vector<int>* output) const {
  TK_REQUIRE(shapes.size() == terms_.size(), ErrorKind::kInvalidArgument, "equation has ",
             terms_.size(), " terms and requires as many operands, got ", shapes.size());
  int widest = 0;
  std::vector<int> count(kLabels, 0);
  for (size_t i = 0; i < terms_.size(); ++i) {
    const int letters = static_cast<int>(terms_[i].size()) - Has(terms_[i], kEllipsis);
    const int span = shapes[i].rank() - letters;
    TK_REQUIRE(Has(terms_[i], kEllipsis) ? span >= 0 : span == 0, ErrorKind::kShape, "operand ", i,
               " must have ", letters, " dimensions", Has(terms_[i], kEllipsis) ? " or more" : "",
               " by the equation, got shape ", shapes[i].ToString());
    widest = std::max(widest, span);
    std::vector<int>& labels = operands->emplace_back();
    for (int label : terms_[i]) {
      if (label != kEllipsis) ++count[label];
      if (label != kEllipsis) labels.push_back(label);
      // Dimensions of ellipses are aligned at their ends.
      for (int j = span; label == kEllipsis && j > 0; --j) labels.push_back(kLetters + j - 1);
    }
  }
  const auto add_ellipsis = [&] {
    for (int j = widest; j > 0; --j) output->push_back(kLetters + j - 1);
  };
  if (!explicit_output_) {
    add_ellipsis();
    for (int label = 0; label < kLetters; ++label)
      if (count[label] == 1) output->push_back(label);
    return;
  }
  for (int label : output_) {
    if (label == kEllipsis) {
      add_ellipsis();
      continue;
    }
    TK_REQUIRE(count[label] > 0 && !Has(*output, label), ErrorKind::kInvalidArgument,
               "an output label must occur in an operand, and once in the output");
    output->push_back(label);
  }
}

namespace {

// A storage seen through labels: one stride each, none of size 1.
struct View {
  int storage;
  std::vector<int> labels;
  std::vector<int64_t> strides;
};

// One dimension made of several.
struct Merged {
  bool ok;
  int64_t size, stride;
};

class Planner {
 public:
  Planner(EinsumPlan* plan, const std::vector<std::vector<int>>& operands,
          const std::vector<int>& output)
      : plan_(*plan), output_(output), size_(EinsumEquation::kLabels, 1) {
    Sizes(operands);
    for (int label : output) plan_.output.push_back(size_[label]);
    std::vector<int> kept;  // Dimensions of 1 need no label.
    for (int label : output)
      if (size_[label] != 1) kept.push_back(label);
    output_ = kept;
    for (size_t i = 0; i < operands.size(); ++i) AddOperand(static_cast<int>(i), operands[i]);
    // Labels of one operand only are summed before anything is multiplied.
    for (size_t i = 0; i < views_.size(); ++i) {
      std::vector<int> keep;
      for (int label : views_[i].labels)
        if (Needed(label, i, i)) keep.push_back(label);
      if (keep.size() != views_[i].labels.size()) views_[i] = Sum(views_[i], keep);
    }
    while (views_.size() > 1) ContractOnePair();
    if (views_[0].storage != EinsumPlan::kOutput) Copy(views_[0], EinsumPlan::kOutput, output_);
  }

 private:
  using Step = EinsumPlan::Step;

  void Sizes(const std::vector<std::vector<int>>& operands) {
    for (size_t i = 0; i < operands.size(); ++i)
      for (size_t d = 0; d < operands[i].size(); ++d) {
        int64_t& size = size_[operands[i][d]];
        const int64_t own = plan_.shapes[i][static_cast<int>(d)];
        TK_REQUIRE(own == size || own == 1 || size == 1, ErrorKind::kShape, "dimension ", d,
                   " of operand ", i, " must be ", size, " as elsewhere in the equation, got ",
                   own);
        if (own != 1) size = own;
      }
  }

  // Repeated labels become one by adding their strides: the diagonal.
  void AddOperand(int index, const std::vector<int>& labels) {
    const Shape& shape = plan_.shapes[index];
    const Shape strides = StridesOf(shape);
    View view = {index, {}, {}};
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      const auto at = std::find(view.labels.begin(), view.labels.end(), labels[d]);
      if (at == view.labels.end()) {
        view.labels.push_back(labels[d]);
        view.strides.push_back(strides[d]);
      } else {
        view.strides[at - view.labels.begin()] += strides[d];
      }
    }
    views_.push_back(view);
  }

  // Whether the output or a view other than `a` and `b` has the label.
  bool Needed(int label, size_t a, size_t b) const {
    if (Has(output_, label)) return true;
    for (size_t i = 0; i < views_.size(); ++i)
      if (i != a && i != b && Has(views_[i].labels, label)) return true;
    return false;
  }

  int64_t Count(const std::vector<int>& labels) const {
    int64_t count = 1;
    for (int label : labels)
      TK_REQUIRE(
          !__builtin_mul_overflow(count, size_[label], &count) && count <= (int64_t{1} << 58),
          ErrorKind::kMemory, "out of memory: an intermediate product is too large");
    return count;
  }

  std::vector<int64_t> Contiguous(const std::vector<int>& labels) const {
    std::vector<int64_t> strides(labels.size());
    int64_t stride = 1;
    for (size_t i = labels.size(); i-- > 0; stride *= size_[labels[i]]) strides[i] = stride;
    return strides;
  }

  int NewTemporary(const std::vector<int>& labels) {
    plan_.temporaries.push_back(Count(labels));
    return static_cast<int>(plan_.shapes.size() + plan_.temporaries.size()) - 1;
  }

  int64_t StrideOf(const View& view, int label) const {
    for (size_t i = 0; i < view.labels.size(); ++i)
      if (view.labels[i] == label) return view.strides[i];
    return 0;
  }

  View Copy(const View& view, int to, const std::vector<int>& labels) {
    Step step = {Step::kCopy, view.storage, 0, to, {}, {}, {}};
    const std::vector<int64_t> strides = Contiguous(labels);
    for (size_t i = 0; i < labels.size(); ++i)
      step.dims.push_back({size_[labels[i]], StrideOf(view, labels[i]), strides[i]});
    plan_.steps.push_back(step);
    return {to, labels, strides};
  }
  // The view with its elements in the order of its labels.
  View Packed(const View& view, const std::vector<int>& labels) {
    if (view.labels == labels && view.strides == Contiguous(labels)) return view;
    return Copy(view, NewTemporary(labels), labels);
  }

  View Sum(const View& view, const std::vector<int>& keep) {
    const View packed = Packed(view, view.labels);
    const int to = NewTemporary(keep);
    Step step = {Step::kReduce, packed.storage, 0, to, {}, {}, {}};
    for (int label : packed.labels) {
      step.sizes.push_back(size_[label]);
      step.summed.push_back(!Has(keep, label));
    }
    plan_.steps.push_back(step);
    return {to, keep, Contiguous(keep)};
  }

  std::vector<int> Result(size_t a, size_t b) const {
    std::vector<int> labels;
    for (size_t i : {a, b})
      for (int label : views_[i].labels)
        if (!Has(labels, label) && Needed(label, a, b)) labels.push_back(label);
    return labels;
  }

  // Greedy: the pair whose product has the fewest elements; many operands from left to right.
  void ContractOnePair() {
    constexpr size_t kMost = 32;
    size_t a = 0, b = 1;
    double least = -1;
    if (views_.size() > 2 && views_.size() <= kMost)
      for (size_t i = 0; i < views_.size(); ++i)
        for (size_t j = i + 1; j < views_.size(); ++j) {
          double size = 1;
          for (int label : Result(i, j)) size *= static_cast<double>(size_[label]);
          if (least < 0 || size < least) least = size, a = i, b = j;
        }
    const View product = Contract(a, b);
    views_.erase(views_.begin() + static_cast<int64_t>(b));
    views_[a] = product;
  }

  Merged Merge(const View& view, const std::vector<int>& labels) const {
    Merged merged = {true, 1, 1};
    for (size_t i = labels.size(); i-- > 0;) {
      const int64_t stride = StrideOf(view, labels[i]);
      if (i + 1 == labels.size())
        merged.stride = stride;
      else if (stride != merged.size * merged.stride)
        merged.ok = false;
      merged.size *= size_[labels[i]];
    }
    return merged;
  }
  // Whether the view is, for each element of the batch, a matrix as Gemm takes it.
  bool IsMatrix(const View& view, const std::vector<int>& rows, const std::vector<int>& columns,
                bool* trans, int64_t* ld) const {
    const Merged r = Merge(view, rows), c = Merge(view, columns);
    if (!r.ok || !c.ok) return false;
    if (c.size == 1 || c.stride == 1) {
      *trans = false;
      *ld = r.size == 1 ? std::max<int64_t>(c.size, 1) : r.stride;
      if (*ld >= c.size) return true;
    }
    if (r.size == 1 || r.stride == 1) {
      *trans = true;
      *ld = c.size == 1 ? std::max<int64_t>(r.size, 1) : c.stride;
      return *ld >= r.size;
    }
    return false;
  }

  View Contract(size_t ia, size_t ib) {
    View a = views_[ia], b = views_[ib];
    const bool last = views_.size() == 2;
    std::vector<int> batch, m, n, inner[2];  // inner: in the order of a, and of b.
    for (int label : a.labels) {
      const bool shared = Has(b.labels, label);
      (!shared ? m : Needed(label, ia, ib) ? batch : inner[0]).push_back(label);
    }
    for (int label : b.labels)
      if (!Has(a.labels, label))
        n.push_back(label);
      else if (Has(inner[0], label))
        inner[1].push_back(label);
    if (inner[0].empty()) return Multiply(a, b, batch, m, n, last);

    Step step = {Step::kContract, 0, 0, 0, {}, {}, {}};
    const std::vector<int>* k = nullptr;
    for (const std::vector<int>& order : inner)
      if (!k && IsMatrix(a, m, order, &step.trans_a, &step.lda) &&
          IsMatrix(b, order, n, &step.trans_b, &step.ldb))
        k = &order;
    if (!k) k = IsMatrix(a, m, inner[0], &step.trans_a, &step.lda) ? &inner[0] : &inner[1];
    if (!IsMatrix(a, m, *k, &step.trans_a, &step.lda)) {
      a = Packed(a, Joined(batch, m, *k));
      IsMatrix(a, m, *k, &step.trans_a, &step.lda);
    }
    if (!IsMatrix(b, *k, n, &step.trans_b, &step.ldb)) {
      b = Packed(b, Joined(batch, *k, n));
      IsMatrix(b, *k, n, &step.trans_b, &step.ldb);
    }
    View c = {EinsumPlan::kOutput, output_, Contiguous(output_)};
    bool turned = false;
    if (!last || !IsMatrix(c, m, n, &turned, &step.ldc)) {
      c.labels = Joined(batch, m, n);
      c.storage = last && c.labels == output_ ? EinsumPlan::kOutput : NewTemporary(c.labels);
      c.strides = Contiguous(c.labels);
      IsMatrix(c, m, n, &turned, &step.ldc);
    }
    step.a = a.storage, step.b = b.storage, step.to = c.storage;
    step.m = Count(m), step.n = Count(n), step.k = Count(*k), step.batch = Count(batch);
    for (int label : batch)
      step.dims.push_back(
          {size_[label], StrideOf(a, label), StrideOf(b, label), StrideOf(c, label)});
    if (turned) {  // The transpose is what lies in rows: C^T = B^T A^T.
      std::swap(step.a, step.b);
      std::swap(step.m, step.n);
      std::swap(step.lda, step.ldb);
      std::swap(step.trans_a, step.trans_b);
      step.trans_a = !step.trans_a, step.trans_b = !step.trans_b;
      for (EinsumPlan::Dimension& d : step.dims) std::swap(d.a, d.b);
    }
    plan_.steps.push_back(step);
    return c;
  }

  // Nothing to sum: a product that broadcasts.
  View Multiply(const View& a, const View& b, const std::vector<int>& batch,
                const std::vector<int>& m, const std::vector<int>& n, bool last) {
    const std::vector<int> labels = Joined(batch, m, n);
    Step step = {Step::kMultiply, 0, 0, 0, {}, {}, {}};
    step.a = Packed(a, Joined(batch, m, {})).storage;
    step.b = Packed(b, Joined(batch, n, {})).storage;
    step.batch = Count(batch), step.m = Count(m), step.n = Count(n);
    step.to = last && labels == output_ ? EinsumPlan::kOutput : NewTemporary(labels);
    plan_.steps.push_back(step);
    return {step.to, labels, Contiguous(labels)};
  }

  static std::vector<int> Joined(std::vector<int> x, const std::vector<int>& y,
                                 const std::vector<int>& z) {
    x.insert(x.end(), y.begin(), y.end());
    x.insert(x.end(), z.begin(), z.end());
    return x;
  }

  EinsumPlan& plan_;
  std::vector<int> output_;
  std::vector<int64_t> size_;  // By label.
  std::vector<View> views_;
};

}  // namespace

EinsumPlan::EinsumPlan(const EinsumEquation& equation, const std::vector<Shape>& given)
    : shapes(given) {
  std::vector<std::vector<int>> operands;
  std::vector<int> labels;
  equation.Resolve(shapes, &operands, &labels);
  Planner(this, operands, labels);
}

}  // namespace toolkit
