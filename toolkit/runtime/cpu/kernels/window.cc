#include "kernels/window.h"

#include <algorithm>

namespace toolkit {

namespace {

constexpr int64_t kMaxTaps = int64_t{1} << 26;
constexpr int64_t kMaxExtent = int64_t{1} << 40;  // Keeps every product below far from overflow.

std::string ToString(const std::vector<int64_t>& v) {
  std::string s = "[";
  for (size_t i = 0; i < v.size(); ++i) s += (i ? ", " : "") + std::to_string(v[i]);
  return s + "]";
}

AutoPad ParseAutoPad(const std::string& text) {
  if (text.empty() || text == "NOTSET") return AutoPad::kNotSet;
  if (text == "SAME_UPPER") return AutoPad::kSameUpper;
  if (text == "SAME_LOWER") return AutoPad::kSameLower;
  if (text == "VALID") return AutoPad::kValid;
  Fail(ErrorKind::kInvalidArgument,
       "auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, got '", text, "'");
}

void RequireList(const char* name, const std::vector<int64_t>& list, size_t length, int64_t least) {
  if (list.empty()) return;
  TK_REQUIRE(list.size() == length, ErrorKind::kShape, name, " must have ", length, " values, got ",
             ToString(list));
  for (int64_t v : list)
    TK_REQUIRE(v >= least && v < kMaxExtent, ErrorKind::kInvalidArgument, name,
               " must be at least ", least, ", got ", ToString(list));
}

void SplitPadding(AutoPad mode, int64_t total, int64_t* begin, int64_t* end) {
  *begin = mode == AutoPad::kSameUpper ? total / 2 : total - total / 2;
  *end = total - *begin;
}

}  // namespace

WindowAttributes::WindowAttributes(const Attributes& attributes)
    : kernel_shape(attributes.Ints("kernel_shape")),
      strides(attributes.Ints("strides")),
      dilations(attributes.Ints("dilations")),
      pads(attributes.Ints("pads")),
      auto_pad(ParseAutoPad(attributes.String("auto_pad", "NOTSET"))) {}

Window WindowAttributes::Begin(const Shape& input, const std::vector<int64_t>& kernel) const {
  TK_REQUIRE(input.rank() >= 3, ErrorKind::kShape,
             "X must have a batch, a channel and at least one spatial dimension, got ",
             input.ToString());
  const size_t rank = input.rank() - 2;
  TK_REQUIRE(kernel.size() == rank, ErrorKind::kShape, "the kernel must have ", rank,
             " dimensions as X ", input.ToString(), " has spatial ones, got ", ToString(kernel));
  RequireList("kernel_shape", kernel, rank, 1);
  RequireList("strides", strides, rank, 1);
  RequireList("dilations", dilations, rank, 1);
  RequireList("pads", pads, 2 * rank, 0);
  Window w = {};
  w.rank = static_cast<int>(rank);
  int64_t taps = 1;
  for (size_t d = 0; d < rank; ++d) {
    w.kernel[d] = kernel[d];
    w.stride[d] = strides.empty() ? 1 : strides[d];
    w.dilation[d] = dilations.empty() ? 1 : dilations[d];
    TK_REQUIRE(!__builtin_mul_overflow(taps, kernel[d], &taps) && taps < kMaxTaps,
               ErrorKind::kInvalidArgument, "the kernel must have fewer than ", kMaxTaps,
               " taps, got kernel_shape ", ToString(kernel));
    TK_REQUIRE((kernel[d] - 1) < kMaxExtent / w.dilation[d], ErrorKind::kInvalidArgument,
               "the dilated kernel is too large: kernel_shape ", ToString(kernel), ", dilations ",
               ToString(dilations));
  }
  return w;
}

Window WindowAttributes::Resolve(const Shape& input, const std::vector<int64_t>& kernel,
                                 bool ceil_mode) const {
  Window w = Begin(input, kernel);
  for (int d = 0; d < w.rank; ++d) {
    const int64_t in = w.in[d] = input[d + 2], extent = Extent(w, d), stride = w.stride[d];
    TK_REQUIRE(in >= 0 && in < kMaxExtent, ErrorKind::kShape, "sizes of X must lie in [0, ",
               kMaxExtent, "), got ", input.ToString());
    if (auto_pad == AutoPad::kSameUpper || auto_pad == AutoPad::kSameLower) {
      w.out[d] = (in + stride - 1) / stride;
      const int64_t total = std::max<int64_t>(0, (w.out[d] - 1) * stride + extent - in);
      SplitPadding(auto_pad, total, &w.pad_begin[d], &w.pad_end[d]);
      continue;
    }
    if (auto_pad == AutoPad::kNotSet && !pads.empty()) {
      w.pad_begin[d] = pads[d];
      w.pad_end[d] = pads[d + w.rank];
    }
    const int64_t room = in + w.pad_begin[d] + w.pad_end[d] - extent;
    TK_REQUIRE(room >= 0, ErrorKind::kShape,
               "the kernel must fit into the padded input, got extent ", extent, " over ", in,
               " + ", w.pad_begin[d], " + ", w.pad_end[d], " elements of spatial dimension ", d,
               " of X ", input.ToString());
    w.out[d] = room / stride + 1;
    if (ceil_mode && auto_pad == AutoPad::kNotSet && room % stride != 0 &&
        w.out[d] * stride < in + w.pad_begin[d])
      ++w.out[d];
  }
  return w;
}

TransposeAttributes::TransposeAttributes(const Attributes& attributes)
    : window(attributes),
      output_padding(attributes.Ints("output_padding")),
      output_shape(attributes.Ints("output_shape")) {}

Window TransposeAttributes::Resolve(const Shape& input, const std::vector<int64_t>& kernel) const {
  Window w = window.Begin(input, kernel);
  RequireList("output_padding", output_padding, w.rank, 0);
  RequireList("output_shape", output_shape, w.rank, 0);
  const AutoPad mode = window.auto_pad;
  for (int d = 0; d < w.rank; ++d) {
    const int64_t in = w.out[d] = input[d + 2], stride = w.stride[d];
    const int64_t extra = output_padding.empty() ? 0 : output_padding[d];
    TK_REQUIRE(extra < std::max(stride, w.dilation[d]), ErrorKind::kInvalidArgument,
               "output_padding must be smaller than the stride or the dilation, got ",
               ToString(output_padding));
    TK_REQUIRE(in < kMaxExtent / stride, ErrorKind::kInvalidArgument,
               "the output is too large: strides ", ToString(window.strides), " over X ",
               input.ToString());
    const int64_t full = stride * (in - 1) + extra + Extent(w, d);
    const bool same = mode == AutoPad::kSameUpper || mode == AutoPad::kSameLower;
    if (!output_shape.empty() || same) {
      w.in[d] = output_shape.empty() ? in * stride : output_shape[d];
      SplitPadding(mode, std::max<int64_t>(0, full - w.in[d]), &w.pad_begin[d], &w.pad_end[d]);
      continue;
    }
    if (mode == AutoPad::kNotSet && !window.pads.empty()) {
      w.pad_begin[d] = window.pads[d];
      w.pad_end[d] = window.pads[d + w.rank];
    }
    w.in[d] = in == 0 ? 0 : full - w.pad_begin[d] - w.pad_end[d];
    TK_REQUIRE(w.in[d] >= 0, ErrorKind::kShape, "pads must leave an output, got ",
               ToString(window.pads), " for spatial dimension ", d, " of X ", input.ToString());
  }
  return w;
}

namespace {
// Refused by arithmetic: no such tensor fits into memory, and its bytes must be countable.
int64_t Positions(const int64_t* dims, int rank) {
  int64_t n = 1;
  for (int d = 0; d < rank; ++d)
    TK_REQUIRE(!__builtin_mul_overflow(n, dims[d], &n) && n < int64_t{1} << 52, ErrorKind::kMemory,
               "out of memory: a window of that many positions does not fit");
  return n;
}
}  // namespace

int64_t OutCount(const Window& w) { return Positions(w.out, w.rank); }

int64_t InCount(const Window& w) { return Positions(w.in, w.rank); }

int64_t TapCount(const Window& w) {
  int64_t n = 1;
  for (int d = 0; d < w.rank; ++d) n *= w.kernel[d];
  return n;
}

Span InsideSpan(const Window& w, int d, int64_t tap) {
  const int64_t first = tap * w.dilation[d] - w.pad_begin[d], stride = w.stride[d];
  Span s;
  s.begin = first >= 0 ? 0 : (-first + stride - 1) / stride;
  s.end = first >= w.in[d] ? 0 : (w.in[d] - first + stride - 1) / stride;
  s.begin = std::min(s.begin, w.out[d]);
  s.end = std::max(s.begin, std::min(s.end, w.out[d]));
  return s;
}

}  // namespace toolkit
