// Says whether a plan is the one that its manifest describes, and what it takes and returns. Needs
// no TensorRT.
//
//   check_plan model.engine
//
// Exit codes: 0 it is, 2 it is not or cannot be read.

#include <iostream>

#include "manifest.hpp"

namespace {

void print(const char* kind, const std::vector<consumer::Tensor>& tensors) {
  for (const consumer::Tensor& each : tensors) {
    std::cout << kind << " " << each.name << " " << each.dtype;
    for (std::int64_t dim : each.shape) std::cout << " " << dim;
    std::cout << "\n";
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "Usage: check_plan model.engine\n";
    return 2;
  }
  try {
    const consumer::Plan plan = consumer::open_plan(arguments[1]);
    const consumer::Manifest& manifest = plan.manifest;
    std::cout << "plan " << manifest.library << " " << manifest.tensorrt << " "
              << manifest.plan_sha256 << "\n";
    print("input", manifest.inputs);
    print("output", manifest.outputs);
    for (const std::string& each : manifest.plugins) std::cout << "plugins " << each << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  }
}
