// Attributes, operands and products of the recurrent kernels.
#include <cctype>
#include <cmath>
#include <limits>

#include "kernels/recurrent.h"

namespace toolkit {

namespace {

struct ActivationInfo {
  const char* name;
  Activation kind;
  int parameters;  // 0: none, 1: alpha, 2: alpha and beta.
  double alpha, beta;
};
constexpr ActivationInfo kActivations[] = {
    {"relu", Activation::kRelu, 0, 0, 0},
    {"tanh", Activation::kTanh, 0, 0, 0},
    {"sigmoid", Activation::kSigmoid, 0, 0, 0},
    {"affine", Activation::kAffine, 2, 1, 0},
    {"leakyrelu", Activation::kLeakyRelu, 1, 0.01, 0},
    {"thresholdedrelu", Activation::kThresholdedRelu, 1, 1, 0},
    {"scaledtanh", Activation::kScaledTanh, 2, 1, 1},
    {"hardsigmoid", Activation::kHardSigmoid, 2, 0.2, 0.5},
    {"elu", Activation::kElu, 1, 1, 0},
    {"softsign", Activation::kSoftsign, 0, 0, 0},
    {"softplus", Activation::kSoftplus, 0, 0, 0},
};

const ActivationInfo& FindActivation(const std::string& name) {
  std::string lower = name;
  for (char& ch : lower) ch = static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
  for (const ActivationInfo& info : kActivations)
    if (lower == info.name) return info;
  Fail(ErrorKind::kInvalidArgument,
       "activations must be among Relu, Tanh, Sigmoid, Affine, LeakyRelu, ThresholdedRelu, "
       "ScaledTanh, HardSigmoid, Elu, Softsign, Softplus, got ",
       name);
}

std::vector<std::string> DefaultActivations(CellKind kind) {
  if (kind == CellKind::kRnn) return {"Tanh"};
  if (kind == CellKind::kGru) return {"Sigmoid", "Tanh"};
  return {"Sigmoid", "Tanh", "Tanh"};
}

void RequireShape(const Tensor& t, const Shape& want, const char* name) {
  TK_REQUIRE(t.shape() == want, ErrorKind::kShape, name, " must have shape ", want.ToString(),
             ", got ", t.shape().ToString());
}

}  // namespace

RecurrentAttributes::RecurrentAttributes(const Attributes& a, CellKind cell)
    : kind(cell),
      linear_before_reset(a.Int("linear_before_reset", 0) != 0),
      hidden_size(a.Int("hidden_size", 0)),
      input_forget_(a.Int("input_forget", 0) != 0),
      clip_(a.Float("clip", std::numeric_limits<double>::infinity())) {
  const int64_t layout = a.Int("layout", 0);
  TK_REQUIRE(layout == 0 || layout == 1, ErrorKind::kInvalidArgument, "layout must be 0 or 1, got ",
             layout);
  batch_major = layout == 1;
  TK_REQUIRE(clip_ >= 0, ErrorKind::kInvalidArgument, "clip must not be negative, got ", clip_);
  const std::string direction = a.String("direction", "forward");
  reverse_ = direction == "reverse";
  bidirectional_ = direction == "bidirectional";
  TK_REQUIRE(reverse_ || bidirectional_ || direction == "forward", ErrorKind::kInvalidArgument,
             "direction must be forward, reverse or bidirectional, got ", direction);

  const std::vector<std::string> defaults = DefaultActivations(kind);
  std::vector<std::string> names = a.Strings("activations");
  if (names.empty())
    for (int64_t d = 0; d < directions(); ++d)
      names.insert(names.end(), defaults.begin(), defaults.end());
  const size_t need = defaults.size() * static_cast<size_t>(directions());
  TK_REQUIRE(names.size() == need, ErrorKind::kInvalidArgument, need,
             " activations are required, got ", names.size());
  // A function takes the next alpha, the next beta, only if it has one.
  const std::vector<double> alphas = a.Floats("activation_alpha");
  const std::vector<double> betas = a.Floats("activation_beta");
  size_t alpha = 0, beta = 0;
  for (size_t k = 0; k < names.size(); ++k) {
    const ActivationInfo& info = FindActivation(names[k]);
    GateActivation<double> act = {info.kind, info.alpha, info.beta};
    if (info.parameters > 0 && alpha < alphas.size()) act.alpha = alphas[alpha++];
    if (info.parameters > 1 && beta < betas.size()) act.beta = betas[beta++];
    activations_.push_back(act);
    standard_ &= info.kind == FindActivation(defaults[k % defaults.size()]).kind;
  }
  standard_ &= std::isinf(clip_);
}

template <class T>
CellSpec<T> RecurrentAttributes::Spec(int64_t direction) const {
  const int64_t each = kind == CellKind::kRnn ? 1 : kind == CellKind::kGru ? 2 : 3;
  CellSpec<T> spec = {};
  GateActivation<T>* to[3] = {&spec.f, &spec.g, &spec.h};
  for (int64_t k = 0; k < each; ++k) {
    const GateActivation<double>& from = activations_[direction * each + k];
    *to[k] = {from.kind, static_cast<T>(from.alpha), static_cast<T>(from.beta)};
  }
  spec.clip = static_cast<T>(clip_);
  spec.input_forget = input_forget_;
  spec.standard = standard_;
  return spec;
}

template <class T>
RecurrentCall<T>::RecurrentCall(const KernelContext& c, const RecurrentAttributes& a)
    : attributes(a), b(nullptr), h0(nullptr), c0(nullptr), p(nullptr), lens(nullptr) {
  const Tensor &tx = c.input(0), &tw = c.input(1), &tr = c.input(2);
  TK_REQUIRE(tx.rank() == 3 && tw.rank() == 3 && tr.rank() == 3, ErrorKind::kShape,
             "X, W and R must have three dimensions, got ", tx.shape().ToString(), ", ",
             tw.shape().ToString(), " and ", tr.shape().ToString());
  t = tx.dim(a.batch_major ? 1 : 0);
  n = tx.dim(a.batch_major ? 0 : 1);
  i = tx.dim(2);
  h = tr.dim(2);
  d = a.directions();
  g = GatesOf(a.kind);
  TK_REQUIRE(a.hidden_size == 0 || a.hidden_size == h, ErrorKind::kShape,
             "R must have hidden_size ", a.hidden_size, " columns, got ", h);
  RequireShape(tw, {d, g * h, i}, "W");
  RequireShape(tr, {d, g * h, h}, "R");
  // Sizes of scratch memory that no operand has been checked for.
  CheckedBytes(tx.dtype(), {t, n, PaddedRow(d * g * h) + h});
  CheckedBytes(tx.dtype(), {d, n, PaddedRow(h) + i});
  const auto optional = [&](int index, const Shape& shape, const char* name) -> const T* {
    const Tensor* v = c.optional_input(index);
    if (!v) return nullptr;
    RequireShape(*v, shape, name);
    return v->data<T>();
  };
  const bool lstm = a.kind == CellKind::kLstm;
  for (int k = 1; k < std::min(c.num_inputs(), lstm ? 8 : 6); ++k)
    if (c.has_input(k) && k != 4)
      TK_REQUIRE(c.input(k).dtype() == tx.dtype(), ErrorKind::kDType, "input ", k,
                 " must have X's dtype ", Name(tx.dtype()), ", got ", Name(c.input(k).dtype()));
  x = tx.data<T>(), w = tw.data<T>(), r = tr.data<T>();
  b = optional(3, {d, 2 * g * h}, "B");
  h0 = optional(5, StateShape(), "initial_h");
  if (lstm) c0 = optional(6, StateShape(), "initial_c");
  if (lstm) p = optional(7, {d, 3 * h}, "P");
  if (const Tensor* v = c.optional_input(4)) {
    TK_REQUIRE(v->dtype() == DType::kInt32, ErrorKind::kDType, "sequence_lens must be int32, got ",
               Name(v->dtype()));
    RequireShape(*v, {n}, "sequence_lens");
    lens = v->data<int32_t>();
    for (int64_t k = 0; k < n; ++k)
      TK_REQUIRE(lens[k] >= 0 && lens[k] <= t, ErrorKind::kInvalidArgument,
                 "sequence_lens must be between 0 and ", t, ", got ", lens[k]);
  }
}

template <class T>
void Panels<T>::Pack(bool transposed, const T* b, int64_t ld, T* out) const {
  const GemmKernels<T>& kernels = RecurrentGemm<T>();
  for (int64_t p = 0; p < count_; ++p) {
    const int64_t j = p * nr_;
    if (transposed)
      kernels.pack_transposed(columns_of(p), k_, b + j * ld, ld, nr_, out + j * k_);
    else
      kernels.pack_straight(columns_of(p), k_, b + j, ld, nr_, out + j * k_);
  }
}

template <class T>
void Panels<T>::Multiply(int64_t rows, int64_t r0, int64_t r1, int64_t p0, int64_t p1, const T* a,
                         int64_t lda, const T* packed, T beta, T* c, int64_t ldc) const {
  const GemmKernels<T>& kernels = RecurrentGemm<T>();
  const BatchPanels batch(rows, kernels.mr);
  for (int64_t p = p0; p < p1; ++p) {
    const int64_t columns = columns_of(p);
    for (int64_t k0 = 0; k0 < k_; k0 += kernels.kc) {
      const int64_t kc = std::min<int64_t>(kernels.kc, k_ - k0);
      const GemmStore<T> store = {T(1), k0 == 0 ? beta : T(1), nullptr, nullptr};
      const T* panel = packed + p * nr_ * k_ + k0 * nr_;
      for (int64_t r = r0; r < r1; ++r) {
        const int64_t m = batch.begin(r), height = batch.begin(r + 1) - m;
        if (height > 0)
          kernels.ukernel[1][columns <= kernels.lanes][height](
              kc, a + m * lda + k0, lda, panel, nr_, c + m * ldc + p * nr_, ldc, columns, store);
      }
    }
  }
}

template <class T>
void InputProducts(KernelContext& c, const RecurrentCall<T>& call, const T* packed_w, T* gates,
                   int64_t ld) {
  const int64_t columns = call.d * call.g * call.h;
  GemmArgs<T> gemm = {call.t * call.n, columns, call.i};
  gemm.a = call.x, gemm.lda = call.i;
  gemm.packed_b = packed_w;
  if (!packed_w) gemm.b = call.w, gemm.ldb = call.i, gemm.trans_b = true;
  gemm.c = gates, gemm.ldc = ld;
  if (call.b) {
    T* bias = c.Scratch<T>(columns);
    const int64_t each = call.g * call.h;
    for (int64_t d = 0; d < call.d; ++d) {
      const T *wb = call.b + d * 2 * each, *rb = wb + each;
      for (int64_t k = 0; k < each; ++k)
        bias[d * each + k] = call.Linear() && k >= 2 * call.h ? wb[k] : wb[k] + rb[k];
    }
    gemm.col_bias = bias;
  }
  Gemm(gemm);
}

#define TK_RECURRENT(T)                                             \
  template CellSpec<T> RecurrentAttributes::Spec<T>(int64_t) const; \
  template struct RecurrentCall<T>;                                 \
  template class Panels<T>;                                         \
  template void InputProducts<T>(KernelContext&, const RecurrentCall<T>&, const T*, T*, int64_t);
TK_RECURRENT(float)
TK_RECURRENT(double)
#undef TK_RECURRENT

}  // namespace toolkit
