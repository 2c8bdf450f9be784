// Which shape profile of a plan takes a batch of a size, as trtqat's own sessions choose.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "manifest.hpp"

namespace consumer {

// Shape of one sample, by name of the input, of those whose size the caller says.
using Sizes = std::map<std::string, std::vector<std::int64_t>>;

// A profile, and the shapes of all inputs in it.
struct Chosen {
  std::int32_t profile;
  std::map<std::string, std::vector<std::int64_t>> shapes;
};

// A number of at most nine digits; -1 if a word is something else.
inline std::int64_t read_number(const std::string& word) {
  const bool is_number = !word.empty() && word.size() < 10 &&
                         word.find_first_not_of("0123456789") == word.npos;
  return is_number ? std::stoll(word) : -1;
}

inline std::int64_t read_batch(const std::string& word) {
  const std::int64_t batch = read_number(word);
  if (batch < 1) throw UsageError("'" + word + "' is no batch size.");
  return batch;
}

// NAME:3x48x320; false if it is something else.
inline bool read_size(const std::string& word, Sizes& sizes) {
  const std::size_t split = word.rfind(':');
  if (split == word.npos || split == 0) return false;
  std::vector<std::int64_t> size;
  std::size_t at = split;
  while (at != word.npos) {
    const std::size_t end = word.find('x', at + 1);
    const std::int64_t dim =
        read_number(word.substr(at + 1, end == word.npos ? end : end - at - 1));
    if (dim < 0) return false;
    size.push_back(dim);
    at = end;
  }
  sizes[word.substr(0, split)] = size;
  return true;
}

// The inputs that take the batch: those that leave it open. A table of anchors keeps its own first
// dimension beside them. Where all are fixed, the smallest is as good as any.
inline std::set<std::string> batched_inputs(const std::vector<Tensor>& inputs) {
  // An open one is -1, and so smaller than any fixed one.
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  for (const Tensor& each : inputs) {
    if (!each.shape.empty()) first = std::min(first, each.shape[0]);
  }
  std::set<std::string> names;
  for (const Tensor& each : inputs) {
    if (!each.shape.empty() && each.shape[0] == first) names.insert(each.name);
  }
  return names;
}

// The shape of an input: its batch, and what else is open as it is said, or else the optimum.
inline std::vector<std::int64_t> shape_of(const std::string& name, const Range& range,
                                          std::int64_t batch, const Sizes& sizes,
                                          const std::set<std::string>& batched) {
  std::vector<std::int64_t> shape = range.best;
  if (shape.empty()) return shape;
  const auto size = sizes.find(name);
  if (size != sizes.end()) {
    shape.resize(1);
    shape.insert(shape.end(), size->second.begin(), size->second.end());
  }
  if (batched.count(name)) shape[0] = batch;
  return shape;
}

inline bool holds(const Range& range, const std::vector<std::int64_t>& shape) {
  if (shape.size() != range.best.size()) return false;
  for (std::size_t at = 0; at < shape.size(); ++at) {
    if (shape[at] < range.smallest[at] || shape[at] > range.largest[at]) return false;
  }
  return true;
}

// Of two that hold a shape the narrower one is better, and of equals the nearer one.
struct Fit {
  double shapes = 1;
  std::int64_t distance = 0;

  bool operator<(const Fit& other) const {
    return std::pair(shapes, distance) < std::pair(other.shapes, other.distance);
  }
};

// How a profile fits; nothing is said of one that does not hold the shapes. All inputs that take the
// batch have one.
inline Fit fit_of(const Profile& profile, const Chosen& chosen,
                  const std::set<std::string>& batched) {
  Fit fit;
  std::int64_t low = 1, high = std::numeric_limits<std::int64_t>::max();
  for (const auto& [name, range] : profile) {
    const std::vector<std::int64_t>& shape = chosen.shapes.at(name);
    for (std::size_t at = 0; at < shape.size(); ++at) {
      fit.distance += std::llabs(range.best[at] - shape[at]);
      if (at > 0) fit.shapes *= static_cast<double>(range.largest[at] - range.smallest[at] + 1);
    }
    if (shape.empty() || !batched.count(name)) continue;
    low = std::max(low, range.smallest[0]);
    high = std::min(high, range.largest[0]);
  }
  fit.shapes *= static_cast<double>(high - low) + 1;
  return fit;
}

inline std::string in_words(const std::vector<std::int64_t>& shape) {
  std::string words;
  for (std::int64_t dim : shape) words += (words.empty() ? "" : "x") + std::to_string(dim);
  return words;
}

inline std::string in_words(const Profile& profile) {
  std::string words;
  for (const auto& [name, range] : profile) {
    words += (words.empty() ? "" : ", ") + name + " " + in_words(range.smallest) + " to " +
             in_words(range.largest);
  }
  return words;
}

// Whether profiles differ in more than their batches: then a size must be said.
inline bool have_sizes(const std::vector<Profile>& profiles) {
  for (const Profile& profile : profiles) {
    for (const auto& [name, range] : profile) {
      const std::vector<std::int64_t>& first = profiles[0].at(name).best;
      for (std::size_t at = 1; at < range.best.size() && at < first.size(); ++at) {
        if (range.best[at] != first[at]) return true;
      }
    }
  }
  return false;
}

inline Chosen choose_profile(const Manifest& manifest, std::int64_t batch, const Sizes& sizes) {
  for (const auto& said : sizes) find_tensor(manifest.inputs, said.first);
  const std::vector<Profile>& profiles = manifest.profiles;
  // All profiles name the same inputs.
  for (const auto& named : profiles[0]) find_tensor(manifest.inputs, named.first);
  if (sizes.empty() && have_sizes(profiles)) {
    throw UsageError("The engine has profiles of several sizes: say which, as " +
                     manifest.inputs[0].name + ":3x48x320.");
  }
  const std::set<std::string> batched = batched_inputs(manifest.inputs);
  bool is_found = false;
  Chosen best{};
  Fit best_fit;
  for (std::size_t index = 0; index < profiles.size(); ++index) {
    Chosen chosen{static_cast<std::int32_t>(index), {}};
    bool is_held = true;
    for (const auto& [name, range] : profiles[index]) {
      chosen.shapes[name] = shape_of(name, range, batch, sizes, batched);
      is_held = is_held && holds(range, chosen.shapes[name]);
    }
    if (!is_held) continue;
    const Fit fit = fit_of(profiles[index], chosen, batched);
    if (!is_found || fit < best_fit) {
      best = chosen;
      best_fit = fit;
    }
    is_found = true;
  }
  if (is_found) return best;
  std::string words = "No profile of the engine takes a batch of " + std::to_string(batch);
  for (const auto& [name, size] : sizes) words += " at " + name + " " + in_words(size);
  for (std::size_t index = 0; index < profiles.size(); ++index) {
    words += (index ? "; " : ". It has ") + in_words(profiles[index]);
  }
  throw UsageError(words + ".");
}

}  // namespace consumer
