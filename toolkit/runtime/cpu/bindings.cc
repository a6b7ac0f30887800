// The native core as Python sees it. The only file of the core that knows Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/isa.h"
#include "core/kernel.h"
#include "core/program.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace toolkit {
namespace {

// Bits and DLPack code of each type, for the exchange with numpy and DLPack.
nb::dlpack::dtype ToDlpack(DType t) {
  using Code = nb::dlpack::dtype_code;
  const auto make = [&](Code code) {
    return nb::dlpack::dtype{static_cast<uint8_t>(code), static_cast<uint8_t>(ItemSize(t) * 8), 1};
  };
  if (Contains(kFloats | Bit(DType::kFloat16), t)) return make(Code::Float);
  if (Contains(kSignedInts, t)) return make(Code::Int);
  if (Contains(kUnsignedInts, t)) return make(Code::UInt);
  if (t == DType::kBool) return make(Code::Bool);
  if (t == DType::kBFloat16) return make(Code::Bfloat);
  return make(Code::Complex);
}

DType FromDlpack(nb::dlpack::dtype d) {
  for (int i = 1; i <= static_cast<int>(DType::kBFloat16); ++i) {
    const auto t = static_cast<DType>(i);
    if (ItemSize(t) && ToDlpack(t) == d) return t;
  }
  Fail(ErrorKind::kDType, "array: no element type for DLPack code ", int(d.code), " with ",
       int(d.bits), " bits");
}

using AnyArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

// Shares the array's memory; `dtype` reinterprets its elements (bfloat16 travels as uint16).
Tensor FromArray(AnyArray array, int dtype) {
  const DType t = dtype ? static_cast<DType>(dtype) : FromDlpack(array.dtype());
  TK_REQUIRE(ItemSize(t) == array.itemsize(), ErrorKind::kDType, "array: elements of ", Name(t),
             " have ", ItemSize(t), " bytes, got ", array.itemsize());
  Shape shape;
  for (size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int64_t>(array.shape(i)));
  auto* keep = new AnyArray(array);
  auto buffer = Buffer::Borrow(const_cast<void*>(static_cast<const void*>(array.data())),
                               array.nbytes(), [keep] {
                                 if (!Py_IsInitialized()) return;
                                 nb::gil_scoped_acquire gil;
                                 delete keep;
                               });
  return Tensor(t, shape, buffer->data(), buffer);
}

template <class Framework>
auto ToArray(const Tensor& t) {
  auto* owner = new Tensor(t);
  nb::capsule capsule(owner, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  size_t shape[kMaxRank];
  for (int i = 0; i < t.rank(); ++i) shape[i] = static_cast<size_t>(t.dim(i));
  // bfloat16 leaves as uint16 for numpy; the Python side views it as ml_dtypes.bfloat16.
  const bool as_bits = std::is_same_v<Framework, nb::numpy> && t.dtype() == DType::kBFloat16;
  return nb::ndarray<Framework>(t.raw(), static_cast<size_t>(t.rank()), shape, capsule, nullptr,
                                ToDlpack(as_bits ? DType::kUInt16 : t.dtype()));
}

nb::tuple ShapeTuple(const Tensor& t) {
  nb::object tuple = nb::steal(PyTuple_New(t.rank()));
  for (int i = 0; i < t.rank(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), i, PyLong_FromLongLong(t.dim(i)));
  return nb::borrow<nb::tuple>(tuple);
}

Attributes::Value ToAttribute(nb::handle v) {
  if (nb::isinstance<Tensor>(v)) return nb::cast<Tensor>(v);
  if (PyBool_Check(v.ptr()) || PyLong_Check(v.ptr())) return nb::cast<int64_t>(v);
  if (PyFloat_Check(v.ptr())) return nb::cast<double>(v);
  if (PyUnicode_Check(v.ptr())) return nb::cast<std::string>(v);
  if (PyBytes_Check(v.ptr()))
    return std::string(PyBytes_AS_STRING(v.ptr()), PyBytes_GET_SIZE(v.ptr()));
  const nb::object list = nb::steal(PySequence_List(v.ptr()));
  if (!list.is_valid()) throw nb::python_error();
  bool floats = false, strings = false;
  for (nb::handle item : nb::borrow<nb::list>(list)) {
    floats |= PyFloat_Check(item.ptr());
    strings |= PyUnicode_Check(item.ptr());
  }
  if (strings) return nb::cast<std::vector<std::string>>(list);
  if (floats) return nb::cast<std::vector<double>>(list);
  return nb::cast<std::vector<int64_t>>(list);
}

Attributes ToAttributes(const nb::dict& dict) {
  Attributes attributes;
  for (auto [name, value] : dict) attributes.Set(nb::cast<std::string>(name), ToAttribute(value));
  return attributes;
}

// One operator with its attributes, ready to run eagerly.
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

  std::vector<Tensor> Run(const std::vector<const Tensor*>& inputs, int num_outputs) const {
    try {
      return RunKernel(*def_, *kernel_, inputs, num_outputs);
    } catch (const Error& e) {
      Fail(e.kind(), def_->op_type, ": ", e.what());
    }
  }

 private:
  const KernelDef* def_;
  std::unique_ptr<Kernel> kernel_;
};

std::vector<const Tensor*> Pointers(nb::handle sequence) {
  std::vector<const Tensor*> pointers;
  for (nb::handle item : sequence)
    pointers.push_back(item.is_none() ? nullptr : nb::cast<const Tensor*>(item));
  return pointers;
}

nb::object RunOp(const Op& op, nb::args args) {
  const auto inputs = Pointers(args);
  std::vector<Tensor> outputs;
  {
    nb::gil_scoped_release release;
    outputs = op.Run(inputs, 1);
  }
  return nb::cast(std::move(outputs[0]));
}

nb::object RunOpMany(const Op& op, nb::handle sequence, int num_outputs) {
  TK_REQUIRE(num_outputs >= 0 && num_outputs <= 1 << 16, ErrorKind::kInvalidArgument,
             "Op.run: num_outputs must lie in [0, 65536], got ", num_outputs);
  const auto inputs = Pointers(sequence);
  std::vector<Tensor> outputs;
  {
    nb::gil_scoped_release release;
    outputs = op.Run(inputs, num_outputs);
  }
  nb::list results;
  for (Tensor& t : outputs) results.append(t.defined() ? nb::cast(std::move(t)) : nb::none());
  return results;
}

std::vector<Tensor> RunProgram(Program& program, const std::vector<Tensor>& inputs) {
  nb::gil_scoped_release release;
  return program.Run(inputs);
}

nb::list Kernels() {
  nb::list rows;
  for (const KernelDef* def : KernelRegistry::Global().All()) {
    nb::list types;
    for (int i = 1; i <= static_cast<int>(DType::kBFloat16); ++i)
      if (Contains(def->dtypes, static_cast<DType>(i))) types.append(Name(static_cast<DType>(i)));
    rows.append(nb::make_tuple(def->domain, def->op_type, types));
  }
  return rows;
}

// Errors of the core become the classes of toolkit.errors.
void Translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const Error& e) {
    static constexpr const char* kClasses[] = {
        "InvalidArgumentError", "ShapeError",       "DTypeError",      "UnsupportedOperatorError",
        "InvalidModelError",    "OutOfBoundsError", "OutOfMemoryError"};
    const nb::object type =
        nb::module_::import_("toolkit.errors").attr(kClasses[static_cast<int>(e.kind())]);
    PyErr_SetString(type.ptr(), e.what());
  } catch (const std::bad_alloc&) {
    const nb::object type = nb::module_::import_("toolkit.errors").attr("OutOfMemoryError");
    PyErr_SetString(type.ptr(), "out of memory: a kernel's working memory could not be allocated");
  }
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The native core of toolkit: tensors, kernels, programs.";
  nb::set_leak_warnings(false);  // Tensors in module globals outlive the interpreter's teardown.
  nb::register_exception_translator(Translate);

  nb::class_<Tensor>(m, "Tensor", "A dense row-major value on the CPU.")
      .def_static("from_array", FromArray, "array"_a, "dtype"_a = 0)
      .def_static("empty",
                  [](int dtype, const std::vector<int64_t>& shape) {
                    return Tensor::Empty(static_cast<DType>(dtype),
                                         Shape(shape.data(), shape.size()));
                  })
      .def("numpy", ToArray<nb::numpy>, "Shares the memory.")
      .def("to_dlpack", ToArray<nb::array_api>, "An object with __dlpack__; shares the memory.")
      .def("clone", &Tensor::Clone)
      .def("reshaped",
           [](const Tensor& t, const std::vector<int64_t>& dims) {
             const Shape shape(dims.data(), dims.size());
             TK_REQUIRE(shape.Count() == t.size(), ErrorKind::kShape, "reshape: ", t.size(),
                        " elements are required, got shape ", shape.ToString());
             return t.Reshaped(shape);
           })
      .def("copy_from",
           [](Tensor& t, const Tensor& source) {
             TK_REQUIRE(t.dtype() == source.dtype() && t.shape() == source.shape(),
                        ErrorKind::kShape, "copy_from: ", Name(t.dtype()), t.shape().ToString(),
                        " is required, got ", Name(source.dtype()), source.shape().ToString());
             if (t.bytes() && t.raw() != source.raw())
               std::memmove(t.raw(), source.raw(), t.bytes());
           })
      .def_prop_ro("dtype", [](const Tensor& t) { return static_cast<int>(t.dtype()); })
      .def_prop_ro("shape", ShapeTuple)
      .def_prop_ro("ndim", &Tensor::rank)
      .def_prop_ro("size", &Tensor::size)
      .def_prop_ro("nbytes", &Tensor::bytes)
      .def_prop_ro("data_ptr",
                   [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.raw()); });

  nb::class_<Op>(m, "Op", "An operator with its attributes, ready to run.")
      .def(nb::init<const std::string&, const std::string&, const nb::dict&>(), "domain"_a,
           "op_type"_a, "attributes"_a)
      .def("__call__", RunOp, "Runs it on tensors (None for an absent input); the first output.")
      .def("run", RunOpMany, "inputs"_a, "num_outputs"_a, "All outputs, None where not produced.");

  nb::class_<Program>(m, "Program", "A flat program over slots; build it, finalize it, run it.")
      .def(nb::init<>())
      .def("add_slot", &Program::AddSlot)
      .def("add_constant", &Program::AddConstant)
      .def("add_input", &Program::AddInput)
      .def("add_state", &Program::AddState)
      .def("add_node",
           [](Program& p, const std::string& domain, const std::string& op_type,
              const std::string& name, const nb::dict& attributes, std::vector<int> inputs,
              std::vector<int> outputs) {
             p.AddNode(domain, op_type, name, ToAttributes(attributes), std::move(inputs),
                       std::move(outputs));
           })
      .def("add_output", &Program::AddOutput)
      .def("add_update", &Program::AddUpdate)
      .def("finalize", &Program::Finalize)
      .def("run", RunProgram)
      .def("state", &Program::state)
      .def_prop_ro("num_instructions", &Program::num_instructions)
      .def_prop_ro("arena_bytes", &Program::arena_bytes)
      .def("enable_profile", &Program::EnableProfile)
      .def("profile", [](Program& p) {
        const Profile profile = p.TakeProfile();
        nb::list rows;
        for (size_t i = 0; i < profile.seconds.size(); ++i)
          rows.append(nb::make_tuple(p.instruction(i).def->op_type, p.instruction(i).name,
                                     profile.seconds[i]));
        return nb::make_tuple(profile.runs, rows);
      });

  m.def("kernels", Kernels, "(domain, op_type, dtypes) of every kernel.");
  m.def("has_kernel", [](const std::string& domain, const std::string& op_type) {
    return KernelRegistry::Global().Find(domain, op_type) != nullptr;
  });
  m.def("isa", [] { return IsaName(ActiveIsa()); });
  m.def("get_num_threads", [] { return ThreadPool::Global().num_threads(); });
  m.def("set_num_threads", [](int n) {
    TK_REQUIRE(n >= 1 && n <= 1024, ErrorKind::kInvalidArgument,
               "set_num_threads: a number from 1 to 1024 is required, got ", n);
    nb::gil_scoped_release release;
    ThreadPool::Global().SetNumThreads(n);
  });
}

}  // namespace toolkit
