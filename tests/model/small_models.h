// What the tests of the model share: the golden models and a directory of the test's own.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "model/transformer.h"

// LibTorch's logging defines a CHECK too, which would end the program at the first failure.
#undef CHECK
#define CHECK(...) \
  INTERNAL_CATCH_TEST("CHECK", Catch::ResultDisposition::ContinueOnFailure, __VA_ARGS__)

namespace hone::testing {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string form = (std::filesystem::temp_directory_path() / "hone-model-XXXXXX").string();
    path_ = mkdtemp(form.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string golden(const std::string& name) {
  return std::string(HONE_TEST_DIR) + "/golden/" + name;
}

inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no UserError";
}

// One sequence as a training batch.
inline ForwardBatch batch_of(const std::vector<int64_t>& ids) {
  const auto t = static_cast<int64_t>(ids.size());
  ForwardBatch batch;
  batch.segments.push_back({0, t, 0, 0});
  batch.tokens = at::tensor(ids, at::kLong);
  batch.positions = at::arange(t, at::kLong);
  return batch;
}

}  // namespace hone::testing
