// Pretraining and SFT: the mean negative log-likelihood of documents, packed.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <future>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/dataset.h"
#include "engine/engine.h"
#include "engine/free_memory.h"
#include "kernels/cpu_kernels.h"
#include "text/tokenizer.h"
#include "train/conversation.h"
#include "train/format.h"
#include "train/heldout.h"
#include "train/plan.h"
#include "train/stage.h"
#include "train/trainer.h"
#include "train/trial.h"

namespace hone {
namespace {

// The documents of one optimizer step.
struct DocumentBatch {
  std::vector<std::vector<int32_t>> prompts, completions;
  std::vector<std::vector<uint8_t>> masks;  // of the completions: whether the loss counts
  int64_t next_document = 0;                // where the step after it begins
  int64_t tokens = 0;                       // that count

  // Cuts what is longer than the model's context; leaves out what has nothing to learn then.
  void add(std::vector<int32_t> prompt, std::vector<int32_t> completion, std::vector<uint8_t> mask,
           size_t longest) {
    if (prompt.size() >= longest) return;
    const size_t room = std::min(completion.size(), longest - prompt.size());
    completion.resize(room);
    mask.resize(room);
    const int64_t counted = std::count(mask.begin(), mask.end(), 1);
    if (counted == 0) return;
    tokens += counted;
    prompts.push_back(std::move(prompt));
    completions.push_back(std::move(completion));
    masks.push_back(std::move(mask));
  }

  std::vector<TrainingSequence> sequences() const {
    std::vector<TrainingSequence> s;
    for (size_t i = 0; i < prompts.size(); ++i) s.push_back({prompts[i], completions[i]});
    return s;
  }
};

struct LikelihoodStage {
  StageContext& context;
  const StageOptions& options;
  std::string tokenizer_directory;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat;  // what conversations go through
  std::unique_ptr<Transformer> model;
  std::unique_ptr<DocumentSource> documents;
  Trainer trainer;
  CheckpointWriter checkpoints;
  Diagnosis diagnosis{DiagnosisNames{}};

  int64_t step = 0, next_document = 0, tokens = 0;

  explicit LikelihoodStage(StageContext& c);
  DocumentBatch batch_from(int64_t document) const;
  void evaluate_now(MetricsRow& row);
  void save();
};

std::unique_ptr<Transformer> make_model(const StageContext& c, const Tokenizer& tokenizer) {
  ModelPlace place = c.place;
  place.trainable = !c.stage.lora.on();
  const auto adapted = [&](std::unique_ptr<Transformer> model) {
    begin_adapters(c, *model);
    return model;
  };
  if (c.stage.kind == "sft" && !makes_weights(c.recipe, c.stage))
    return adapted(load_model(c.model_directory, place));
  ModelConfig config = c.stage.shape;
  if (c.stage.kind == "sft") config = config_of_stage(c);
  if (c.stage.kind == "pretrain") {
    config.vocab_size = tokenizer.vocab_size();
    config.bos = tokenizer.bos().value_or(-1);
    config.eos = tokenizer.eos().value_or(-1);
    config.pad = tokenizer.pad().value_or(-1);
    config.stop_ids = {config.eos};
    config = complete_shape(config, cat("stage '", c.stage.name, "': shape"));
  }
  auto model = std::make_unique<Transformer>(config, place);
  model->initialize(static_cast<uint64_t>(c.recipe.seed));
  return adapted(std::move(model));
}

LikelihoodStage::LikelihoodStage(StageContext& c)
    : context(c),
      options(c.stage),
      tokenizer_directory(c.stage.kind == "sft" ? c.model_directory : find_path(c.stage.tokenizer)),
      tokenizer(load_tokenizer(tokenizer_directory)),
      chat(ChatTemplate::from_directory(tokenizer_directory)),
      model(make_model(c, *tokenizer)),
      documents(open_documents(options.data, static_cast<uint64_t>(c.recipe.seed))),
      trainer(*model, options.optimizer,
              {.micro_batch_tokens = options.micro_batch_tokens,
               .balance = options.experts,
               .recompute = options.recompute,
               .less_memory = less_memory(options)}),
      checkpoints(c.directory + "/checkpoints", options.checkpoint.keep) {
  if (!documents->report().empty()) context.display.note(documents->report());
}

DocumentBatch LikelihoodStage::batch_from(int64_t document) const {
  DocumentBatch batch;
  const int64_t size = documents->size();
  const size_t longest = static_cast<size_t>(model->config().max_positions);
  const int64_t give_up = document + std::max<int64_t>(size, 10000);
  for (; batch.tokens < options.batch_tokens; ++document) {
    if (batch.prompts.empty() && document == give_up) {
      throw UserError(cat("stage '", options.name, "': none of ", std::max<int64_t>(size, 10000),
                          " documents leaves a token to learn within the model's context of ",
                          longest));
    }
    const Document d = documents->at(size > 0 ? document % size : document);
    if (!d.messages.is_null()) {
      if (!chat) {
        throw UserError(cat("stage '", options.name, "': the data has conversations, and ",
                            tokenizer_directory, " has no chat template to write them by"));
      }
      LearnedTokens tokens = render_conversation(*chat, *tokenizer, d);
      const auto first = std::find(tokens.learn.begin(), tokens.learn.end(), 1);
      const auto split = std::max<std::ptrdiff_t>(first - tokens.learn.begin(), 1);
      if (split >= static_cast<std::ptrdiff_t>(tokens.ids.size())) continue;
      tokens.learn.erase(tokens.learn.begin(), tokens.learn.begin() + split);
      batch.add({tokens.ids.begin(), tokens.ids.begin() + split},
                {tokens.ids.begin() + split, tokens.ids.end()}, std::move(tokens.learn), longest);
      continue;
    }
    const auto split = static_cast<size_t>(d.loss_from);
    std::vector<int32_t> prompt = tokenizer->special_ids_around().before;
    const std::vector<int32_t> asked = tokenizer->encode(std::string_view(d.text).substr(0, split));
    prompt.insert(prompt.end(), asked.begin(), asked.end());
    std::vector<int32_t> completion = tokenizer->encode(std::string_view(d.text).substr(split));
    if (tokenizer->eos()) completion.push_back(*tokenizer->eos());
    if (prompt.empty() && !completion.empty()) {  // no BOS: the first token cannot be predicted
      prompt.push_back(completion.front());
      completion.erase(completion.begin());
    }
    std::vector<uint8_t> learn(completion.size(), 1);
    batch.add(std::move(prompt), std::move(completion), std::move(learn), longest);
  }
  batch.next_document = document;
  return batch;
}

// Where the recipe says how to judge answers: how much of the tasks the model can do.
void LikelihoodStage::evaluate_now(MetricsRow& row) {
  if (options.rewards.empty()) return;
  RewardSet rewards(options.rewards, kernels::num_threads());
  Engine engine(*model, tokenizer.get());
  const HeldOutResult result =
      evaluate_heldout(context, engine, *tokenizer, rewards,
                       open_heldout(options, static_cast<uint64_t>(context.recipe.seed)), step,
                       options.max_tokens, 0);
  for (const auto& [name, value] : result.row.values) {
    std::visit([&, key = name](const auto& v) { row.set(key, v); }, value);
  }
}

void LikelihoodStage::save() {
  if (!keeps_weights(context.recipe, options)) return;
  context.metrics.sync();
  const Json state = {{"next_document", next_document},
                      {"tokens", tokens},
                      {"decided", trainer.decided()},
                      {"sizes", sizes_json(context.metrics.sizes())}};
  checkpoints.save(step, *model, trainer.optimizer(), {}, state, tokenizer_directory);
}

}  // namespace

RunEnd run_likelihood_stage(StageContext& context) {
  LikelihoodStage s(context);
  const Json state = resume_stage(context, *s.model, s.trainer.optimizer(), {});
  if (!state.is_null()) {
    s.step = state.at("step").get<int64_t>();
    s.next_document = state.at("next_document").get<int64_t>();
    s.tokens = state.at("tokens").get<int64_t>();
    s.trainer.take_decided(state.value("decided", s.trainer.decided()));
    replay_diagnosis(context, s.diagnosis);
    context.display.note(cat("going on after step ", s.step, " of ", s.options.steps));
  }
  CheckpointClock clock(s.options.checkpoint);
  // The next batch is made while this one trains.
  const auto prepare = [&s](int64_t document) {
    return std::async(std::launch::async, [&s, document] { return s.batch_from(document); });
  };
  std::future<DocumentBatch> next = prepare(s.next_document);
  const int64_t line_every = std::max<int64_t>(s.options.steps / 50, 1);
  while (s.step < s.options.steps) {
    const Timer timer;
    const DocumentBatch batch = next.get();
    next = prepare(batch.next_document);
    const double lr = s.options.optimizer.lr *
                      learning_rate_factor(s.options.optimizer.schedule, s.step, s.options.steps);
    const auto result = s.trainer.likelihood_step(batch.sequences(), batch.masks, lr);
    ++s.step;
    s.next_document = batch.next_document;
    s.tokens += result.tokens;
    MetricsRow row, timing;
    row.set("loss", result.loss);
    row.set("grad_norm", result.gradient_norm);
    set_expert_load(row, result.load);
    if (result.predict_loss > 0) row.set("predict_loss", result.predict_loss);
    row.set("learning_rate", lr);
    row.set("num_tokens", s.tokens);
    if (s.step == s.options.steps ||
        (s.options.eval.every > 0 && s.step % s.options.eval.every == 0)) {
      s.evaluate_now(row);
    }
    context.metrics.write_metrics(s.options.name, s.step, row);
    context.metrics.write_experts(s.options.name, s.step, result.load.choices);
    const double seconds = timer.seconds();
    timing.set("step_time", seconds);
    timing.set("memory_peak", peak_memory(s.model->device()));
    if (s.trainer.micro_batch_tokens() < s.options.micro_batch_tokens) {
      timing.set("micro_batch_tokens", s.trainer.micro_batch_tokens());
    }
    timing.set("tokens_per_second", static_cast<double>(result.tokens) / seconds);
    context.metrics.write_timing(s.options.name, s.step, timing);
    context.display.progress(s.options.name, s.step, s.options.steps);
    if (s.step % line_every == 0 || s.step == s.options.steps) {
      context.display.step(
          s.step, s.options.steps,
          {{"loss", formatted("%.4f", result.loss)},
           {"grad", formatted("%.2f", result.gradient_norm)},
           {"lr", formatted("%.2e", lr)},
           {"tokens", cat(s.tokens)},
           {"tok/s", formatted("%.0f", static_cast<double>(result.tokens) / seconds)}});
    }
    diagnose(context, s.diagnosis, s.step, row);
    const std::optional<RunEnd> stop = stop_asked(context);
    if (stop || clock.due(s.step)) s.save();
    if (stop && s.step < s.options.steps) {
      s.checkpoints.wait();
      return *stop;
    }
  }
  s.save();
  s.checkpoints.wait();
  if (!keeps_weights(context.recipe, s.options)) return RunEnd::finished;
  const std::string path = context.directory + "/model.tmp";
  save_stage_model(*s.model, path, s.tokenizer_directory);
  publish_stage_model(path, context.directory);
  return RunEnd::finished;
}

}  // namespace hone
