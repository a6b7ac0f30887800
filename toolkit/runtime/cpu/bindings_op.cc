// One operator run eagerly. `call` and `run` are built-in functions rather than methods of
// nanobind: of an operation on a few elements the way into C++ and back is the larger part.
#include "bindings_op.h"

#include <nanobind/stl/string.h>

#include "core/kernel.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace toolkit {
namespace {

constexpr size_t kSmallBytes = size_t{1} << 15;  // Of inputs, for which the interpreter waits.
constexpr int kMaxInputs = 8;                    // Without memory from the heap, as outputs.

// Values for a call: in place up to a few, else on the heap.
template <class T>
class Few {
 public:
  explicit Few(int count) : data_(count <= kMaxInputs ? inline_ : new T[count]) {}
  Few(const Few&) = delete;
  Few& operator=(const Few&) = delete;
  ~Few() {
    if (data_ != inline_) delete[] data_;
  }
  T* data() { return data_; }
  T& operator[](int i) { return data_[i]; }

 private:
  T inline_[kMaxInputs];  // Not initialised where T is not.
  T* data_;
};

class Op {
 public:
  Op(const std::string& domain, const std::string& op_type, const nb::dict& attributes)
      : def_(KernelRegistry::Global().Find(domain, op_type)) {
    TK_REQUIRE(def_, ErrorKind::kUnsupported, op_type,
               ": no CPU kernel for this operator of domain '", domain, "'");
    try {
      kernel_ = def_->create(ToAttributes(attributes));
    } catch (const Error& e) {
      Fail(e.kind(), op_type, ": ", e.what());
    }
  }

  // Other threads run meanwhile, but for small inputs: letting go of the interpreter costs more.
  void Run(const Tensor* const* inputs, int num_inputs, Tensor* outputs, int num_outputs) const {
    size_t bytes = 0;
    for (int i = 0; i < num_inputs; ++i)
      if (inputs[i]) bytes += inputs[i]->bytes();
    if (bytes <= kSmallBytes && !def_->gives)
      return RunHere(inputs, num_inputs, outputs, num_outputs);
    nb::gil_scoped_release release;
    RunHere(inputs, num_inputs, outputs, num_outputs);
  }

 private:
  void RunHere(const Tensor* const* inputs, int num_inputs, Tensor* outputs,
               int num_outputs) const {
    try {
      RunKernel(*def_, *kernel_, inputs, num_inputs, outputs, num_outputs);
    } catch (const Error& e) {
      Fail(e.kind(), def_->op_type, ": ", e.what());
    }
  }
  const KernelDef* def_;
  std::unique_ptr<Kernel> kernel_;
};

PyTypeObject* tensor_type = nullptr;

const Tensor* InputOf(PyObject* value) {
  if (Py_TYPE(value) == tensor_type) return nb::inst_ptr<Tensor>(value);
  if (value == Py_None) return nullptr;
  Fail(ErrorKind::kInvalidArgument,
       "Op: core tensors or None are required, got another object; a value of a trace or of a "
       "mapped function must not be used outside it");
}

PyObject* Wrapped(Tensor value) {
  nb::object made = nb::inst_alloc(reinterpret_cast<PyObject*>(tensor_type));
  new (nb::inst_ptr<Tensor>(made)) Tensor(std::move(value));
  nb::inst_mark_ready(made);
  return made.release().ptr();
}

template <class Fn>
PyObject* Guarded(Fn run) noexcept {
  try {
    return run();
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const nb::builtin_exception& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (...) {
    try {
      Translate(std::current_exception(), nullptr);
    } catch (const std::exception& e) {
      PyErr_SetString(PyExc_RuntimeError, e.what());
    }
  }
  return nullptr;
}

// call(*inputs): the first output.
PyObject* CallOp(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return Guarded([&] {
    const int n = static_cast<int>(count);
    Few<const Tensor*> inputs(n);
    for (int i = 0; i < n; ++i) inputs[i] = InputOf(args[i]);
    Tensor output;
    nb::inst_ptr<Op>(self)->Run(inputs.data(), n, &output, 1);
    return Wrapped(std::move(output));
  });
}

// run(inputs, num_outputs): a tuple of outputs, None where not made.
PyObject* CallRun(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return Guarded([&]() -> PyObject* {
    if (count != 2) throw nb::type_error("Op.run: inputs and num_outputs are required.");
    const long wanted = PyLong_AsLong(args[1]);
    if (wanted == -1 && PyErr_Occurred()) throw nb::python_error();
    TK_REQUIRE(wanted >= 0 && wanted <= 1 << 16, ErrorKind::kInvalidArgument,
               "Op.run: num_outputs must lie in [0, 65536], got ", wanted);
    // A tuple keeps the inputs, whatever another thread does to a list meanwhile.
    const nb::object items = nb::steal(PySequence_Tuple(args[0]));
    if (!items.is_valid()) throw nb::python_error();
    const int n = static_cast<int>(PyTuple_GET_SIZE(items.ptr()));
    const int outputs = static_cast<int>(wanted);
    Few<const Tensor*> inputs(n);
    for (int i = 0; i < n; ++i) inputs[i] = InputOf(PyTuple_GET_ITEM(items.ptr(), i));
    Few<Tensor> results(outputs);
    nb::inst_ptr<Op>(self)->Run(inputs.data(), n, results.data(), outputs);
    nb::object made = nb::steal(PyTuple_New(outputs));
    for (int i = 0; i < outputs; ++i)
      PyTuple_SET_ITEM(
          made.ptr(), i,
          results[i].defined() ? Wrapped(std::move(results[i])) : nb::none().release().ptr());
    return made.release().ptr();
  });
}

PyMethodDef call_def = {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(CallOp)),
                        METH_FASTCALL, "The first output for tensors, None for an absent one."};
PyMethodDef run_def = {"run", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(CallRun)),
                       METH_FASTCALL, "The outputs for a sequence of inputs and their number."};

}  // namespace

void BindOp(nb::module_& m) {
  tensor_type = reinterpret_cast<PyTypeObject*>(nb::type<Tensor>().ptr());
  nb::class_<Op>(m, "Op", "An operator with its attributes, ready to run.")
      .def(nb::init<const std::string&, const std::string&, const nb::dict&>(), "domain"_a,
           "op_type"_a, "attributes"_a)
      .def_prop_ro(
          "call", [](nb::handle self) { return nb::steal(PyCFunction_New(&call_def, self.ptr())); })
      .def_prop_ro(
          "run", [](nb::handle self) { return nb::steal(PyCFunction_New(&run_def, self.ptr())); });
}

}  // namespace toolkit
