// Which algorithm a convolution runs: the one place where that is decided.
//
// The model counts cycles of one core: multiply-adds at two vectors a cycle, transforms and copies
// by vector operations for each element, and weights by the bytes that are read again for every
// block of tiles or positions. Its constants are fitted to benchmarks/conv.py.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include "kernels/conv_algorithms.h"
#include "kernels/conv_autotune.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_tiles.h"
#include "kernels/window.h"
#include "simd/gemm.h"

namespace toolkit {
namespace {

bool IsOff(const char* variable) {
  const char* text = std::getenv(variable);
  return text && std::string(text) == "0";
}

bool OptimisationOff() {
  static const bool off = IsOff("TOOLKIT_OPT");
  return off;
}

bool WinogradOff() {
  static const bool off = IsOff("TOOLKIT_WINOGRAD");
  return off;
}

bool WinogradApplies(const ConvShape& s) {
  const Window& w = s.window;
  if (w.rank != 2) return false;
  for (int d = 0; d < 2; ++d) {
    const bool same_size = w.out[d] <= w.in[d] + 4 && w.in[d] < (1 << 24);
    if (w.kernel[d] != 3 || w.stride[d] != 1 || w.dilation[d] != 1 || !same_size) return false;
  }
  return true;
}

// One image whose positions fill their vectors badly; many channels.
bool TransposedPays(const ConvShape& s) {
  const int64_t positions = s.out_count();
  const bool waste = positions <= GemmSimd().f32.lanes || WastesVectors(positions);
  return s.batch == 1 && waste && positions >= 4 && s.in_channels >= 64 && s.out_channels >= 64;
}

bool IsDepthwise(const ConvShape& s) {
  return s.in_channels == 1 && s.group > 1 && s.out_channels <= 4;
}

// One product an image and group.
ConvAlgorithm Plain(const ConvShape& s) {
  return IsUnit(s.window) ? ConvAlgorithm::kPointwise : ConvAlgorithm::kIm2Col;
}

constexpr double kL2Bytes = 1 << 20;

// Cycles to read weights once: what exceeds L2 is taken to come from memory, since between two runs
// of a layer those of all others pass.
double FirstRead(double bytes) { return bytes > kL2Bytes ? bytes / 10 : bytes / 64; }

struct Cost {
  explicit Cost(const ConvShape& shape)
      : s(shape),
        lanes(static_cast<double>(GemmSimd().f32.lanes)),
        o(static_cast<double>(s.out_channels)),
        c(static_cast<double>(s.in_channels)),
        images(static_cast<double>(s.batch)) {}

  double Whole(double columns) const { return std::ceil(columns / lanes) * lanes; }

  // rows x k x columns multiply-adds; the columns are loaded again for each panel of rows.
  double Products(double rows, double k, double columns) const {
    return rows * k * columns / (2 * lanes) + k * columns / lanes * 0.5;
  }

  // Panels are copied piece by piece: dearer where an output row is shorter than a vector.
  double Im2Col() const {
    const double k = c * static_cast<double>(s.taps()), p = static_cast<double>(s.out_count());
    const bool short_rows = static_cast<double>(s.window.out[s.window.rank - 1]) < lanes;
    const double columns = s.batch > 1 ? p : Whole(p);  // Several images share vectors.
    return std::max(FirstRead(o * k * 4), images * 1.1 * Products(o, k, columns)) +
           images * k * p / lanes * (short_rows ? 4 : 3) * (strided() ? 3 : 1);
  }

  double Transposed() const {
    const double k = c * static_cast<double>(s.taps()), p = static_cast<double>(s.out_count());
    return std::max(FirstRead(o * k * 4), images * 1.05 * Products(p, k, o)) +
           images * k * p / lanes * 3;
  }

  // Columns between two output rows are waste.
  double Direct() const {
    const DirectLayout layout(s);
    const double k = c * static_cast<double>(s.taps());
    const double rows = static_cast<double>(s.window.rank == 1 ? 1 : s.window.out[0]);
    const double columns = Whole(rows * static_cast<double>(layout.pitch));
    const double load = c * static_cast<double>(layout.channel) / lanes * 4;
    const double spill = k > 1500 ? 1.05 : 1.0;  // Panels of A leave L1.
    return 1500 + std::max(FirstRead(o * k * 4), images * Products(o, k, columns) * spill) +
           images * (800 + load + o * columns / lanes * 3);
  }

  // Weights are read once for each block of tiles, under the products; but for a forward pass they
  // are transformed first.
  double Winograd(int m, ConvPass pass) const {
    const double points = (m + 2) * (m + 2);
    const double tiles =
        images * static_cast<double>(CeilDiv(s.window.out[0], m) * CeilDiv(s.window.out[1], m));
    // Operations a vector of tiles.
    const double in = m == 6 ? 700 : m == 4 ? 320 : 110, out = m == 6 ? 750 : m == 4 ? 340 : 100;
    const double reads = FirstRead(points * o * c * 4);
    const bool forward = pass == ConvPass::kForward || pass == ConvPass::kForwardOnce;
    const double once = forward ? 0 : o * c * points / 4;
    return 1500 + std::max(Products(tiles, c * points, Whole(o)), reads) +
           tiles / lanes * (c * in + o * out) + once;
  }

  // F(6x6) has the larger error and weights: for a gain worth it, and never in training.
  bool LargeTilesPay(double least) const {
    constexpr double kGain = 0.95, kBytes = 1 << 24, kChannels = 32;
    if (o < kChannels || c < kChannels) return false;
    return Winograd(6, ConvPass::kForward) < kGain * least && o * c * 64 * 4 <= kBytes;
  }

  bool strided() const { return s.window.stride[s.window.rank - 1] > 1; }

  const ConvShape& s;
  double lanes, o, c, images;
};

}  // namespace

bool WastesVectors(int64_t positions) {
  return RoundUp(positions, GemmSimd().f32.lanes) * 10 > positions * 11;
}

ConvChoice ParseConvChoice(const Attributes& attributes) {
  const std::string name = attributes.String("algorithm", "auto");
  if (name == "auto") return ConvChoice::kAuto;
  if (name == "measured") return ConvChoice::kMeasured;
  if (name == "plain") return ConvChoice::kPlain;
  if (name == "direct") return ConvChoice::kDirect;
  if (name == "winograd2") return ConvChoice::kWinograd2;
  if (name == "winograd4") return ConvChoice::kWinograd4;
  if (name == "winograd6") return ConvChoice::kWinograd6;
  if (name == "transposed") return ConvChoice::kTransposed;
  Fail(ErrorKind::kInvalidArgument,
       "algorithm must be auto, measured, plain, direct, winograd2, winograd4, winograd6 or ",
       "transposed, got ", name);
}

const char* ConvAlgorithmName(ConvAlgorithm algorithm) {
  constexpr const char* kNames[kConvAlgorithms] = {
      "pointwise", "depthwise", "im2col",   "direct",     "winograd2",
      "winograd4", "winograd6", "disjoint", "transposed", "phases"};
  return kNames[static_cast<int>(algorithm)];
}

ConvAlgorithm ChooseConv(const ConvShape& s, ConvPass pass, DType dtype, ConvChoice choice) {
  if (choice == ConvChoice::kPlain) return Plain(s);
  const bool off = choice <= ConvChoice::kModel && OptimisationOff();
  const ConvAlgorithm plain = IsDepthwise(s) && !off ? ConvAlgorithm::kDepthwise : Plain(s);
  if (dtype != DType::kFloat || off) return plain;
  const bool winograd = WinogradApplies(s), gradient = pass == ConvPass::kWeightGradient;
  const bool direct = !gradient && DirectApplies(s);
  if (choice == ConvChoice::kWinograd2) return winograd ? ConvAlgorithm::kWinograd2 : plain;
  if (choice == ConvChoice::kWinograd4) return winograd ? ConvAlgorithm::kWinograd4 : plain;
  if (choice == ConvChoice::kWinograd6)
    return winograd && !gradient ? ConvAlgorithm::kWinograd6 : plain;
  if (choice == ConvChoice::kDirect) return direct ? ConvAlgorithm::kDirect : plain;
  if (choice == ConvChoice::kTransposed) return gradient ? plain : ConvAlgorithm::kTransposed;
  if (plain == ConvAlgorithm::kDepthwise) return plain;
  const bool transposed = !gradient && TransposedPays(s);
  const Cost cost(s);
  ConvOffers offers(plain, cost.Im2Col());
  if (plain == ConvAlgorithm::kPointwise) {
    if (transposed) offers.Add(ConvAlgorithm::kTransposed, 0);  // Wherever it pays.
  } else {
    if (transposed) offers.Add(ConvAlgorithm::kTransposed, cost.Transposed());
    if (direct) offers.Add(ConvAlgorithm::kDirect, cost.Direct());
    if (winograd && !WinogradOff()) {
      offers.Add(ConvAlgorithm::kWinograd2, cost.Winograd(2, pass));
      offers.Add(ConvAlgorithm::kWinograd4, cost.Winograd(4, pass));
      if (pass == ConvPass::kForward && cost.LargeTilesPay(offers.least))
        offers.Add(ConvAlgorithm::kWinograd6, cost.Winograd(6, pass));
    }
  }
  const bool measured = choice == ConvChoice::kMeasured ||
                        (choice == ConvChoice::kAuto && ConvAutotune::Global().enabled());
  if (!measured || offers.count == 1) return offers.best;
  return ConvAutotune::Global().Choose(s, pass, offers);
}

// Every element of dx is under one tap of one position.
static bool IsDisjoint(const ConvShape& s) {
  const Window& w = s.window;
  for (int d = 0; d < w.rank; ++d)
    if (w.kernel[d] != w.stride[d] || w.dilation[d] != 1 || w.pad_begin[d] != 0 ||
        w.in[d] != w.out[d] * w.stride[d])
      return false;
  return w.rank <= 2 && s.out_count() > 0;
}

ConvAlgorithm ChooseInputGradient(const ConvShape& s, ConvChoice choice) {
  if (choice == ConvChoice::kPlain || OptimisationOff()) return ConvAlgorithm::kIm2Col;
  if (IsDisjoint(s)) return ConvAlgorithm::kDisjoint;
  return PhasesApply(s) ? ConvAlgorithm::kPhases : ConvAlgorithm::kIm2Col;
}

}  // namespace toolkit
