// Runs single kernels for another process: reads calls from standard input, writes their results to
// standard output. For instruction sets of machines that Python does not run on (`make neon`).
//
// Numbers are little-endian int64, strings and arrays have their length before them. A call is
// domain, op_type, attributes, inputs, the number of outputs, and whether inputs after the first
// are constants, for which a kernel packs a copy. An answer is an error's number + 1 and its text,
// or 0 and the outputs.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/isa.h"
#include "core/kernel.h"
#include "core/strings.h"

namespace toolkit {
namespace {

void ReadBytes(void* to, size_t bytes) {
  if (bytes && std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);
}
void WriteBytes(const void* from, size_t bytes) { std::fwrite(from, 1, bytes, stdout); }

int64_t ReadInt() {
  int64_t value;
  ReadBytes(&value, sizeof(value));
  return value;
}
void WriteInt(int64_t value) { WriteBytes(&value, sizeof(value)); }

std::string ReadString() {
  std::string text(static_cast<size_t>(ReadInt()), '\0');
  ReadBytes(text.data(), text.size());
  return text;
}
void WriteString(const std::string& text) {
  WriteInt(static_cast<int64_t>(text.size()));
  WriteBytes(text.data(), text.size());
}

template <class T>
std::vector<T> ReadNumbers() {
  std::vector<T> values(static_cast<size_t>(ReadInt()));
  ReadBytes(values.data(), values.size() * sizeof(T));
  return values;
}

Tensor ReadTensor() {
  const auto dtype = static_cast<DType>(ReadInt());
  const std::vector<int64_t> dims = ReadNumbers<int64_t>();
  Tensor t = Tensor::Empty(dtype, Shape(dims.data(), dims.size()));
  if (dtype == DType::kString) {
    StringMaker make;
    for (int64_t i = 0; i < t.size(); ++i) t.data<uint64_t>()[i] = make(ReadString());
  } else {
    ReadBytes(t.raw(), t.bytes());
  }
  return t;
}
void WriteTensor(const Tensor& t) {
  WriteInt(static_cast<int64_t>(t.dtype()));
  WriteInt(t.rank());
  for (int64_t dim : t.shape()) WriteInt(dim);
  if (t.dtype() != DType::kString) return WriteBytes(t.raw(), t.bytes());
  for (int64_t i = 0; i < t.size(); ++i) WriteString(StringTable::Get(t.data<uint64_t>()[i]));
}

Attributes::Value ReadAttribute() {
  switch (ReadInt()) {
    case 0:
      return ReadInt();
    case 1: {
      double value;
      ReadBytes(&value, sizeof(value));
      return value;
    }
    case 2:
      return ReadString();
    case 3:
      return ReadNumbers<int64_t>();
    case 4:
      return ReadNumbers<double>();
    case 5: {
      std::vector<std::string> texts(static_cast<size_t>(ReadInt()));
      for (std::string& text : texts) text = ReadString();
      return texts;
    }
    default:
      return ReadTensor();
  }
}

struct Call {
  std::string domain, op_type;
  Attributes attributes;
  std::vector<Tensor> inputs;  // Undefined where absent.
  int outputs;
  bool constants;
};

Call Read() {
  Call call;
  call.domain = ReadString();
  call.op_type = ReadString();
  for (int64_t n = ReadInt(); n > 0; --n) {
    const std::string name = ReadString();
    call.attributes.Set(name, ReadAttribute());
  }
  for (int64_t n = ReadInt(); n > 0; --n)
    call.inputs.push_back(ReadInt() ? ReadTensor() : Tensor());
  call.outputs = static_cast<int>(ReadInt());
  call.constants = ReadInt() != 0;
  return call;
}

std::vector<Tensor> Run(const Call& call) {
  const KernelDef* def = KernelRegistry::Global().Find(call.domain, call.op_type);
  TK_REQUIRE(def, ErrorKind::kUnsupported, call.op_type, ": no CPU kernel");
  const std::unique_ptr<Kernel> kernel = def->create(call.attributes);
  std::vector<const Tensor*> inputs;
  for (const Tensor& t : call.inputs) inputs.push_back(t.defined() ? &t : nullptr);
  for (size_t i = 1; call.constants && i < inputs.size(); ++i)
    if (inputs[i]) kernel->Prepack(static_cast<int>(i), *inputs[i]);
  return RunKernel(*def, *kernel, inputs, call.outputs);
}

void Answer(const Call& call) {
  try {
    const std::vector<Tensor> outputs = Run(call);
    bool tensors = true;
    for (const Tensor& t : outputs) tensors &= t.is_tensor();
    WriteInt(tensors ? 0 : -1);
    for (const Tensor& t : outputs) {
      if (!tensors) break;
      WriteInt(t.defined());
      if (t.defined()) WriteTensor(t);
    }
  } catch (const Error& e) {
    WriteInt(static_cast<int64_t>(e.kind()) + 1);
    WriteString(call.op_type + ": " + e.what());
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace toolkit

int main() {
  toolkit::WriteString(toolkit::IsaName(toolkit::ActiveIsa()));
  std::fflush(stdout);
  for (;;) toolkit::Answer(toolkit::Read());
}
