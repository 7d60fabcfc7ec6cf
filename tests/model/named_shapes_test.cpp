#include "model/named_shapes.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <map>

#include "base/error.h"

namespace hone {

TEST_CASE("named shapes have the parameters that were published") {
  // Of the tensors in the published files.
  const std::map<std::string, int64_t> published = {
      {"qwen2.5-0.5b", 494032768},      {"qwen2.5-1.5b", 1543714304},
      {"qwen2.5-7b", 7615616512},       {"qwen3-0.6b", 596049920},
      {"qwen3-8b", 8190735360},         {"qwen3-30b-a3b", 30532122624},
      {"deepseek-v2-lite", 15706484224}};
  for (const auto& [name, count] : published) {
    INFO(name);
    CHECK(named_shape(name).parameter_count() == count);
  }
}

TEST_CASE("every named shape can be had, and none ends by itself") {
  for (const std::string& name : shape_names()) {
    INFO(name);
    const ModelConfig c = named_shape(name);
    CHECK(c.stop_ids.empty());
    CHECK(c.eos == -1);
  }
  const ModelConfig small = named_shape("qwen3-30b-a3b-small"), full = named_shape("qwen3-30b-a3b");
  CHECK(small.layers == 8);
  CHECK(small.experts.count == full.experts.count);
  CHECK(small.sparse.size() == 8);
  CHECK_THROWS_AS(named_shape("qwen"), UserError);
}

TEST_CASE("an unknown shape is refused with those that there are") {
  try {
    named_shape("huge");
    FAIL("no error");
  } catch (const UserError& error) {
    CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring("unknown shape 'huge'"));
    CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring("qwen2.5-0.5b"));
  }
}

}  // namespace hone
