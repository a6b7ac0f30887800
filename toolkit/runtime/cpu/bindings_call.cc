// A program called with numpy arrays of declared types: a whole run without the interpreter.
// Absent: conversions and messages. What is not as declared is declined, and Python looks at it.
#include "bindings_call.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "core/program.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace toolkit {
namespace {

// Memory of an output, as the base of the array that shows it.
struct Memory {
  Tensor tensor;
};

int GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  const Tensor& t = nb::inst_ptr<Memory>(self)->tensor;
  return PyBuffer_FillInfo(view, self, t.raw(), static_cast<Py_ssize_t>(t.bytes()), 0, flags);
}

PyType_Slot kMemorySlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(GetBuffer)}, {0, nullptr}};

// The buffer of an array for as long as a run reads it.
class Borrowed {
 public:
  Borrowed() = default;
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  ~Borrowed() {
    if (view_.obj) PyBuffer_Release(&view_);
  }
  // False where the array is not contiguous or numpy has no format for its elements.
  bool Take(PyObject* array) {
    if (PyObject_GetBuffer(array, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0) return true;
    PyErr_Clear();
    view_.obj = nullptr;
    return false;
  }
  const Py_buffer& view() const { return view_; }

 private:
  Py_buffer view_{};
};

bool Holds(const Py_buffer& view, DType t) {
  const char* format = view.format ? view.format : "B";
  if (static_cast<size_t>(view.itemsize) != ItemSize(t)) return false;
  if (format[0] == 'Z') return Contains(kComplexes, t);
  if (!format[0] || format[1]) return false;  // Of another byte order, or a record.
  if (format[0] == '?') return t == DType::kBool;
  if (std::strchr("efd", format[0])) return Contains(kFloats | Bit(DType::kFloat16), t);
  if (std::strchr("bhilq", format[0])) return Contains(kSignedInts, t);
  return std::strchr("BHILQ", format[0]) && Contains(kUnsignedInts, t);
}

struct Declared {
  nb::object name;
  DType dtype;
  bool any_shape;
  std::vector<int64_t> dims;  // -1: any.

  bool Fits(const Py_buffer& view) const {
    if (!Holds(view, dtype) || view.ndim > kMaxRank) return false;
    if (any_shape) return true;
    if (static_cast<size_t>(view.ndim) != dims.size()) return false;
    for (int i = 0; i < view.ndim; ++i)
      if (dims[i] >= 0 && dims[i] != view.shape[i]) return false;
    return true;
  }
};

class Call {
 public:
  // `inputs`: (name, element type, dimensions or None) each; `dtypes`: numpy's by ONNX's number;
  // `convert`: gives what numpy has no element type for.
  Call(std::shared_ptr<Program> program, nb::sequence inputs, nb::dict dtypes, nb::object convert)
      : program_(std::move(program)),
        convert_(std::move(convert)),
        ndarray_(nb::module_::import_("numpy").attr("ndarray")),
        dtypes_(static_cast<size_t>(kLastElementType) + 1) {
    for (nb::handle input : inputs) {
      PyObject* name = nb::cast<nb::str>(input[0]).release().ptr();
      PyUnicode_InternInPlace(&name);
      const nb::object dims = input[2];
      inputs_.push_back(
          {nb::steal(name), static_cast<DType>(nb::cast<int>(input[1])), dims.is_none(), {}});
      if (!dims.is_none()) inputs_.back().dims = nb::cast<std::vector<int64_t>>(dims);
    }
    for (auto [number, dtype] : dtypes) dtypes_.at(nb::cast<size_t>(number)) = nb::borrow(dtype);
  }

  // The outputs, or None for a feed that is not of exactly these inputs as plain arrays.
  nb::object Run(nb::handle feed) const {
    const size_t count = inputs_.size();
    if (!PyDict_CheckExact(feed.ptr()) ||
        PyDict_GET_SIZE(feed.ptr()) != static_cast<Py_ssize_t>(count))
      return nb::none();
    std::vector<Borrowed> arrays(count);
    std::vector<Tensor> values(count);
    for (size_t i = 0; i < count; ++i) {
      const Declared& declared = inputs_[i];
      PyObject* value = PyDict_GetItemWithError(feed.ptr(), declared.name.ptr());
      if (!value) {
        PyErr_Clear();
        return nb::none();
      }
      if (reinterpret_cast<PyObject*>(Py_TYPE(value)) != ndarray_.ptr() || !arrays[i].Take(value) ||
          !declared.Fits(arrays[i].view()))
        return nb::none();
      const Py_buffer& view = arrays[i].view();
      Shape shape;
      for (int d = 0; d < view.ndim; ++d) shape.push_back(view.shape[d]);
      values[i] = Tensor(declared.dtype, shape, view.buf);  // As a value in an arena: not owned.
    }
    std::vector<Tensor> outputs;
    {
      nb::gil_scoped_release release;
      outputs = program_->Run(values.data(), count);
    }
    nb::object results = nb::steal(PyList_New(static_cast<Py_ssize_t>(outputs.size())));
    for (size_t i = 0; i < outputs.size(); ++i)
      PyList_SET_ITEM(results.ptr(), static_cast<Py_ssize_t>(i),
                      ToPython(std::move(outputs[i])).release().ptr());
    return results;
  }

 private:
  nb::object ToPython(Tensor value) const {
    const size_t number = static_cast<size_t>(value.dtype());
    if (number >= dtypes_.size() || !dtypes_[number].is_valid())
      return convert_(nb::cast(std::move(value)));
    nb::object shape = nb::steal(PyTuple_New(value.rank()));
    for (int i = 0; i < value.rank(); ++i)
      PyTuple_SET_ITEM(shape.ptr(), i, PyLong_FromLongLong(value.dim(i)));
    return ndarray_(shape, dtypes_[number], nb::cast(Memory{std::move(value)}));
  }

  std::shared_ptr<Program> program_;
  nb::object convert_, ndarray_;
  std::vector<Declared> inputs_;
  std::vector<nb::object> dtypes_;  // By the number of the element type.
};

}  // namespace

void BindCall(nb::module_& m) {
  nb::class_<Memory>(m, "Memory", "What an output array lies in.", nb::type_slots(kMemorySlots));
  nb::class_<Call>(m, "Call", "A program called with a dict of numpy arrays.")
      .def(nb::init<std::shared_ptr<Program>, nb::sequence, nb::dict, nb::object>(), "program"_a,
           "inputs"_a, "dtypes"_a, "convert"_a)
      .def("__call__", &Call::Run, "feed"_a,
           "The outputs, or None for other than exactly these inputs as plain arrays.");
}

}  // namespace toolkit
