// TfIdfVectorizer: counts of the n-grams of a pool. The pool is a trie in one hash table; rows are
// counted in parallel.
#include <algorithm>
#include <unordered_map>

#include "kernels/keys.h"

namespace toolkit {
namespace {

class TfIdfVectorizer : public Kernel {
 public:
  explicit TfIdfVectorizer(const Attributes& a)
      : mode_(a.String("mode", "")),
        shortest_(a.Int("min_gram_length", 1)),
        longest_(a.Int("max_gram_length", 1)),
        skips_(a.Int("max_skip_count", 0)),
        columns_(a.Ints("ngram_indexes")) {
    TK_REQUIRE(mode_ == "TF" || mode_ == "IDF" || mode_ == "TFIDF", ErrorKind::kInvalidArgument,
               "attribute 'mode' must be TF, IDF or TFIDF, got '", mode_, "'");
    TK_REQUIRE(shortest_ >= 1 && shortest_ <= longest_ && skips_ >= 0, ErrorKind::kInvalidArgument,
               "1 <= min_gram_length <= max_gram_length and max_skip_count >= 0 are required, got ",
               shortest_, ", ", longest_, " and ", skips_);
    const std::vector<int64_t> numbers = a.Ints("pool_int64s");
    const std::vector<std::string> words = a.Strings("pool_strings");
    TK_REQUIRE(numbers.empty() != words.empty(), ErrorKind::kInvalidArgument,
               "one of the attributes pool_int64s and pool_strings is required, got ",
               numbers.empty() ? "neither" : "both");
    pool_ = words.empty() ? TensorOf(numbers) : TensorOf(words);
    for (int64_t column : columns_) {
      TK_REQUIRE(column >= 0 && column < kMaxColumns, ErrorKind::kIndex,
                 "ngram_indexes must lie in [0, ", kMaxColumns, "), got ", column);
      width_ = std::max(width_, column + 1);
    }
    for (double w : a.Floats("weights")) weights_.push_back(static_cast<float>(w));
    const auto have = static_cast<int64_t>(weights_.size());
    TK_REQUIRE(have == 0 || have >= width_, ErrorKind::kShape, "weights must hold ", width_,
               " values, one a column, got ", have);
    AddPool(a.Ints("ngram_counts"));
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() == 1 || x.rank() == 2, ErrorKind::kShape,
               "X must have one or two dimensions, got ", x.shape().ToString());
    const bool text = pool_.dtype() == DType::kString;
    TK_REQUIRE(text == (x.dtype() == DType::kString), ErrorKind::kDType, "X must hold ",
               text ? "strings" : "integers", " as the pool does, got ", Name(x.dtype()));
    const int64_t rows = x.rank() == 2 ? x.dim(0) : 1, length = x.dim(x.rank() - 1);
    Shape shape;
    if (x.rank() == 2) shape.push_back(rows);
    shape.push_back(width_);
    float* y = c.Output(0, DType::kFloat, shape).data<float>();
    c.pool().ParallelFor(rows, 1 + 512 / std::max<int64_t>(length, 1),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t row = begin; row < end; ++row)
                             Row(x, row * length, length, y + row * width_);
                         });
  }

 private:
  static constexpr int64_t kMaxColumns = int64_t{1} << 31;
  struct Step {  // From a node of the trie by a token.
    int64_t node;
    uint64_t token;
    bool operator==(const Step& o) const { return node == o.node && token == o.token; }
  };
  struct StepHash {
    size_t operator()(const Step& s) const {
      return KeyHash{}(s.token ^ (static_cast<uint64_t>(s.node) * 0x9E3779B97F4A7C15u));
    }
  };
  struct Node {
    int64_t child = 0;    // The number of the node that a step leads to.
    int64_t column = -1;  // Of the n-gram that ends here; -1 if none does.
  };

  // The pool holds all 1-grams, then all 2-grams, ...; starts[n - 1] is where those of n begin.
  void AddPool(const std::vector<int64_t>& starts) {
    const int64_t total = pool_.size();
    const auto sizes = static_cast<int64_t>(starts.size());
    size_t gram = 0;
    for (int64_t n = 1; n <= sizes; ++n) {
      const int64_t begin = starts[n - 1], end = n < sizes ? starts[n] : total;
      TK_REQUIRE(begin >= 0 && begin <= end && end <= total && (end - begin) % n == 0,
                 ErrorKind::kInvalidArgument, "ngram_counts must cut a pool of ", total,
                 " items into whole n-grams, got [", begin, ", ", end, ") for n = ", n);
      for (int64_t at = begin; at < end; at += n, ++gram) {
        TK_REQUIRE(gram < columns_.size(), ErrorKind::kShape,
                   "ngram_indexes must hold one index an n-gram, got ", columns_.size());
        if (n >= shortest_ && n <= longest_) Add(at, n, columns_[gram]);
      }
    }
  }
  void Add(int64_t at, int64_t n, int64_t column) {
    int64_t node = 0;
    for (int64_t k = 0; k < n; ++k) {
      Node& next = trie_[{node, KeyAt(pool_, at + k)}];
      if (next.child == 0) next.child = ++nodes_;
      node = next.child;
      if (k + 1 == n) next.column = column;
    }
  }

  void Row(const Tensor& x, int64_t first, int64_t length, float* y) const {
    std::fill(y, y + width_, 0.0f);
    for (int64_t step = 1; step - 1 <= skips_ && step <= std::max<int64_t>(length, 1); ++step)
      for (int64_t start = 0; start < length; ++start) {
        int64_t node = 0, at = start;
        for (int64_t n = 1; n <= longest_ && at < length; ++n, at += step) {
          const auto found = trie_.find({node, KeyAt(x, first + at)});
          if (found == trie_.end()) break;
          node = found->second.child;
          // A single item skips nothing: it counts once.
          if (found->second.column >= 0 && (n > 1 || step == 1)) y[found->second.column] += 1;
        }
      }
    if (mode_ == "TF") return;
    // A weight belongs to a column, as in onnx.reference and onnxruntime.
    for (int64_t i = 0; i < width_; ++i) {
      const float count = mode_ == "IDF" && y[i] > 1 ? 1.0f : y[i];
      y[i] = weights_.empty() ? count : count * weights_[i];
    }
  }

  std::string mode_;
  int64_t shortest_, longest_, skips_;
  std::vector<int64_t> columns_;
  std::vector<float> weights_;
  int64_t width_ = 0, nodes_ = 0;
  Tensor pool_;  // Keeps its strings alive, so that references in the trie stay theirs.
  std::unordered_map<Step, Node, StepHash> trie_;
};

static const bool kTfIdf = Register<TfIdfVectorizer>("TfIdfVectorizer")
                               .Types(Bit(DType::kInt32) | Bit(DType::kInt64) | kStrings);

}  // namespace
}  // namespace toolkit
