// Gradients of RNN, GRU and LSTM: toolkit.grad.RNNGrad, GRUGrad, LSTMGrad.
//
// The forward kernel keeps nothing: since Y holds every h, the pre-activations of all steps are two
// products, X transposed(W) and H transposed(R), and LSTM's cells one pass (a fused LSTM hands its
// pre-activations on: runtime/passes/recurrent.py). Then the steps run
// backwards, each one product with R and one pass over its gates; the gradients of X, W, R and B
// are products over all steps at once.
#include <cstring>
#include <memory>

#include "kernels/recurrent.h"

namespace toolkit {
namespace {

template <class T>
class GradRun {
 public:
  GradRun(KernelContext& c, const RecurrentCall<T>& call, const T* y, const T* dy, const T* dy_h,
          const T* dy_c, const T* gates)
      : c_(c),
        call_(call),
        kind_(call.attributes.kind),
        rows_(call.t * call.n),
        width_(call.g * call.h),
        leading_(kind_ == CellKind::kGru ? 2 * call.h : width_),
        batch_(call.n, RecurrentGemm<T>().mr),
        main_(leading_, call.h),
        hidden_(call.h, call.h),
        ldg_(PaddedRow(call.d * width_)),
        ldh_(PaddedRow(call.h)),
        dy_(dy) {
    for (int64_t d = 0; d < call.d; ++d) spec_[d] = call.attributes.template Spec<T>(d);
    a_ = c.Scratch<T>(rows_ * ldg_);
    h_prev_ = c.Scratch<T>(call.d * rows_ * ldh_);
    dh_ = c.Scratch<T>(call.d * call.n * ldh_);
    if (kind_ == CellKind::kGru) {
      extra_ = c.Scratch<T>(call.d * rows_ * ldh_);
      drh_ = c.Scratch<T>(call.d * call.n * ldh_);
    }
    if (kind_ == CellKind::kLstm) cells_ = c.Scratch<T>(call.d * rows_ * ldh_);
    if (kind_ == CellKind::kLstm) {
      dc_ = c.Scratch<T>(call.d * call.n * ldh_);
      scratch_ = c.Scratch<T>(call.d * call.n * ldh_);
      zeros_ = c.Scratch<T>(ldh_);
      std::fill(zeros_, zeros_ + ldh_, T(0));
    }
    if (gates)
      std::memcpy(a_, gates, static_cast<size_t>(rows_ * ldg_) * sizeof(T));
    else
      InputProducts<T>(c, call, nullptr, a_, ldg_);
    ForSequences([&](int64_t d, int64_t m) {
      FillPrevious(d, m, y);
      Load(dy_h, d, m, State(dh_, d, m));
      if (dc_) Load(dy_c, d, m, State(dc_, d, m));
    });
    if (!gates) AddProducts();
    if (cells_) ForSequences([&](int64_t d, int64_t m) { RunCells(d, m); });
    PackR();
  }

  void Run() {
    const bool reset_last = kind_ == CellKind::kGru && !call_.Linear();
    // The step after the last takes what arrives at the initial state.
    RunSteps(c_.pool(), call_.t + 1, reset_last ? 2 : 1, call_.d, batch_.count, main_.count(),
             call_.d * call_.n * width_ * call_.h,
             [&](int64_t k, int phase, int64_t d, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
               const Part part = {d, r0, r1, p0, p1};
               if (phase == 0 && k > 0) AddArriving(part, call_.Time(d, call_.t - k));
               if (k == call_.t) return;
               const int64_t time = call_.Time(d, call_.t - 1 - k);
               phase == 0 ? Step(part, time, k) : ResetStep(part, time);
             });
  }

  void InputGradient(T* dx) const {
    GemmArgs<T> gemm = {rows_, call_.i, call_.d * width_};
    gemm.a = a_, gemm.lda = ldg_;
    gemm.b = call_.w, gemm.ldb = call_.i;
    gemm.c = dx, gemm.ldc = call_.i;
    Gemm(gemm);
  }

  void WeightGradient(T* dw) const {
    const T* x = call_.x;
    if (call_.lens) {  // Padding may hold anything: 0 NaN is no 0.
      T* inside = c_.Scratch<T>(rows_ * call_.i);
      std::memcpy(inside, x, static_cast<size_t>(rows_ * call_.i) * sizeof(T));
      for (int64_t m = 0; m < call_.n; ++m)
        for (int64_t time = call_.lens[m]; time < call_.t; ++time)
          std::fill_n(inside + call_.Row(time, m) * call_.i, call_.i, T(0));
      x = inside;
    }
    Transposed(call_.d * width_, call_.i, a_, ldg_, x, call_.i, dw);
  }

  void RecurrenceGradient(T* dr) const {
    for (int64_t d = 0; d < call_.d; ++d, dr += width_ * call_.h) {
      const T* h = All(h_prev_, d);
      Transposed(leading_, call_.h, Gates(d), ldg_, h, ldh_, dr);
      if (kind_ != CellKind::kGru) continue;
      T* last = dr + leading_ * call_.h;
      if (call_.Linear())
        Transposed(call_.h, call_.h, All(extra_, d), ldh_, h, ldh_, last);
      else
        Transposed(call_.h, call_.h, Gates(d) + leading_, ldg_, All(extra_, d), ldh_, last);
    }
  }

  void BiasGradient(T* db) const {
    T* ones = c_.Scratch<T>(rows_);
    std::fill(ones, ones + rows_, T(1));
    const size_t bytes = static_cast<size_t>(width_) * sizeof(T);
    for (int64_t d = 0; d < call_.d; ++d, db += 2 * width_) {
      Transposed(1, width_, ones, 1, Gates(d), ldg_, db);
      std::memcpy(db + width_, db, bytes);
      if (call_.Linear())
        Transposed(1, call_.h, ones, 1, All(extra_, d), ldh_, db + width_ + leading_);
    }
  }

  void StateGradient(bool cell, T* out) const {
    for (int64_t d = 0; d < call_.d; ++d)
      for (int64_t m = 0; m < call_.n; ++m)
        std::memcpy(out + call_.StateAt(d, m), State(cell ? dc_ : dh_, d, m),
                    static_cast<size_t>(call_.h) * sizeof(T));
  }

  // dP_i = sum of da_i c_prev, dP_o of da_o c, dP_f of da_f c_prev.
  void PeepholeGradient(T* dp) const {
    c_.pool().ParallelFor(call_.d * 3, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t d = i / 3, gate = i % 3;
        T* sum = dp + i * call_.h;
        std::fill(sum, sum + call_.h, T(0));
        for (int64_t k = 0; k < call_.t; ++k)
          for (int64_t m = 0; m < call_.n; ++m) {
            const int64_t time = call_.Time(d, k);
            const T* a = GateRow(d, time, m) + gate * call_.h;
            const T* c = gate == 1 ? Cell(d, time, m) : PreviousCell(d, k, m);
            if (c)
              for (int64_t u = 0; u < call_.h; ++u) sum[u] += a[u] * c[u];
          }
      }
    });
  }

 private:
  struct Part {
    int64_t d, r0, r1, p0, p1;
  };

  // Calls fn(d, m) for each direction and sample.
  template <class Fn>
  void ForSequences(Fn fn) const {
    c_.pool().ParallelFor(call_.d * call_.n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) fn(i / call_.n, i % call_.n);
    });
  }

  // One direction's rows, for each step and sample or for each sample.
  T* All(T* buffer, int64_t d) const { return buffer + d * rows_ * ldh_; }
  T* AllRow(T* buffer, int64_t d, int64_t time, int64_t m) const {
    return All(buffer, d) + call_.Row(time, m) * ldh_;
  }
  T* State(T* buffer, int64_t d, int64_t m) const { return buffer + (d * call_.n + m) * ldh_; }
  T* Gates(int64_t d) const { return a_ + d * width_; }
  T* GateRow(int64_t d, int64_t time, int64_t m) const {
    return Gates(d) + call_.Row(time, m) * ldg_;
  }
  T* Cell(int64_t d, int64_t time, int64_t m) const { return AllRow(cells_, d, time, m); }
  // The cell before the k-th step; null: zeros.
  const T* PreviousCell(int64_t d, int64_t k, int64_t m) const {
    if (k > 0) return Cell(d, call_.Time(d, k - 1), m);
    return call_.c0 ? call_.c0 + call_.StateAt(d, m) : nullptr;
  }

  void Load(const T* from, int64_t d, int64_t m, T* row) const {
    for (int64_t k = 0; k < call_.h; ++k) row[k] = from ? from[call_.StateAt(d, m) + k] : T(0);
  }

  // The h that each step began with: Y of the step before it in time, or the initial one.
  void FillPrevious(int64_t d, int64_t m, const T* y) const {
    for (int64_t time = 0; time < call_.t; ++time) {
      const int64_t before = call_.attributes.Reverse(d) ? time + 1 : time - 1;
      T* row = AllRow(h_prev_, d, time, m);
      if (before >= 0 && before < call_.t && call_.Inside(before, m))
        std::memcpy(row, y + call_.YAt(before, d, m), static_cast<size_t>(call_.h) * sizeof(T));
      else
        Load(call_.h0, d, m, row);
    }
  }

  // gates += H transposed(R), for GRU in the way of its hidden gate.
  void AddProducts() {
    for (int64_t d = 0; d < call_.d; ++d) {
      const T *r = call_.r + d * width_ * call_.h, *r_h = r + leading_ * call_.h;
      Product(leading_, All(h_prev_, d), r, Gates(d), ldg_, T(1));
      if (kind_ != CellKind::kGru) continue;
      if (call_.Linear()) {
        Product(call_.h, All(h_prev_, d), r_h, All(extra_, d), ldh_, T(0),
                call_.b ? call_.b + (d * 6 + 5) * call_.h : nullptr);
        continue;
      }
      c_.pool().ParallelFor(rows_, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          RecurrentCells<T>().gru_reset(spec_[d], call_.h, Gates(d) + i * ldg_ + call_.h,
                                        All(h_prev_, d) + i * ldh_, All(extra_, d) + i * ldh_);
      });
      Product(call_.h, All(extra_, d), r_h, Gates(d) + leading_, ldg_, T(1));
    }
  }

  // C = beta C + H transposed(R) + bias, `columns` rows of R.
  void Product(int64_t columns, const T* h, const T* r, T* out, int64_t ld, T beta,
               const T* bias = nullptr) const {
    GemmArgs<T> gemm = {rows_, columns, call_.h};
    gemm.a = h, gemm.lda = ldh_;
    gemm.b = r, gemm.ldb = call_.h, gemm.trans_b = true;
    gemm.c = out, gemm.ldc = ld;
    gemm.beta = beta, gemm.col_bias = bias;
    Gemm(gemm);
  }
  // C = transposed(A) B over all rows.
  void Transposed(int64_t m, int64_t n, const T* a, int64_t lda, const T* b, int64_t ldb,
                  T* out) const {
    GemmArgs<T> gemm = {m, n, rows_};
    gemm.a = a, gemm.lda = lda, gemm.trans_a = true;
    gemm.b = b, gemm.ldb = ldb;
    gemm.c = out, gemm.ldc = n;
    Gemm(gemm);
  }
  // Every c of a sequence; a step outside it keeps the one before.
  void RunCells(int64_t d, int64_t m) const {
    T* h = State(scratch_, d, m);  // Known already: written and not read.
    const T* peephole = call_.Peephole(d);
    for (int64_t k = 0; k < call_.t; ++k) {
      const int64_t time = call_.Time(d, k);
      T* c = Cell(d, time, m);
      const T* before = PreviousCell(d, k, m);
      if (!before) {
        std::fill(c, c + call_.h, T(0));
        before = c;
      }
      if (call_.Inside(time, m))
        RecurrentCells<T>().lstm(spec_[d], call_.h, GateRow(d, time, m), call_.h, peephole, before,
                                 c, h, nullptr);
      else if (before != c)
        std::memcpy(c, before, static_cast<size_t>(call_.h) * sizeof(T));
    }
  }

  void PackR() {
    const bool gru = kind_ == CellKind::kGru;
    T* main = c_.Scratch<T>(call_.d * main_.size());
    T* hidden = gru ? c_.Scratch<T>(call_.d * hidden_.size()) : nullptr;
    c_.pool().ParallelFor(call_.d, 1, [&](int64_t begin, int64_t end) {
      for (int64_t d = begin; d < end; ++d) {
        const T* r = call_.r + d * width_ * call_.h;
        main_.Pack(false, r, call_.h, main + d * main_.size());
        if (gru) hidden_.Pack(false, r + leading_ * call_.h, call_.h, hidden + d * hidden_.size());
      }
    });
    packed_main_ = main, packed_hidden_ = hidden;
  }

  int64_t First(const Part& s) const { return s.p0 * main_.width(); }
  int64_t Units(const Part& s) const { return std::min(call_.h, s.p1 * main_.width()) - First(s); }
  void Clear(T* row, int64_t gate, const Part& s) const {
    std::fill_n(row + gate * call_.h + First(s), Units(s), T(0));
  }

  // dh += the cotangents of a step's gates times R.
  void AddArriving(const Part& s, int64_t time) const {
    T* dh = State(dh_, s.d, 0);
    main_.Multiply(call_.n, s.r0, s.r1, s.p0, s.p1, GateRow(s.d, time, 0),
                   call_.SampleRows() * ldg_, packed_main_ + s.d * main_.size(), T(1), dh, ldh_);
    if (call_.Linear())
      hidden_.Multiply(call_.n, s.r0, s.r1, s.p0, s.p1, AllRow(extra_, s.d, time, 0),
                       call_.SampleRows() * ldh_, packed_hidden_ + s.d * hidden_.size(), T(1), dh,
                       ldh_);
  }

  // From dh to the gates' cotangents; what is left in dh goes to the step before directly.
  void Step(const Part& s, int64_t time, int64_t k) const {
    const int64_t u = First(s), units = Units(s), h = call_.h;
    const auto& fn = RecurrentCells<T>();
    const T* peephole = call_.Peephole(s.d);
    const auto inside = [&](int64_t m) {
      T *a = GateRow(s.d, time, m) + u, *dh = State(dh_, s.d, m) + u;
      if (dy_) {
        const T* dy = dy_ + call_.YAt(time, s.d, m) + u;
        for (int64_t j = 0; j < units; ++j) dh[j] += dy[j];
      }
      if (kind_ == CellKind::kGru) {
        T* linear = call_.Linear() ? AllRow(extra_, s.d, time, m) + u : nullptr;
        fn.gru_grad(spec_[s.d], units, a, h, linear, AllRow(h_prev_, s.d, time, m) + u, dh);
        return;
      }
      if (kind_ == CellKind::kRnn) {
        fn.rnn_grad(spec_[s.d], units, a, dh);
      } else {
        const T* before = PreviousCell(s.d, call_.t - 1 - k, m);
        if (!before) before = zeros_;
        fn.lstm_grad(spec_[s.d], units, a, h, peephole ? peephole + u : nullptr, before + u,
                     Cell(s.d, time, m) + u, dh, State(dc_, s.d, m) + u);
      }
      std::fill_n(dh, units, T(0));
    };
    for (int64_t m = batch_.begin(s.r0); m < batch_.begin(s.r1); ++m) {
      if (call_.Inside(time, m)) {
        inside(m);
        continue;
      }
      for (int64_t g = 0; g < call_.g; ++g) Clear(GateRow(s.d, time, m), g, s);
      if (extra_) Clear(AllRow(extra_, s.d, time, m), 0, s);
    }
  }

  // GRU's reset gate, once the cotangents of the hidden gate are there for all units.
  void ResetStep(const Part& s, int64_t time) const {
    const int64_t u = First(s), units = Units(s);
    hidden_.Multiply(call_.n, s.r0, s.r1, s.p0, s.p1, GateRow(s.d, time, 0) + leading_,
                     call_.SampleRows() * ldg_, packed_hidden_ + s.d * hidden_.size(), T(0),
                     State(drh_, s.d, 0), ldh_);
    for (int64_t m = batch_.begin(s.r0); m < batch_.begin(s.r1); ++m)
      if (call_.Inside(time, m))
        RecurrentCells<T>().gru_grad_reset(spec_[s.d], units, GateRow(s.d, time, m) + call_.h + u,
                                           AllRow(h_prev_, s.d, time, m) + u,
                                           State(drh_, s.d, m) + u, State(dh_, s.d, m) + u);
  }

  KernelContext& c_;
  const RecurrentCall<T>& call_;
  CellKind kind_;
  int64_t rows_, width_, leading_;
  BatchPanels batch_;
  Panels<T> main_, hidden_;
  int64_t ldg_, ldh_;
  const T* dy_;
  CellSpec<T> spec_[2];
  T *a_, *h_prev_, *dh_, *extra_ = nullptr, *drh_ = nullptr, *cells_ = nullptr, *dc_ = nullptr;
  T *scratch_ = nullptr, *zeros_ = nullptr;
  T *packed_main_ = nullptr, *packed_hidden_ = nullptr;
};

class RecurrentGradKernel : public Kernel {
 public:
  RecurrentGradKernel(const Attributes& attributes, CellKind kind)
      : attributes_(attributes, kind) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const bool lstm = attributes_.kind == CellKind::kLstm;
    const RecurrentCall<T> call(c, attributes_);
    const Tensor& x = c.input(0);
    const int first = lstm ? 8 : 6;  // y, dy, dy_h, dy_c.
    const T* from[4] = {};
    for (int k = 0; k < (lstm ? 4 : 3); ++k) {
      const Tensor* v = c.optional_input(first + k);
      TK_REQUIRE(v || k > 0, ErrorKind::kInvalidArgument, "Y is required, got none");
      if (!v) continue;
      const Shape want = k < 2 ? call.YShape() : call.StateShape();
      TK_REQUIRE(v->dtype() == x.dtype() && v->shape() == want, ErrorKind::kShape,
                 "Y and cotangents must be ", Name(x.dtype()), want.ToString(), ", got ",
                 Name(v->dtype()), v->shape().ToString());
      from[k] = v->data<T>();
    }
    const auto output = [&](int i, const Shape& shape) -> T* {
      return c.has_output(i) ? c.Output(i, x.dtype(), shape).template data<T>() : nullptr;
    };
    T* dx = output(0, x.shape());
    T* dw = output(1, c.input(1).shape());
    T* dr = output(2, c.input(2).shape());
    T* db = output(3, {call.d, 2 * call.g * call.h});
    T* dh0 = output(4, call.StateShape());
    T* dc0 = lstm ? output(5, call.StateShape()) : nullptr;
    T* dp = lstm ? output(6, {call.d, 3 * call.h}) : nullptr;
    const Tensor* gates = lstm ? c.optional_input(12) : nullptr;
    TK_REQUIRE(
        !gates || (gates->dtype() == x.dtype() && gates->shape() == RecurrentGateShape(call)),
        ErrorKind::kShape, "gates must be ", RecurrentGateShape(call).ToString());
    GradRun<T> run(c, call, from[0], from[1], from[2], from[3], gates ? gates->data<T>() : nullptr);
    run.Run();
    if (dx) run.InputGradient(dx);
    if (dw) run.WeightGradient(dw);
    if (dr) run.RecurrenceGradient(dr);
    if (db) run.BiasGradient(db);
    if (dh0) run.StateGradient(false, dh0);
    if (dc0) run.StateGradient(true, dc0);
    if (dp) run.PeepholeGradient(dp);
  }

  RecurrentAttributes attributes_;
};

static const bool kRecurrentGrad[] = {
    Register<RecurrentGradKernel>("RNNGrad", CellKind::kRnn)
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen(),
    Register<RecurrentGradKernel>("GRUGrad", CellKind::kGru)
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen(),
    Register<RecurrentGradKernel>("LSTMGrad", CellKind::kLstm)
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen(),
};

}  // namespace
}  // namespace toolkit
