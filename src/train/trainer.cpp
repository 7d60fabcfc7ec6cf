#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "engine/free_memory.h"

namespace hone {

using at::Tensor;

Trainer::Trainer(Transformer& model, const OptimizerOptions& optimizer,
                 const TrainerOptions& options)
    : model_(model),
      optimizer_(optimizer, model.trained()),
      options_(options),
      share_prompts_(options.share_prompts && model.shares_prefixes()) {}

void describe(OptionVisitor& v, BalanceOptions& o) {
  v.value("coef", o.coef, "factor of the sequence-wise balance loss (DeepSeek-V3: 1e-4)");
  v.value("bias_speed", o.bias_speed,
          "how far a sigmoid router's selection bias moves a step (DeepSeek-V3: 1e-3)");
  v.value("predict_coef", o.predict_coef,
          "pretraining: factor of the multi-token-prediction loss (DeepSeek-V3: 0.3)");
}

namespace {

std::vector<float> to_host(const Tensor& t) {
  const Tensor host = t.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* p = host.const_data_ptr<float>();
  return std::vector<float>(p, p + host.numel());
}

Tensor to_device(const std::vector<float>& values, at::Device device) {
  Tensor t = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::memcpy(t.data_ptr<float>(), values.data(), values.size() * sizeof(float));
  return t.to(device);
}

// The batch of one forward pass, with the experts to take where the sequences say.
PackedBatch packed(const Transformer& model, std::span<const TrainingSequence> sequences,
                   bool share_prompts) {
  PackedBatch batch = pack(sequences, model.device(), share_prompts);
  if (!sequences.front().routes.empty()) {
    batch.forward.replay = pack_routes(sequences, batch, model.config()).to(model.device());
  }
  return batch;
}

}  // namespace

void Trainer::each_micro_batch(std::span<const TrainingSequence> sequences, bool share_prompts,
                               const Run& run, const std::function<void()>& forget) {
  if (sequences.empty()) return;
  for (;;) {
    const std::vector<size_t> cuts =
        cut_micro_batches(sequences, options_.micro_batch_tokens, share_prompts);
    const auto part = [&](size_t c) { return sequences.subspan(cuts[c], cuts[c + 1] - cuts[c]); };
    size_t c = 0;
    try {
      for (; c + 1 < cuts.size(); ++c) run(cuts[c], part(c));
      return;
    } catch (const c10::OutOfMemoryError&) {
      const int64_t tokens = packed_tokens(part(c), share_prompts);
      if (part(c).size() == 1) {
        throw RunError(cat("no memory for a sequence of ", tokens, " tokens by itself",
                           options_.less_memory.empty() ? "" : "; ", options_.less_memory));
      }
      options_.micro_batch_tokens = std::max<int64_t>(tokens / 2, 1);
      log_warning(cat("no memory for a micro-batch of ", tokens, " tokens (", part(c).size(),
                      " sequences); the pass begins again, from now on with at most ",
                      options_.micro_batch_tokens, " tokens at a time"));
    }
    forget();
    free_memory(model_.device());  // empties LibTorch's cache: other sizes are needed now
  }
}

Json Trainer::decided() const {
  return {{"micro_batch_tokens", options_.micro_batch_tokens},
          {"recompute", static_cast<int>(options_.recompute)}};
}

void Trainer::take_decided(const Json& state) {
  options_.micro_batch_tokens = state.at("micro_batch_tokens").get<int64_t>();
  options_.recompute = static_cast<Recompute>(state.at("recompute").get<int>());
}

Trainer::TokenStats Trainer::token_stats(const Transformer& model,
                                         std::span<const TrainingSequence> sequences,
                                         bool with_routes) {
  const at::NoGradGuard no_grad;
  TokenStats result;
  const auto run = [&](size_t, std::span<const TrainingSequence> part) {
    PackedBatch batch = packed(model, part, share_prompts_);
    if (with_routes) {
      batch.forward.routes =
          at::empty({batch.forward.tokens.size(0), model.config().sparse_layers(),
                     model.config().experts.per_token},
                    at::TensorOptions(at::kShort).device(model.device()));
    }
    const Tensor hidden = model.forward(batch.forward).index_select(0, batch.hidden_rows);
    const ops::LogProbs out = model.log_probs(hidden, batch.targets, 1.0 / options_.temperature);
    const std::vector<float> logp = to_host(out.logp), entropy = to_host(out.entropy);
    for (size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
      const int64_t begin = batch.offsets[i], end = batch.offsets[i + 1];
      result.logp.emplace_back(logp.begin() + begin, logp.begin() + end);
      result.entropy.emplace_back(entropy.begin() + begin, entropy.begin() + end);
    }
    if (!with_routes) return;
    const Tensor routes = batch.forward.routes.cpu();
    for (size_t i = 0; i < part.size(); ++i) {
      result.routes.push_back(unpack_routes(routes, part[i], batch.places[i]));
    }
  };
  each_micro_batch(sequences, share_prompts_, run, [&] { result = {}; });
  return result;
}

namespace {

// The loss of the prediction module on a batch without shared prompts: a sum of -log p over the
// tokens that it predicts, which are all but the first of each completion.
Tensor predict_loss(const Transformer& model, const Tensor& hidden, const PackedBatch& batch) {
  std::vector<int64_t> rows, targets;
  const Tensor hidden_rows = batch.hidden_rows.cpu(), wanted = batch.targets.cpu();
  for (size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
    for (int64_t m = batch.offsets[i]; m + 1 < batch.offsets[i + 1]; ++m) {
      rows.push_back(hidden_rows.const_data_ptr<int64_t>()[m]);
      targets.push_back(wanted.const_data_ptr<int64_t>()[m + 1]);
    }
  }
  if (rows.empty()) return Tensor();
  // What stands behind a sequence's end is read by no row that counts.
  const Tensor ahead = model.predict_ahead(hidden, batch.forward.tokens.roll(-1), batch.forward);
  const auto place = [&](const std::vector<int64_t>& v) {
    return at::tensor(v, at::kLong).to(model.device());
  };
  return -model.log_probs(ops::select_rows(ahead, place(rows)), place(targets)).logp.sum();
}

int64_t tokens_of(std::span<const TrainingSequence> sequences) {
  size_t tokens = 0;
  for (const TrainingSequence& s : sequences) tokens += s.prompt.size() + s.completion.size();
  return static_cast<int64_t>(tokens);
}

}  // namespace

void Trainer::forward_backward(std::span<const TrainingSequence> sequences,
                               const Gradient& gradient, const std::function<void()>& forget,
                               const KnownGradient& known, bool predict) {
  const at::AutoGradMode with_grad(true);
  const bool experts = model_.config().experts.count > 0;
  const double all_tokens = static_cast<double>(tokens_of(sequences));
  const bool share_prompts = share_prompts_ && !predict;
  std::vector<float> dlogp, dentropy;
  // What the updates before have counted stays when this one begins again.
  std::vector<Tensor> counts_before;
  for (const Tensor& counts : expert_counts_) counts_before.push_back(counts.clone());
  const double balance_before = balance_;
  predict_loss_ = 0;
  ++updates_;
  const auto run = [&](size_t first, std::span<const TrainingSequence> part) {
    PackedBatch batch = packed(model_, part, share_prompts);
    RoutingRecord routing;
    if (experts) batch.forward.routing = &routing;
    batch.forward.recompute = options_.recompute;
    const Tensor all = model_.forward(batch.forward);
    batch.forward.routing = nullptr;
    const Tensor hidden = ops::select_rows(all, batch.hidden_rows);
    dlogp.assign(static_cast<size_t>(batch.targets.numel()), 0.0f);
    dentropy.clear();
    Tensor known_dlogp;
    if (known) {
      known(first, batch.offsets, dlogp);
      known_dlogp = to_device(dlogp, model_.device());
    }
    const ops::LogProbs out =
        model_.log_probs(hidden, batch.targets, 1.0 / options_.temperature, known_dlogp);
    const std::vector<float> logp = to_host(out.logp), entropy = to_host(out.entropy);
    gradient(first, batch.offsets, logp, entropy, dlogp, dentropy);
    std::vector<Tensor> losses = {out.logp},
                        gradients = {known ? known_dlogp : to_device(dlogp, model_.device())};
    const auto add = [&](const Tensor& loss, double factor) {
      losses.push_back(loss);
      gradients.push_back(at::full_like(loss, factor));
    };
    if (!dentropy.empty()) {
      losses.push_back(out.entropy);
      gradients.push_back(to_device(dentropy, model_.device()));
    }
    if (experts) {
      const double share = static_cast<double>(tokens_of(part)) / all_tokens;
      balance_ += share * routing.balance.item<double>();
      if (options_.balance.coef > 0) add(routing.balance, options_.balance.coef * share);
      for (size_t i = 0; i < routing.counts.size(); ++i) {
        if (expert_counts_.size() <= i) expert_counts_.push_back(at::zeros_like(routing.counts[i]));
        expert_counts_[i].add_(routing.counts[i]);
      }
    }
    if (predict) {
      const Tensor ahead = predict_loss(model_, all, batch);
      if (ahead.defined()) {
        predict_loss_ += ahead.item<double>();
        add(ahead, options_.balance.predict_coef / all_tokens);
      }
    }
    torch::autograd::backward(losses, gradients);
  };
  each_micro_batch(sequences, share_prompts, run, [&] {
    model_.trained().grad().zero_();  // a part of it was added
    expert_counts_.clear();
    for (const Tensor& counts : counts_before) expert_counts_.push_back(counts.clone());
    balance_ = balance_before;
    predict_loss_ = 0;
    forget();
  });
}

namespace {

// The numbers of the model's layers with experts, as a routing record has them.
std::vector<int64_t> layers_with_experts(const ModelConfig& config) {
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < config.layers + config.predict_layers; ++layer) {
    if (layer >= config.layers || config.is_sparse(layer)) layers.push_back(layer);
  }
  return layers;
}

// Entropy of the choices over that of an even spread.
double evenness(const Tensor& counts) {
  const Tensor p = counts.to(at::kDouble) / counts.sum();
  return -at::xlogy(p, p).sum().item<double>() / std::log(static_cast<double>(p.numel()));
}

}  // namespace

ExpertLoad Trainer::end_step() {
  ExpertLoad load;
  if (expert_counts_.empty()) return load;
  const Tensor all = at::stack(expert_counts_).cpu();
  const std::vector<Parameter*> biases = model_.selection_biases();
  const std::vector<int64_t> layers = layers_with_experts(model_.config());
  load.least = INFINITY;
  load.entropy = 1;
  for (int64_t i = 0; i < all.size(0); ++i) {
    const Tensor counts = all.select(0, i);
    const int64_t* p = counts.const_data_ptr<int64_t>();
    load.choices.emplace(layers[static_cast<size_t>(i)],
                         std::vector<int64_t>(p, p + counts.numel()));
    const Tensor share = counts.to(at::kFloat) / counts.to(at::kFloat).mean();
    const double most = share.max().item<double>();
    if (most > load.most) {
      load.most = most;
      load.layer = layers[static_cast<size_t>(i)];
      load.share = most * static_cast<double>(model_.config().experts.per_token) /
                   static_cast<double>(counts.numel());
    }
    load.least = std::min(load.least, share.min().item<double>());
    load.entropy = std::min(load.entropy, evenness(counts));
    // DeepSeek-V3, section 2.1.2: the overloaded become less likely, the others more.
    if (options_.balance.bias_speed > 0 && static_cast<size_t>(i) < biases.size()) {
      Tensor bias = biases[static_cast<size_t>(i)]->value;
      bias.add_(at::sign(1 - share).to(bias.device()), options_.balance.bias_speed);
    }
  }
  load.balance = balance_ / static_cast<double>(all.size(0) * updates_);
  expert_counts_.clear();
  balance_ = 0;
  updates_ = 0;
  return load;
}

namespace {

ObjectiveRow objective_row(const Trainer::PolicyRow& row, std::span<const double> logp,
                           std::span<const double> entropy) {
  ObjectiveRow o;
  o.logp = logp;
  o.entropy = entropy;
  o.old_logp = row.old_logp;
  o.ref_logp = row.ref_logp;
  o.sampler_logp = row.sampler_logp;
  o.advantage = row.advantage;
  o.token_advantages = row.token_advantages;
  o.group = row.group;
  o.truncated = row.truncated;
  o.zero_variance = row.zero_variance;
  return o;
}

}  // namespace

Trainer::PolicyStep Trainer::policy_step(std::span<const TrainingSequence> sequences,
                                         std::span<const PolicyRow> rows,
                                         const ObjectiveOptions& options, double lr, uint64_t seed,
                                         const Progress& progress) {
  PolicyStep step;
  std::vector<RowCounts> counts;
  for (size_t i = 0; i < rows.size(); ++i) {
    counts.push_back({static_cast<int64_t>(sequences[i].completion.size()), rows[i].group,
                      rows[i].truncated, rows[i].zero_variance});
  }
  StepNormaliser normaliser = step_normaliser(options, counts);
  // Completions that get no gradient are not run.
  std::vector<size_t> used;
  std::vector<TrainingSequence> run;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!row_is_used(options, counts[i])) continue;
    used.push_back(i);
    run.push_back(sequences[i]);
  }
  std::vector<TokenSelection> selection;
  if (needs_selection(options)) {  // a forward pass more: the whole step has to be seen first
    const TokenStats before = token_stats(model_, run);
    std::vector<ObjectiveRow> all;
    for (size_t i = 0; i < used.size(); ++i) {
      all.push_back(objective_row(rows[used[i]], before.logp[i], before.entropy[i]));
    }
    selection = select_tokens(options, all, seed, normaliser);
  }
  const auto gradient = [&](size_t first, const std::vector<int64_t>& offsets,
                            std::span<const float> logp, std::span<const float> entropy,
                            std::vector<float>& dlogp, std::vector<float>& dentropy) {
    const std::vector<double> p(logp.begin(), logp.end()), h(entropy.begin(), entropy.end());
    std::vector<ObjectiveRow> batch;
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      const size_t begin = static_cast<size_t>(offsets[i]);
      const size_t length = static_cast<size_t>(offsets[i + 1]) - begin;
      ObjectiveRow& row = batch.emplace_back(objective_row(rows[used[first + i]],
                                                           std::span(p).subspan(begin, length),
                                                           std::span(h).subspan(begin, length)));
      if (!selection.empty()) {
        row.keep = selection[first + i].keep;
        row.hold = selection[first + i].hold;
      }
      for (size_t t = 0; t < row.sampler_logp.size(); ++t) {
        step.sampler_difference = std::max(step.sampler_difference.value_or(0),
                                           std::fabs(row.sampler_logp[t] - row.logp[t]));
      }
    }
    if (progress) {
      progress(static_cast<int64_t>(first), static_cast<int64_t>(run.size()));
    }
    const ObjectiveResult result = objective(options, normaliser, batch);
    step.stats.merge(result.stats);
    const bool with_entropy = needs_entropy_gradient(options);
    if (with_entropy) dentropy.assign(logp.size(), 0.0f);
    for (size_t i = 0; i < batch.size(); ++i) {
      const size_t begin = static_cast<size_t>(offsets[i]);
      for (size_t t = 0; t < result.grad_logp[i].size(); ++t) {
        dlogp[begin + t] = static_cast<float>(result.grad_logp[i][t]);
        if (with_entropy) dentropy[begin + t] = static_cast<float>(result.grad_entropy[i][t]);
      }
    }
  };
  forward_backward(run, gradient, [&] { step = {}; });
  step.gradient_norm = optimizer_.step(lr);
  if (progress) progress(static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows.size()));
  return step;
}

Trainer::LikelihoodStep Trainer::likelihood_step(std::span<const TrainingSequence> sequences,
                                                 std::span<const std::vector<uint8_t>> masks,
                                                 double lr) {
  LikelihoodStep step;
  for (size_t i = 0; i < sequences.size(); ++i) {
    step.tokens += masks.empty() ? static_cast<int64_t>(sequences[i].completion.size())
                                 : std::count(masks[i].begin(), masks[i].end(), 1);
  }
  if (step.tokens == 0) return step;
  const double weight = 1.0 / static_cast<double>(step.tokens);
  const bool predict = options_.balance.predict_coef > 0 && model_.config().predict_layers > 0;
  const auto known = [&](size_t first, const std::vector<int64_t>& offsets,
                         std::vector<float>& dlogp) {
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      for (int64_t t = offsets[i]; t < offsets[i + 1]; ++t) {
        const size_t at = static_cast<size_t>(t - offsets[i]);
        if (!masks.empty() && !masks[first + i][at]) continue;
        dlogp[static_cast<size_t>(t)] = static_cast<float>(-weight);
      }
    }
  };
  const auto add_loss = [&](size_t, const std::vector<int64_t>&, std::span<const float> logp,
                            std::span<const float>, std::vector<float>& dlogp,
                            std::vector<float>&) {
    for (size_t t = 0; t < logp.size(); ++t) {
      if (dlogp[t] != 0) step.loss -= weight * logp[t];
    }
  };
  forward_backward(
      sequences, add_loss, [&] { step.loss = 0; }, known, predict);
  step.predict_loss = predict_loss_ / static_cast<double>(tokens_of(sequences));
  step.gradient_norm = optimizer_.step(lr);
  step.load = end_step();
  return step;
}

}  // namespace hone
