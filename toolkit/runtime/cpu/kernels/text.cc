// StringConcat and StringSplit. Strings are made serially: the table they enter is one for all.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernel.h"
#include "core/strings.h"

namespace toolkit {
namespace {

// Steps through the elements of an operand that is broadcast to `out`.
class Broadcast {
 public:
  Broadcast(const Tensor& x, const Shape& out) : data_(x.data<uint64_t>()), out_(out) {
    const Shape own = StridesOf(x.shape());
    const int lead = out.rank() - x.rank();
    strides_ = Shape::Filled(out.rank(), 0);
    at_ = strides_;
    for (int d = 0; d < x.rank(); ++d) strides_[lead + d] = x.dim(d) == 1 ? 0 : own[d];
  }
  uint64_t Next() {
    const uint64_t value = data_[offset_];
    for (int d = out_.rank() - 1; d >= 0; --d) {
      offset_ += strides_[d];
      if (++at_[d] < out_[d]) break;
      offset_ -= strides_[d] * out_[d];
      at_[d] = 0;
    }
    return value;
  }

 private:
  const uint64_t* data_;
  Shape out_, strides_, at_;
  int64_t offset_ = 0;
};

void StringConcat(KernelContext& c) {
  const Tensor a = c.input(0), b = c.input(1);
  TK_REQUIRE(b.dtype() == DType::kString, ErrorKind::kDType, "Y must be strings, got ",
             Name(b.dtype()));
  const Shape shape = BroadcastShapes(a.shape(), b.shape());
  Broadcast left(a, shape), right(b, shape);
  Tensor& y = c.Output(0, DType::kString, shape);
  StringMaker make;
  std::string joined;
  for (int64_t i = 0; i < y.size(); ++i) {
    joined = StringTable::Get(left.Next());
    joined += StringTable::Get(right.Next());
    y.data<uint64_t>()[i] = make(joined);
  }
}

// Bytes of the white space character (as Python's str.isspace) that `text` begins with; 0 if none.
size_t SpaceBytes(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0), second = byte(1), third = byte(2);
  if ((first >= 0x09 && first <= 0x0D) || (first >= 0x1C && first <= 0x20)) return 1;
  if (first == 0xC2) return second == 0x85 || second == 0xA0 ? 2 : 0;  // U+0085, U+00A0.
  if (first == 0xE1) return second == 0x9A && third == 0x80 ? 3 : 0;   // U+1680.
  if (first == 0xE3) return second == 0x80 && third == 0x80 ? 3 : 0;   // U+3000.
  if (first != 0xE2) return 0;
  if (second == 0x81) return third == 0x9F ? 3 : 0;  // U+205F.
  if (second != 0x80) return 0;                      // U+2000 to U+200A, 2028, 2029, 202F.
  return (third >= 0x80 && third <= 0x8A) || third == 0xA8 || third == 0xA9 || third == 0xAF ? 3
                                                                                             : 0;
}

// As Python's str.split: `limit` splits at most, all when it is negative.
class StringSplit : public Kernel {
 public:
  explicit StringSplit(const Attributes& a)
      : delimiter_(a.String("delimiter", "")), limit_(a.Int("maxsplit", -1)) {}

  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    std::vector<std::string_view> parts;
    std::vector<size_t> ends;
    size_t longest = 0;
    for (int64_t i = 0; i < x.size(); ++i) {
      const size_t before = parts.size();
      const std::string& text = StringTable::Get(x.data<uint64_t>()[i]);
      delimiter_.empty() ? SplitSpaces(text, parts) : Split(text, parts);
      ends.push_back(parts.size());
      longest = std::max(longest, parts.size() - before);
    }
    Shape shape = x.shape();
    if (c.has_output(1)) {
      int64_t* counts = c.Output(1, DType::kInt64, shape).data<int64_t>();
      for (size_t i = 0; i < ends.size(); ++i)
        counts[i] = static_cast<int64_t>(ends[i] - (i ? ends[i - 1] : 0));
    }
    if (!c.has_output(0)) return;
    shape.push_back(static_cast<int64_t>(longest));
    uint64_t* y = c.Output(0, DType::kString, shape).data<uint64_t>();
    StringMaker make;
    size_t at = 0;
    for (const size_t end : ends)
      for (size_t k = 0; k < longest; ++k) *y++ = at < end ? make(parts[at++]) : 0;
  }

 private:
  void Split(std::string_view text, std::vector<std::string_view>& parts) const {
    for (int64_t splits = 0; limit_ < 0 || splits < limit_; ++splits) {
      const size_t found = text.find(delimiter_);
      if (found == std::string_view::npos) break;
      parts.push_back(text.substr(0, found));
      text.remove_prefix(found + delimiter_.size());
    }
    parts.push_back(text);
  }
  void SplitSpaces(std::string_view text, std::vector<std::string_view>& parts) const {
    for (int64_t splits = 0;; ++splits) {
      while (const size_t bytes = SpaceBytes(text)) text.remove_prefix(bytes);
      if (text.empty()) return;
      if (limit_ >= 0 && splits >= limit_) return parts.push_back(text);
      size_t end = 0;
      while (end < text.size() && !SpaceBytes(text.substr(end))) ++end;
      parts.push_back(text.substr(0, end));
      text.remove_prefix(end);
    }
  }

  std::string delimiter_;
  int64_t limit_;
};

static const bool kText[] = {
    RegisterFn("StringConcat", StringConcat).Types(kStrings),
    Register<StringSplit>("StringSplit").Types(kStrings),
};

}  // namespace
}  // namespace toolkit
