// The native core as Python sees it. Only this and its neighbours
// bindings_*.cc know Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>

#include "bindings_call.h"
#include "bindings_op.h"
#include "bindings_watch.h"
#include "core/isa.h"
#include "core/kernel.h"
#include "core/peak.h"
#include "core/program.h"
#include "core/strings.h"
#include "kernels/conv_autotune.h"
#include "kernels/random.h"

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
    if (t != DType::kString && ToDlpack(t) == d) return t;
  }
  Fail(ErrorKind::kDType, "array: no element type for DLPack code ", int(d.code), " with ",
       int(d.bits), " bits");
}

using AnyArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

// Shares the array's memory; `dtype` reinterprets its elements (bfloat16 travels as uint16).
Tensor FromArray(AnyArray array, int dtype) {
  const DType t = dtype ? static_cast<DType>(dtype) : FromDlpack(array.dtype());
  TK_REQUIRE(Contains(kFixedSize, t), ErrorKind::kDType,
             "array: a numeric or bool type is required, got ", Name(t));
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

// Tensors of one type and shape joined along a new first dimension; None if they differ.
nb::object Stack(const nb::list& rows) {
  std::vector<const Tensor*> parts;
  parts.reserve(rows.size());
  for (nb::handle h : rows) {
    if (!nb::isinstance<Tensor>(h)) return nb::none();
    parts.push_back(nb::inst_ptr<Tensor>(h));
  }
  if (parts.empty()) return nb::none();
  const Tensor& first = *parts[0];
  if (!Contains(kFixedSize, first.dtype()) || first.rank() == kMaxRank) return nb::none();
  for (const Tensor* t : parts) {
    if (t->dtype() != first.dtype() || t->shape() != first.shape()) return nb::none();
  }
  Shape shape{static_cast<int64_t>(parts.size())};
  for (int64_t dim : first.shape()) shape.push_back(dim);
  Tensor out = Tensor::Empty(first.dtype(), shape);
  const size_t bytes = first.bytes();
  char* to = static_cast<char*>(out.raw());
  for (size_t i = 0; bytes && i < parts.size(); ++i) {
    std::memcpy(to + i * bytes, parts[i]->raw(), bytes);
  }
  return nb::cast(std::move(out));
}

// What lies at each index of the first dimension, in the same memory.
std::vector<Tensor> Rows(const Tensor& t) {
  TK_REQUIRE(t.is_tensor() && t.rank() > 0, ErrorKind::kShape, "rows: a dimension is required");
  const Shape shape(t.shape().begin() + 1, static_cast<size_t>(t.rank() - 1));
  const size_t bytes = static_cast<size_t>(shape.Count()) * ItemSize(t.dtype());
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < t.dim(0); ++i) {
    rows.emplace_back(t.dtype(), shape, static_cast<char*>(t.raw()) + i * bytes, t.buffer());
  }
  return rows;
}

template <class Framework>
auto ToArray(const Tensor& t) {
  auto* owner = new Tensor(t);
  nb::capsule capsule(owner, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  TK_REQUIRE(Contains(kFixedSize, t.dtype()), ErrorKind::kDType,
             "array: a numeric or bool tensor is required, got ", Name(t.dtype()));
  size_t shape[kMaxRank];
  for (int i = 0; i < t.rank(); ++i) shape[i] = static_cast<size_t>(t.dim(i));
  // What numpy lacks leaves as its bits; the Python side views them as a type of ml_dtypes.
  DType as = t.dtype();
  if (Contains(kNarrow, as)) as = DType::kUInt8;
  if (std::is_same_v<Framework, nb::numpy> && as == DType::kBFloat16) as = DType::kUInt16;
  return nb::ndarray<Framework>(t.raw(), static_cast<size_t>(t.rank()), shape, capsule, nullptr,
                                ToDlpack(as));
}

// str or bytes; other bytes than UTF-8 are kept as they are.
Tensor FromStrings(nb::sequence items, const std::vector<int64_t>& dims) {
  const Shape shape(dims.data(), dims.size());
  TK_REQUIRE(static_cast<size_t>(shape.Count()) == nb::len(items), ErrorKind::kShape,
             "strings: ", shape.Count(), " are required, got ", nb::len(items));
  StringTable::Global().CollectIfLarge();
  Tensor t = Tensor::Empty(DType::kString, shape);
  uint64_t* out = t.data<uint64_t>();
  StringMaker make;
  for (nb::handle item : items) {
    Py_ssize_t size = 0;
    const char* text = nullptr;
    if (PyBytes_Check(item.ptr())) {
      text = PyBytes_AS_STRING(item.ptr());
      size = PyBytes_GET_SIZE(item.ptr());
    } else if (!PyUnicode_Check(item.ptr()) ||
               !(text = PyUnicode_AsUTF8AndSize(item.ptr(), &size))) {
      PyErr_Clear();
      Fail(ErrorKind::kDType, "strings: str or bytes are required, got ",
           Py_TYPE(item.ptr())->tp_name);
    }
    *out++ = make(std::string_view(text, static_cast<size_t>(size)));
  }
  return t;
}

nb::list ToStrings(const Tensor& t) {
  TK_REQUIRE(t.dtype() == DType::kString, ErrorKind::kDType,
             "strings: a tensor of strings is required, got ", Name(t.dtype()));
  nb::list items;
  for (int64_t i = 0; i < t.size(); ++i) {
    const std::string& s = StringTable::Get(t.data<uint64_t>()[i]);
    items.append(nb::steal(
        PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "surrogateescape")));
  }
  return items;
}

Tensor FromItems(const std::vector<Tensor>& items) {
  std::vector<Tensor> owned;
  for (const Tensor& t : items) owned.push_back(t.buffer() ? t : t.Clone());
  return Tensor::Sequence(std::move(owned));
}

nb::tuple ShapeTuple(const Tensor& t) {
  nb::object tuple = nb::steal(PyTuple_New(t.rank()));
  for (int i = 0; i < t.rank(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), i, PyLong_FromLongLong(t.dim(i)));
  return nb::borrow<nb::tuple>(tuple);
}

nb::object Viewed(const Tensor& t, const std::vector<int64_t>& dims) {
  if (dims.size() > kMaxRank) return nb::none();
  Shape shape(dims.data(), dims.size());
  int64_t known = 1;
  int at = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] >= 0 ? __builtin_mul_overflow(known, shape[i], &known) : shape[i] < -1 || at >= 0)
      return nb::none();
    if (shape[i] < 0) at = i;
  }
  const int64_t n = t.size();
  if (at >= 0) {
    if (!known || n % known) return nb::none();
    shape[at] = n / known;
  } else if (known != n) {
    return nb::none();
  }
  return nb::cast(t.Reshaped(shape));
}

int64_t Least(const Tensor& t) {
  TK_REQUIRE(t.dtype() == DType::kInt64, ErrorKind::kDType, "least: int64 is required, got ",
             Name(t.dtype()));
  int64_t least = 0;
  for (const int64_t *x = t.data<int64_t>(), *end = x + t.size(); x != end; ++x)
    least = std::min(least, *x);
  return least;
}

template <class T>
T First(const Tensor& t) {
  return *t.data<T>();
}

nb::object Item(const Tensor& t) {
  TK_REQUIRE(t.size() == 1, ErrorKind::kShape, "a Tensor with ", t.size(),
             " elements cannot be converted to Scalar");
  switch (t.dtype()) {
    case DType::kFloat:
      return nb::float_(static_cast<double>(First<float>(t)));
    case DType::kDouble:
      return nb::float_(First<double>(t));
    case DType::kInt64:
      return nb::int_(First<int64_t>(t));
    case DType::kInt32:
      return nb::int_(First<int32_t>(t));
    case DType::kUInt8:
      return nb::int_(First<uint8_t>(t));
    case DType::kBool:
      return nb::bool_(First<bool>(t));
    default:
      return nb::none();
  }
}

Attributes::Value ToAttribute(nb::handle v) {
  if (nb::isinstance<Tensor>(v)) return nb::cast<Tensor>(v);
  if (nb::isinstance<Program>(v)) return nb::cast<std::shared_ptr<Program>>(v);
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
  try {
    if (strings) return nb::cast<std::vector<std::string>>(list);
    if (floats) return nb::cast<std::vector<double>>(list);
    return nb::cast<std::vector<int64_t>>(list);
  } catch (const std::bad_cast&) {
    Fail(ErrorKind::kInvalidArgument, "attributes: strings alone or numbers alone are required");
  }
}

}  // namespace

Attributes ToAttributes(const nb::dict& dict) {
  Attributes attributes;
  for (auto [name, value] : dict) attributes.Set(nb::cast<std::string>(name), ToAttribute(value));
  return attributes;
}

namespace {

constexpr const char* kErrorClasses[] = {
    "InvalidArgumentError", "ShapeError",       "DTypeError",      "UnsupportedOperatorError",
    "InvalidModelError",    "OutOfBoundsError", "OutOfMemoryError"};

nb::object ErrorClass(const char* name) {
  return nb::module_::import_("toolkit.errors").attr(name);
}

// Throws the core's own error for one of toolkit's, so that the node is named; else returns.
void FailAs(const nb::python_error& e) {
  for (size_t kind = 0; kind < std::size(kErrorClasses); ++kind)
    if (e.matches(ErrorClass(kErrorClasses[kind])))
      Fail(static_cast<ErrorKind>(kind), nb::str(e.value()).c_str());
}

// A kernel written in Python: called with the inputs (None where absent) and the number of outputs,
// it gives the outputs (None where not made).
class PythonKernel : public Kernel {
 public:
  explicit PythonKernel(nb::object run) : run_(run.release().ptr()) {}
  ~PythonKernel() override {
    if (!Py_IsInitialized()) return;
    nb::gil_scoped_acquire gil;
    Py_DECREF(run_);
  }
  void Run(KernelContext& c) const override {
    nb::gil_scoped_acquire gil;
    nb::list inputs;
    for (int i = 0; i < c.num_inputs(); ++i) {
      if (!c.has_input(i)) {
        inputs.append(nb::none());
        continue;
      }
      const Tensor& x = c.input(i);  // Python may keep it longer than the arena does.
      inputs.append(nb::cast(x.buffer() ? x : x.Clone()));
    }
    nb::list outputs;
    try {
      outputs = nb::list(nb::handle(run_)(inputs, c.num_outputs()));
    } catch (const nb::python_error& e) {
      FailAs(e);
      throw;
    }
    TK_REQUIRE(static_cast<int>(nb::len(outputs)) >= c.num_outputs(), ErrorKind::kInvalidArgument,
               c.num_outputs(), " outputs are required, got ", nb::len(outputs));
    for (int i = 0; i < c.num_outputs(); ++i)
      if (!outputs[i].is_none()) c.Give(i, nb::cast<Tensor>(outputs[i]));
  }

 private:
  PyObject* run_;
};

nb::object FromAttribute(const Attributes::Value& value) {
  return std::visit(
      [](const auto& v) -> nb::object {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return nb::steal(
              PyUnicode_DecodeUTF8(v.data(), static_cast<Py_ssize_t>(v.size()), "surrogateescape"));
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          nb::list items;
          for (const std::string& s : v) items.append(FromAttribute(Attributes::Value(s)));
          return items;
        } else {
          return nb::cast(v);
        }
      },
      value);
}

// `factory(attributes)` gives the callable of a PythonKernel.
void AddPythonKernel(const std::string& domain, const std::string& op_type,
                     const std::vector<int>& dtypes, nb::object factory) {
  KernelDef def;
  def.domain = domain;
  def.op_type = op_type;
  def.gives = true;
  def.dtypes = 0;
  for (int t : dtypes) def.dtypes |= Bit(static_cast<DType>(t));
  PyObject* kept = factory.release().ptr();  // Lives as long as the registry: for ever.
  def.create = [kept](const Attributes& attributes) -> std::unique_ptr<Kernel> {
    nb::gil_scoped_acquire gil;
    nb::dict values;
    for (const auto& [name, value] : attributes.all()) values[name.c_str()] = FromAttribute(value);
    try {
      return std::make_unique<PythonKernel>(nb::handle(kept)(values));
    } catch (const nb::python_error& e) {
      FailAs(e);
      throw;
    }
  };
  KernelRegistry::Global().Add(std::move(def));
}

std::vector<Tensor> RunProgram(Program& program, const std::vector<Tensor>& inputs) {
  nb::gil_scoped_release release;
  return program.Run(inputs);
}

nb::list Described(const std::vector<Profile::Value>& values) {
  nb::list list;
  for (const Profile::Value& v : values) {
    if (v.dtype == DType::kUndefined)
      list.append(nb::none());
    else
      list.append(nb::make_tuple(static_cast<int>(v.dtype),
                                 std::vector<int64_t>(v.shape.begin(), v.shape.end()), v.constant));
  }
  return list;
}

nb::dict ProfileOf(Program& program) {
  const Profile profile = program.TakeProfile();
  nb::list nodes, events;
  for (size_t i = 0; i < profile.nodes.size(); ++i) {
    const Instruction& instruction = program.instruction(i);
    const Profile::Node& node = profile.nodes[i];
    nb::dict row;
    row["domain"] = instruction.def->domain;
    row["op_type"] = instruction.def->op_type;
    row["name"] = instruction.name;
    row["seconds"] = node.seconds;
    row["algorithm"] = node.algorithm;
    row["inputs"] = Described(node.inputs);
    row["outputs"] = Described(node.outputs);
    nb::list bodies;
    for (const auto& body : instruction.bodies) bodies.append(ProfileOf(*body));
    row["bodies"] = bodies;
    nodes.append(row);
  }
  for (const Profile::Event& e : profile.events)
    events.append(nb::make_tuple(e.instruction, e.start, e.seconds));
  nb::dict result;
  result["runs"] = profile.runs;
  result["nodes"] = nodes;
  result["events"] = events;
  return result;
}

nb::list Kernels() {
  nb::list rows;
  for (const KernelDef* def : KernelRegistry::Global().All()) {
    nb::list types;
    for (int i = 1; i <= static_cast<int>(kLastElementType); ++i)
      if (Contains(def->dtypes, static_cast<DType>(i))) types.append(Name(static_cast<DType>(i)));
    rows.append(nb::make_tuple(def->domain, def->op_type, types));
  }
  return rows;
}

// An instance, not its class: made here, where the user's line is still on the stack.
void SetError(const char* name, const char* message) {
  const nb::object type = ErrorClass(name);
  PyErr_SetObject(type.ptr(), type(message).ptr());
}

}  // namespace

// Errors of the core become the classes of toolkit.errors.
void Translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const Error& e) {
    SetError(kErrorClasses[static_cast<int>(e.kind())], e.what());
  } catch (const std::bad_alloc&) {
    SetError("OutOfMemoryError", "out of memory: a kernel's working memory could not be allocated");
  }
}

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
      .def_static("zeros",
                  [](int dtype, const std::vector<int64_t>& shape) {
                    Tensor t =
                        Tensor::Empty(static_cast<DType>(dtype), Shape(shape.data(), shape.size()));
                    if (t.bytes()) std::memset(t.raw(), 0, t.bytes());
                    return t;
                  })
      .def_static("from_strings", FromStrings, "items"_a, "shape"_a)
      .def_static("sequence", FromItems, "items"_a)
      .def_static(
          "map", [](const Tensor& k, const Tensor& v) { return Tensor::Map(k.Clone(), v.Clone()); },
          "keys"_a, "values"_a)
      .def_static("stack", Stack, "rows"_a)
      .def("unbound", Rows)
      .def_static("none", &Tensor::None, "An optional without a value.")
      .def("strings", ToStrings)
      .def(
          "items", [](const Tensor& t) { return t.items(); },
          "Of a sequence its items, of a map its keys and its values.")
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
      .def("viewed", Viewed, "`reshaped`, one size may be -1; None where the elements do not fit.")
      .def("least", Least, "The least element of int64, at most 0.")
      .def(
          "part",
          [](const Tensor& t, int64_t start, const std::vector<int64_t>& dims) {
            const Shape shape(dims.data(), dims.size());
            TK_REQUIRE(start >= 0 && start + shape.Count() <= t.size(), ErrorKind::kShape,
                       "part: elements within ", t.size(), " are required, got shape ",
                       shape.ToString(), " from ", start);
            return t.Part(start, shape);
          },
          "start"_a, "shape"_a, "Elements that follow each other, sharing the memory.")
      .def(
          "row",
          [](const Tensor& t, int64_t i) {
            TK_REQUIRE(t.rank() > 0 && i >= 0 && i < t.dim(0), ErrorKind::kIndex,
                       "row: an index of ", t.shape().ToString(), " is required, got ", i);
            const Shape shape(t.shape().begin() + 1, static_cast<size_t>(t.rank() - 1));
            return t.Part(i * shape.Count(), shape);
          },
          "index"_a, "One index of the first dimension, sharing the memory.")
      .def(
          "rows",
          [](const Tensor& t, int64_t begin, int64_t end) {
            TK_REQUIRE(t.rank() > 0 && begin >= 0 && begin <= t.dim(0), ErrorKind::kIndex,
                       "rows: a start within ", t.shape().ToString(), " is required, got ", begin);
            Shape shape = t.shape();
            const int64_t first = begin * shape.Count(1, shape.rank());
            shape[0] = std::max(std::min(end, shape[0]) - begin, int64_t{0});
            return t.Part(first, shape);
          },
          "begin"_a, "end"_a, "Indices [begin, end) of the first dimension, sharing the memory.")
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
      .def_prop_ro(
          "memory",
          [](const Tensor& t) {
            return t.buffer() ? reinterpret_cast<uintptr_t>(t.buffer()->data()) : 0;
          },
          "Where the block begins that its elements lie in; 0: of an arena.")
      .def("item", Item, "The only element; None of a type that Python has not.")
      .def_prop_ro("data_ptr",
                   [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.raw()); });

  BindOp(m);

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
      .def("release", &Program::Release)
      .def("finalize", &Program::Finalize)
      .def("select", &Program::Select, "outputs"_a)
      .def("run", RunProgram)
      .def("state", &Program::state)
      .def_prop_ro("num_instructions", &Program::num_instructions)
      .def_prop_ro("arena_bytes", &Program::arena_bytes)
      .def("enable_profile", &Program::EnableProfile, "on"_a)
      .def("profile", ProfileOf, "What runs cost since enable_profile(True).")
      .def("memory", [](const Program& p) {
        const MemoryReport m = p.Memory();
        nb::dict report;
        report["arena"] = m.arena;
        report["live"] = m.live;
        report["outputs"] = m.outputs;
        report["constants"] = m.constants;
        report["packed"] = m.packed;
        report["states"] = m.states;
        return report;
      });

  BindCall(m);
  BindWatch(m);
  m.def("add_python_kernel", AddPythonKernel, "domain"_a, "op_type"_a, "dtypes"_a, "factory"_a);
  m.attr("SEQUENCE") = static_cast<int>(DType::kSequence);
  m.attr("MAP") = static_cast<int>(DType::kMap);
  m.attr("NONE") = static_cast<int>(DType::kNone);
  m.def("stored_strings", [] { return StringTable::Global().size(); });
  m.def("kernels", Kernels, "(domain, op_type, dtypes) of every kernel.");
  m.def("has_kernel", [](const std::string& domain, const std::string& op_type) {
    return KernelRegistry::Global().Find(domain, op_type) != nullptr;
  });
  m.def(
      "measure_peaks",
      [](int64_t working_set) {
        nb::gil_scoped_release release;
        const Peaks peaks = MeasurePeaks(working_set);
        return std::make_pair(peaks.flops, peaks.bytes);
      },
      "working_set"_a = kBeyondCaches,
      "float32 operations and bytes read of a working set a second, with the present threads.");
  m.def("isa", [] { return IsaName(ActiveIsa()); });
  m.def("autotune", [](bool on) { ConvAutotune::Global().Enable(on); }, "on"_a);
  m.def("autotuned", [] { return ConvAutotune::Global().Choices(); }, "Algorithms by layer.");
  m.def(
      "add_autotuned",
      [](const std::string& layer, const std::string& algorithm) {
        return ConvAutotune::Global().Add(layer, algorithm);
      },
      "layer"_a, "algorithm"_a, "False: there is no such algorithm.");
  m.def("seed_random", SeedRandom, "seed"_a, "Starts the stream of random operators without seed.");
  m.def("get_num_threads", [] { return ThreadPool::Global().num_threads(); });
  m.def("set_num_threads", [](int n) {
    TK_REQUIRE(n >= 1 && n <= 1024, ErrorKind::kInvalidArgument,
               "set_num_threads: a number from 1 to 1024 is required, got ", n);
    nb::gil_scoped_release release;
    ThreadPool::Global().SetNumThreads(n);
  });
}

}  // namespace toolkit
