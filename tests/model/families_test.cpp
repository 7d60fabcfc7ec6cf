// Every family and every switch of its config against what transformers computes
// (scripts/golden/dump_families.py, which says what the files hold).
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <set>

#include "base/file.h"
#include "base/rng.h"
#include "model/safetensors.h"
#include "small_models.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::batch_of;
using testing::TemporaryDirectory;

constexpr double kTolerance = 2e-5;  // of log-probabilities: float32 sums in another order
constexpr double kGradientTolerance = 1e-4;

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const fs::directory_entry& file : fs::directory_iterator(testing::golden("families"))) {
    names.push_back(file.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Json golden_of(const std::string& name) {
  return Json::parse(read_file(testing::golden("families/" + name + ".json")));
}

// Uniform in [-1, 1), exact in float32.
float uniform(const std::string& text, uint64_t i) {
  return static_cast<float>(mix64(hash64(text) + i) >> 40) * 0x1.0p-23f - 1.0f;
}

using NamedValues = std::vector<std::pair<std::string, at::Tensor>>;

NamedValues weights_of(const Json& golden) {
  NamedValues made;
  for (const Json& t : golden["tensors"]) {
    const auto name = t[0].get<std::string>();
    const auto center = t[2].get<float>(), amplitude = t[3].get<float>();
    const at::Tensor values = at::empty(t[1].get<std::vector<int64_t>>(), at::kFloat);
    auto* p = values.data_ptr<float>();
    const std::string text = golden["salt"].get<std::string>() + name;
    for (int64_t i = 0; i < values.numel(); ++i) p[i] = center + amplitude * uniform(text, i);
    made.emplace_back(name, values);
  }
  return made;
}

// `config` is the key of the golden that holds config.json.
std::unique_ptr<Transformer> load(const Json& golden, const char* config, bool trainable,
                                  ModelPlace place = {}) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "model.safetensors", weights_of(golden), {{"format", "pt"}});
  write_file_atomic(directory / "config.json", golden[config].dump(2));
  place.trainable = trainable;
  return load_model(directory.path(), place);
}

// Log-probabilities of all tokens but the first of every sequence, one sequence a batch.
std::vector<std::vector<double>> log_probs_alone(const Transformer& model, const Json& golden) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<double>> result;
  for (const Json& s : golden["sequences"]) {
    const auto ids = s["ids"].get<std::vector<int64_t>>();
    const at::Tensor hidden = model.forward(batch_of(ids));
    result.emplace_back();
    const auto n = static_cast<int64_t>(ids.size()) - 1;
    if (n == 0) continue;
    const at::Tensor targets = at::tensor(ids, at::kLong).narrow(0, 1, n);
    const at::Tensor logp =
        model.log_probs(hidden.narrow(0, 0, n), targets).logp.to(at::kDouble).contiguous();
    result.back().assign(logp.data_ptr<double>(), logp.data_ptr<double>() + n);
  }
  return result;
}

double worst_difference(const Transformer& model, const Json& golden) {
  double worst = 0;
  const auto found = log_probs_alone(model, golden);
  for (size_t s = 0; s < found.size(); ++s) {
    const auto wanted = golden["sequences"][s]["logprobs"].get<std::vector<double>>();
    REQUIRE(found[s].size() == wanted.size());
    for (size_t t = 0; t < wanted.size(); ++t) {
      const double difference = std::fabs(found[s][t] - wanted[t]);
      worst = difference <= worst ? worst : difference;  // NaN counts
    }
  }
  return worst;
}

// All sequences of a golden packed side by side, and a loss of the log-probabilities of their
// tokens, as predicted `ahead` tokens before, that weighs them with draws by the name `weights`.
struct PackedLoss {
  ForwardBatch batch;
  at::Tensor next_tokens, rows, targets, dlogp;

  PackedLoss(const Json& golden, const std::string& weights, size_t ahead) {
    std::vector<int64_t> tokens, positions, row, target;
    std::vector<float> weight;
    const auto salt = golden["salt"].get<std::string>();
    for (size_t s = 0; s < golden["sequences"].size(); ++s) {
      const auto ids = golden["sequences"][s]["ids"].get<std::vector<int64_t>>();
      const auto begin = static_cast<int64_t>(tokens.size());
      batch.segments.push_back({begin, static_cast<int64_t>(ids.size()), 0, 0});
      for (size_t t = 0; t < ids.size(); ++t) {
        tokens.push_back(ids[t]);
        positions.push_back(static_cast<int64_t>(t));
        if (t < ahead) continue;
        row.push_back(begin + static_cast<int64_t>(t - ahead));
        target.push_back(ids[t]);
        weight.push_back(-uniform(cat(salt, weights, s), t));
      }
    }
    batch.tokens = at::tensor(tokens, at::kLong);
    batch.positions = at::tensor(positions, at::kLong);
    next_tokens = batch.tokens.roll(-1);  // what stands behind an end is seen by no row that counts
    rows = at::tensor(row, at::kLong);
    targets = at::tensor(target, at::kLong);
    dlogp = at::tensor(weight, at::kFloat);
  }
};

// A norm may be off by a part of 1e-4 of itself. An element may be off by a part of 1e-4 of itself
// or, where it is smaller than that, of the tensor's root mean square: it is a sum of terms of that
// size that cancel.
void check_gradient(const at::Tensor& gradient, const std::string& draws, double norm,
                    const Json& samples) {
  const double found_norm = gradient.to(at::kDouble).norm().item<double>();
  INFO("norm " << norm << ", found " << found_norm);
  CHECK(std::fabs(found_norm - norm) <= kGradientTolerance * norm);
  const double typical = norm / std::sqrt(static_cast<double>(gradient.numel()));
  for (size_t j = 0; j < samples.size(); ++j) {
    const uint64_t i =
        mix64(hash64(draws) + (uint64_t{1} << 32) + j) % static_cast<uint64_t>(gradient.numel());
    const double wanted = samples[j].get<double>();
    const double found = gradient[static_cast<int64_t>(i)].item<double>();
    INFO("element " << i << ": expected " << wanted << ", found " << found);
    CHECK(std::fabs(found - wanted) <= kGradientTolerance * std::max(std::fabs(wanted), typical));
  }
}

// By the names in the file, flat. What is not learned has none.
std::map<std::string, at::Tensor> gradients_of(const Transformer& model) {
  std::map<std::string, at::Tensor> gradients;
  for (const NamedTensor& t : model.weights().tensors()) {
    if (!t.parameter->learned) continue;
    gradients[t.name] = WeightArena::view(model.weights().grad(), t).reshape({-1});
  }
  return gradients;
}

}  // namespace

TEST_CASE("every family's log-probabilities are those of transformers") {
  for (const std::string& name : cases()) {
    DYNAMIC_SECTION(name) {
      const Json golden = golden_of(name);
      CHECK(worst_difference(*load(golden, "config", false), golden) < kTolerance);
    }
  }
}

TEST_CASE("a config in the form of transformers 4 means the same model") {
  for (const std::string& name : cases()) {
    DYNAMIC_SECTION(name) {
      const Json golden = golden_of(name);
      CHECK(worst_difference(*load(golden, "config_v4", false), golden) < kTolerance);
    }
  }
}

TEST_CASE("every family's gradients are those of transformers") {
  for (const std::string& name : cases()) {
    DYNAMIC_SECTION(name) {
      const Json golden = golden_of(name);
      const auto model = load(golden, "config", true);
      const PackedLoss loss(golden, "loss", 1);
      {
        const at::AutoGradMode with_grad(true);
        const at::Tensor hidden = model->forward(loss.batch).index_select(0, loss.rows);
        torch::autograd::backward({model->log_probs(hidden, loss.targets).logp}, {loss.dlogp});
      }
      auto gradients = gradients_of(*model);
      for (const Json& t : golden["tensors"]) {
        const auto tensor = t[0].get<std::string>();
        INFO(tensor);
        if (!t[4].is_null()) {
          REQUIRE(gradients.count(tensor));
          check_gradient(gradients[tensor], golden["salt"].get<std::string>() + tensor,
                         t[4].get<double>(), t[5]);
        } else if (gradients.count(tensor)) {  // of a module that this loss does not see
          CHECK(gradients[tensor].abs().max().item<double>() == 0);
        }
      }
    }
  }
}

TEST_CASE("multi-token prediction and its gradients are those of transformers") {
  for (const std::string& name : cases()) {
    const Json golden = golden_of(name);
    if (!golden.contains("mtp")) continue;
    DYNAMIC_SECTION(name) {
      const auto model = load(golden, "config", true);
      const PackedLoss loss(golden, "mtp_loss", 2);
      at::Tensor logp;
      {
        const at::AutoGradMode with_grad(true);
        const at::Tensor hidden =
            model->predict_ahead(model->forward(loss.batch), loss.next_tokens, loss.batch);
        logp = model->log_probs(hidden.index_select(0, loss.rows), loss.targets).logp;
        torch::autograd::backward({logp}, {loss.dlogp});
      }
      std::vector<double> wanted;
      for (const Json& s : golden["mtp"]["logprobs"]) {
        for (const Json& x : s) wanted.push_back(x.get<double>());
      }
      const at::Tensor difference = logp.detach().to(at::kDouble) - at::tensor(wanted, at::kDouble);
      CHECK(difference.abs().max().item<double>() < kTolerance);
      auto gradients = gradients_of(*model);
      for (const Json& t : golden["mtp"]["gradients"]) {
        const auto tensor = t[0].get<std::string>();
        INFO(tensor);
        REQUIRE(gradients.count(tensor));
        check_gradient(gradients[tensor], golden["salt"].get<std::string>() + tensor,
                       t[1].get<double>(), t[2]);
      }
    }
  }
}

TEST_CASE("every family is saved as it was loaded") {
  for (const std::string& name : cases()) {
    DYNAMIC_SECTION(name) {
      const Json golden = golden_of(name);
      const auto model = load(golden, "config", false);
      const TemporaryDirectory directory;
      save_model(*model, directory.path(), "", at::kFloat);
      const NamedValues wanted = weights_of(golden);
      std::set<std::string> wanted_names;
      for (const auto& [tensor, values] : wanted) wanted_names.insert(tensor);
      const SafetensorsFile file(directory / "model.safetensors");
      std::set<std::string> names;
      for (const auto& [tensor, entry] : file.entries()) names.insert(tensor);
      CHECK(names == wanted_names);
      for (const auto& [tensor, values] : wanted) {
        INFO(tensor);
        REQUIRE(file.has(tensor));
        REQUIRE(file.tensor(tensor).sizes() == values.sizes());
        CHECK(at::equal(file.tensor(tensor), values));
      }
      const auto again = load_model(directory.path(), ModelPlace{});
      CHECK(log_probs_alone(*again, golden) == log_probs_alone(*model, golden));
    }
  }
}

namespace {

// Hidden states [T, C] of a sequence computed over the cache: a prefill of some tokens, then token
// by token, as the sampler does it.
at::Tensor hidden_by_cache(const Transformer& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t blocks = n / kBlockTokens + 1;
  KvCache cache = model.make_cache(2 * blocks);
  PagedSequence sequence;
  for (int64_t b = 0; b < blocks; ++b) {
    sequence.blocks.push_back(static_cast<int32_t>(2 * blocks - 1 - 2 * b));  // scattered
  }
  std::vector<at::Tensor> rows;
  for (int64_t begin = 0; begin < n;) {
    const int64_t end = begin == 0 ? std::min<int64_t>(n, 5) : begin + 1;
    ForwardBatch batch;
    std::vector<int64_t> tokens, positions, slots;
    for (int64_t t = begin; t < end; ++t) {
      tokens.push_back(ids[static_cast<size_t>(t)]);
      positions.push_back(t);
      slots.push_back(sequence.blocks[static_cast<size_t>(t / kBlockTokens)] * kBlockTokens +
                      t % kBlockTokens);
    }
    const auto place = [&](const std::vector<int64_t>& v) {
      return at::tensor(v, at::kLong).to(model.device());
    };
    batch.tokens = place(tokens);
    batch.positions = place(positions);
    batch.slots = place(slots);
    batch.cache = &cache;
    sequence.query_begin = 0;
    sequence.query_length = end - begin;
    sequence.context = end;
    batch.sequences = {sequence};
    rows.push_back(model.forward(batch));
    begin = end;
  }
  return at::cat(rows, 0);
}

at::Tensor hidden_at_once(const Transformer& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  ForwardBatch batch = batch_of(ids);
  batch.tokens = batch.tokens.to(model.device());
  batch.positions = batch.positions.to(model.device());
  return model.forward(batch);
}

}  // namespace

TEST_CASE("every family decodes over the cache to the bits of its training pass") {
  for (const std::string& name : cases()) {
    DYNAMIC_SECTION(name) {
      const Json golden = golden_of(name);
      const auto model = load(golden, "config", false);
      for (const Json& s : golden["sequences"]) {
        const auto ids = s["ids"].get<std::vector<int64_t>>();
        CHECK(at::equal(hidden_by_cache(*model, ids), hidden_at_once(*model, ids)));
      }
    }
  }
}

TEST_CASE("every family computes on CUDA what it computes on the CPU", "[cuda]") {
  if (!at::hasCUDA()) SKIP("no CUDA device");
  for (const std::string& name : cases()) {
    DYNAMIC_SECTION(name) {
      const Json golden = golden_of(name);
      const auto reference = load(golden, "config", false);
      const auto exact = load(golden, "config", true, {at::Device(at::kCUDA), at::kFloat});
      const auto rounded = load(golden, "config", true, {at::Device(at::kCUDA), at::kBFloat16});
      const auto error = [](const at::Tensor& a, const at::Tensor& b) {  // of the mean square
        const at::Tensor x = a.to(at::kCPU, at::kFloat), y = b.to(at::kCPU, at::kFloat);
        return ((x - y).norm() / y.norm()).item<double>();
      };
      for (const Json& s : golden["sequences"]) {
        const auto ids = s["ids"].get<std::vector<int64_t>>();
        const at::Tensor wanted = hidden_at_once(*reference, ids);
        CHECK(error(hidden_at_once(*exact, ids), wanted) < 1e-4);
        CHECK(error(hidden_by_cache(*exact, ids), wanted) < 1e-4);
        // Rounding to 8 bits sends some tokens to other experts: transformers' own bfloat16 is off
        // by up to 0.153 on these models with experts (deepseek_v3-mtp), by 0.019 on the others.
        const double bound = golden["config"].contains("num_experts_per_tok") ? 0.16 : 0.1;
        CHECK(error(hidden_at_once(*rounded, ids), wanted) < bound);
        CHECK(error(hidden_by_cache(*rounded, ids), wanted) < bound);
      }
      const auto gradient = [&](Transformer& model) {
        const at::AutoGradMode with_grad(true);
        PackedLoss loss(golden, "loss", 1);
        for (at::Tensor* t :
             {&loss.batch.tokens, &loss.batch.positions, &loss.rows, &loss.targets, &loss.dlogp}) {
          *t = t->to(model.device());
        }
        const at::Tensor hidden = model.forward(loss.batch).index_select(0, loss.rows);
        torch::autograd::backward({model.log_probs(hidden, loss.targets).logp}, {loss.dlogp});
        return model.weights().grad();
      };
      const at::Tensor wanted = gradient(*load(golden, "config", true));
      CHECK(error(gradient(*exact), wanted) < 1e-3);
      CHECK(error(gradient(*rounded), wanted) < 0.2);
    }
  }
}

}  // namespace hone
