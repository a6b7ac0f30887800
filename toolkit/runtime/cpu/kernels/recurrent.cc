// RNN, GRU and LSTM. One product X transposed(W) for all time steps; then a step adds
// h transposed(R), with R packed in panels by gate, and one pass over its gates gives c and h.
// Parallel over directions and rows of the batch, or over the units of a step; see RunSteps.
#include "kernels/recurrent.h"

#include <cstring>
#include <memory>

namespace toolkit {
namespace {

// W and R ready for products; R's panels lie by direction and gate.
template <class T>
int64_t PackedRSize(int64_t d, int64_t g, int64_t h) {
  return d * g * Panels<T>(h, h).size();
}
template <class T>
void PackR(ThreadPool& pool, int64_t matrices, int64_t h, const T* r, T* out) {
  const Panels<T> panels(h, h);
  pool.ParallelFor(matrices, 1, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m)
      panels.Pack(true, r + m * h * h, h, out + m * panels.size());
  });
}

template <class T>
class ForwardRun {
 public:
  // `gates`: where the pre-activations stay, RecurrentGateShape; null: nowhere.
  ForwardRun(KernelContext& c, const RecurrentCall<T>& call, const T* packed_w, const T* packed_r,
             T* gates)
      : call_(call),
        panels_(call.h, call.h),
        batch_(call.n, RecurrentGemm<T>().mr),
        packed_r_(packed_r),
        ldg_(PaddedRow(call.d * call.g * call.h)),
        ldh_(PaddedRow(call.h)) {
    for (int64_t d = 0; d < call.d; ++d) spec_[d] = call.attributes.template Spec<T>(d);
    const int64_t states = call.d * call.n * ldh_;
    for (T** p : {&h_[0], &h_[1], &c_, &extra_}) *p = c.Scratch<T>(states);
    LoadStates();
    gates_ = gates ? gates : c.Scratch<T>(call.t * call.n * ldg_);
    InputProducts(c, call, packed_w, gates_, ldg_);
  }

  void Run(ThreadPool& pool, T* y) {
    y_ = y;
    const bool reset_first = call_.attributes.kind == CellKind::kGru && !call_.Linear();
    RunSteps(
        pool, call_.t, reset_first ? 2 : 1, call_.d, batch_.count, panels_.count(),
        call_.d * call_.n * call_.g * call_.h * call_.h,
        [&](int64_t k, int phase, int64_t d, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
          Part part = {
              d, call_.Time(d, k), r0, r1, p0, p1, h_[k & 1], h_[(k + 1) & 1], k > 0 || call_.h0};
          if (call_.attributes.kind == CellKind::kGru)
            reset_first ? GruStep(part, phase) : LinearGruStep(part);
          else
            PlainStep(part);
        });
  }

  void StoreStates(T* y_h, T* y_c) const {
    for (int64_t d = 0; d < call_.d; ++d)
      for (int64_t m = 0; m < call_.n; ++m) {
        const size_t bytes = static_cast<size_t>(call_.h) * sizeof(T);
        if (y_h) std::memcpy(y_h + call_.StateAt(d, m), State(h_[call_.t & 1], d, m), bytes);
        if (y_c) std::memcpy(y_c + call_.StateAt(d, m), State(c_, d, m), bytes);
      }
  }

 private:
  // What one call of a step works on.
  struct Part {
    int64_t d, time, r0, r1, p0, p1;
    T *h_prev, *h_next;
    bool has_h;  // h_prev is not known to be zero.
  };

  T* State(T* buffer, int64_t d, int64_t m) const { return buffer + (d * call_.n + m) * ldh_; }

  void LoadStates() {
    for (int64_t d = 0; d < call_.d; ++d)
      for (int64_t m = 0; m < call_.n; ++m) {
        const int64_t at = call_.StateAt(d, m);
        T *h = State(h_[0], d, m), *c = State(c_, d, m);
        for (int64_t k = 0; k < call_.h; ++k) {
          h[k] = call_.h0 ? call_.h0[at + k] : T(0);
          c[k] = call_.c0 ? call_.c0[at + k] : T(0);
        }
      }
  }

  T* GateRow(const Part& s, int64_t m) const {
    return gates_ + call_.Row(s.time, m) * ldg_ + s.d * call_.g * call_.h;
  }
  int64_t GateStride() const { return call_.SampleRows() * ldg_; }

  // gates [g0, g1) += A transposed(R).
  void AddProducts(const Part& s, int64_t g0, int64_t g1, const T* a) const {
    for (int64_t g = g0; g < g1; ++g)
      panels_.Multiply(call_.n, s.r0, s.r1, s.p0, s.p1, a + s.d * call_.n * ldh_, ldh_,
                       packed_r_ + (s.d * call_.g + g) * panels_.size(), T(1),
                       GateRow(s, 0) + g * call_.h, GateStride());
  }

  // Calls cell(m, y) for the rows inside their sequences; the others keep their state.
  template <class Cell>
  void ForRows(const Part& s, Cell cell) const {
    const size_t bytes = static_cast<size_t>(Units(s)) * sizeof(T);
    const int64_t u = First(s);
    for (int64_t m = batch_.begin(s.r0); m < batch_.begin(s.r1); ++m) {
      T* y = y_ ? y_ + call_.YAt(s.time, s.d, m) + u : nullptr;
      if (call_.Inside(s.time, m)) {
        cell(m, y);
        continue;
      }
      std::memcpy(State(s.h_next, s.d, m) + u, State(s.h_prev, s.d, m) + u, bytes);
      if (y) std::memset(static_cast<void*>(y), 0, bytes);
    }
  }
  int64_t First(const Part& s) const { return s.p0 * panels_.width(); }
  int64_t Units(const Part& s) const {
    return std::min(call_.h, s.p1 * panels_.width()) - First(s);
  }

  void PlainStep(const Part& s) const {
    if (s.has_h) AddProducts(s, 0, call_.g, s.h_prev);
    const int64_t u = First(s), units = Units(s), h = call_.h;
    const auto& fn = RecurrentCells<T>();
    const T* peephole = call_.Peephole(s.d);
    ForRows(s, [&](int64_t m, T* y) {
      T* next = State(s.h_next, s.d, m) + u;
      if (call_.attributes.kind == CellKind::kRnn) {
        fn.rnn(spec_[s.d], units, GateRow(s, m) + u, next, y);
      } else {
        T* c = State(c_, s.d, m) + u;
        fn.lstm(spec_[s.d], units, GateRow(s, m) + u, h, peephole ? peephole + u : nullptr, c, c,
                next, y);
      }
    });
  }

  // Phase 0: update and reset gates, r h; phase 1: the hidden gate.
  void GruStep(const Part& s, int phase) const {
    const int64_t u = First(s), units = Units(s), h = call_.h;
    const auto& fn = RecurrentCells<T>();
    if (phase == 0) {
      if (!s.has_h) return;
      AddProducts(s, 0, 2, s.h_prev);
      for (int64_t m = batch_.begin(s.r0); m < batch_.begin(s.r1); ++m)
        fn.gru_reset(spec_[s.d], units, GateRow(s, m) + h + u, State(s.h_prev, s.d, m) + u,
                     State(extra_, s.d, m) + u);
      return;
    }
    if (s.has_h) AddProducts(s, 2, 3, extra_);
    ForRows(s, [&](int64_t m, T* y) {
      fn.gru(spec_[s.d], units, GateRow(s, m) + u, h, nullptr, State(s.h_prev, s.d, m) + u,
             State(s.h_next, s.d, m) + u, y);
    });
  }

  // extra = h transposed(R_h) + Rb_h, which the reset gate scales.
  void LinearGruStep(const Part& s) const {
    const int64_t u = First(s), units = Units(s), h = call_.h;
    const T* rb = call_.b ? call_.b + (s.d * 6 + 5) * h + u : nullptr;
    for (int64_t m = batch_.begin(s.r0); m < batch_.begin(s.r1); ++m) {
      T* row = State(extra_, s.d, m) + u;
      for (int64_t k = 0; k < units; ++k) row[k] = rb ? rb[k] : T(0);
    }
    if (s.has_h) {
      AddProducts(s, 0, 2, s.h_prev);
      panels_.Multiply(call_.n, s.r0, s.r1, s.p0, s.p1, State(s.h_prev, s.d, 0), ldh_,
                       packed_r_ + (s.d * 3 + 2) * panels_.size(), T(1), State(extra_, s.d, 0),
                       ldh_);
    }
    ForRows(s, [&](int64_t m, T* y) {
      RecurrentCells<T>().gru(spec_[s.d], units, GateRow(s, m) + u, h, State(extra_, s.d, m) + u,
                              State(s.h_prev, s.d, m) + u, State(s.h_next, s.d, m) + u, y);
    });
  }

  const RecurrentCall<T>& call_;
  Panels<T> panels_;
  BatchPanels batch_;
  const T* packed_r_;
  int64_t ldg_, ldh_;
  CellSpec<T> spec_[2];
  T *h_[2], *c_, *extra_, *gates_, *y_ = nullptr;
};

class RecurrentKernel : public Kernel {
 public:
  RecurrentKernel(const Attributes& attributes, CellKind kind) : attributes_(attributes, kind) {}

  void Prepack(int input, const Tensor& value) override {
    if ((input != 1 && input != 2) || value.rank() != 3 || !Contains(kFloats, value.dtype()) ||
        value.size() == 0)
      return;
    DispatchFloats(value.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t d = value.dim(0), rows = value.dim(1), columns = value.dim(2);
      const int64_t g = GatesOf(attributes_.kind);
      if (input == 2 && rows != g * columns) return;  // Run says what is wrong.
      const int64_t size =
          input == 1 ? PackedGemmBSize<T>(columns, d * rows) : PackedRSize<T>(d, g, columns);
      packed_[input - 1] = Buffer::Allocate(static_cast<size_t>(size) * sizeof(T));
      T* out = reinterpret_cast<T*>(packed_[input - 1]->data());
      if (input == 1)
        PackGemmB<T>(true, columns, d * rows, value.data<T>(), columns, out);
      else
        PackR<T>(ThreadPool::Global(), d * g, columns, value.data<T>(), out);
    });
  }

  size_t PackedBytes() const override {
    size_t bytes = 0;
    for (const auto& packed : packed_) bytes += packed ? packed->bytes() : 0;
    return bytes;
  }

  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const RecurrentCall<T> call(c, attributes_);
    const DType dtype = c.input(0).dtype();
    const auto output = [&](int i, const Shape& shape) -> T* {
      return c.has_output(i) ? c.Output(i, dtype, shape).template data<T>() : nullptr;
    };
    T* y = output(0, call.YShape());
    T* y_h = output(1, call.StateShape());
    T* y_c = attributes_.kind == CellKind::kLstm ? output(2, call.StateShape()) : nullptr;
    T* gates = output(3, RecurrentGateShape(call));  // toolkit.fused alone.
    if (call.n == 0 || call.h == 0) return;
    const T* packed_r = Packed<T>(1);
    if (!packed_r) {
      T* space = c.Scratch<T>(PackedRSize<T>(call.d, call.g, call.h));
      PackR<T>(c.pool(), call.d * call.g, call.h, call.r, space);
      packed_r = space;
    }
    ForwardRun<T> run(c, call, Packed<T>(0), packed_r, gates);
    run.Run(c.pool(), y);
    run.StoreStates(y_h, y_c);
  }

  template <class T>
  const T* Packed(int i) const {
    return packed_[i] ? reinterpret_cast<const T*>(packed_[i]->data()) : nullptr;
  }

  RecurrentAttributes attributes_;
  std::shared_ptr<Buffer> packed_[2];  // W, R.
};

static const bool kRecurrent[] = {
    Register<RecurrentKernel>("RNN", CellKind::kRnn).Types(kFloats).Widen(),
    Register<RecurrentKernel>("GRU", CellKind::kGru).Types(kFloats).Widen(),
    Register<RecurrentKernel>("LSTM", CellKind::kLstm).Types(kFloats).Widen(),
    Register<RecurrentKernel>("LSTM", CellKind::kLstm).Types(kFloats).Domain("toolkit.fused"),
};

}  // namespace
}  // namespace toolkit
