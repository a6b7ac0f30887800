// Einsum. See einsum_plan.h for the passes over memory; each is parallel in itself.
#include <memory>
#include <mutex>

#include "core/gemm.h"
#include "kernels/einsum_plan.h"
#include "kernels/half.h"
#include "kernels/movement.h"
#include "kernels/reduce.h"

namespace toolkit {
namespace {

// The type that products are computed in: integers narrower than 32 bits wrap on the way back.
DType WorkType(DType t) {
  switch (t) {
    case DType::kInt8:
    case DType::kInt16:
      return DType::kInt32;
    case DType::kUInt8:
    case DType::kUInt16:
      return DType::kUInt32;
    case DType::kFloat16:
    case DType::kBFloat16:
      return DType::kFloat;
    default:
      return t;
  }
}

void CastInts(ThreadPool& pool, const Tensor& x, const Tensor& y) {
  const UnaryFn fn =
      CastFunctions()
          .fn[static_cast<int>(ElementOf(x.dtype()))][static_cast<int>(ElementOf(y.dtype()))];
  const size_t from = ItemSize(x.dtype()), to = ItemSize(y.dtype());
  pool.ParallelFor(x.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
    fn(y.data<char>() + begin * to, x.data<char>() + begin * from, end - begin, nullptr);
  });
}

class Einsum : public Kernel {
 public:
  explicit Einsum(const Attributes& a) : equation_(a.String("equation", "")) {
    TK_REQUIRE(a.Has("equation"), ErrorKind::kInvalidArgument, "attribute equation is required");
  }

  void Run(KernelContext& c) const override {
    const DType dtype = c.input(0).dtype(), work = WorkType(dtype);
    std::vector<Shape> shapes;
    for (int i = 0; i < c.num_inputs(); ++i) {
      RequireSameDType(c.input(0), c.input(i));
      shapes.push_back(c.input(i).shape());
    }
    const std::shared_ptr<const EinsumPlan> plan = PlanFor(shapes);
    const Tensor& y = c.Output(0, dtype, plan->output);
    if (y.size() == 0) return;

    std::vector<Tensor> storages;
    for (int i = 0; i < c.num_inputs(); ++i) storages.push_back(Wide(c, c.input(i), work));
    for (int64_t n : plan->temporaries) storages.push_back(Temporary(c, work, {n}));
    const Tensor result = work == dtype ? y : Temporary(c, work, y.shape());
    const auto at = [&](int i) { return i == EinsumPlan::kOutput ? result : storages[i]; };
    for (const EinsumPlan::Step& step : plan->steps)
      RunStep(c, step, at(step.a), at(step.b), at(step.to));
    if (work == dtype) return;
    if (Contains(kHalves, dtype))
      Narrow(c.pool(), result, y);
    else
      CastInts(c.pool(), result, y);
  }

 private:
  std::shared_ptr<const EinsumPlan> PlanFor(const std::vector<Shape>& shapes) const {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (plan_ && plan_->shapes == shapes) return plan_;
    }
    auto plan = std::make_shared<const EinsumPlan>(equation_, shapes);
    const std::lock_guard<std::mutex> lock(mutex_);
    return plan_ = plan;
  }

  static Tensor Temporary(KernelContext& c, DType dtype, const Shape& shape) {
    return Tensor(dtype, shape, c.Scratch<char>(static_cast<int64_t>(CheckedBytes(dtype, shape))));
  }
  static Tensor Wide(KernelContext& c, const Tensor& x, DType work) {
    if (x.dtype() == work || Contains(kHalves, x.dtype())) return Widened(c, x);
    const Tensor wide = Temporary(c, work, x.shape());
    CastInts(c.pool(), x, wide);
    return wide;
  }

  static void RunStep(KernelContext& c, const EinsumPlan::Step& step, const Tensor& a,
                      const Tensor& b, const Tensor& to) {
    using Step = EinsumPlan::Step;
    switch (step.kind) {
      case Step::kCopy: {
        StridedCopy copy(a.dtype());
        for (const EinsumPlan::Dimension& d : step.dims) copy.Add(d.size, d.b, d.a);
        return copy.Run(c.pool(), to.raw(), a.raw());
      }
      case Step::kReduce:
        return Reduce(c, ReduceOp::kSum,
                      ReducePlan(Shape(step.sizes.data(), step.sizes.size()), step.summed), a.raw(),
                      a.dtype(), to.raw());
      case Step::kMultiply: {
        TileProgram p;
        const Tensor u = a.Reshaped({step.batch, step.m, 1}),
                     v = b.Reshaped({step.batch, 1, step.n});
        const auto x = p.Input(u), y = p.Input(v);
        p.Binary(FunctionOf(BinaryOp::kMul, ElementOf(a.dtype())), TileProgram::kOutput, x, y);
        return p.Run(c.pool(), to.Reshaped({step.batch, step.m, step.n}), kCheapGrain);
      }
      case Step::kContract:
        return Contract(c, step, a, b, to);
    }
  }

  static void Contract(KernelContext& c, const EinsumPlan::Step& step, const Tensor& a,
                       const Tensor& b, const Tensor& to) {
    switch (a.dtype()) {
      case DType::kFloat:
        return Multiply<float>(c, step, a, b, to);
      case DType::kDouble:
        return Multiply<double>(c, step, a, b, to);
      case DType::kInt32:
        return Multiply<int32_t>(c, step, a, b, to);
      case DType::kInt64:
        return Multiply<int64_t>(c, step, a, b, to);
      case DType::kUInt32:
        return Multiply<uint32_t>(c, step, a, b, to);
      case DType::kUInt64:
        return Multiply<uint64_t>(c, step, a, b, to);
      default:
        FailDType(a.dtype());
    }
  }

  template <class T>
  static void Multiply(KernelContext& c, const EinsumPlan::Step& step, const Tensor& a,
                       const Tensor& b, const Tensor& to) {
    GemmArgs<T> g = {step.m, step.n, step.k};
    g.lda = step.lda, g.ldb = step.ldb, g.ldc = step.ldc;
    g.trans_a = step.trans_a, g.trans_b = step.trans_b;
    const auto one = [&](int64_t i) {
      int64_t offset[3] = {0, 0, 0};
      for (size_t d = step.dims.size(); d-- > 0;) {
        const EinsumPlan::Dimension& dim = step.dims[d];
        const int64_t at = i % dim.size;
        i /= dim.size;
        offset[0] += at * dim.a;
        offset[1] += at * dim.b;
        offset[2] += at * dim.c;
      }
      GemmArgs<T> call = g;
      call.a = a.data<T>() + offset[0];
      call.b = b.data<T>() + offset[1];
      call.c = to.data<T>() + offset[2];
      Gemm(call);
    };
    if (step.batch < 2 * c.pool().num_threads()) {
      for (int64_t i = 0; i < step.batch; ++i) one(i);
      return;
    }
    const int64_t work = step.m * step.n * std::max<int64_t>(step.k, 1);
    c.pool().ParallelFor(step.batch, 1 + 32768 / std::max<int64_t>(work, 1),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i) one(i);
                         });
  }

  EinsumEquation equation_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const EinsumPlan> plan_;  // For the latest shapes.
};

static const bool kEinsum = Register<Einsum>("Einsum").Types(kAnyNumber);

}  // namespace
}  // namespace toolkit
