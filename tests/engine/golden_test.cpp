// Greedy sampling against transformers' (scripts/golden/dump_transformers.py).
#include <catch2/catch_test_macros.hpp>

#include "base/file.h"
#include "base/json.h"
#include "engine/engine.h"

namespace hone {

TEST_CASE("greedy tokens are those of transformers, through the paged cache") {
  for (const std::string name : {"llama-tiny", "llama-tiny-tied"}) {
    const std::string directory = std::string(HONE_TEST_DIR) + "/golden/" + name;
    const auto model = load_model(directory, ModelPlace{});
    const Json expected = Json::parse(read_file(directory + "/expected.json"));
    std::vector<SampleRequest> requests;
    SamplingOptions options;
    options.temperature = 0;
    for (const Json& g : expected["greedy"]) {
      requests.push_back({g["prompt"].get<std::vector<int32_t>>(), 1, 0});
      options.max_tokens = static_cast<int64_t>(g["tokens"].size());
    }
    const auto results = Engine(*model, nullptr).sample(requests, options);
    REQUIRE(results.size() == expected["greedy"].size());
    for (size_t i = 0; i < results.size(); ++i) {
      INFO(name << ", prompt " << i);
      CHECK(results[i][0].tokens == expected["greedy"][i]["tokens"].get<std::vector<int32_t>>());
    }
  }
}

}  // namespace hone
