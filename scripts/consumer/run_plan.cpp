// Runs a plan of TensorRT once, through TensorRT's C++ API alone.
//
//   run_plan model.engine BATCH OUTPUT_DIRECTORY NAME=input.bin … [NAME:3x48x320 …]
//
// Inputs are raw arrays in C order, of the types that the manifest names; each output is written in
// the same way. NAME:3x48x320 is the size of one sample, where a plan leaves more open than the batch.
// Exit codes: 0 done, 1 TensorRT or CUDA failed, 2 wrong usage or input.

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <fstream>
#include <iostream>
#include <map>
#include <memory>

#include "manifest.hpp"
#include "profiles.hpp"

namespace {

using consumer::Manifest;
using consumer::Tensor;
using consumer::UsageError;

// TensorRT gives reasons in its log alone.
class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity <= Severity::kWARNING) std::cerr << "TensorRT: " << message << "\n";
  }
};

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

void check(bool is_done, const std::string& what) {
  if (!is_done) throw std::runtime_error(what);
}

// Memory of the GPU.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {
    check(cudaMalloc(&address_, std::max<std::size_t>(bytes, 1)), "cudaMalloc");
  }
  ~Buffer() { cudaFree(address_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* address() const { return address_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* address_ = nullptr;
  std::size_t bytes_;
};

class Stream {
 public:
  Stream() { check(cudaStreamCreate(&handle_), "cudaStreamCreate"); }
  ~Stream() { cudaStreamDestroy(handle_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t handle() const { return handle_; }

 private:
  cudaStream_t handle_ = nullptr;
};

std::string name_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT: return "float32";
    case nvinfer1::DataType::kHALF: return "float16";
    case nvinfer1::DataType::kINT8: return "int8";
    case nvinfer1::DataType::kINT32: return "int32";
    case nvinfer1::DataType::kBOOL: return "bool";
    case nvinfer1::DataType::kUINT8: return "uint8";
    // kINT64 and others came with TensorRT 10; a tensor of theirs is refused by its name.
    default: return "another type";
  }
}

// TensorRT lists inputs and outputs in an order of its own: they are matched by name.
void check_names(const nvinfer1::ICudaEngine& engine, const Manifest& manifest) {
  const std::size_t expected = manifest.inputs.size() + manifest.outputs.size();
  if (static_cast<std::size_t>(engine.getNbIOTensors()) != expected) {
    throw UsageError("The engine has other inputs and outputs than its manifest says.");
  }
  for (std::int32_t at = 0; at < engine.getNbIOTensors(); ++at) {
    const char* name = engine.getIOTensorName(at);
    const bool is_input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    const Tensor& told = consumer::find_tensor(is_input ? manifest.inputs : manifest.outputs, name);
    const std::string dtype = name_of(engine.getTensorDataType(name));
    if (dtype != told.dtype) {
      throw UsageError("'" + told.name + "' is " + dtype + " in the engine, and " + told.dtype +
                       " in its manifest.");
    }
  }
}

nvinfer1::Dims dims_of(const std::vector<std::int64_t>& shape) {
  nvinfer1::Dims dims{};
  if (shape.size() > static_cast<std::size_t>(nvinfer1::Dims::MAX_DIMS)) {
    throw UsageError("A shape has more dimensions than TensorRT takes.");
  }
  dims.nbDims = static_cast<std::int32_t>(shape.size());
  // 32 bits in TensorRT 8.6, 64 from 10 on.
  using Dim = std::remove_reference_t<decltype(dims.d[0])>;
  for (std::size_t at = 0; at < shape.size(); ++at) dims.d[at] = static_cast<Dim>(shape[at]);
  return dims;
}

std::size_t count_of(const nvinfer1::Dims& dims, const std::string& name) {
  std::size_t count = 1;
  for (std::int32_t at = 0; at < dims.nbDims; ++at) {
    check(dims.d[at] >= 0, "TensorRT does not tell the shape of '" + name + "'.");
    count *= static_cast<std::size_t>(dims.d[at]);
  }
  return count;
}

struct Arguments {
  std::string plan, output;
  std::int64_t batch;
  std::map<std::string, std::string> inputs;
  consumer::Sizes sizes;
};

Arguments parse(int count, char** words) {
  if (count < 4) throw UsageError("Usage: run_plan model.engine BATCH OUTPUT_DIR NAME=input.bin … "
                                  "[NAME:3x48x320 …]");
  Arguments found{words[1], words[3], consumer::read_batch(words[2]), {}, {}};
  for (int at = 4; at < count; ++at) {
    const std::string word = words[at];
    // A name may hold an equals sign; a file behind the last one rarely does.
    const std::size_t split = word.rfind('=');
    if (split == word.npos) {
      if (consumer::read_size(word, found.sizes)) continue;
      throw UsageError("'" + word + "' is no NAME=FILE, and no NAME:3x48x320.");
    }
    found.inputs[word.substr(0, split)] = word.substr(split + 1);
  }
  return found;
}

void run(const Arguments& given) {
  const consumer::Plan plan = consumer::open_plan(given.plan);
  const Manifest& manifest = plan.manifest;
  if (manifest.library != "tensorrt") {
    throw UsageError("The plan is for TensorRT for RTX, which is another library.");
  }
  if (!manifest.plugins.empty()) {
    throw UsageError("The plan needs the plugin library '" + manifest.plugins[0] +
                     "', which this program does not load.");
  }
  // Before TensorRT: on a host without a GPU, 8.6.0 reads a null pointer in createInferRuntime.
  const Stream stream;
  Logger logger;
  const std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
  check(runtime != nullptr, "TensorRT does not start.");
  const std::unique_ptr<nvinfer1::ICudaEngine> engine(
      runtime->deserializeCudaEngine(plan.content.data(), plan.content.size()));
  check(engine != nullptr, "TensorRT refuses the plan: built by " + manifest.tensorrt + ".");
  check_names(*engine, manifest);
  const std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
  check(context != nullptr, "TensorRT makes no execution context.");

  std::map<std::string, std::unique_ptr<Buffer>> buffers;
  const auto bind = [&](const Tensor& tensor) -> Buffer& {
    const nvinfer1::Dims dims = context->getTensorShape(tensor.name.c_str());
    const std::size_t bytes = count_of(dims, tensor.name) * consumer::bytes_of(tensor.dtype);
    auto& buffer = buffers[tensor.name] = std::make_unique<Buffer>(bytes);
    check(context->setTensorAddress(tensor.name.c_str(), buffer->address()),
          "TensorRT takes no memory for '" + tensor.name + "'.");
    return *buffer;
  };
  std::vector<std::vector<unsigned char>> arrays;
  const consumer::Chosen chosen = consumer::choose_profile(manifest, given.batch, given.sizes);
  if (manifest.profiles.size() > 1) {
    // Before the shapes, which are those of a profile; a context has the first one.
    check(context->setOptimizationProfileAsync(chosen.profile, stream.handle()),
          "TensorRT refuses profile " + std::to_string(chosen.profile) + ".");
  }
  for (const Tensor& input : manifest.inputs) {
    const auto shape = chosen.shapes.find(input.name);
    check(context->setInputShape(input.name.c_str(), dims_of(shape == chosen.shapes.end()
                                                                 ? input.shape
                                                                 : shape->second)),
          "TensorRT takes no such shape for '" + input.name + "'.");
  }
  for (const Tensor& input : manifest.inputs) {
    const auto file = given.inputs.find(input.name);
    if (file == given.inputs.end()) throw UsageError("There is no file for input '" + input.name + "'.");
    arrays.push_back(consumer::read_file(file->second));
    const Buffer& buffer = bind(input);
    if (arrays.back().size() != buffer.bytes()) {
      throw UsageError("'" + file->second + "' has " + std::to_string(arrays.back().size()) +
                       " bytes, and '" + input.name + "' takes " + std::to_string(buffer.bytes()) +
                       ".");
    }
    check(cudaMemcpyAsync(buffer.address(), arrays.back().data(), buffer.bytes(),
                          cudaMemcpyHostToDevice, stream.handle()),
          "cudaMemcpyAsync");
  }
  for (const Tensor& output : manifest.outputs) bind(output);
  check(context->enqueueV3(stream.handle()), "TensorRT's enqueue failed.");
  for (std::size_t at = 0; at < manifest.outputs.size(); ++at) {
    const Tensor& output = manifest.outputs[at];
    const Buffer& buffer = *buffers[output.name];
    std::vector<char> array(buffer.bytes());
    check(cudaMemcpyAsync(array.data(), buffer.address(), array.size(), cudaMemcpyDeviceToHost,
                          stream.handle()),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream.handle()), "cudaStreamSynchronize");
    // Names hold slashes; the number is the place in the manifest.
    const std::string path = given.output + "/" + std::to_string(at) + ".bin";
    std::ofstream file(path, std::ios::binary);
    if (!file.write(array.data(), static_cast<std::streamsize>(array.size()))) {
      throw UsageError("'" + path + "' cannot be written.");
    }
    std::cout << "output " << output.name << " " << output.dtype << " " << path << "\n";
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    run(parse(count, words));
    return 0;
  } catch (const UsageError& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
