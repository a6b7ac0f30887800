// Conversions between strings and numbers, by the C++ library's exact ones.
#include <charconv>
#include <cmath>
#include <string_view>
#include <vector>

#include "core/strings.h"
#include "kernels/convert.h"

namespace toolkit {

namespace {

// Lower case, without white space around it and without a plus sign.
std::string Normalized(const std::string& text) {
  const char* kSpace = " \t\n\r\f\v";
  size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return {};
  const size_t end = text.find_last_not_of(kSpace) + 1;
  if (text[begin] == '+' && begin + 1 < end && text[begin + 1] != '-') ++begin;
  std::string s = text.substr(begin, end - begin);
  for (char& c : s)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return s;
}

[[noreturn]] void FailText(const std::string& text, DType to) {
  Fail(ErrorKind::kInvalidArgument, "a string that spells a number is required to make ", Name(to),
       ", got '", text.substr(0, 80), "'");
}

// Whether a number that no float can hold is too large rather than too small.
bool IsLarge(std::string_view s) {
  if (!s.empty() && s[0] == '-') s.remove_prefix(1);
  const size_t e = s.find('e'), end = std::min(e, s.size());
  int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view digits = s.substr(e + 1);
    if (!digits.empty() && digits[0] == '+') digits.remove_prefix(1);
    const auto [at, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    if (error == std::errc::result_out_of_range) return digits[0] != '-';
  }
  const size_t point = std::min(s.find('.'), end);
  const size_t first = s.find_first_not_of("0.");
  if (first == std::string_view::npos || first >= end) return false;
  const int64_t magnitude = static_cast<int64_t>(point) - static_cast<int64_t>(first);
  return static_cast<double>(magnitude) + static_cast<double>(exponent) > 0;
}

template <class T>
T ParseFloat(const std::string& text, DType to) {
  const std::string s = Normalized(text);
  if (s == "nan" || s == "-nan") return std::nan("");
  if (s == "inf" || s == "infinity") return static_cast<T>(INFINITY);
  if (s == "-inf" || s == "-infinity") return -static_cast<T>(INFINITY);
  T value = 0;
  const auto [at, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error == std::errc::invalid_argument || at != s.data() + s.size()) FailText(text, to);
  if (error == std::errc::result_out_of_range) {
    value = IsLarge(s) ? static_cast<T>(INFINITY) : T(0);
    if (s[0] == '-') value = -value;
  }
  return value;
}

bool ParseBool(const std::string& text) {
  const std::string s = Normalized(text);
  if (s == "true" || s == "false") return s == "true";
  return ParseFloat<double>(text, DType::kBool) != 0;
}

// Whole numbers exactly; others lose their fraction, and saturate.
template <class T>
T ParseInt(const std::string& text, DType to) {
  const std::string s = Normalized(text);
  T value = 0;
  const auto [at, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error == std::errc() && at == s.data() + s.size()) return value;
  const double x = ParseFloat<double>(text, to);
  T y;
  CastFunctions().fn[static_cast<int>(Element::kF64)]
                    [static_cast<int>(ElementOf(DTypeOf<T>::kValue))](&y, &x, 1, nullptr);
  return y;
}

template <class T, class Parse>
std::vector<T> ParseAll(const Tensor& x, Parse parse) {
  std::vector<T> values(static_cast<size_t>(x.size()));
  for (int64_t i = 0; i < x.size(); ++i)
    values[static_cast<size_t>(i)] = parse(StringTable::Get(x.data<uint64_t>()[i]));
  return values;
}

// Into the type by way of another that holds every value.
template <class T>
void Store(const std::vector<T>& values, const Shape& shape, Rounding rounding, const Tensor& y) {
  const Tensor x(DTypeOf<T>::kValue, shape, const_cast<T*>(values.data()));
  Conversion(x.dtype(), y.dtype(), rounding).Run(ThreadPool::Global(), x, y);
}

// Digits that lead back to the same number, as numpy spells them: "0.0001", "1e-05", "1.0",
// "1e+16".
template <class T>
std::string SpellFloat(T x) {
  if (x != x) return "NaN";
  if (std::isinf(x)) return x < 0 ? "-INF" : "INF";
  const double magnitude = std::fabs(static_cast<double>(x));
  if (magnitude == 0) return std::signbit(x) ? "-0.0" : "0.0";
  const bool plain = magnitude >= 1e-4 && magnitude < 1e16;
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), x,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string s(text, end.ptr);
  if (plain && s.find('.') == std::string::npos) s += ".0";
  return s;
}

template <class T>
std::string Spell(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return SpellFloat(x);
  } else {
    char text[24];
    return std::string(text, std::to_chars(text, text + sizeof(text), +x).ptr);
  }
}

// float16: its shortest spelling is searched for, since the library knows float only.
std::string SpellShort(float x, UnaryFn encode, UnaryFn decode) {
  for (int digits = 1; digits < 9 && std::isfinite(x) && x != std::floor(x); ++digits) {
    char text[64];
    const auto end =
        std::to_chars(text, text + sizeof(text), x, std::chars_format::scientific, digits - 1);
    float value = 0, back = 0;
    uint16_t code = 0;
    std::from_chars(text, end.ptr, value);
    encode(&code, &value, 1, nullptr);
    decode(&back, &code, 1, nullptr);
    if (back == x) return SpellFloat(value);
  }
  return SpellFloat(x);
}

}  // namespace

void CastFromStrings(const Tensor& x, Rounding rounding, const Tensor& y) {
  const DType to = y.dtype();
  if (to == DType::kBool) {
    for (int64_t i = 0; i < x.size(); ++i)
      y.data<bool>()[i] = ParseBool(StringTable::Get(x.data<uint64_t>()[i]));
    return;
  }
  const Stored stored = WriteAs(to);
  if (!stored.fn) {
    DispatchNumbers(to, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < x.size(); ++i) {
        const std::string& text = StringTable::Get(x.data<uint64_t>()[i]);
        if constexpr (std::is_floating_point_v<T>)
          y.data<T>()[i] = ParseFloat<T>(text, to);
        else
          y.data<T>()[i] = ParseInt<T>(text, to);
      }
    });
    return;
  }
  if (stored.element == Element::kF32)
    Store(ParseAll<double>(x, [&](const std::string& s) { return ParseFloat<double>(s, to); }),
          x.shape(), rounding, y);
  else
    Store(ParseAll<int64_t>(x, [&](const std::string& s) { return ParseInt<int64_t>(s, to); }),
          x.shape(), rounding, y);
}

void CastToStrings(ThreadPool& pool, const Tensor& x, const Tensor& y) {
  StringMaker make;
  uint64_t* out = y.data<uint64_t>();
  const DType from = x.dtype();
  if (from == DType::kBool) {
    for (int64_t i = 0; i < x.size(); ++i) out[i] = make(x.data<bool>()[i] ? "True" : "False");
    return;
  }
  const Stored stored = ReadAs(from, false);
  if (!stored.fn) {
    DispatchNumbers(from, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < x.size(); ++i) out[i] = make(Spell(x.data<T>()[i]));
    });
  } else if (stored.element == Element::kF32) {
    const bool half = from == DType::kFloat16;
    std::vector<float> values(static_cast<size_t>(x.size()));
    stored.fn(values.data(), x.raw(), x.size(), nullptr);
    for (size_t i = 0; i < values.size(); ++i)
      out[i] =
          make(half ? SpellShort(values[i], WriteAs(from).fn, stored.fn) : SpellFloat(values[i]));
  } else {
    const Tensor wide = Tensor::Empty(DType::kInt8, x.shape());
    Conversion(from, DType::kInt8, {}).Run(pool, x, wide);
    for (int64_t i = 0; i < x.size(); ++i) out[i] = make(Spell(wide.data<int8_t>()[i]));
  }
}

}  // namespace toolkit
