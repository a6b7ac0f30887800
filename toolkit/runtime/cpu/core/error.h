// The one error type that the core throws; bindings.cc translates it to Python.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace toolkit {

enum class ErrorKind {
  kInvalidArgument,
  kShape,
  kDType,
  kUnsupported,
  kInvalidModel,
  kIndex,
  kMemory
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <class... Parts>
[[noreturn]] void Fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(kind, text.str());
}

// Messages follow "what is required, got what. Hint."; the executor puts the node in front.
#define TK_REQUIRE(condition, kind, ...)  \
  do {                                    \
    if (!(condition)) [[unlikely]]        \
      ::toolkit::Fail(kind, __VA_ARGS__); \
  } while (0)

}  // namespace toolkit
