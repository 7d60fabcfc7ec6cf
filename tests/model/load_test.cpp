// Model directories: what is saved comes back; what does not fit is refused in words.
#include <catch2/catch_test_macros.hpp>

#include "base/file.h"
#include "model/safetensors.h"
#include "small_models.h"

namespace hone {
namespace {

using testing::error_of;
using testing::golden;
using testing::TemporaryDirectory;

void copy_golden(const TemporaryDirectory& dir) {
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(golden("llama-tiny") + "/" + file, dir / file,
                               std::filesystem::copy_options::overwrite_existing);
  }
}

}  // namespace

TEST_CASE("a model that was saved in float32 comes back bit for bit") {
  for (const char* name : {"llama-tiny", "llama-tiny-tied"}) {
    const TemporaryDirectory dir;
    const auto model = load_model(golden(name), ModelPlace{});
    save_model(*model, dir.path(), "", at::kFloat);
    const auto again = load_model(dir.path(), ModelPlace{});
    CHECK(again->weights().value().equal(model->weights().value()));
    CHECK(model_config_json(again->config()) == model_config_json(model->config()));
  }
}

TEST_CASE("a model saved in bfloat16 comes back rounded") {
  const TemporaryDirectory dir;
  const auto model = load_model(golden("llama-tiny"), ModelPlace{});
  save_model(*model, dir.path(), "", at::kBFloat16);
  CHECK(load_model(dir.path(), ModelPlace{})
            ->weights()
            .value()
            .equal(model->weights().value().to(at::kBFloat16).to(at::kFloat)));
}

TEST_CASE("configs that do not fit are refused with the key, the found and the expected") {
  const TemporaryDirectory dir;
  const Json good = Json::parse(read_file(golden("llama-tiny") + "/config.json"));
  const struct {
    const char* key;
    Json value;
    const char* told;
  } cases[] = {
      {"model_type", "gpt2", "model_type 'gpt2' is not known"},
      {"model_type", 7, "`model_type`: expected text, found 7"},
      {"hidden_size", "64", "`hidden_size`: expected a whole number"},
      {"hidden_size", 1e30, "`hidden_size`: expected a whole number"},
      {"hidden_size", nullptr, "`hidden_size` is missing"},
      {"hidden_size", 80, "model.embed_tokens.weight: expected shape [97, 80], found [97, 64]"},
      {"num_hidden_layers", 3, "model.layers.2"},
      {"num_hidden_layers", 4096, "config.json describes"},
      {"vocab_size", 16000000, "config.json describes"},
      {"vocab_size", 96, "expected shape [96, 64], found [97, 64]"},
      {"num_key_value_heads", 3, "not a multiple"},
      {"num_key_value_heads", 0, "expected a whole number from 1"},
      {"head_dim", 21, "is odd"},
      {"rms_norm_eps", "small", "`rms_norm_eps`: expected a number"},
      {"tie_word_embeddings", "no", "`tie_word_embeddings`: expected true or false"},
      {"hidden_act", "gelu", "`hidden_act`: expected silu, found gelu"},
      {"attention_bias", true, "`attention_bias`"},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}}, "`rope_scaling`"},
      {"eos_token_id", 97, "expected token ids below 97"},
  };
  copy_golden(dir);
  for (const auto& c : cases) {
    Json config = good;
    config[c.key] = c.value;
    write_file_atomic(dir / "config.json", config.dump());
    const std::string error = error_of([&] { load_model(dir.path(), ModelPlace{}); });
    INFO(c.key << " " << c.value.dump() << "\n" << error);
    CHECK(error.find(dir.path()) != std::string::npos);
    CHECK(error.find(c.told) != std::string::npos);
  }
}

TEST_CASE("directories that are no models are refused with what was looked for") {
  const TemporaryDirectory dir;
  const auto error = [&] { return error_of([&] { load_model(dir.path(), ModelPlace{}); }); };
  CHECK(error_of([&] { load_model(dir / "none", ModelPlace{}); }).find("found nothing") !=
        std::string::npos);
  CHECK(error().find("config.json: cannot be read") != std::string::npos);
  for (const char* text : {"", "{nope", "[]", "7", "\xff\xfe"}) {
    write_file_atomic(dir / "config.json", text);
    INFO(text);
    CHECK(error().find("config.json: ") != std::string::npos);
  }
  copy_golden(dir);
  write_file_atomic(dir / "generation_config.json", "[1]");
  CHECK(error().find("generation_config.json: expected a JSON object") != std::string::npos);
  std::filesystem::remove(dir / "generation_config.json");
  std::filesystem::remove(dir / "model.safetensors");
  CHECK(error().find("no *.safetensors file") != std::string::npos);
}

}  // namespace hone
