// TreeEnsemble, TreeEnsembleClassifier and TreeEnsembleRegressor: how their attributes describe a
// forest, and what becomes of its scores.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "kernels/ml.h"
#include "kernels/ml_forest.h"
#include "simd/elementwise.h"

namespace toolkit {
namespace {

// A tensor of floats of any width.
std::vector<double> Doubles(const Tensor& t) {
  std::vector<double> values(static_cast<size_t>(t.size()));
  if (Contains(kHalves, t.dtype())) {
    std::vector<float> wide(values.size());
    const CastTable& table = CastFunctions();
    (t.dtype() == DType::kFloat16 ? table.half_to_float : table.bfloat_to_float)(
        wide.data(), t.raw(), t.size(), nullptr);
    std::copy(wide.begin(), wide.end(), values.begin());
    return values;
  }
  DispatchFloats(t.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::copy_n(t.data<T>(), t.size(), values.begin());
  });
  return values;
}

// A list of floats under `name`, or of doubles under `name`_as_tensor.
std::vector<double> FloatList(const Attributes& a, const std::string& name, ForestSpec* spec) {
  if (const Tensor t = a.TensorValue(name + "_as_tensor"); t.defined()) {
    if (spec) spec->doubles |= t.dtype() == DType::kDouble;
    return Doubles(t);
  }
  std::vector<double> values = a.Floats(name);
  for (double& v : values) v = static_cast<float>(v);
  return values;
}

template <class T>
void RequireSize(const char* name, const std::vector<T>& list, size_t n, bool optional = false) {
  TK_REQUIRE(list.size() == n || (optional && list.empty()), ErrorKind::kInvalidModel,
             "attribute '", name, "' must hold ", n, " values, got ", list.size());
}

Branch BranchOf(const std::string& name) {
  static constexpr const char* kNames[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE",
                                           "BRANCH_GT",  "BRANCH_EQ", "BRANCH_NEQ"};
  for (int i = 0; i < 6; ++i)
    if (name == kNames[i]) return static_cast<Branch>(i);
  Fail(ErrorKind::kInvalidModel,
       "attribute 'nodes_modes' must hold BRANCH_LEQ, BRANCH_LT, "
       "BRANCH_GTE, BRANCH_GT, BRANCH_EQ, BRANCH_NEQ or LEAF, got '",
       name, "'");
}

// Trees whose nodes have numbers in their tree. `votes` is the prefix of the leaves' attributes.
class NumberedTrees {
 public:
  NumberedTrees(const Attributes& a, const std::string& votes, ForestSpec& spec) : spec_(spec) {
    const std::vector<int64_t> trees = a.Ints("nodes_treeids");
    const std::vector<int64_t> ids = a.Ints("nodes_nodeids");
    const std::vector<int64_t> features = a.Ints("nodes_featureids");
    const std::vector<int64_t> yes = a.Ints("nodes_truenodeids");
    const std::vector<int64_t> no = a.Ints("nodes_falsenodeids");
    const std::vector<int64_t> missing = a.Ints("nodes_missing_value_tracks_true");
    const std::vector<std::string> modes = a.Strings("nodes_modes");
    const std::vector<double> splits = FloatList(a, "nodes_values", &spec);
    const size_t n = ids.size();
    RequireSize("nodes_treeids", trees, n);
    RequireSize("nodes_featureids", features, n);
    RequireSize("nodes_truenodeids", yes, n);
    RequireSize("nodes_falsenodeids", no, n);
    RequireSize("nodes_modes", modes, n);
    RequireSize("nodes_values", splits, n);
    RequireSize("nodes_missing_value_tracks_true", missing, n, true);

    place_.reserve(n);
    for (size_t i = 0; i < n; ++i) {
      const bool leaf = modes[i] == "LEAF";
      const auto at = static_cast<int64_t>(leaf ? ~spec.leaves.size() : spec.nodes.size());
      if (leaf)
        spec.leaves.emplace_back();
      else
        spec.nodes.emplace_back();
      TK_REQUIRE(place_.emplace(Number{trees[i], ids[i]}, at).second, ErrorKind::kInvalidModel,
                 "a node's number must be one of a kind in its tree, got ", ids[i],
                 " twice in tree ", trees[i]);
    }
    std::set<Number> children;
    for (size_t i = 0; i < n; ++i) {
      const int64_t at = place_.at({trees[i], ids[i]});
      if (at < 0) continue;
      spec.nodes[at] = {BranchOf(modes[i]),    !missing.empty() && missing[i] != 0,
                        features[i],           Find(trees[i], yes[i]),
                        Find(trees[i], no[i]), splits[i]};
      children.insert({trees[i], yes[i]});
      children.insert({trees[i], no[i]});
    }
    std::set<int64_t> rooted;
    for (size_t i = 0; i < n; ++i)
      if (!children.count({trees[i], ids[i]}) && rooted.insert(trees[i]).second)
        spec.roots.push_back(place_.at({trees[i], ids[i]}));
    for (int64_t tree : trees)
      TK_REQUIRE(rooted.count(tree), ErrorKind::kInvalidModel,
                 "trees are required, got nodes that form a cycle in tree ", tree);
    AddVotes(a, votes);
  }

 private:
  using Number = std::pair<int64_t, int64_t>;  // Tree and node.
  struct NumberHash {
    size_t operator()(const Number& n) const {
      return KeyHash{}(static_cast<uint64_t>(n.first) * 0x9E3779B97F4A7C15u ^
                       static_cast<uint64_t>(n.second));
    }
  };
  int64_t Find(int64_t tree, int64_t node) const {
    const auto found = place_.find({tree, node});
    TK_REQUIRE(found != place_.end(), ErrorKind::kInvalidModel, "a node ", node, " of tree ", tree,
               " is required, got none");
    return found->second;
  }
  void AddVotes(const Attributes& a, const std::string& votes) {
    const std::vector<int64_t> trees = a.Ints(votes + "_treeids");
    const std::vector<int64_t> ids = a.Ints(votes + "_nodeids");
    const std::vector<int64_t> targets = a.Ints(votes + "_ids");
    const std::vector<double> weights = FloatList(a, votes + "_weights", &spec_);
    const size_t n = ids.size();
    RequireSize((votes + "_treeids").c_str(), trees, n);
    RequireSize((votes + "_ids").c_str(), targets, n);
    RequireSize((votes + "_weights").c_str(), weights, n);
    for (size_t i = 0; i < n; ++i) {
      const int64_t at = Find(trees[i], ids[i]);
      if (at < 0) spec_.leaves[~at].push_back({targets[i], weights[i]});
    }
  }
  ForestSpec& spec_;
  std::unordered_map<Number, int64_t, NumberHash> place_;
};

Aggregate AggregateOf(const std::string& name) {
  static constexpr const char* kNames[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  for (int i = 0; i < 4; ++i)
    if (name == kNames[i]) return static_cast<Aggregate>(i);
  Fail(ErrorKind::kInvalidArgument,
       "attribute 'aggregate_function' must be SUM, AVERAGE, MIN or MAX, got '", name, "'");
}

// Float32 for all types but double.
void RunForest(KernelContext& c, const Forest& forest, Aggregate aggregate,
               const Forest::Finish& finish) {
  const Tensor& x = c.input(0);
  const Rows rows(x);
  if (x.dtype() == DType::kDouble)
    forest.Run(c.pool(), x.data<double>(), rows.count, rows.width, aggregate, finish);
  else
    forest.Run(c.pool(), ElementsAs<float>(c, x), rows.count, rows.width, aggregate, finish);
}

void RequireTargets(int64_t targets) {
  TK_REQUIRE(targets > 0 && targets <= (int64_t{1} << 24), ErrorKind::kInvalidArgument,
             "attribute 'n_targets' must be positive, got ", targets);
}

class TreeEnsembleRegressor : public Kernel {
 public:
  explicit TreeEnsembleRegressor(const Attributes& a)
      : aggregate_(AggregateOf(a.String("aggregate_function", "SUM"))),
        transform_(PostTransformOf(a)),
        base_(FloatList(a, "base_values", nullptr)),
        targets_(a.Int("n_targets", 1)) {
    RequireTargets(targets_);
    RequireSize("base_values", base_, static_cast<size_t>(targets_), true);
    ForestSpec spec;
    spec.targets = targets_;
    NumberedTrees(a, "target", spec);
    forest_ = Forest::Make(spec);
  }
  void Run(KernelContext& c) const override {
    float* y = c.Output(0, DType::kFloat, {Rows(c.input(0)).count, targets_}).data<float>();
    RunForest(c, *forest_, aggregate_, [&](int64_t row, const double* scores) {
      float* out = y + row * targets_;
      for (int64_t t = 0; t < targets_; ++t)
        out[t] = static_cast<float>(scores[t] + (base_.empty() ? 0 : base_[t]));
      Transform(transform_, out, targets_);
    });
  }

 private:
  Aggregate aggregate_;
  PostTransform transform_;
  std::vector<double> base_;
  int64_t targets_;
  std::unique_ptr<Forest> forest_;
};

// Labels and scores as onnxruntime's. With two labels of which the leaves know one alone, a score
// says how likely this one is: above 1/2 if no weight is negative, else above 0.
class TreeEnsembleClassifier : public Kernel {
 public:
  explicit TreeEnsembleClassifier(const Attributes& a)
      : labels_(a, "classlabels_int64s", "classlabels_strings"),
        classes_(labels_.size()),
        transform_(PostTransformOf(a)),
        base_(FloatList(a, "base_values", nullptr)) {
    ForestSpec spec;
    spec.targets = classes_;
    NumberedTrees(a, "class", spec);
    const std::vector<int64_t> ids = a.Ints("class_ids");
    std::set<int64_t> known(ids.begin(), ids.end());
    one_known_ = classes_ == 2 && known.size() == 1;
    known_ = one_known_ ? *known.begin() : 0;
    for (const auto& leaf : spec.leaves)
      for (const auto& w : leaf) positive_ &= w.value >= 0;
    TK_REQUIRE(base_.empty() || static_cast<int64_t>(base_.size()) == classes_ ||
                   (one_known_ && base_.size() == 1),
               ErrorKind::kInvalidModel, "attribute 'base_values' must hold ", classes_,
               " values, got ", base_.size());
    forest_ = Forest::Make(spec);
  }
  void Run(KernelContext& c) const override {
    const int64_t rows = Rows(c.input(0)).count;
    uint64_t* y = c.has_output(0) ? c.Output(0, labels_.dtype(), {rows}).data<uint64_t>()
                                  : c.Scratch<uint64_t>(rows);
    float* z = c.has_output(1) ? c.Output(1, DType::kFloat, {rows, classes_}).data<float>()
                               : c.Scratch<float>(rows * classes_);
    RunForest(c, *forest_, Aggregate::kSum, [&](int64_t row, const double* scores) {
      float* out = z + row * classes_;
      for (int64_t t = 0; t < classes_; ++t)
        out[t] = static_cast<float>(scores[t] + (t < Count(base_) ? base_[t] : 0));
      y[row] = Label(out);
      if (one_known_ && known_ == 0) {  // The score of the first stands for the second.
        out[1] = out[0];
        out[0] = positive_ && OneMinus() ? 1 - out[1] : -out[1];
      }
      Transform(transform_, out, classes_);
    });
  }

 private:
  static int64_t Count(const std::vector<double>& v) { return static_cast<int64_t>(v.size()); }
  bool OneMinus() const {
    return transform_ == PostTransform::kNone || transform_ == PostTransform::kProbit;
  }
  uint64_t Label(const float* scores) const {
    if (classes_ == 1) return labels_.Fallback(scores[0] > 0);
    if (one_known_) return labels_[scores[known_] > (positive_ ? 0.5f : 0.0f)];
    return labels_[std::max_element(scores, scores + classes_) - scores];
  }
  Labels labels_;
  int64_t classes_;
  PostTransform transform_;
  std::vector<double> base_;
  bool one_known_ = false, positive_ = true;
  int64_t known_ = 0;
  std::unique_ptr<Forest> forest_;
};

// Opset 5: inner nodes and leaves in lists of their own, children by position.
class TreeEnsemble : public Kernel {
 public:
  explicit TreeEnsemble(const Attributes& a) : targets_(a.Int("n_targets", 1)) {
    const int64_t aggregate = a.Int("aggregate_function", 1), post = a.Int("post_transform", 0);
    TK_REQUIRE(aggregate >= 0 && aggregate <= 3 && post >= 0 && post <= 4,
               ErrorKind::kInvalidArgument,
               "aggregate_function in [0, 3] and post_transform in "
               "[0, 4] are required, got ",
               aggregate, " and ", post);
    aggregate_ = static_cast<Aggregate>(aggregate);
    transform_ = static_cast<PostTransform>(post);
    RequireTargets(targets_);
    ForestSpec spec;
    spec.targets = targets_;
    AddLeaves(a, spec);
    AddNodes(a, spec);
    const auto nodes = static_cast<int64_t>(spec.nodes.size());
    for (int64_t root : a.Ints("tree_roots")) {
      TK_REQUIRE(root >= 0 && root < nodes, ErrorKind::kInvalidModel,
                 "attribute 'tree_roots' must hold nodes below ", nodes, ", got ", root);
      spec.roots.push_back(root);
    }
    forest_ = Forest::Make(spec);
  }
  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    const Tensor& y = c.Output(0, x.dtype(), {Rows(x).count, targets_});
    RunForest(c, *forest_, aggregate_, [&](int64_t row, const double* scores) {
      DispatchFloats(x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        T* out = y.data<T>() + row * targets_;
        std::transform(scores, scores + targets_, out, [](double v) { return static_cast<T>(v); });
        Transform(transform_, out, targets_);
      });
    });
  }

 private:
  static std::vector<double> Required(const Attributes& a, const char* name, ForestSpec& spec) {
    const Tensor t = a.TensorValue(name);
    TK_REQUIRE(t.defined(), ErrorKind::kInvalidModel, "attribute '", name,
               "' is required, got none");
    spec.doubles |= t.dtype() == DType::kDouble;
    return Doubles(t);
  }
  static void AddLeaves(const Attributes& a, ForestSpec& spec) {
    const std::vector<int64_t> targets = a.Ints("leaf_targetids");
    const std::vector<double> weights = Required(a, "leaf_weights", spec);
    RequireSize("leaf_weights", weights, targets.size());
    for (size_t i = 0; i < targets.size(); ++i)
      spec.leaves.push_back({ForestSpec::Weight{targets[i], weights[i]}});
  }
  static void AddNodes(const Attributes& a, ForestSpec& spec) {
    const std::vector<int64_t> features = a.Ints("nodes_featureids");
    const std::vector<int64_t> yes = a.Ints("nodes_truenodeids"), no = a.Ints("nodes_falsenodeids");
    const std::vector<int64_t> yes_leaf = a.Ints("nodes_trueleafs");
    const std::vector<int64_t> no_leaf = a.Ints("nodes_falseleafs");
    const std::vector<int64_t> missing = a.Ints("nodes_missing_value_tracks_true");
    const std::vector<double> splits = Required(a, "nodes_splits", spec);
    const Tensor modes = a.TensorValue("nodes_modes");
    TK_REQUIRE(modes.defined() && modes.dtype() == DType::kUInt8, ErrorKind::kInvalidModel,
               "attribute 'nodes_modes' must be a uint8 tensor, got ", Name(modes.dtype()));
    const size_t n = splits.size();
    RequireSize("nodes_featureids", features, n);
    RequireSize("nodes_truenodeids", yes, n);
    RequireSize("nodes_falsenodeids", no, n);
    RequireSize("nodes_trueleafs", yes_leaf, n);
    RequireSize("nodes_falseleafs", no_leaf, n);
    RequireSize("nodes_missing_value_tracks_true", missing, n, true);
    TK_REQUIRE(modes.size() == static_cast<int64_t>(n), ErrorKind::kInvalidModel,
               "attribute 'nodes_modes' must hold ", n, " values, got ", modes.size());
    const auto child = [](int64_t at, int64_t leaf) {
      TK_REQUIRE(at >= 0, ErrorKind::kInvalidModel, "a child of 0 or more is required, got ", at);
      return leaf != 0 ? ~at : at;
    };
    for (size_t i = 0; i < n; ++i) {
      const uint8_t mode = modes.data<uint8_t>()[i];
      TK_REQUIRE(mode <= 6, ErrorKind::kInvalidModel,
                 "attribute 'nodes_modes' must hold values in [0, 6], got ", int(mode));
      spec.nodes.push_back({static_cast<Branch>(mode), !missing.empty() && missing[i] != 0,
                            features[i], child(yes[i], yes_leaf[i]), child(no[i], no_leaf[i]),
                            splits[i]});
    }
    AddMembers(a, spec);
  }
  // Sets in the order of their nodes, each ended by NaN.
  static void AddMembers(const Attributes& a, ForestSpec& spec) {
    const Tensor t = a.TensorValue("membership_values");
    const std::vector<double> values = t.defined() ? Doubles(t) : std::vector<double>();
    size_t at = 0;
    for (size_t i = 0; i < spec.nodes.size(); ++i) {
      if (spec.nodes[i].branch != Branch::kMember) continue;
      if (at >= values.size()) return;  // The forest says what is missing.
      std::vector<double>& set = spec.members[static_cast<int64_t>(i)];
      for (; at < values.size() && values[at] == values[at]; ++at) set.push_back(values[at]);
      ++at;
    }
  }

  int64_t targets_;
  Aggregate aggregate_;
  PostTransform transform_;
  std::unique_ptr<Forest> forest_;
};

static const bool kTrees[] = {
    Register<TreeEnsembleRegressor>("TreeEnsembleRegressor").Domain(kMlDomain).Types(kFeatures),
    Register<TreeEnsembleClassifier>("TreeEnsembleClassifier").Domain(kMlDomain).Types(kFeatures),
    Register<TreeEnsemble>("TreeEnsemble").Domain(kMlDomain).Types(kFloats).Widen(),
};

}  // namespace
}  // namespace toolkit
