// Options are plain structs. One `describe` function per struct names each field once, with its
// meaning; from it come the strict YAML reader, the resolved recipe and `hone recipe keys`.
//
//   struct AdamOptions { double lr = 1e-4; };
//   inline void describe(OptionVisitor& v, AdamOptions& o) {
//     v.value("lr", o.lr, "learning rate after warm-up");
//   }
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace YAML {
class Node;
}

namespace hone {

class OptionVisitor {
 public:
  virtual ~OptionVisitor() = default;
  virtual void value(const char* key, bool& v, const char* meaning) = 0;
  virtual void value(const char* key, int64_t& v, const char* meaning) = 0;
  virtual void value(const char* key, double& v, const char* meaning) = 0;
  virtual void value(const char* key, std::string& v, const char* meaning) = 0;
  virtual void value(const char* key, std::optional<double>& v, const char* meaning) = 0;
  virtual void value(const char* key, std::vector<std::string>& v, const char* meaning) = 0;
  virtual void value(const char* key, std::vector<int64_t>& v, const char* meaning) = 0;
  virtual void value(const char* key, std::vector<double>& v, const char* meaning) = 0;
  // A free map of scalars, e.g. `when: {data_source: gsm8k}`.
  virtual void value(const char* key, std::map<std::string, std::string>& v,
                     const char* meaning) = 0;
  // All keys that no other call names (options of plug-ins).
  virtual void rest(std::map<std::string, std::string>& v, const char* meaning) = 0;

  template <class T>
  void section(const char* key, T& v, const char* meaning) {
    if (enter(key, meaning)) {
      describe(*this, v);
      leave();
    }
  }
  template <class T>
  void list(const char* key, std::vector<T>& v, const char* meaning) {
    v.resize(enter_list(key, v.size(), meaning));
    for (size_t i = 0; i < v.size(); ++i) {
      enter_item(i);
      describe(*this, v[i]);
      leave_item();
    }
    leave_list();
  }

 protected:
  virtual bool enter(const char* key, const char* meaning) = 0;
  virtual void leave() = 0;
  virtual size_t enter_list(const char* key, size_t size, const char* meaning) = 0;
  virtual void enter_item(size_t index) = 0;
  virtual void leave_item() = 0;
  virtual void leave_list() = 0;
};

// Fills options from YAML. `where` (e.g. "recipes/x.yaml") begins every error. Throws UserError
// for a wrong type and for an unknown key, which names the nearest known one.
class OptionReader : public OptionVisitor {
 public:
  OptionReader(const YAML::Node& root, std::string where);
  ~OptionReader() override;

  // Reads the whole document into `options`; every key must be known.
  template <class T>
  void read(T& options) {
    describe(*this, options);
    finish();
  }

  void value(const char* key, bool& v, const char* meaning) override;
  void value(const char* key, int64_t& v, const char* meaning) override;
  void value(const char* key, double& v, const char* meaning) override;
  void value(const char* key, std::string& v, const char* meaning) override;
  void value(const char* key, std::optional<double>& v, const char* meaning) override;
  void value(const char* key, std::vector<std::string>& v, const char* meaning) override;
  void value(const char* key, std::vector<int64_t>& v, const char* meaning) override;
  void value(const char* key, std::vector<double>& v, const char* meaning) override;
  void value(const char* key, std::map<std::string, std::string>& v, const char* meaning) override;
  void rest(std::map<std::string, std::string>& v, const char* meaning) override;

 protected:
  bool enter(const char* key, const char* meaning) override;
  void leave() override;
  size_t enter_list(const char* key, size_t size, const char* meaning) override;
  void enter_item(size_t index) override;
  void leave_item() override;
  void leave_list() override;

 private:
  struct State;
  void finish();
  std::unique_ptr<State> state_;
};

// Writes options as JSON, which is also YAML: the resolved recipe.
class OptionWriter : public OptionVisitor {
 public:
  template <class T>
  static Json write(const T& options) {
    T copy = options;
    OptionWriter w;
    describe(w, copy);
    return w.stack_.front();
  }

  void value(const char* key, bool& v, const char*) override { top()[key] = v; }
  void value(const char* key, int64_t& v, const char*) override { top()[key] = v; }
  void value(const char* key, double& v, const char*) override { top()[key] = v; }
  void value(const char* key, std::string& v, const char*) override { top()[key] = v; }
  void value(const char* key, std::optional<double>& v, const char*) override {
    top()[key] = v ? Json(*v) : Json(nullptr);
  }
  void value(const char* key, std::vector<std::string>& v, const char*) override { top()[key] = v; }
  void value(const char* key, std::vector<int64_t>& v, const char*) override { top()[key] = v; }
  void value(const char* key, std::vector<double>& v, const char*) override { top()[key] = v; }
  void value(const char* key, std::map<std::string, std::string>& v, const char*) override {
    if (!v.empty()) top()[key] = v;
  }
  void rest(std::map<std::string, std::string>& v, const char*) override {
    for (const auto& [key, value] : v) top()[key] = value;
  }

 protected:
  bool enter(const char* key, const char*) override {
    keys_.push_back(key);
    stack_.push_back(Json::object());
    return true;
  }
  void leave() override {
    Json section = std::move(stack_.back());
    stack_.pop_back();
    top()[keys_.back()] = std::move(section);
    keys_.pop_back();
  }
  size_t enter_list(const char* key, size_t size, const char*) override {
    keys_.push_back(key);
    stack_.push_back(Json::array());
    return size;
  }
  void enter_item(size_t) override { stack_.push_back(Json::object()); }
  void leave_item() override {
    Json item = std::move(stack_.back());
    stack_.pop_back();
    top().push_back(std::move(item));
  }
  void leave_list() override { leave(); }

 private:
  Json& top() { return stack_.back(); }
  std::vector<Json> stack_{Json::object()};
  std::vector<std::string> keys_;
};

// One line of `hone recipe keys`.
struct OptionKey {
  std::string path;      // e.g. "optimizer.lr", "rewards[].name"
  std::string fallback;  // the default, as JSON
  std::string meaning;
};

class OptionLister : public OptionVisitor {
 public:
  template <class T>
  static std::vector<OptionKey> keys(T defaults = {}) {
    OptionLister l;
    describe(l, defaults);
    return l.keys_;
  }

  void value(const char* key, bool& v, const char* m) override { add(key, v, m); }
  void value(const char* key, int64_t& v, const char* m) override { add(key, v, m); }
  void value(const char* key, double& v, const char* m) override { add(key, v, m); }
  void value(const char* key, std::string& v, const char* m) override { add(key, v, m); }
  void value(const char* key, std::optional<double>& v, const char* m) override {
    add(key, v ? Json(*v) : Json(nullptr), m);
  }
  void value(const char* key, std::vector<std::string>& v, const char* m) override {
    add(key, v, m);
  }
  void value(const char* key, std::vector<int64_t>& v, const char* m) override { add(key, v, m); }
  void value(const char* key, std::vector<double>& v, const char* m) override { add(key, v, m); }
  void value(const char* key, std::map<std::string, std::string>& v, const char* m) override {
    add(key, v, m);
  }
  void rest(std::map<std::string, std::string>&, const char* m) override {
    keys_.push_back({prefix_ + "<option>", "", m});
  }

 protected:
  bool enter(const char* key, const char*) override {
    saved_.push_back(prefix_);
    prefix_ += std::string(key) + ".";
    return true;
  }
  void leave() override {
    prefix_ = saved_.back();
    saved_.pop_back();
  }
  size_t enter_list(const char* key, size_t, const char*) override {
    saved_.push_back(prefix_);
    prefix_ += std::string(key) + "[].";
    return 1;  // one item shows the keys
  }
  void enter_item(size_t) override {}
  void leave_item() override {}
  void leave_list() override { leave(); }

 private:
  void add(const char* key, const Json& v, const char* m) {
    keys_.push_back({prefix_ + key, v.dump(), m});
  }
  std::string prefix_;
  std::vector<std::string> saved_;
  std::vector<OptionKey> keys_;
};

// The known word nearest to `word` by edit distance, or "" if none is near.
std::string nearest_word(const std::string& word, const std::vector<std::string>& known);

}  // namespace hone
