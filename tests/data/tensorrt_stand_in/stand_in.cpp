// Stands for TensorRT's library in tests: an engine of two inputs (N, W) and two outputs (N, W), listed
// in another order than the manifest has them. sum is their sum, twice is the first one doubled.
// Its profiles 0, 1 and 2 are for W = 3, 6 and 9. A plan that does not begin as one is refused.

#include "NvInferRuntime.h"
#include "cuda_runtime_api.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

namespace nvinfer1 {

namespace {

char const* const kNames[] = {"twice", "b", "sum", "a"};
Dims shape{2, {-1, 3}};
std::int32_t profile = 0;
std::map<std::string, float*> addresses;
ILogger* log_of = nullptr;

bool is_input(char const* name) { return std::strlen(name) == 1; }

}  // namespace

bool IExecutionContext::setOptimizationProfileAsync(std::int32_t index, cudaStream_t) noexcept {
  profile = index;
  return index >= 0 && index < 3;
}
bool IExecutionContext::setInputShape(char const* name, Dims const& dims) noexcept {
  shape = dims;
  return is_input(name) && dims.nbDims == 2 && dims.d[1] == 3 * (profile + 1);
}
Dims IExecutionContext::getTensorShape(char const*) const noexcept { return shape; }
bool IExecutionContext::setTensorAddress(char const* name, void* address) noexcept {
  addresses[name] = static_cast<float*>(address);
  return true;
}
bool IExecutionContext::enqueueV3(cudaStream_t) noexcept {
  for (std::int32_t at = 0; at < shape.d[0] * shape.d[1]; ++at) {
    addresses["sum"][at] = addresses["a"][at] + addresses["b"][at];
    addresses["twice"][at] = 2 * addresses["a"][at];
  }
  return true;
}

std::int32_t ICudaEngine::getNbIOTensors() const noexcept { return 4; }
char const* ICudaEngine::getIOTensorName(std::int32_t index) const noexcept { return kNames[index]; }
TensorIOMode ICudaEngine::getTensorIOMode(char const* name) const noexcept {
  return is_input(name) ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
}
DataType ICudaEngine::getTensorDataType(char const*) const noexcept { return DataType::kFLOAT; }
IExecutionContext* ICudaEngine::createExecutionContext() noexcept { return new IExecutionContext; }

ICudaEngine* IRuntime::deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
  if (size >= 4 && std::memcmp(blob, "ftrt", 4) == 0) return new ICudaEngine;
  log_of->log(ILogger::Severity::kERROR, "no plan");
  return nullptr;
}

IRuntime* createInferRuntime(ILogger& logger) noexcept {
  log_of = &logger;
  // 8.6.0 ends here with a segmentation fault.
  if (!cuda_has_a_device()) std::abort();
  return new IRuntime;
}

}  // namespace nvinfer1
