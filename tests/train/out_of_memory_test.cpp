// A micro-batch that the device has no memory for is split, and the step counts once.
#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <functional>

#include "base/error.h"
#include "base/log.h"
#include "small_trainer.h"
#include "train/plan.h"

namespace hone {
namespace {

using testing::Completions;
using testing::deepseek_model;
using testing::plain_adamw;
using testing::relative_difference;
using testing::trainable_model;

// LibTorch's memory on the CPU, which runs out as the GPU's does: `refuses`, asked about every
// allocation by its number since this was made, decides.
class ScarceMemory : public c10::Allocator {
 public:
  explicit ScarceMemory(std::function<bool(int64_t number)> refuses)
      : refuses_(std::move(refuses)), plenty_(c10::GetCPUAllocator()) {
    c10::SetCPUAllocator(this, kPriority);
    set_log_level(LogLevel::error);
  }
  ~ScarceMemory() override {
    c10::SetCPUAllocator(plenty_, kPriority);
    set_log_level(LogLevel::info);
  }

  c10::DataPtr allocate(size_t bytes) override {
    if (refuses_(allocations++)) {
      ++refusals;
      C10_THROW_ERROR(OutOfMemoryError, "no memory left, says the test");
    }
    return plenty_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return plenty_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    plenty_->copy_data(to, from, bytes);
  }

  int64_t allocations = 0, refusals = 0;

 private:
  static constexpr uint8_t kPriority = 100;

  std::function<bool(int64_t)> refuses_;
  c10::Allocator* plenty_;
};

constexpr int64_t kAll = 1 << 20;  // tokens of a micro-batch that holds every sequence

// What one step leaves behind.
struct Outcome {
  at::Tensor first, second;  // moments: the gradient and its square
  double loss = 0, norm = 0, sampler_difference = 0, clipped = 0, balance = 0, load = 0;
  int64_t tokens = 0, progress_calls = 0, budget = 0;
};

Outcome moments_of(Trainer& trainer) {
  Outcome o;
  o.first = trainer.optimizer().state()[0].second.clone();
  o.second = trainer.optimizer().state()[1].second.clone();
  o.budget = trainer.micro_batch_tokens();
  return o;
}

using Refuses = std::function<bool(int64_t)>;
bool never(int64_t) { return false; }

Outcome policy_step(int64_t budget, const Refuses& refuses, int64_t* allocations = nullptr) {
  const auto model = trainable_model(1, 3);
  Trainer trainer(*model, plain_adamw(),
                  {.micro_batch_tokens = budget,
                   .temperature = 0.8,
                   .balance = {},
                   .less_memory = less_memory(StageOptions())});
  const Completions data;
  const auto sequences = data.sequences();
  std::vector<Trainer::PolicyRow> rows(sequences.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].old_logp.assign(sequences[i].completion.size(), -3.0);
    rows[i].sampler_logp = rows[i].old_logp;
    rows[i].advantage = i % 2 ? 1.0 : -0.7;
    rows[i].group = static_cast<int64_t>(data.prompt_of[i]);
  }
  ScarceMemory memory(refuses);
  const auto step = trainer.policy_step(sequences, rows, preset_options("grpo"), 0.0);
  if (allocations) *allocations = memory.allocations;
  Outcome o = moments_of(trainer);
  o.loss = step.stats.loss;
  o.norm = step.gradient_norm;
  o.sampler_difference = step.sampler_difference.value();
  o.tokens = step.stats.tokens;
  return o;
}

Outcome likelihood_step(int64_t budget, double balance, const Refuses& refuses) {
  const auto model = deepseek_model();
  Trainer trainer(*model, plain_adamw(), {budget, 1.0, {balance, 0, 0.3}});
  ScarceMemory memory(refuses);
  const auto step = trainer.likelihood_step(Completions().sequences(), {}, 0.0);
  Outcome o = moments_of(trainer);
  o.loss = step.loss;
  o.norm = step.gradient_norm;
  o.balance = step.load.balance;
  o.load = step.load.most;
  o.tokens = step.tokens;
  return o;
}

void check_same(const Outcome& a, const Outcome& b) {
  CHECK(a.first.equal(b.first));
  CHECK(a.second.equal(b.second));
  CHECK(a.loss == b.loss);
  CHECK(a.norm == b.norm);
  CHECK(a.sampler_difference == b.sampler_difference);
  CHECK(a.tokens == b.tokens);
  CHECK(a.balance == b.balance);
  CHECK(a.load == b.load);
  CHECK(a.budget == b.budget);
}

// Allocations of a step's update, which is not what is split.
int64_t allocations_of_update() {
  const auto model = trainable_model(1, 3);
  Trainer trainer(*model, plain_adamw(), {kAll, 0.8, {}});
  ScarceMemory memory(never);
  trainer.optimizer().step(0.0);
  return memory.allocations;
}

}  // namespace

TEST_CASE("wherever memory runs out in a step, its gradient and figures count once") {
  int64_t allocations = 0;
  const Outcome whole = policy_step(kAll, never, &allocations);
  REQUIRE(whole.budget == kAll);
  const int64_t passes = allocations - allocations_of_update();
  REQUIRE(passes > 50);
  Outcome halves;
  for (int64_t failed = 0; failed < passes; ++failed) {
    INFO("allocation " << failed << " of " << passes);
    const Outcome o = policy_step(kAll, [=](int64_t n) { return n == failed; });
    CHECK(o.budget < kAll);
    if (!halves.first.defined()) halves = policy_step(o.budget, never);
    check_same(o, halves);
  }
  CHECK(relative_difference(halves.first, whole.first) < 1e-6);
  CHECK(std::abs(halves.loss - whole.loss) < 1e-6 * std::abs(whole.loss) + 1e-9);
  CHECK(halves.tokens == whole.tokens);
}

TEST_CASE("memory that runs out in a later micro-batch takes back what the earlier ones added") {
  const int64_t budget = 120;  // two micro-batches; three sequences in the second
  int64_t allocations = 0;
  const Outcome undisturbed = policy_step(budget, never, &allocations);
  const int64_t late = (allocations - allocations_of_update()) * 3 / 4;
  const Outcome o = policy_step(budget, [=](int64_t n) { return n == late; });
  REQUIRE(o.budget < budget);
  check_same(o, policy_step(o.budget, never));
  CHECK(relative_difference(o.first, undisturbed.first) < 1e-6);
}

TEST_CASE("micro-batches shrink until they fit") {
  const Outcome o = policy_step(kAll, [](int64_t n) { return n == 39 || n == 59; });
  CHECK(o.budget <= packed_tokens(Completions().sequences(), true) / 4);
  check_same(o, policy_step(o.budget, never));
}

TEST_CASE("experts' loads, their balance and the prediction's loss count once, too") {
  const Outcome whole = likelihood_step(kAll, 0, never);
  for (const double balance : {0.0, 0.5}) {
    for (const int64_t failed : {10, 200, 500}) {
      INFO("allocation " << failed << ", balance " << balance);
      const Outcome o = likelihood_step(kAll, balance, [=](int64_t n) { return n == failed; });
      REQUIRE(o.budget < kAll);
      check_same(o, likelihood_step(o.budget, balance, never));
      CHECK(o.load == whole.load);
      if (balance == 0) CHECK(relative_difference(o.first, whole.first) < 1e-6);
    }
  }
}

TEST_CASE("log-probabilities without a gradient are split the same way, bit for bit") {
  const auto model = trainable_model();
  const Completions data;
  const auto sequences = data.sequences();
  Trainer plenty(*model, plain_adamw(), {kAll, 0.8, {}}),
      scarce(*model, plain_adamw(), {kAll, 0.8, {}});
  const auto expected = plenty.token_stats(*model, sequences);
  ScarceMemory memory([](int64_t n) { return n == 30; });
  const auto found = scarce.token_stats(*model, sequences);
  CHECK(memory.refusals == 1);
  CHECK(scarce.micro_batch_tokens() < kAll);
  CHECK(found.logp == expected.logp);
  CHECK(found.entropy == expected.entropy);
}

TEST_CASE("one sequence that has no room by itself is an error that says what helps") {
  const auto always = [](int64_t n) { return n > 20; };
  CHECK_THROWS_WITH(policy_step(kAll, always),
                    Catch::Matchers::ContainsSubstring("recompute=layers") &&
                        Catch::Matchers::ContainsSubstring("by itself"));
  CHECK_THROWS_AS(policy_step(kAll, always), RunError);
}

TEST_CASE("what would need less memory is what the stage does not do yet") {
  StageOptions stage;
  stage.kind = "rl";
  CHECK(less_memory(stage) ==
        "a new run needs less with recompute=layers, release_cache=true, optimizer.moments=int8, "
        "optimizer.offload=true, lora.rank=16, a smaller max_tokens");
  stage.recompute = Recompute::layers;
  stage.release_cache = true;
  stage.optimizer.moments = MomentForm::int8;
  stage.experts.bias_speed = 0.01;  // lora leaves biases as they are
  CHECK(less_memory(stage) ==
        "a new run needs less with optimizer.offload=true, a smaller max_tokens");
  stage.kind = "pretrain";
  stage.optimizer.offload = true;
  CHECK(less_memory(stage) == "a new run needs less with shorter documents");
}

}  // namespace hone
