#include "base/options.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace hone {

std::string nearest_word(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = 1 + std::max<size_t>(2, word.size() / 3);
  for (const std::string& candidate : known) {
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j <= candidate.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t substitute = diagonal + (word[i - 1] != candidate[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

// One level of the document: a map being read, the keys asked for so far.
struct Level {
  YAML::Node node;
  std::string path;
  std::vector<std::string> known;
  bool rest = false;
};

struct OptionReader::State {
  std::string where;
  std::vector<Level> levels;
  std::vector<YAML::Node> lists;
  std::vector<std::string> list_paths;

  Level& top() { return levels.back(); }

  std::string path_of(const std::string& key) {
    return top().path.empty() ? key : top().path + "." + key;
  }

  [[noreturn]] void wrong(const std::string& path, const YAML::Node& node,
                          const std::string& expected) {
    const std::string found = node.IsScalar()     ? "'" + node.Scalar() + "'"
                              : node.IsSequence() ? "a list"
                              : node.IsMap()      ? "a map"
                                                  : "nothing";
    std::string line;
    if (!node.Mark().is_null()) line = cat(":", node.Mark().line + 1);
    throw UserError(cat(where, line, ": ", path, ": expected ", expected, ", found ", found));
  }

  // The node at `key`, or an undefined one if the document does not have it.
  YAML::Node find(const char* key) {
    top().known.push_back(key);
    const YAML::Node& map = top().node;
    if (!map.IsDefined() || map.IsNull()) return YAML::Node(YAML::NodeType::Undefined);
    return map[key];
  }

  void check_known() {
    const Level& level = top();
    if (level.rest || !level.node.IsDefined() || level.node.IsNull()) return;
    for (const auto& entry : level.node) {
      const std::string key = entry.first.Scalar();
      if (std::find(level.known.begin(), level.known.end(), key) != level.known.end()) continue;
      const std::string near = nearest_word(key, level.known);
      std::string line;
      if (!entry.first.Mark().is_null()) line = cat(":", entry.first.Mark().line + 1);
      throw UserError(cat(where, line, ": unknown key '", path_of(key), "'",
                          near.empty() ? "" : "; did you mean '" + near + "'?",
                          " (hone recipe keys lists all)"));
    }
  }

  void check_map(const YAML::Node& node, const std::string& path) {
    if (node.IsDefined() && !node.IsNull() && !node.IsMap()) wrong(path, node, "a map of options");
  }
};

namespace {

bool present(const YAML::Node& node) { return node.IsDefined(); }

bool parse_number(const std::string& text, double& out) {
  char* end = nullptr;
  out = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(out);
}

}  // namespace

OptionReader::OptionReader(const YAML::Node& root, std::string where)
    : state_(std::make_unique<State>()) {
  state_->where = std::move(where);
  state_->check_map(root, "the recipe");
  state_->levels.push_back({root, "", {}, false});
}
OptionReader::~OptionReader() = default;

void OptionReader::finish() { state_->check_known(); }

void OptionReader::value(const char* key, bool& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  if (!n.IsScalar() || !YAML::convert<bool>::decode(n, v)) {
    state_->wrong(state_->path_of(key), n, "true or false");
  }
}

void OptionReader::value(const char* key, int64_t& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  double d = 0;
  if (!n.IsScalar() || !parse_number(n.Scalar(), d) || d != std::floor(d) || std::fabs(d) > 9e15) {
    state_->wrong(state_->path_of(key), n, "a whole number");
  }
  v = static_cast<int64_t>(d);
}

void OptionReader::value(const char* key, double& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  if (!n.IsScalar() || !parse_number(n.Scalar(), v)) {
    state_->wrong(state_->path_of(key), n, "a number");
  }
}

void OptionReader::value(const char* key, std::string& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  if (n.IsNull()) {
    v.clear();
  } else if (n.IsScalar()) {
    v = n.Scalar();
  } else {
    state_->wrong(state_->path_of(key), n, "text");
  }
}

void OptionReader::value(const char* key, std::optional<double>& v, const char* meaning) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  if (n.IsNull()) {
    v.reset();
    return;
  }
  double d = 0;
  value(key, d, meaning);
  v = d;
}

void OptionReader::value(const char* key, std::vector<std::string>& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  if (n.IsNull()) {
    v.clear();
    return;
  }
  if (n.IsScalar()) {  // one item may be written without the brackets
    v = {n.Scalar()};
    return;
  }
  if (!n.IsSequence()) state_->wrong(state_->path_of(key), n, "a list of texts");
  v.clear();
  for (const YAML::Node& item : n) {
    if (!item.IsScalar()) state_->wrong(state_->path_of(key), item, "a text");
    v.push_back(item.Scalar());
  }
}

void OptionReader::value(const char* key, std::vector<double>& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n)) return;
  v.clear();
  if (n.IsNull()) return;
  double d = 0;
  if (n.IsScalar() && parse_number(n.Scalar(), d)) {
    v = {d};
    return;
  }
  if (!n.IsSequence()) state_->wrong(state_->path_of(key), n, "a list of numbers");
  for (const YAML::Node& item : n) {
    if (!item.IsScalar() || !parse_number(item.Scalar(), d)) {
      state_->wrong(state_->path_of(key), item, "a number");
    }
    v.push_back(d);
  }
}

void OptionReader::value(const char* key, std::vector<int64_t>& v, const char* meaning) {
  std::vector<double> numbers(v.begin(), v.end());
  value(key, numbers, meaning);
  v.clear();
  for (double d : numbers) {
    if (d != std::floor(d)) {
      state_->wrong(state_->path_of(key), state_->top().node[key], "a list of whole numbers");
    }
    v.push_back(static_cast<int64_t>(d));
  }
}

void OptionReader::value(const char* key, std::map<std::string, std::string>& v, const char*) {
  const YAML::Node n = state_->find(key);
  if (!present(n) || n.IsNull()) return;
  if (!n.IsMap()) state_->wrong(state_->path_of(key), n, "a map");
  v.clear();
  for (const auto& entry : n) {
    if (!entry.second.IsScalar()) state_->wrong(state_->path_of(key), entry.second, "a text");
    v[entry.first.Scalar()] = entry.second.Scalar();
  }
}

void OptionReader::rest(std::map<std::string, std::string>& v, const char*) {
  Level& level = state_->top();
  level.rest = true;
  if (!level.node.IsDefined() || level.node.IsNull()) return;
  for (const auto& entry : level.node) {
    const std::string key = entry.first.Scalar();
    if (std::find(level.known.begin(), level.known.end(), key) != level.known.end()) continue;
    if (!entry.second.IsScalar()) state_->wrong(state_->path_of(key), entry.second, "a text");
    v[key] = entry.second.Scalar();
  }
}

bool OptionReader::enter(const char* key, const char*) {
  const YAML::Node n = state_->find(key);
  const std::string path = state_->path_of(key);
  state_->check_map(n, path);
  state_->levels.push_back({n, path, {}, false});
  return true;
}

void OptionReader::leave() {
  state_->check_known();
  state_->levels.pop_back();
}

size_t OptionReader::enter_list(const char* key, size_t size, const char*) {
  const YAML::Node n = state_->find(key);
  state_->list_paths.push_back(state_->path_of(key));
  if (present(n) && !n.IsNull() && !n.IsSequence()) {
    state_->wrong(state_->path_of(key), n, "a list");
  }
  state_->lists.push_back(n);
  if (!present(n)) return size;
  return n.IsNull() ? 0 : n.size();
}

void OptionReader::enter_item(size_t index) {
  const YAML::Node& list = state_->lists.back();
  const YAML::Node item = present(list) ? list[index] : YAML::Node(YAML::NodeType::Undefined);
  const std::string path = cat(state_->list_paths.back(), "[", index, "]");
  state_->check_map(item, path);
  state_->levels.push_back({item, path, {}, false});
}

void OptionReader::leave_item() { leave(); }

void OptionReader::leave_list() {
  state_->lists.pop_back();
  state_->list_paths.pop_back();
}

}  // namespace hone
