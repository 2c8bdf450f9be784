// The manifest beside a plan, and whether the plan is the one that it describes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "json.hpp"
#include "sha256.hpp"

namespace consumer {

// What a user can mend: one sentence.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// An input or output; an open dimension is -1.
struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
};

// Shapes of one input that a profile takes.
struct Range {
  std::vector<std::int64_t> smallest, best, largest;
};

// By name of the input.
using Profile = std::map<std::string, Range>;

struct Manifest {
  std::string plan_sha256, library, tensorrt;
  std::vector<Tensor> inputs, outputs;
  // In TensorRT's order, at least one.
  std::vector<Profile> profiles;
  // Files of plugin libraries that it needs.
  std::vector<std::string> plugins;
};

// A plan that is the very one that was built.
struct Plan {
  std::vector<unsigned char> content;
  Manifest manifest;
};

inline std::vector<unsigned char> read_file(const std::string& path) {
  // A directory can be opened, and opening a pipe waits for who writes.
  std::error_code unused;
  if (!std::filesystem::is_regular_file(path, unused)) {
    throw UsageError("'" + path + "' cannot be read: it is no file.");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError("'" + path + "' cannot be read.");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A dimension or a schema: what is no such number must not be converted.
inline std::int64_t read_whole(const Json& number, const std::string& name) {
  const double found = number.as<double>(name);
  if (!(found >= -1 && found < 2147483648.0 && found == std::trunc(found))) {
    throw std::runtime_error("'" + name + "' has a number that is beyond what it can be");
  }
  return static_cast<std::int64_t>(found);
}

inline std::vector<std::int64_t> read_shape(const Json& shape, const std::string& name) {
  std::vector<std::int64_t> found;
  for (const Json& each : shape.as<JsonList>(name)) {
    found.push_back(read_whole(each, name));
  }
  return found;
}

inline std::vector<Tensor> read_tensors(const Json& manifest, const std::string& which) {
  std::vector<Tensor> found;
  for (const Json& each : manifest.at(which).as<JsonList>(which)) {
    found.push_back({each.at("name").as<std::string>("name"),
                     each.at("dtype").as<std::string>("dtype"),
                     read_shape(each.at("shape"), "shape")});
  }
  return found;
}

inline Profile read_profile(const Json& profile) {
  Profile found;
  for (const auto& [name, shapes] : profile.as<JsonObject>("profiles")) {
    const Range range{read_shape(shapes.at("min"), name), read_shape(shapes.at("opt"), name),
                      read_shape(shapes.at("max"), name)};
    if (range.smallest.size() != range.best.size() || range.largest.size() != range.best.size()) {
      throw std::runtime_error("'" + name + "' has shapes of several lengths");
    }
    found[name] = range;
  }
  return found;
}

inline Manifest read_manifest(const std::string& text) {
  const Json json = JsonReader(text).read();
  Manifest found;
  found.plan_sha256 = json.at("plan_sha256").as<std::string>("plan_sha256");
  const std::int64_t schema = read_whole(json.at("schema_version"), "schema_version");
  if (schema < 1 || schema > 2) {
    throw std::runtime_error("it has schema " + std::to_string(schema) + ", and 1 and 2 are known");
  }
  found.tensorrt = json.at("tensorrt").as<std::string>("tensorrt");
  // Manifests of before 0.2 are of TensorRT alone, and do not say so.
  found.library = json.has("library") ? json.at("library").as<std::string>("library") : "tensorrt";
  found.inputs = read_tensors(json, "inputs");
  found.outputs = read_tensors(json, "outputs");
  found.profiles.push_back(read_profile(json.at("profiles")));
  if (json.has("more_profiles")) {
    for (const Json& each : json.at("more_profiles").as<JsonList>("more_profiles")) {
      if (schema < 2) throw std::runtime_error("schema 1 has no 'more_profiles'");
      found.profiles.push_back(read_profile(each));
      for (const auto& named : found.profiles[0]) {
        if (!found.profiles.back().count(named.first)) {
          throw std::runtime_error("a profile is without '" + named.first + "'");
        }
      }
      if (found.profiles.back().size() != found.profiles[0].size()) {
        throw std::runtime_error("profiles are of different inputs");
      }
    }
  }
  if (json.has("plugins") && !json.at("plugins").is_null()) {
    for (const Json& each : json.at("plugins").at("libraries").as<JsonList>("libraries")) {
      found.plugins.push_back(each.at("name").as<std::string>("name"));
    }
  }
  return found;
}

// Reads a plan and refuses one that is not what its manifest describes. TensorRT loads a plan with
// a changed byte without complaint, so this comes before it sees any.
inline Plan open_plan(const std::string& path) {
  Plan plan{read_file(path), {}};
  const std::string beside = path + ".json";
  const std::vector<unsigned char> text = read_file(beside);
  try {
    plan.manifest = read_manifest(std::string(text.begin(), text.end()));
  } catch (const UsageError&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw UsageError("The manifest '" + beside + "' cannot be read: " + error.what() + ".");
  }
  if (sha256(plan.content) != plan.manifest.plan_sha256) {
    throw UsageError("The plan '" + path + "' is not the one that its manifest describes: the " +
                     "SHA-256 differs.");
  }
  return plan;
}

inline const Tensor& find_tensor(const std::vector<Tensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const Tensor& each) { return each.name == name; });
  if (found == tensors.end()) throw UsageError("The manifest has no tensor '" + name + "'.");
  return *found;
}

// The sizes of a dtype of NumPy's that an engine may have.
inline std::size_t bytes_of(const std::string& dtype) {
  static const std::map<std::string, std::size_t> kSizes = {
      {"float32", 4}, {"float16", 2}, {"int8", 1}, {"int32", 4},
      {"int64", 8},   {"bool", 1},    {"uint8", 1}};
  const auto found = kSizes.find(dtype);
  if (found == kSizes.end()) throw UsageError("Tensors of type " + dtype + " are not known.");
  return found->second;
}

}  // namespace consumer
