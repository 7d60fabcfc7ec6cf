#include "engine/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/timer.h"
#include "engine/decode_graph.h"
#include "engine/free_memory.h"
#include "engine/route_log.h"
#include "engine/scheduling/scheduler.h"
#include "engine/speculation.h"
#include "engine/stop_rules.h"
#include "engine/token_sampling.h"

namespace hone {
namespace {

// The model's end tokens and the caller's.
std::vector<int64_t> all_stop_ids(const ModelConfig& config, const SamplingOptions& options) {
  std::vector<int64_t> ids = config.stop_ids;
  if (ids.empty() && config.eos >= 0) ids.push_back(config.eos);
  ids.insert(ids.end(), options.stop_ids.begin(), options.stop_ids.end());
  return ids;
}

// What a step costs, for Speculation. On the CPU, a model of 5M parameters on one thread: 0.41 ms
// for one row, 1.12 for 8; with larger ones, whose weights come from memory, a row counts less. On
// an H200 a look takes some 40 us of a step of 500, of which a chunk saves 7 in 8; the share of a
// row is a guess.
constexpr double kRowCostCpu = 0.3, kRowCostCuda = 0.01, kLookCostCuda = 0.07;

// One draw for each sequence that the step computed to its end, of a decode step for each of its
// tokens; all completions of a prompt that was just computed for the first time draw their first
// token from its one row.
void collect_draws(const Step& step, const Scheduler& scheduler, int64_t min_tokens,
                   TokenDraws& draws) {
  draws.clear();
  int64_t next_row = 0;  // of the logits
  for (const Step::Item& item : step.items) {
    const int64_t row = next_row, rows = step.decode ? item.length : 1;
    next_row += rows;
    if (!step.decode && !scheduler.reaches_end(item)) continue;
    const PromptGroup& g = scheduler.group(item.group);
    const auto add = [&](int64_t index, int64_t ahead) {
      const Sequence& s = scheduler.sequence(index);
      draws.add(row + ahead, index, g.key, s.sample, scheduler.length(s) + ahead,
                static_cast<int64_t>(s.generated.size()) + ahead < min_tokens);
    };
    if (item.sequence >= 0) {
      for (int64_t ahead = 0; ahead < rows; ++ahead) add(item.sequence, ahead);
      continue;
    }
    for (int64_t k = g.first_sequence; k < g.first_sequence + g.n; ++k) {
      const Sequence& s = scheduler.sequence(k);
      if (s.status == SequenceStatus::waiting && s.generated.empty()) add(k, 0);
    }
  }
}

// False if the sequence ended with it.
bool append(int64_t index, int64_t token, float logprob, float sampled_logprob,
            const StopRules& rules, Scheduler& scheduler) {
  Sequence& s = scheduler.sequence(index);
  s.generated.push_back(static_cast<int32_t>(token));
  s.logprobs.push_back(logprob);
  s.sampled_logprobs.push_back(sampled_logprob);
  if (rules.ends(s)) {
    scheduler.finish(index, FinishReason::stop);
  } else if (static_cast<int64_t>(s.generated.size()) == s.max_tokens) {
    scheduler.finish(index, FinishReason::length);
  }
  return s.status != SequenceStatus::finished;
}

void append_draws(const TokenDraws& draws, const StopRules& rules, Scheduler& scheduler) {
  for (size_t i = 0; i < draws.size(); ++i) {
    append(draws.sequences[i], draws.tokens[i], draws.logprobs[i], draws.sampled_logprobs[i], rules,
           scheduler);
  }
}

// What was drawn for each item of a decode step, and the experts of each row ([rows][width], where
// they are recorded).
void gather(const TokenDraws& draws, const Step& step, const int16_t* routes, size_t width,
            std::vector<DrawnTokens>& drawn) {
  drawn.resize(step.items.size());
  size_t at = 0;
  for (size_t i = 0; i < drawn.size(); ++i) {
    drawn[i].clear();
    for (int64_t row = 0; row < step.items[i].length; ++row, ++at) {
      drawn[i].add(static_cast<int32_t>(draws.tokens[at]), draws.logprobs[at],
                   draws.sampled_logprobs[at]);
      if (width > 0) {
        drawn[i].routes.insert(drawn[i].routes.end(), routes + at * width,
                               routes + (at + 1) * width);
      }
    }
  }
}

struct Appended {
  int64_t tokens = 0, accepted = 0;  // the latter were drafted
};

// What was drawn behind a stop, or behind a draft's token that did not come true, is dropped.
Appended append_decoded(const std::vector<DrawnTokens>& drawn, const Step& step,
                        const StopRules& rules, Scheduler& scheduler, RouteLog& routes) {
  Appended appended;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const int64_t index = step.items[i].sequence;
    const std::vector<int32_t>& draft = scheduler.sequence(index).draft;
    bool goes_on = true, as_drafted = true;
    size_t t = 0;
    for (; goes_on && as_drafted && t < drawn[i].tokens.size(); ++t) {
      const int32_t token = drawn[i].tokens[t];
      goes_on = append(index, token, drawn[i].logprobs[t], drawn[i].sampled_logprobs[t], rules,
                       scheduler);
      as_drafted = t >= draft.size() || token == draft[t];
      ++appended.tokens;
      appended.accepted += t < draft.size() && as_drafted;
    }
    routes.add(step.items[i], scheduler, drawn[i].routes.data(), static_cast<int64_t>(t));
    if (goes_on) scheduler.appended(index);
  }
  return appended;
}

void abort_all(Scheduler& scheduler) {
  for (int64_t i = 0; i < scheduler.sequence_count(); ++i) {
    if (scheduler.sequence(i).status != SequenceStatus::finished) {
      scheduler.finish(i, FinishReason::abort);
    }
  }
}

Completion to_completion(Sequence& s, const StopRules& rules) {
  Completion c;
  c.text = rules.text(s);
  c.tokens = std::move(s.generated);
  c.logprobs = std::move(s.logprobs);
  c.sampled_logprobs = std::move(s.sampled_logprobs);
  c.finish_reason = s.finish_reason;
  return c;
}

}  // namespace

Engine::Engine(const Transformer& model, const Tokenizer* tokenizer, const EngineOptions& options)
    : model_(&model), tokenizer_(tokenizer), options_(options), runner_(model) {
  const bool cpu = model.device().is_cpu();
  if (options_.max_running == 0) options_.max_running = cpu ? 256 : 1024;
  if (options_.prefill_tokens == 0) options_.prefill_tokens = cpu ? 4096 : 16384;
  if (options_.prefill_seats == 0) options_.prefill_seats = cpu ? 1 : 8;
  if (options_.speculate_rows == 0) options_.speculate_rows = cpu ? 8 : 16;
  if (options_.max_running < 1 || options_.kv_blocks < 0 || options_.prefill_tokens < 1 ||
      options_.prefill_seats < 1 || !(options_.kv_memory > 0 && options_.kv_memory <= 1) ||
      options_.speculate < 0 || options_.speculate > kLongestDraft || options_.speculate_rows < 1) {
    throw UserError(
        cat("engine options: expected max_running >= 0, kv_blocks >= 0, ",
            "prefill_tokens >= 0, prefill_seats >= 0, kv_memory in (0, 1], ", "speculate in [0, ",
            kLongestDraft, "] and speculate_rows >= 0; found ", options_.max_running, ", ",
            options_.kv_blocks, ", ", options_.prefill_tokens, ", ", options_.prefill_seats, ", ",
            options_.kv_memory, ", ", options_.speculate, " and ", options_.speculate_rows));
  }
#ifdef HONE_WITH_CUDA
  if (DecodeGraphs::serves(model)) graphs_ = std::make_unique<DecodeGraphs>(model);
#endif
}

Engine::~Engine() = default;

std::vector<std::vector<Completion>> Engine::sample(const std::vector<SampleRequest>& requests,
                                                    const SamplingOptions& options,
                                                    const SampleProgress& progress) {
  const Timer timer;
  check(requests, options);
  runner_.prepare(choose_blocks(requests, options), options.record_routing);
  const std::vector<int64_t> stop_ids = all_stop_ids(model_->config(), options);
  const StopRules rules(stop_ids, model_->config().vocab_size, options.stop, options.min_tokens,
                        tokenizer_);
  const bool on_device = prepare_graphs(requests, options, stop_ids);
  Scheduler scheduler({.blocks = runner_.cache_blocks(),
                       .max_running = options_.max_running,
                       .decode_tokens = on_device ? kDecodeChunk : 1,
                       .prefill_tokens = options_.prefill_tokens,
                       .prefill_seats = options_.prefill_seats,
                       .longest_first = options.longest_first});
  for (const SampleRequest& r : requests) {
    if (r.n > 0) scheduler.add(r.prompt, limits(r, options), r.key);
  }

  const bool cpu = model_->device().is_cpu();
  Speculation speculation({.longest = options_.speculate,
                           .rows = options_.speculate_rows,
                           .row_cost = cpu ? kRowCostCpu : kRowCostCuda,
                           .look_cost = on_device ? kLookCostCuda : 0});
  const int64_t route_width =
      options.record_routing ? model_->config().sparse_layers() * model_->config().experts.per_token
                             : 0;
  RouteLog routes(route_width);
  TokenDraws draws;
  draws.forbidden = stop_ids;
  // Without end tokens there is nothing that must not be drawn.
  const int64_t min_tokens = stop_ids.empty() ? 0 : options.min_tokens;
  std::vector<DrawnTokens> decoded;
  int64_t sampled = 0, steps = 0;
  const auto report = [&] {
    const int64_t all = scheduler.sequence_count();
    if (progress) progress(sampled, all - scheduler.unfinished(), all);
  };
  while (true) {
    if (options_.abort && options_.abort->load(std::memory_order_relaxed)) abort_all(scheduler);
    const Step& step = scheduler.schedule();
    if (step.items.empty()) break;
    const Timer compute;
    const int64_t drafted = step.decode ? speculation.draft(step, scheduler) : 0;
#ifdef HONE_WITH_CUDA
    if (step.decode && on_device) {
      runner_.copy_blocks(step.copies);
      graphs_->run(step, scheduler, decoded);
    } else
#endif
    {
      const at::Tensor logits = runner_.run(step, scheduler);  // [rows, V]
      if (route_width > 0 && !step.decode) routes.add(step, scheduler, runner_.routes());
      collect_draws(step, scheduler, min_tokens, draws);
      if (draws.size() > 0) draw_tokens(logits, options, draws);
      if (step.decode) {
        const at::Tensor recorded = route_width > 0 ? runner_.routes() : at::empty({0}, at::kShort);
        gather(draws, step, recorded.const_data_ptr<int16_t>(), static_cast<size_t>(route_width),
               decoded);
      }
    }
    (step.decode ? stats_.decode_seconds : stats_.prefill_seconds) += compute.seconds();
    if (step.decode) {
      const Appended appended = append_decoded(decoded, step, rules, scheduler, routes);
      speculation.learn(scheduler);
      sampled += appended.tokens;
      stats_.decode_steps += step.tokens;
      stats_.decode_tokens += appended.tokens;
      stats_.drafted += drafted;
      stats_.accepted += appended.accepted;
    } else {
      scheduler.computed();
      append_draws(draws, rules, scheduler);
      sampled += static_cast<int64_t>(draws.size());
      ++stats_.prefill_steps;
      for (const Step::Item& item : step.items) stats_.prefill_tokens += item.length;
    }
    if (++steps % 16 == 0) report();
  }
  report();
  HONE_CHECK(scheduler.blocks().free_count() == scheduler.blocks().total());

  std::vector<std::vector<Completion>> results(requests.size());
  int64_t next = 0;
  for (size_t r = 0; r < requests.size(); ++r) {
    for (int64_t i = 0; i < requests[r].n; ++i) {
      Completion c = to_completion(scheduler.sequence(next), rules);
      if (!c.tokens.empty()) c.routes = routes.take(next, scheduler);
      results[r].push_back(std::move(c));
      ++next;
    }
  }
  stats_.preemptions += scheduler.preemptions();
  stats_.seconds += timer.seconds();
  return results;
}

void Engine::check(const std::vector<SampleRequest>& requests,
                   const SamplingOptions& options) const {
  const ModelConfig& c = model_->config();
  if (!(options.temperature >= 0) || !(options.top_p > 0 && options.top_p <= 1) ||
      options.top_k < 0 || !(options.min_p >= 0 && options.min_p <= 1) || options.max_tokens < 1 ||
      options.min_tokens < 0) {
    throw UserError(cat("sampling: expected temperature >= 0, top_p in (0, 1], top_k >= 0, ",
                        "min_p in [0, 1], max_tokens >= 1 and min_tokens >= 0; found ",
                        options.temperature, ", ", options.top_p, ", ", options.top_k, ", ",
                        options.min_p, ", ", options.max_tokens, " and ", options.min_tokens));
  }
  const std::vector<int64_t> stop_ids = all_stop_ids(c, options);
  for (int64_t id : stop_ids) {
    if (id < 0 || id >= c.vocab_size) {
      throw UserError(
          cat("stop id ", id, " is outside the model's vocabulary of ", c.vocab_size, " tokens"));
    }
  }
  const std::set<int64_t> distinct(stop_ids.begin(), stop_ids.end());
  if (options.min_tokens > 0 && static_cast<int64_t>(distinct.size()) == c.vocab_size) {
    throw UserError(cat("min_tokens ", options.min_tokens, ": all ", c.vocab_size,
                        " tokens of the vocabulary are stop ids, so there is none to draw"));
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) throw UserError("a stop string is empty: every completion would end at once");
    if (!tokenizer_) throw UserError("stop strings need a tokenizer, and this engine has none");
  }
  for (size_t r = 0; r < requests.size(); ++r) {
    const std::vector<int32_t>& prompt = requests[r].prompt;
    const std::vector<int64_t>& limits = requests[r].limits;
    if (!limits.empty() && static_cast<int64_t>(limits.size()) != requests[r].n) {
      throw UserError(cat("request ", r, " has ", limits.size(), " limits for its ", requests[r].n,
                          " completions: one is needed for each, or none"));
    }
    for (const int64_t limit : limits) {
      if (limit < 1) {
        throw UserError(
            cat("request ", r, ": a limit of ", limit, " tokens: at least 1 is needed"));
      }
    }
    if (prompt.empty())
      throw UserError(cat("prompt ", r, " is empty: at least one token is needed"));
    if (static_cast<int64_t>(prompt.size()) >= c.max_positions) {
      throw UserError(cat("prompt ", r, " has ", prompt.size(), " tokens, but the model's longest ",
                          "sequence is ", c.max_positions, " tokens with at least one new one"));
    }
    for (int32_t id : prompt) {
      if (id < 0 || id >= c.vocab_size) {
        throw UserError(cat("prompt ", r, " has token id ", id, ", but the model's vocabulary has ",
                            c.vocab_size, " tokens: is this the model's own tokenizer?"));
      }
    }
  }
}

// Whether decode steps run on the device without the host.
bool Engine::prepare_graphs(const std::vector<SampleRequest>& requests,
                            const SamplingOptions& options, const std::vector<int64_t>& stop_ids) {
#ifdef HONE_WITH_CUDA
  if (!graphs_ || static_cast<int64_t>(stop_ids.size()) > kMostStopIds) return false;
  DecodeGraphs::Extent extent{0, 1, 0};
  int64_t longest_prompt = 0, completions = 0;
  for (const SampleRequest& r : requests) {
    const auto length = static_cast<int64_t>(r.prompt.size());
    longest_prompt = std::max(longest_prompt, length);
    completions += r.n;
    for (const int64_t limit : limits(r, options)) {
      extent.longest = std::max(extent.longest, length + limit);
    }
  }
  extent.rows = std::clamp<int64_t>(completions, 1, options_.max_running);
  extent.keys = runner_.cache_blocks() * kCacheBlockTokens + extent.rows * longest_prompt;
  if (options_.speculate > 0) {  // all rows of a draft see its sequence
    extent.rows = std::max(extent.rows, options_.speculate_rows);
    extent.keys = std::max(extent.keys, options_.speculate_rows * extent.longest);
  }
  graphs_->prepare(runner_.cache(), options, stop_ids, extent);
  return true;
#else
  (void)requests, (void)options, (void)stop_ids;
  return false;
#endif
}

// Most tokens of each completion. A sequence may be as long as the model's positions: the trainer
// runs over all of it.
std::vector<int64_t> Engine::limits(const SampleRequest& request,
                                    const SamplingOptions& options) const {
  std::vector<int64_t> limits = request.limits;
  if (limits.empty()) limits.assign(static_cast<size_t>(request.n), options.max_tokens);
  const int64_t room = model_->config().max_positions - static_cast<int64_t>(request.prompt.size());
  for (int64_t& limit : limits) limit = std::min(limit, room);
  return limits;
}

// Enough that nothing waits for blocks, as far as memory allows.
int64_t Engine::choose_blocks(const std::vector<SampleRequest>& requests,
                              const SamplingOptions& options) const {
  if (options_.kv_blocks > 0) return options_.kv_blocks;
  std::vector<int64_t> own;      // blocks of each completion
  std::vector<int64_t> prompts;  // blocks of each
  for (const SampleRequest& r : requests) {
    const int64_t length = static_cast<int64_t>(r.prompt.size());
    prompts.push_back(blocks_for(length));
    for (const int64_t limit : limits(r, options)) {
      own.push_back(blocks_for(length + limit) - length / kCacheBlockTokens);
    }
  }
  const size_t seats = std::min(static_cast<size_t>(options_.max_running), own.size());
  std::sort(prompts.rbegin(), prompts.rend());
  std::sort(own.rbegin(), own.rend());
  int64_t need = 0;
  // One more each: what `Scheduler::start` keeps free.
  for (size_t i = 0; i < seats; ++i) need += own[i] + 1;
  for (size_t i = 0; i < prompts.size() && i <= seats; ++i) need += prompts[i];
  if (need <= runner_.cache_blocks()) return runner_.cache_blocks();
  const double free = static_cast<double>(free_memory(model_->device())) +
                      static_cast<double>(runner_.held_bytes());
  const auto limit =
      static_cast<int64_t>(options_.kv_memory * free / static_cast<double>(runner_.block_bytes()));
  return std::max<int64_t>(1, std::min(need, limit));
}

}  // namespace hone
