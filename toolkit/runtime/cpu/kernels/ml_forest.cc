// Rows go down a tree eight at a time, without a branch on the data: each step loads a node and the
// row's feature, and the comparison picks one of two children. A leaf's children are itself. Few
// rows go down eight trees at a time instead. Work is split by blocks of rows, or for few rows by
// blocks of trees; a row's trees are always added in order.
#include "kernels/ml_forest.h"

#include <algorithm>
#include <array>
#include <limits>

namespace toolkit {
namespace {

constexpr int kLanes = 8;
constexpr int64_t kRowBlock = 64;
constexpr int64_t kTreeBlock = 256;  // Trees worth a task of their own for a single row.
constexpr int kStride = 8;           // Steps between looks whether all lanes have arrived.
constexpr uint32_t kMissing = uint32_t{1} << 31;

// S holds splits and weights.
template <class S>
class PackedForest : public Forest {
 public:
  explicit PackedForest(const ForestSpec& spec) : targets_(spec.targets) {
    for (const int64_t root : spec.roots) AddTree(spec, root);
    const auto same = [&](Branch b) {
      return std::all_of(branch_.begin(), branch_.end(),
                         [&](Branch other) { return other == b || other == kLeaf; });
    };
    walk_ = same(Branch::kLeq) ? Walk::kLeq : same(Branch::kLt) ? Walk::kLt : Walk::kAny;
    single_ = targets_ == 1;
    for (const auto& leaf : spec.leaves) single_ &= leaf.size() == 1;
    if (single_)
      for (size_t i = 0; i < nodes_.size(); ++i)
        if (branch_[i] == kLeaf) nodes_[i].split = weights_[first_[i]].value;
  }

  void Run(ThreadPool& pool, const float* x, int64_t rows, int64_t width, Aggregate aggregate,
           const Finish& finish) const override {
    RunOn(pool, x, rows, width, aggregate, finish);
  }
  void Run(ThreadPool& pool, const double* x, int64_t rows, int64_t width, Aggregate aggregate,
           const Finish& finish) const override {
    RunOn(pool, x, rows, width, aggregate, finish);
  }

 private:
  static constexpr auto kLeaf = static_cast<Branch>(255);
  enum class Walk { kLeq, kLt, kAny };
  struct Node {
    S split;           // A leaf's weight, where each has one.
    uint32_t feature;  // And kMissing.
    int32_t child[2];  // Of true and of false.
  };
  struct Weight {
    int32_t target;
    S value;
  };

  // Breadth first, so that the levels that every row passes lie together.
  void AddTree(const ForestSpec& spec, int64_t root) {
    const auto base = static_cast<int64_t>(nodes_.size());
    const auto most = static_cast<int64_t>(2 * spec.nodes.size() + spec.roots.size());
    std::vector<int64_t> queue{root};
    std::vector<int32_t> level{0};
    for (size_t at = 0; at < queue.size(); ++at) {
      const int64_t id = queue[at], own = base + static_cast<int64_t>(at);
      TK_REQUIRE(own < most && own < INT32_MAX - 2, ErrorKind::kInvalidModel,
                 "trees are required, got a node that is reached twice");
      Node node{};
      node.child[0] = node.child[1] = static_cast<int32_t>(own);
      Branch branch = kLeaf;
      first_.push_back(static_cast<int64_t>(weights_.size()));
      if (id < 0) {
        AddLeaf(spec, ~id);
      } else {
        TK_REQUIRE(id < static_cast<int64_t>(spec.nodes.size()), ErrorKind::kInvalidModel,
                   "a node below ", spec.nodes.size(), " is required, got ", id);
        const ForestSpec::Node& source = spec.nodes[id];
        TK_REQUIRE(source.feature >= 0 && source.feature < INT32_MAX, ErrorKind::kInvalidModel,
                   "a feature of 0 or more is required, got ", source.feature);
        branch = source.branch;
        node.split = static_cast<S>(source.split);
        node.feature = static_cast<uint32_t>(source.feature) | (source.missing ? kMissing : 0);
        missing_ |= source.missing;
        features_ = std::max(features_, source.feature + 1);
        if (branch == Branch::kMember) AddMembers(spec, id, own);
        for (int side = 0; side < 2; ++side) {
          node.child[side] = static_cast<int32_t>(base + static_cast<int64_t>(queue.size()));
          queue.push_back(side == 0 ? source.yes : source.no);
          level.push_back(level[at] + 1);
        }
      }
      nodes_.push_back(node);
      branch_.push_back(branch);
    }
    roots_.push_back(static_cast<int32_t>(base));
    depth_.push_back(level.back());
  }
  void AddLeaf(const ForestSpec& spec, int64_t leaf) {
    TK_REQUIRE(leaf < static_cast<int64_t>(spec.leaves.size()), ErrorKind::kInvalidModel,
               "a leaf below ", spec.leaves.size(), " is required, got ", leaf);
    for (const ForestSpec::Weight& w : spec.leaves[leaf]) {
      TK_REQUIRE(w.target >= 0 && w.target < targets_, ErrorKind::kInvalidModel, "a target in [0, ",
                 targets_, ") is required, got ", w.target);
      weights_.push_back({static_cast<int32_t>(w.target), static_cast<S>(w.value)});
    }
  }
  void AddMembers(const ForestSpec& spec, int64_t id, int64_t own) {
    const auto found = spec.members.find(id);
    TK_REQUIRE(found != spec.members.end(), ErrorKind::kInvalidModel,
               "membership_values of each BRANCH_MEMBER node are required, got fewer");
    std::vector<S>& set = members_[own];
    for (double v : found->second) set.push_back(static_cast<S>(v));
    std::sort(set.begin(), set.end());
  }

  template <class X>
  void RunOn(ThreadPool& pool, const X* x, int64_t rows, int64_t width, Aggregate aggregate,
             const Finish& finish) const {
    TK_REQUIRE(width >= features_, ErrorKind::kShape, "X must have at least ", features_,
               " features, got ", width);
    const auto trees = static_cast<int64_t>(roots_.size());
    if (rows < kLanes && trees > kTreeBlock) {
      for (int64_t row = 0; row < rows; ++row)
        OneRow(pool, x + row * width, width, aggregate, [&](double* s) { finish(row, s); });
      return;
    }
    pool.ParallelFor(rows, kRowBlock, [&](int64_t begin, int64_t end) {
      std::vector<double> scores(kRowBlock * targets_);
      for (int64_t row = begin; row < end; row += kRowBlock) {
        const int64_t n = std::min(kRowBlock, end - row);
        Start(scores.data(), n * targets_, aggregate);
        if (n >= kLanes)
          Rows(x + row * width, n, width, aggregate, scores.data());
        else
          for (int64_t i = 0; i < n; ++i)
            Trees(x + (row + i) * width, 0, trees, aggregate, scores.data() + i * targets_);
        for (int64_t i = 0; i < n; ++i) {
          End(scores.data() + i * targets_, aggregate);
          finish(row + i, scores.data() + i * targets_);
        }
      }
    });
  }

  // A single row in a large forest: partial scores of blocks of trees, then together.
  template <class X, class Done>
  void OneRow(ThreadPool& pool, const X* x, int64_t, Aggregate aggregate, Done done) const {
    const auto trees = static_cast<int64_t>(roots_.size());
    const int64_t blocks = (trees + kTreeBlock - 1) / kTreeBlock;
    std::vector<double> parts((blocks + 1) * targets_);
    Start(parts.data(), (blocks + 1) * targets_, aggregate);
    pool.ParallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        Trees(x, b * kTreeBlock, std::min(trees, (b + 1) * kTreeBlock), aggregate,
              parts.data() + b * targets_);
    });
    double* total = parts.data() + blocks * targets_;
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t t = 0; t < targets_; ++t) {
        const double part = parts[b * targets_ + t];
        if (part == part) Add(total[t], part, aggregate);
      }
    End(total, aggregate);
    done(total);
  }

  // NaN stands for no value yet.
  static void Start(double* scores, int64_t n, Aggregate aggregate) {
    const bool sum = aggregate == Aggregate::kSum || aggregate == Aggregate::kAverage;
    std::fill_n(scores, n, sum ? 0.0 : std::numeric_limits<double>::quiet_NaN());
  }
  static void Add(double& score, double value, Aggregate aggregate) {
    if (aggregate == Aggregate::kSum || aggregate == Aggregate::kAverage)
      score += value;
    else if (score != score || (aggregate == Aggregate::kMin ? value < score : value > score))
      score = value;
  }
  void End(double* scores, Aggregate aggregate) const {
    for (int64_t t = 0; t < targets_; ++t) {
      if (aggregate == Aggregate::kAverage) scores[t] /= static_cast<double>(roots_.size());
      if (aggregate > Aggregate::kSum && scores[t] != scores[t]) scores[t] = 0;
    }
  }
  void AddLeafTo(double* scores, int32_t leaf, Aggregate aggregate) const {
    if (single_) return Add(*scores, static_cast<double>(nodes_[leaf].split), aggregate);
    const int64_t end = leaf + 1 < static_cast<int64_t>(first_.size())
                            ? first_[leaf + 1]
                            : static_cast<int64_t>(weights_.size());
    for (int64_t w = first_[leaf]; w < end; ++w)
      Add(scores[weights_[w].target], static_cast<double>(weights_[w].value), aggregate);
  }

  // All trees for n rows: a tree stays in the cache while the rows go through it.
  template <class X>
  void Rows(const X* x, int64_t n, int64_t width, Aggregate aggregate, double* scores) const {
    std::array<const X*, kLanes> rows;
    std::array<int32_t, kLanes> at;
    for (size_t tree = 0; tree < roots_.size(); ++tree)
      for (int64_t r = 0; r < n; r += kLanes) {
        const int64_t lanes = std::min<int64_t>(kLanes, n - r);
        for (int64_t l = 0; l < kLanes; ++l) rows[l] = x + (r + std::min(l, lanes - 1)) * width;
        at.fill(roots_[tree]);
        Descend(rows, at, depth_[tree]);
        for (int64_t l = 0; l < lanes; ++l)
          AddLeafTo(scores + (r + l) * targets_, at[l], aggregate);
      }
  }
  // Trees [begin, end) for one row.
  template <class X>
  void Trees(const X* x, int64_t begin, int64_t end, Aggregate aggregate, double* scores) const {
    std::array<const X*, kLanes> rows;
    std::array<int32_t, kLanes> at;
    rows.fill(x);
    for (int64_t tree = begin; tree < end; tree += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, end - tree);
      int32_t depth = 0;
      for (int64_t l = 0; l < kLanes; ++l) {
        const int64_t t = tree + std::min(l, lanes - 1);
        at[l] = roots_[t];
        depth = std::max(depth, depth_[t]);
      }
      Descend(rows, at, depth);
      for (int64_t l = 0; l < lanes; ++l) AddLeafTo(scores, at[l], aggregate);
    }
  }

  template <class X>
  void Descend(const std::array<const X*, kLanes>& rows, std::array<int32_t, kLanes>& at,
               int32_t depth) const {
    using Wide = std::conditional_t<(sizeof(X) > sizeof(S)), X, S>;
    if (walk_ == Walk::kAny)
      return Steps(rows, at, depth,
                   [&](const Node&, Wide v, Wide, int32_t i) { return True(v, i); });
    if (missing_) {
      if (walk_ == Walk::kLeq)
        return Steps(rows, at, depth, [&](const Node& n, Wide v, Wide split, int32_t) {
          return v <= split || (v != v && (n.feature & kMissing));
        });
      return Steps(rows, at, depth, [&](const Node& n, Wide v, Wide split, int32_t) {
        return v < split || (v != v && (n.feature & kMissing));
      });
    }
    if (walk_ == Walk::kLeq)
      return Steps(rows, at, depth,
                   [](const Node&, Wide v, Wide split, int32_t) { return v <= split; });
    Steps(rows, at, depth, [](const Node&, Wide v, Wide split, int32_t) { return v < split; });
  }

  template <class X, class Test>
  void Steps(const std::array<const X*, kLanes>& rows, std::array<int32_t, kLanes>& place,
             int32_t depth, Test test) const {
    const Node* nodes = nodes_.data();
    std::array<int32_t, kLanes> at = place;
    while (depth > 0) {
      for (int32_t step = std::min(depth, kStride); step > 0; --step)
#pragma GCC unroll 8
        for (int l = 0; l < kLanes; ++l) {
          const Node& node = nodes[at[l]];
          const X v = rows[l][node.feature & ~kMissing];
          at[l] = node.child[!test(node, v, node.split, at[l])];
        }
      depth -= kStride;
      bool arrived = true;
      for (int l = 0; l < kLanes; ++l) arrived &= nodes[at[l]].child[0] == at[l];
      if (arrived) break;
    }
    place = at;
  }

  // Any comparison, of a node that may be a leaf.
  template <class X>
  bool True(X v, int32_t i) const {
    const X split = static_cast<X>(nodes_[i].split);
    if (v != v && (nodes_[i].feature & kMissing)) return true;
    switch (branch_[i]) {
      case Branch::kLeq:
        return v <= split;
      case Branch::kLt:
        return v < split;
      case Branch::kGte:
        return v >= split;
      case Branch::kGt:
        return v > split;
      case Branch::kEq:
        return v == split;
      case Branch::kNeq:
        return v != split;
      case Branch::kMember: {
        const std::vector<S>& set = members_.at(i);
        return v == v && std::binary_search(set.begin(), set.end(), v);
      }
    }
    return true;
  }

  int64_t targets_, features_ = 0;
  Walk walk_;
  bool single_, missing_ = false;
  std::vector<Node> nodes_;
  std::vector<Branch> branch_;
  std::vector<int64_t> first_;  // Of a leaf's weights, by node.
  std::vector<Weight> weights_;
  std::unordered_map<int64_t, std::vector<S>> members_;
  std::vector<int32_t> roots_, depth_;
};

}  // namespace

std::unique_ptr<Forest> Forest::Make(const ForestSpec& spec) {
  if (spec.doubles) return std::make_unique<PackedForest<double>>(spec);
  return std::make_unique<PackedForest<float>>(spec);
}

}  // namespace toolkit
