// Model directories: what is saved comes back; what does not fit is refused in words.
#include "model/load.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <map>

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

// The golden's tensors, to be changed and written again.
std::map<std::string, at::Tensor> tensors_of(const std::string& directory) {
  std::map<std::string, at::Tensor> tensors;
  const SafetensorsFile file(directory + "/model.safetensors");
  for (const auto& [name, e] : file.entries()) tensors[name] = file.tensor(name).clone();
  return tensors;
}

void write_weights(const TemporaryDirectory& dir,
                   const std::map<std::string, at::Tensor>& tensors) {
  write_safetensors(dir / "model.safetensors", {tensors.begin(), tensors.end()}, {});
}

void change_config(const TemporaryDirectory& dir, const std::string& key, const Json& value) {
  Json config = Json::parse(read_file(dir / "config.json"));
  config[key] = value;
  write_file_atomic(dir / "config.json", config.dump());
}

// What `call` writes to standard error.
std::string warnings_of(const std::function<void()>& call) {
  const TemporaryDirectory dir;
  const std::string path = dir / "err";
  std::fflush(stderr);
  const int kept = ::dup(STDERR_FILENO);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  ::dup2(file, STDERR_FILENO);
  call();
  std::fflush(stderr);
  ::dup2(kept, STDERR_FILENO);
  ::close(kept);
  ::close(file);
  return read_file(path);
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
      {"hidden_act", "mish", "`hidden_act`: expected silu, gelu"},
      {"attention_bias", true, "self_attn.q_proj.bias is in no file"},
      {"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4}}, "rope_type 'longrope'"},
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

TEST_CASE("sharded weights are the same model, with an index or without") {
  const TemporaryDirectory dir;
  const auto model = load_model(golden("llama-tiny"), ModelPlace{});
  copy_model(golden("llama-tiny"), dir / "m", std::nullopt, 40'000);
  CHECK_FALSE(std::filesystem::exists(dir / "m/model.safetensors"));
  CHECK(load_model(dir / "m", ModelPlace{})->weights().value().equal(model->weights().value()));
  std::filesystem::remove(dir / "m/model.safetensors.index.json");
  CHECK(load_model(dir / "m", ModelPlace{})->weights().value().equal(model->weights().value()));
  for (const auto& entry : std::filesystem::directory_iterator(dir / "m")) {
    if (entry.path().filename().string().starts_with("model-00002-of-")) {
      std::filesystem::remove(entry.path());
      break;
    }
  }
  const std::string error = error_of([&] { load_model(dir / "m", ModelPlace{}); });
  INFO(error);
  CHECK(error.find("is in no file") != std::string::npos);
}

TEST_CASE("a copy is bit for bit what it is a copy of, in each dtype and beside other tensors") {
  const TemporaryDirectory dir;
  copy_golden(dir);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    auto tensors = tensors_of(golden("llama-tiny"));
    for (auto& [name, t] : tensors) {
      if (!name.ends_with("norm.weight")) t = t.to(dtype);  // some stay in float32
    }
    write_weights(dir, tensors);
    copy_model(dir.path(), dir / "copy", std::nullopt, kShardBytes);
    const auto copied = tensors_of(dir / "copy");
    CHECK(copied.size() == tensors.size());
    for (const auto& [name, t] : tensors) CHECK(copied.at(name).equal(t));
    std::filesystem::remove_all(dir / "copy");
  }
}

TEST_CASE("what hone does not read of the configs goes on with the model") {
  const TemporaryDirectory dir;
  copy_golden(dir);
  change_config(dir, "initializer_range", 0.0625);
  change_config(dir, "use_cache", true);
  change_config(dir, "auto_map", {{"AutoConfig", "configuration_x.X"}});
  write_file_atomic(dir / "generation_config.json",
                    R"({"eos_token_id": [2, 5], "temperature": 0.6, "top_p": 0.95})");
  write_file_atomic(dir / "chat_template.jinja", "{{ messages }}");
  const auto model = load_model(dir.path(), ModelPlace{});
  save_model(*model, dir / "m", dir.path(), at::kBFloat16);
  const Json config = Json::parse(read_file(dir / "m/config.json"));
  CHECK(config["initializer_range"] == 0.0625);
  CHECK(config["use_cache"] == true);
  CHECK_FALSE(config.contains("auto_map"));
  CHECK(config.value("dtype", config.value("torch_dtype", "")) == "bfloat16");
  CHECK(Json::parse(read_file(dir / "m/generation_config.json")) ==
        Json::parse(read_file(dir / "generation_config.json")));
  CHECK(read_file(dir / "m/chat_template.jinja") == "{{ messages }}");
  // The model's own config counts, whatever the directory of its tokenizer says by now.
  const int64_t positions = model->config().max_positions;
  change_config(dir, "max_position_embeddings", 77);
  save_model(*model, dir / "other", dir.path(), at::kBFloat16);
  CHECK(Json::parse(read_file(dir / "other/config.json"))["max_position_embeddings"] == positions);
  CHECK(std::filesystem::exists(dir / "other/chat_template.jinja"));
  change_config(dir, "model_type", "strange");
  save_model(*model, dir / "third", dir.path(), at::kBFloat16);
  CHECK(Json::parse(read_file(dir / "third/config.json"))["model_type"] == "llama");
}

TEST_CASE("a head beside a tied embedding counts only if it differs, with a warning") {
  const TemporaryDirectory dir;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(golden("llama-tiny-tied") + "/" + file, dir / file);
  }
  const auto model = load_model(dir.path(), ModelPlace{});
  REQUIRE(model->config().tied_head);
  auto tensors = tensors_of(dir.path());
  const at::Tensor embedding = tensors.at("model.embed_tokens.weight");
  tensors["lm_head.weight"] = embedding.clone();
  write_weights(dir, tensors);
  std::unique_ptr<Transformer> again;
  CHECK(warnings_of([&] { again = load_model(dir.path(), ModelPlace{}); }).empty());
  CHECK(again->weights().value().equal(model->weights().value()));
  // Under the head's name only.
  tensors.erase("model.embed_tokens.weight");
  write_weights(dir, tensors);
  CHECK(warnings_of([&] { again = load_model(dir.path(), ModelPlace{}); }).empty());
  CHECK(again->weights().value().equal(model->weights().value()));
  // transformers 5 unties such a model.
  tensors["model.embed_tokens.weight"] = embedding;
  tensors["lm_head.weight"] = embedding + 1;
  write_weights(dir, tensors);
  CHECK(warnings_of([&] {
          again = load_model(dir.path(), ModelPlace{});
        }).find("lm_head.weight differs from") != std::string::npos);
  CHECK_FALSE(again->config().tied_head);
  save_model(*again, dir / "m", dir.path(), at::kFloat);
  CHECK(Json::parse(read_file(dir / "m/config.json"))["tie_word_embeddings"] == false);
  CHECK(tensors_of(dir / "m").at("lm_head.weight").equal(embedding + 1));
}

TEST_CASE("tensors that are missing, strange or of a strange dtype are told by name") {
  const TemporaryDirectory dir;
  copy_golden(dir);
  const auto whole = tensors_of(dir.path());
  const auto load = [&] { load_model(dir.path(), ModelPlace{}); };
  auto tensors = whole;
  tensors.erase("lm_head.weight");
  write_weights(dir, tensors);
  CHECK(error_of(load).find("tensor lm_head.weight is in no file, and config.json does not say "
                            "tie_word_embeddings") != std::string::npos);
  tensors = whole;
  tensors["model.norm.weight"] = at::ones({64}, at::kLong);
  write_weights(dir, tensors);
  CHECK(error_of(load).find("model.safetensors: tensor model.norm.weight: expected dtype F32, BF16 "
                            "or F16, found I64") != std::string::npos);
  tensors = whole;
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::ones({8});
  write_weights(dir, tensors);
  CHECK(warnings_of(load).empty());
  for (int i = 0; i < 7; ++i) tensors[cat("vision.", i)] = at::ones({1}, at::kLong);
  write_weights(dir, tensors);
  const std::string warning = warnings_of(load);
  INFO(warning);
  CHECK(warning.find("7 tensors of the files are no part of this model") != std::string::npos);
  CHECK(warning.find("vision.0, vision.1") != std::string::npos);
  CHECK(std::count(warning.begin(), warning.end(), '\n') == 1);
}

}  // namespace hone
