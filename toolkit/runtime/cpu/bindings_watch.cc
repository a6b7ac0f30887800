// Whether Python objects still hold what they held: the guards of compiled functions, at each call.
#include "bindings_watch.h"

#include "core/tensor.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace toolkit {
namespace {

// Entries are tuples: (kind, object, what it held ...).
enum Kind { kValues, kItems, kList, kSet, kCell, kName, kTensor };

bool HoldsValues(PyObject* dict, PyObject* keys, PyObject* values) {
  if (PyDict_GET_SIZE(dict) != PyTuple_GET_SIZE(values)) return false;
  PyObject *key, *value;
  Py_ssize_t at = 0;
  for (Py_ssize_t i = 0; PyDict_Next(dict, &at, &key, &value); ++i) {
    if (value != PyTuple_GET_ITEM(values, i)) return false;
    if (keys && key != PyTuple_GET_ITEM(keys, i)) return false;
  }
  return true;
}

bool HoldsItems(PyObject* list, PyObject* items) {
  const Py_ssize_t n = PyTuple_GET_SIZE(items);
  if (PyList_GET_SIZE(list) != n) return false;
  for (Py_ssize_t i = 0; i < n; ++i)
    if (PyList_GET_ITEM(list, i) != PyTuple_GET_ITEM(items, i)) return false;
  return true;
}

bool HoldsMembers(PyObject* set, PyObject* items) {
  const Py_ssize_t n = PyTuple_GET_SIZE(items);
  if (PySet_GET_SIZE(set) != n) return false;
  if (n == 0) return true;
  Py_ssize_t i = 0;
  for (nb::handle item : nb::handle(set))
    if (item.ptr() != PyTuple_GET_ITEM(items, i++)) return false;
  return true;
}

bool HoldsName(PyObject* dict, PyObject* name, PyObject* value) {
  PyObject* found = PyDict_GetItemWithError(dict, name);
  if (!found && PyErr_Occurred()) throw nb::python_error();
  return (found ? found : Py_None) == value;
}

// The element type and the shape of a tensor's value.
bool HasForm(nb::handle tensor, nb::handle code, nb::handle shape) {
  static const nb::object* name = new nb::object(nb::steal(PyUnicode_InternFromString("_value")));
  const nb::object value = nb::steal(PyObject_GetAttr(tensor.ptr(), name->ptr()));
  if (!value.is_valid()) throw nb::python_error();
  const Tensor* t = nullptr;
  if (!nb::try_cast(value, t) || !t) return false;
  if (static_cast<long>(t->dtype()) != PyLong_AsLong(code.ptr()) ||
      t->rank() != PyTuple_GET_SIZE(shape.ptr()))
    return false;
  for (int i = 0; i < t->rank(); ++i)
    if (t->dim(i) != PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), i))) return false;
  return true;
}

// Whether an entry has the parts of its kind.
bool IsEntry(PyObject* entry) {
  if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) < 3) return false;
  const auto part = [&](Py_ssize_t i) { return PyTuple_GET_ITEM(entry, i); };
  const bool four = PyTuple_GET_SIZE(entry) > 3;
  switch (PyLong_Check(part(0)) ? PyLong_AsLong(part(0)) : -1) {
    case kValues:
      return PyDict_Check(part(1)) && PyTuple_Check(part(2));
    case kItems:
      return PyDict_Check(part(1)) && PyTuple_Check(part(2)) && four && PyTuple_Check(part(3)) &&
             PyTuple_GET_SIZE(part(2)) == PyTuple_GET_SIZE(part(3));
    case kList:
      return PyList_Check(part(1)) && PyTuple_Check(part(2));
    case kSet:
      return PyAnySet_Check(part(1)) && PyTuple_Check(part(2));
    case kCell:
      return PyCell_Check(part(1));
    case kName:
      return PyDict_Check(part(1)) && four;
    case kTensor:
      return four && PyTuple_Check(part(3));
    default:
      return false;
  }
}

bool Holds(PyObject* entry) {
  if (!IsEntry(entry)) throw nb::type_error("unchanged: entries of the known kinds are required.");
  const auto part = [&](Py_ssize_t i) { return PyTuple_GET_ITEM(entry, i); };
  switch (PyLong_AsLong(part(0))) {
    case kValues:
      return HoldsValues(part(1), nullptr, part(2));
    case kItems:
      return HoldsValues(part(1), part(2), part(3));
    case kList:
      return HoldsItems(part(1), part(2));
    case kSet:
      return HoldsMembers(part(1), part(2));
    case kCell:
      return PyCell_GET(part(1)) == part(2);
    case kName:
      return HoldsName(part(1), part(2), part(3));
    default:
      return HasForm(part(1), part(2), part(3));
  }
}

bool Unchanged(const nb::list& entries) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(entries.ptr()); ++i)
    if (!Holds(PyList_GET_ITEM(entries.ptr(), i))) return false;
  return true;
}

}  // namespace

void BindWatch(nb::module_& m) {
  m.attr("HOLDS_VALUES") = static_cast<int>(kValues);
  m.attr("HOLDS_ITEMS") = static_cast<int>(kItems);
  m.attr("HOLDS_LIST") = static_cast<int>(kList);
  m.attr("HOLDS_SET") = static_cast<int>(kSet);
  m.attr("HOLDS_CELL") = static_cast<int>(kCell);
  m.attr("HOLDS_NAME") = static_cast<int>(kName);
  m.attr("HAS_FORM") = static_cast<int>(kTensor);
  m.def("unchanged", Unchanged, "entries"_a,
        "Whether each object holds the very objects that its entry names.");
}

}  // namespace toolkit
