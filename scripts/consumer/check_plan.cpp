// Says whether a plan is the one that its manifest describes, and what it takes and returns. Needs
// no TensorRT.
//
//   check_plan model.engine [BATCH NAME:3x48x320 …]
//
// With a batch it says which profile takes it, of the size that is said. Exit codes: 0 it is, 2 it is not or cannot be read.

#include <iostream>

#include "manifest.hpp"
#include "profiles.hpp"

namespace {

void print(const char* kind, const std::vector<consumer::Tensor>& tensors) {
  for (const consumer::Tensor& each : tensors) {
    std::cout << kind << " " << each.name << " " << each.dtype;
    for (std::int64_t dim : each.shape) std::cout << " " << dim;
    std::cout << "\n";
  }
}

void print_profile(const consumer::Manifest& manifest, int count, char** arguments) {
  consumer::Sizes sizes;
  for (int at = 3; at < count; ++at) {
    if (consumer::read_size(arguments[at], sizes)) continue;
    throw consumer::UsageError("'" + std::string(arguments[at]) + "' is no NAME:3x48x320.");
  }
  const std::int64_t batch = consumer::read_batch(arguments[2]);
  const consumer::Chosen chosen = consumer::choose_profile(manifest, batch, sizes);
  std::cout << "profile " << chosen.profile;
  for (const auto& [name, shape] : chosen.shapes) {
    std::cout << " " << name << " " << consumer::in_words(shape);
  }
  std::cout << "\n";
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::cerr << "Usage: check_plan model.engine [BATCH NAME:3x48x320 …]\n";
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
    if (count > 2) print_profile(manifest, count, arguments);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  }
}
