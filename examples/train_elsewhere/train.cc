// Trains an exported step with onnxruntime: train FOLDER DATA STEPS.
#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>

template <typename T>
std::vector<T> Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const T* data = reinterpret_cast<const T*>(bytes.data());
  return {data, data + bytes.size() / sizeof(T)};
}

int main(int, char** argv) {
  const std::string folder = argv[1], data = argv[2];
  const int steps = std::stoi(argv[3]);
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR);
  Ort::Session session(env, (folder + "/step.onnx").c_str(), Ort::SessionOptions());
  std::vector<std::string> outputs, inputs = {"x", "target", "lr"};
  for (size_t i = 0; i < session.GetOutputCount(); ++i)
    outputs.push_back(session.GetOutputNameAllocated(i, Ort::AllocatorWithDefaultOptions()).get());
  const size_t first = outputs.size() - session.GetOverridableInitializerCount();
  for (size_t i = first; i < outputs.size(); ++i)  // "<state>.next" is the next value of "<state>".
    inputs.push_back(outputs[i].substr(0, outputs[i].size() - 5));
  std::vector<const char*> in, out;
  for (const auto& name : inputs) in.push_back(name.c_str());
  for (const auto& name : outputs) out.push_back(name.c_str());

  auto x = Read<float>(data + "/x.bin");
  auto y = Read<int64_t>(data + "/y.bin");
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const int64_t image[] = {64, 1, 8, 8}, label[] = {64};
  std::vector<Ort::Value> states;  // The first call takes the initial values that step.onnx holds.
  for (int i = 0; i < steps; ++i) {
    const size_t at = 64 * i % y.size();
    float rate = 1e-2 * 0.5 * (1 + std::cos(M_PI * i / steps));
    std::vector<Ort::Value> feed;
    feed.push_back(Ort::Value::CreateTensor<float>(memory, &x[64 * at], 64 * 64, image, 4));
    feed.push_back(Ort::Value::CreateTensor<int64_t>(memory, &y[at], 64, label, 1));
    feed.push_back(Ort::Value::CreateTensor<float>(memory, &rate, 1, nullptr, 0));
    for (auto& state : states) feed.push_back(std::move(state));
    auto results = session.Run({}, in.data(), feed.data(), feed.size(), out.data(), out.size());
    std::printf("%.6f\n", *results[0].GetTensorData<float>());
    states.assign(std::make_move_iterator(results.begin() + first),
                  std::make_move_iterator(results.end()));
  }
  std::ofstream trained(folder + "/trained.bin", std::ios::binary);
  for (const auto& state : states) {
    const auto info = state.GetTensorTypeAndShapeInfo();
    const bool narrow = info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    trained.write(static_cast<const char*>(state.GetTensorRawData()),
                  info.GetElementCount() * (narrow ? 4 : 8));  // Else a 64-bit integer.
  }
}
