// JSON as trtqat writes it: read whole, refused where it is anything else.
#pragma once

#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace consumer {

struct Json;
using JsonList = std::vector<Json>;
using JsonObject = std::map<std::string, Json>;

// A value. What is asked for in another type is an error with the name that was asked for.
struct Json {
  std::variant<std::nullptr_t, bool, double, std::string, JsonList, JsonObject> value;

  template <typename Kind>
  const Kind& as(std::string_view name) const {
    const Kind* found = std::get_if<Kind>(&value);
    if (found == nullptr) {
      throw std::runtime_error("'" + std::string(name) + "' has another type");
    }
    return *found;
  }

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value); }

  const Json& at(const std::string& name) const {
    const JsonObject& fields = as<JsonObject>(name);
    const auto found = fields.find(name);
    if (found == fields.end()) throw std::runtime_error("'" + name + "' is missing");
    return found->second;
  }

  bool has(const std::string& name) const {
    const JsonObject* fields = std::get_if<JsonObject>(&value);
    return fields != nullptr && fields->count(name) != 0;
  }
};

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json read() {
    Json found = read_value(0);
    skip_space();
    if (at_ != text_.size()) fail("something stands behind the end");
    return found;
  }

 private:
  // Deeper than any manifest is, and far from the end of the stack.
  static constexpr int kMostDepth = 64;

  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("no JSON at byte " + std::to_string(at_) + ": " + why);
  }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
  }

  char look() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  void need(std::string_view word) {
    skip_space();
    if (!take(word)) fail("'" + std::string(word) + "' is missing");
  }

  Json read_value(int depth) {
    if (depth > kMostDepth) fail("it is too deep");
    skip_space();
    if (look() == '{') return {read_object(depth)};
    if (look() == '[') return {read_list(depth)};
    if (look() == '"') return {read_string()};
    if (take("null")) return {nullptr};
    if (take("true")) return {true};
    if (take("false")) return {false};
    return {read_number()};
  }

  JsonObject read_object(int depth) {
    JsonObject fields;
    need("{");
    skip_space();
    if (take("}")) return fields;
    do {
      skip_space();
      std::string name = read_string();
      need(":");
      fields[std::move(name)] = read_value(depth + 1);
      skip_space();
    } while (take(","));
    need("}");
    return fields;
  }

  JsonList read_list(int depth) {
    JsonList values;
    need("[");
    skip_space();
    if (take("]")) return values;
    do {
      values.push_back(read_value(depth + 1));
      skip_space();
    } while (take(","));
    need("]");
    return values;
  }

  // What an export records of a graph that is bit-identical has an SQNR of Infinity.
  double read_number() {
    for (const char* word : {"Infinity", "-Infinity", "NaN"}) {
      if (take(word)) return std::strtod(word, nullptr);
    }
    const std::size_t start = at_;
    while (at_ < text_.size() && std::string_view("+-.0123456789eE").find(text_[at_]) != text_.npos) {
      ++at_;
    }
    const std::string digits(text_.substr(start, at_ - start));
    char* end = nullptr;
    const double found = std::strtod(digits.c_str(), &end);
    if (digits.empty() || *end != '\0') fail("a value is missing");
    return found;
  }

  std::string read_string() {
    if (!take("\"")) fail("a string is missing");
    std::string found;
    while (look() != '"') {
      if (at_ >= text_.size()) fail("a string has no end");
      const char next = text_[at_++];
      if (next == '\\') {
        read_escape(found);
      } else {
        found += next;
      }
    }
    ++at_;
    return found;
  }

  void read_escape(std::string& found) {
    static constexpr std::string_view kNames = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const char name = look();
    ++at_;
    if (const std::size_t which = kNames.find(name); which != kNames.npos) {
      found += kMeant[which];
      return;
    }
    if (name != 'u') fail("an escape is unknown");
    unsigned code = read_hex();
    // Two halves of a character beyond the first 65,536.
    if (code >= 0xd800 && code < 0xdc00 && take("\\u")) {
      code = 0x10000 + ((code - 0xd800) << 10) + (read_hex() - 0xdc00);
    }
    add_utf8(found, code);
  }

  unsigned read_hex() {
    unsigned code = 0;
    for (int count = 0; count < 4; ++count, ++at_) {
      const std::size_t digit = std::string_view("0123456789abcdef").find(
          static_cast<char>(look() >= 'A' && look() <= 'F' ? look() + 32 : look()));
      if (digit == std::string_view::npos) fail("a character has no four digits");
      code = code << 4 | static_cast<unsigned>(digit);
    }
    return code;
  }

  static void add_utf8(std::string& found, unsigned code) {
    if (code < 0x80) {
      found += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    found += static_cast<char>((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | code >> 6 * more);
    for (int left = more - 1; left >= 0; --left) {
      found += static_cast<char>(0x80 | (code >> 6 * left & 0x3f));
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace consumer
