// Adapters: what they compute, what learns, and PEFT's directories of them.
#include "model/lora.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "base/file.h"
#include "model/named_shapes.h"
#include "small_models.h"

namespace hone {
namespace {

using testing::batch_of;
using testing::error_of;
using testing::TemporaryDirectory;

const std::vector<int64_t> kIds = {5, 9, 33, 2, 71, 8, 8, 40, 12, 3, 6, 50, 17};

std::unique_ptr<Transformer> frozen() { return load_model(testing::golden("llama-tiny"), {}); }

// A rank of 3 divides nothing.
void with_adapters(Transformer& model, std::vector<std::string> targets) {
  testing::add_random_adapters(model, {3, 5, std::move(targets)});
}
std::unique_ptr<Transformer> adapted(std::vector<std::string> targets = {}) {
  auto model = frozen();
  with_adapters(*model, std::move(targets));
  return model;
}

at::Tensor hidden_of(const Transformer& model) {
  const at::NoGradGuard no_grad;
  return model.forward(batch_of(kIds));
}

// The gradient of every adapter against differences of the loss.
void check_slopes(Transformer& model) {
  at::manual_seed(3);
  const int64_t tokens = static_cast<int64_t>(kIds.size());
  const at::Tensor dlogp = at::randn({tokens});
  const at::Tensor to = at::randint(model.config().vocab_size, {tokens}, at::kLong);
  const ForwardBatch batch = batch_of(kIds);
  const auto logp = [&] { return model.log_probs(model.forward(batch), to).logp; };
  const auto loss = [&] {
    const at::NoGradGuard no_grad;
    return logp().to(at::kDouble).dot(dlogp.to(at::kDouble)).item<double>();
  };
  {
    const at::AutoGradMode with_grad(true);
    torch::autograd::backward({logp()}, {dlogp});
  }
  const at::NoGradGuard no_grad;
  WeightArena& weights = model.trained();
  for (const NamedTensor& t : weights.tensors()) {
    const at::Tensor grad = WeightArena::view(weights.grad(), t).clone();
    at::Tensor weight = weights.view(t);
    const at::Tensor before = weight.clone();
    const double norm = grad.norm().item<double>();
    REQUIRE(norm > 0);
    const at::Tensor drawn = at::randn_like(grad);
    for (const at::Tensor& direction : {grad / norm, drawn / drawn.norm()}) {
      const double size = 3e-3 * before.norm().item<double>();
      const auto at_distance = [&](double h) {
        weight.copy_(before + h * direction);
        weights.weights_changed();
        return loss();
      };
      const double near = (at_distance(size) - at_distance(-size)) / (2 * size);
      const double far = (at_distance(2 * size) - at_distance(-2 * size)) / (4 * size);
      const double slope = (4 * near - far) / 3;
      weight.copy_(before);
      weights.weights_changed();
      const double wanted = (grad.to(at::kDouble) * direction.to(at::kDouble)).sum().item<double>();
      INFO(t.name << ": norm " << norm << ", slope " << slope << ", gradient " << wanted);
      CHECK(std::fabs(slope - wanted) < 3e-3 * norm);
    }
  }
}

// DeepSeek-V2 in small: latent attention, a dense layer, one of experts with a shared one.
std::unique_ptr<Transformer> small_deepseek() {
  ModelConfig c = named_shape("deepseek-v2-lite");
  c.vocab_size = 80;
  c.hidden = 32;
  c.layers = 2;
  c.heads = c.kv_heads = 2;
  c.intermediate = 40;
  c.latent.kv_rank = 12;
  c.latent.plain = 8;
  c.latent.rotary = 8;
  c.latent.value = 8;
  c.experts.count = 4;
  c.experts.per_token = 2;
  c.experts.intermediate = 16;
  c.experts.shared_intermediate = 16;
  auto model = std::make_unique<Transformer>(c, ModelPlace{});
  model->initialize(2);
  model->weights().master().mul_(4);
  model->weights().weights_changed();
  return model;
}

// Of a shape too large to allocate.
std::vector<std::string> targets_of(const std::string& shape, std::vector<std::string> asked = {}) {
  Transformer model(named_shape(shape), {at::Device(at::kMeta)});
  model.add_adapters({8, 16, std::move(asked)});
  return model.adapters()->shape.targets;
}

}  // namespace

TEST_CASE("adapters change no bit before they have learned, and the base is there without them") {
  const at::Tensor base = hidden_of(*frozen());
  const auto fresh = frozen();
  fresh->add_adapters({4, 8, {}});
  initialize_adapters(*fresh, 7);
  CHECK(hidden_of(*fresh).equal(base));
  const auto model = adapted();
  CHECK_FALSE(hidden_of(*model).allclose(base, 1e-2, 1e-2));
  {
    const WithoutAdapters without(*model);
    CHECK(hidden_of(*model).equal(base));
  }
  CHECK_FALSE(hidden_of(*model).equal(base));
}

TEST_CASE("adapters begin as PEFT's: A uniform within 1/sqrt(K), B zero, by the seed alone") {
  const auto begun = [](uint64_t seed) {
    auto model = frozen();
    model->add_adapters({4, 8, {}});
    initialize_adapters(*model, seed);
    return model;
  };
  const auto model = begun(1), same = begun(1), other = begun(2);
  for (const NamedTensor& t : model->adapters()->weights.tensors()) {
    const at::Tensor value = model->adapters()->weights.view(t);
    if (t.name.ends_with("lora_B.weight")) {
      CHECK(value.eq(0).all().item<bool>());
      continue;
    }
    const double bound = 1 / std::sqrt(static_cast<double>(t.shape[1]));
    CHECK(value.abs().max().item<double>() <= bound);
    CHECK(value.abs().max().item<double>() > 0.9 * bound);
    CHECK(std::fabs(value.mean().item<double>()) < 0.2 * bound);
  }
  const auto values = [](Transformer& m) { return m.adapters()->weights.value(); };
  CHECK(values(*model).equal(values(*same)));
  CHECK_FALSE(values(*model).equal(values(*other)));
}

TEST_CASE("adapters learn by the slope of the loss, and nothing else learns") {
  for (const auto& targets : std::vector<std::vector<std::string>>{
           {}, {"q_proj", "v_proj"}, {"up_proj", "k_proj"}, {"down_proj"}, {"o_proj"}}) {
    const auto model = adapted(targets);
    CHECK(&model->trained() == &model->adapters()->weights);
    CHECK_FALSE(model->weights().grad().defined());
    const size_t per_layer = targets.empty() ? 7 : targets.size();
    CHECK(model->trained().tensors().size() ==
          2 * per_layer * static_cast<size_t>(model->config().layers));
    check_slopes(*model);
  }
}

TEST_CASE("adapters of latent attention learn through frozen experts") {
  const auto model = small_deepseek();
  with_adapters(*model, {});
  CHECK(model->adapters()->shape.targets ==
        std::vector<std::string>{"kv_a_proj_with_mqa", "o_proj", "q_proj"});
  check_slopes(*model);
}

TEST_CASE("layers that run again, or their norms and gates, give every adapter the same gradient") {
  std::vector<at::Tensor> gradients;
  for (const Recompute again : {Recompute::none, Recompute::selective, Recompute::layers}) {
    const auto model = adapted();
    ForwardBatch batch = batch_of(kIds);
    batch.recompute = again;
    const at::AutoGradMode with_grad(true);
    const at::Tensor hidden = model->forward(batch);
    torch::autograd::backward({hidden}, {at::ones_like(hidden)});
    gradients.push_back(model->trained().grad());
  }
  CHECK(gradients[0].norm().item<double>() > 0);
  CHECK(gradients[1].equal(gradients[0]));
  CHECK(gradients[2].equal(gradients[0]));
}

TEST_CASE("merged weights compute what the adapters did, in every target") {
  for (const auto& targets :
       std::vector<std::vector<std::string>>{{}, {"k_proj", "gate_proj"}, {"v_proj", "up_proj"}}) {
    const auto model = adapted(targets);
    const TemporaryDirectory dir;
    save_model(*model, dir / "merged", "", at::kFloat);
    const auto merged = load_model(dir / "merged", {});
    CHECK(hidden_of(*merged).allclose(hidden_of(*model), 1e-4, 1e-5));
    CHECK_FALSE(hidden_of(*merged).allclose(hidden_of(*frozen()), 1e-2, 1e-2));
  }
}

TEST_CASE("an adapter written in PEFT's layout is read back to the same bits") {
  for (const auto& targets : std::vector<std::vector<std::string>>{{}, {"q_proj", "down_proj"}}) {
    const auto model = adapted(targets);
    const TemporaryDirectory dir;
    save_adapter(model->adapters()->shape, adapter_tensors(*model), "base", dir / "a");
    const SafetensorsFile file((dir / "a") + kAdapterFile);
    CHECK(file.has("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"));
    CHECK(file.has("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"));
    const LoraShape shape = read_adapter_shape(dir / "a");
    CHECK(shape.rank == 3);
    CHECK(shape.alpha == 5);
    CHECK(shape.targets == model->adapters()->shape.targets);
    const auto again = frozen();
    again->add_adapters(shape, /*trainable=*/false);
    load_adapter(*again, dir / "a");
    CHECK(hidden_of(*again).equal(hidden_of(*model)));
  }
}

TEST_CASE(
    "an adapter that hone would compute otherwise, or that is not whole, is refused in words") {
  const auto model = adapted();
  const TemporaryDirectory dir;
  const std::string path = dir / "a";
  save_adapter(model->adapters()->shape, adapter_tensors(*model), "base", path);
  const Json good = Json::parse(read_file(path + kAdapterConfig));
  const auto with = [&](const std::string& key, const Json& value) {
    Json config = good;
    config[key] = value;
    write_file_atomic(path + kAdapterConfig, config.dump());
    return error_of([&] { read_adapter_shape(path); });
  };
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"peft_type", "IA3"},
                                                 {"use_dora", true},
                                                 {"bias", "all"},
                                                 {"modules_to_save", {"lm_head"}},
                                                 {"rank_pattern", {{"q_proj", 2}}},
                                                 {"r", 0},
                                                 {"r", "many"},
                                                 {"lora_alpha", nullptr}}) {
    INFO(key);
    CHECK(with(key, value).find(key + ": expected") != std::string::npos);
  }
  CHECK(with("use_rslora", true) == "no UserError");
  CHECK(std::fabs(read_adapter_shape(path).alpha - 5 * std::sqrt(3.0)) < 1e-12);
  write_file_atomic(path + kAdapterConfig, "[");
  CHECK(error_of([&] { read_adapter_shape(path); }).find("JSON object") != std::string::npos);
  CHECK(error_of([&] { read_adapter_shape(dir / "none"); }).find("no adapter_config.json") !=
        std::string::npos);
  NamedTensors some = adapter_tensors(*model);
  some.pop_back();
  save_adapter(model->adapters()->shape, some, "base", path);
  CHECK(error_of([&] { load_adapter(*model, path); }).find("is missing") != std::string::npos);
  some = adapter_tensors(*model);
  some.emplace_back("base_model.model.lm_head.lora_A.weight", at::ones({3, 4}));
  save_adapter(model->adapters()->shape, some, "base", path);
  CHECK(error_of([&] { load_adapter(*model, path); }).find("lm_head") != std::string::npos);
}

TEST_CASE("targets that a model does not have, or that experts share, are refused by name") {
  CHECK(targets_of("qwen2.5-0.5b") == std::vector<std::string>{"down_proj", "gate_proj", "k_proj",
                                                               "o_proj", "q_proj", "up_proj",
                                                               "v_proj"});
  CHECK(targets_of("qwen2.5-0.5b", {"v_proj", "q_proj", "v_proj"}) ==
        std::vector<std::string>{"q_proj", "v_proj"});
  CHECK(targets_of("deepseek-v2-lite") ==
        std::vector<std::string>{"kv_a_proj_with_mqa", "o_proj", "q_proj"});
  CHECK(targets_of("qwen3-30b-a3b") ==
        std::vector<std::string>{"k_proj", "o_proj", "q_proj", "v_proj"});
  for (const auto& [shape, target] :
       std::vector<std::pair<std::string, std::string>>{{"qwen2.5-0.5b", "lm_head"},
                                                        {"qwen2.5-0.5b", "qproj"},
                                                        {"deepseek-v2-lite", "gate_proj"},
                                                        {"deepseek-v2-lite", "kv_b_proj"}}) {
    const std::string error = error_of([&, s = shape, t = target] { targets_of(s, {t}); });
    INFO(error);
    CHECK(error.find("'" + target + "' cannot have adapters") != std::string::npos);
    CHECK(error.find("o_proj") != std::string::npos);
  }
}

}  // namespace hone
