// Attributes of a node, as the program builder hands them to a kernel's factory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace toolkit {

class Program;

class Attributes {
 public:
  using Value =
      std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                   std::vector<std::string>, Tensor, std::shared_ptr<Program>>;

  void Set(const std::string& name, Value value) { values_[name] = std::move(value); }
  bool Has(const std::string& name) const { return values_.count(name) != 0; }

  // Each returns the default when the attribute is absent and fails when it has another type.
  int64_t Int(const std::string& name, int64_t fallback) const;
  double Float(const std::string& name, double fallback) const;
  std::string String(const std::string& name, const std::string& fallback) const;
  std::vector<int64_t> Ints(const std::string& name, std::vector<int64_t> fallback = {}) const;
  std::vector<double> Floats(const std::string& name, std::vector<double> fallback = {}) const;
  std::vector<std::string> Strings(const std::string& name) const;
  Tensor TensorValue(const std::string& name) const;              // Undefined when absent.
  std::shared_ptr<Program> Graph(const std::string& name) const;  // Required.

  const std::map<std::string, Value>& all() const { return values_; }

 private:
  const Value* Find(const std::string& name) const;
  std::map<std::string, Value> values_;
};

}  // namespace toolkit
