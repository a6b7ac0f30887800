#include "core/attributes.h"

namespace toolkit {

namespace {
template <class T>
const T& As(const std::string& name, const char* kind, const Attributes::Value& value) {
  const T* held = std::get_if<T>(&value);
  TK_REQUIRE(held, ErrorKind::kInvalidModel, "attribute '", name, "' must be ", kind);
  return *held;
}
}  // namespace

const Attributes::Value* Attributes::Find(const std::string& name) const {
  auto it = values_.find(name);
  return it == values_.end() ? nullptr : &it->second;
}

int64_t Attributes::Int(const std::string& name, int64_t fallback) const {
  const Value* v = Find(name);
  return v ? As<int64_t>(name, "an integer", *v) : fallback;
}

double Attributes::Float(const std::string& name, double fallback) const {
  const Value* v = Find(name);
  if (!v) return fallback;
  if (const int64_t* whole = std::get_if<int64_t>(v)) return static_cast<double>(*whole);
  return As<double>(name, "a float", *v);
}

std::string Attributes::String(const std::string& name, const std::string& fallback) const {
  const Value* v = Find(name);
  return v ? As<std::string>(name, "a string", *v) : fallback;
}

std::vector<int64_t> Attributes::Ints(const std::string& name,
                                      std::vector<int64_t> fallback) const {
  const Value* v = Find(name);
  return v ? As<std::vector<int64_t>>(name, "a list of integers", *v) : fallback;
}

std::vector<double> Attributes::Floats(const std::string& name,
                                       std::vector<double> fallback) const {
  const Value* v = Find(name);
  if (!v) return fallback;
  if (const auto* whole = std::get_if<std::vector<int64_t>>(v))
    return std::vector<double>(whole->begin(), whole->end());
  return As<std::vector<double>>(name, "a list of floats", *v);
}

std::vector<std::string> Attributes::Strings(const std::string& name) const {
  const Value* v = Find(name);
  if (!v) return {};
  if (const auto* empty = std::get_if<std::vector<int64_t>>(v); empty && empty->empty()) return {};
  return As<std::vector<std::string>>(name, "a list of strings", *v);
}

Tensor Attributes::TensorValue(const std::string& name) const {
  const Value* v = Find(name);
  return v ? As<Tensor>(name, "a tensor", *v) : Tensor();
}

std::shared_ptr<Program> Attributes::Graph(const std::string& name) const {
  const Value* v = Find(name);
  TK_REQUIRE(v, ErrorKind::kInvalidModel, "attribute '", name, "' is required, got none");
  return As<std::shared_ptr<Program>>(name, "a graph", *v);
}

}  // namespace toolkit
