// Replaying choices of experts in the trainer: however sequences are packed and cut, each takes the
// experts that were given for it.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "small_trainer.h"
#include "train/packing.h"

namespace hone {
namespace {

using testing::Completions;
using testing::deepseek_model;

constexpr size_t kWidth = 2 * 2;  // deepseek_model: sparse layers, experts a token

using Routes = std::vector<std::vector<int16_t>>;

TrainerOptions cut_at(int64_t tokens) {
  TrainerOptions options;
  options.micro_batch_tokens = tokens;
  return options;
}

// Random routes; a prompt's are those of all its completions.
Routes random_routes(const std::vector<TrainingSequence>& sequences) {
  Routes routes;
  Rng rng(7);
  const auto draw = [&](size_t tokens, std::vector<int16_t>& out) {
    for (size_t i = 0; i < 2 * tokens; ++i) {
      const auto first = static_cast<int16_t>(rng.between(0, 7));
      out.push_back(first);
      out.push_back(static_cast<int16_t>((first + rng.between(1, 7)) % 8));
    }
  };
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto prompt = sequences[i].prompt;
    std::vector<int16_t> own;
    if (i > 0 && prompt.data() == sequences[i - 1].prompt.data()) {
      own.assign(routes.back().begin(), routes.back().begin() + prompt.size() * kWidth);
    } else {
      draw(prompt.size(), own);
    }
    draw(sequences[i].completion.size() - 1, own);
    routes.push_back(std::move(own));
  }
  return routes;
}

// How often each of the 8 experts of the two sparse layers is taken in one update: a prompt counts
// once in a micro-batch.
std::vector<std::vector<int64_t>> choices_of(const Routes& routes,
                                             const std::vector<TrainingSequence>& sequences,
                                             int64_t micro_batch_tokens) {
  std::vector<std::vector<int64_t>> choices(2, std::vector<int64_t>(8));
  const std::vector<size_t> cuts = cut_micro_batches(sequences, micro_batch_tokens, true);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const bool begins = std::find(cuts.begin(), cuts.end(), i) != cuts.end();
    const bool shares = !begins && sequences[i].prompt.data() == sequences[i - 1].prompt.data();
    for (size_t c = shares ? sequences[i].prompt.size() * kWidth : 0; c < routes[i].size(); ++c) {
      ++choices[c % kWidth / 2][static_cast<size_t>(routes[i][c])];
    }
  }
  return choices;
}

std::vector<TrainingSequence> with_routes(std::vector<TrainingSequence> sequences,
                                          const Routes& routes) {
  for (size_t i = 0; i < sequences.size(); ++i) sequences[i].routes = routes[i];
  return sequences;
}

void move_weights(Transformer& model) {
  at::manual_seed(9);
  model.weights().master().add_(at::randn_like(model.weights().master()), 0.05);
  model.weights().weights_changed();
}

}  // namespace

TEST_CASE("recorded choices do not depend on packing, and replaying them changes no bit") {
  const auto model = deepseek_model();
  const Completions data;
  const auto sequences = data.sequences();
  Trainer whole(*model, {}, cut_at(1 << 20)), cut(*model, {}, cut_at(60));
  const auto plain = whole.token_stats(*model, sequences, true);
  REQUIRE(plain.routes.size() == sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    CHECK(plain.routes[i].size() ==
          (sequences[i].prompt.size() + sequences[i].completion.size() - 1) * kWidth);
  }
  CHECK(cut.token_stats(*model, sequences, true).routes == plain.routes);
  CHECK(whole.token_stats(*model, sequences).routes.empty());
  const auto given = with_routes(sequences, plain.routes);
  for (Trainer* trainer : {&whole, &cut}) {
    const auto replayed = trainer->token_stats(*model, given);
    CHECK(replayed.logp == plain.logp);
    CHECK(replayed.entropy == plain.entropy);
  }
}

TEST_CASE("each sequence takes the experts given for it, shared prompts and cuts or none") {
  const auto model = deepseek_model();
  const Completions data;
  const auto sequences = data.sequences();
  const Routes routes = random_routes(sequences);
  const auto given = with_routes(sequences, routes);
  Trainer whole(*model, {}, cut_at(1 << 20)), cut(*model, {}, cut_at(60));
  const auto replayed = whole.token_stats(*model, given, true);
  CHECK(replayed.routes == routes);  // what is recorded is what was taken
  CHECK(replayed.logp != whole.token_stats(*model, sequences).logp);
  CHECK(cut.token_stats(*model, given).logp == replayed.logp);
  for (size_t i = 0; i < given.size(); ++i) {
    CHECK(whole.token_stats(*model, std::span(given).subspan(i, 1)).logp[0] == replayed.logp[i]);
  }
}

TEST_CASE("an update with replayed experts has one gradient however it is cut or run again") {
  const Completions data;
  const auto sequences = data.sequences();
  const Routes routes = random_routes(sequences);
  const auto given = with_routes(sequences, routes);
  const auto gradient = [&](int64_t tokens, bool replay, Recompute recompute) {
    const auto model = deepseek_model();
    TrainerOptions options = cut_at(tokens);
    options.recompute = recompute;
    Trainer trainer(*model, testing::plain_adamw(), options);
    std::vector<Trainer::PolicyRow> rows(sequences.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].advantage = i % 2 ? 1.0 : -0.7;
      rows[i].group = static_cast<int64_t>(data.prompt_of[i]);
    }
    trainer.policy_step(replay ? given : sequences, rows, preset_options("grpo"), 0.0);
    const ExpertLoad load = trainer.end_step();
    REQUIRE(load.choices.size() == 2);
    if (replay) {  // the choices counted are those taken
      const auto taken = choices_of(routes, sequences, tokens);
      CHECK(load.choices.at(1) == taken[0]);
      CHECK(load.choices.at(2) == taken[1]);
    }
    return trainer.optimizer().state().front().second.clone();
  };
  const at::Tensor whole = gradient(1 << 20, true, Recompute::none);
  CHECK(testing::relative_difference(gradient(60, true, Recompute::none), whole) < 1e-5);
  CHECK(gradient(1 << 20, true, Recompute::selective).equal(whole));
  CHECK(gradient(1 << 20, true, Recompute::layers).equal(whole));
  CHECK(testing::relative_difference(gradient(1 << 20, false, Recompute::none), whole) > 0.01);
}

TEST_CASE("replayed choices stay while the weights move, and their weights are the new router's") {
  const auto model = deepseek_model();
  const Completions data;
  const auto sequences = data.sequences();
  Trainer trainer(*model, {}, cut_at(90));
  const auto before = trainer.token_stats(*model, sequences, true);
  const auto given = with_routes(sequences, before.routes);
  move_weights(*model);
  CHECK(trainer.token_stats(*model, sequences, true).routes != before.routes);
  const auto after = trainer.token_stats(*model, given, true);
  CHECK(after.routes == before.routes);
  CHECK(after.logp != before.logp);
}

}  // namespace hone
