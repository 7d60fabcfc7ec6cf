#include "train/objective.h"

#include <yaml-cpp/yaml.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/rng.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace hone {
namespace {

// The arrays behind one completion.
struct Sample {
  std::vector<double> logp, old_logp, ref_logp, sampler_logp, entropy, token_advantages;
  std::vector<uint8_t> mask;
  double advantage = 0;
  int64_t group = 0;
  bool truncated = false;
  bool zero_variance = false;
  TokenSelection selection;  // set by choose()
};

ObjectiveRow row_of(const Sample& s) {
  ObjectiveRow row;
  row.logp = s.logp;
  row.old_logp = s.old_logp;
  row.ref_logp = s.ref_logp;
  row.sampler_logp = s.sampler_logp;
  row.entropy = s.entropy;
  row.mask = s.mask;
  row.advantage = s.advantage;
  row.token_advantages = s.token_advantages;
  row.truncated = s.truncated;
  row.zero_variance = s.zero_variance;
  row.group = s.group;
  row.keep = s.selection.keep;
  row.hold = s.selection.hold;
  return row;
}

std::vector<ObjectiveRow> rows_of(const std::vector<Sample>& samples) {
  std::vector<ObjectiveRow> rows;
  for (const Sample& s : samples) rows.push_back(row_of(s));
  return rows;
}

StepNormaliser normaliser_of(const ObjectiveOptions& o, const std::vector<Sample>& samples) {
  std::vector<RowCounts> counts;
  for (const Sample& s : samples) counts.push_back(row_counts(row_of(s)));
  StepNormaliser n = step_normaliser(o, counts);
  if (o.top_entropy == 1) return n;
  n.entropy_tokens = 0;
  for (const Sample& s : samples) {
    const ObjectiveRow row = row_of(s);
    if (!row_is_used(o, row_counts(row))) continue;
    for (size_t t = 0; t < s.mask.size(); ++t) n.entropy_tokens += s.mask[t] && row.keep[t];
  }
  return n;
}

// The selections over the whole step, as the trainer makes them before its first micro-batch.
void choose(const ObjectiveOptions& o, std::vector<Sample>& samples, uint64_t seed = 0) {
  if (!needs_selection(o)) return;
  StepNormaliser n = normaliser_of(ObjectiveOptions(), samples);
  std::vector<TokenSelection> chosen = select_tokens(o, rows_of(samples), seed, n);
  for (size_t i = 0; i < samples.size(); ++i) samples[i].selection = std::move(chosen[i]);
}

ObjectiveResult whole(const ObjectiveOptions& o, const std::vector<Sample>& samples) {
  return objective(o, normaliser_of(o, samples), rows_of(samples));
}

// Ragged completions with holes in their masks, ratios far out of the clip range, a truncated one,
// one of a group without variance, an empty and a wholly masked one.
std::vector<Sample> random_samples(uint64_t seed) {
  Rng rng(make_key(seed));
  std::vector<Sample> samples;
  for (size_t length : {5, 1, 9, 3, 7, 4, 0, 6, 2, 8}) {
    Sample s;
    for (size_t t = 0; t < length; ++t) {
      s.logp.push_back(-3 * rng.uniform() - 0.01);
      s.old_logp.push_back(s.logp.back() + 1.6 * (rng.uniform() - 0.5));
      s.ref_logp.push_back(s.logp.back() + 1.0 * (rng.uniform() - 0.5));
      s.sampler_logp.push_back(s.old_logp.back() + 0.01 * (rng.uniform() - 0.5));
      s.entropy.push_back(2 * rng.uniform());
      s.mask.push_back(samples.size() == 7 ? 0 : rng.chance(0.8));
    }
    if (samples.size() == 1) s.mask = {1};
    s.advantage = 3 * (rng.uniform() - 0.5);
    s.group = static_cast<int64_t>(samples.size() / 3);
    s.truncated = samples.size() == 2;
    s.zero_variance = samples.size() == 4;
    if (s.zero_variance) s.advantage = 0;
    samples.push_back(s);
  }
  return samples;
}

struct Case {
  const char* name;
  std::function<void(ObjectiveOptions&)> set;
};

// Every value of every switch at least once.
const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"grpo", [](auto&) {}},
      {"clip higher", [](auto& o) { o.epsilon_high = 0.28; }},
      {"tight clip", [](auto& o) { o.epsilon = 0.01; }},
      {"delta", [](auto& o) { o.delta = 1.3; }},
      {"dual clip", [](auto& o) { o.dual_clip = 1.2; }},
      {"sequence ratio", [](auto& o) { o.ratio = RatioLevel::sequence; }},
      {"sequence ratio, tight",
       [](auto& o) {
         o.ratio = RatioLevel::sequence;
         o.epsilon = 0.05;
         o.aggregation = Aggregation::token_mean;
       }},
      {"reinforce", [](auto& o) { o.surrogate = Surrogate::reinforce; }},
      {"token mean", [](auto& o) { o.aggregation = Aggregation::token_mean; }},
      {"sequence sum", [](auto& o) { o.aggregation = Aggregation::sequence_sum; }},
      {"constant length",
       [](auto& o) {
         o.aggregation = Aggregation::constant_length;
         o.length = 12;
       }},
      {"k1",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.estimator = KlEstimator::k1;
       }},
      {"k2",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.estimator = KlEstimator::k2;
       }},
      {"k3",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.estimator = KlEstimator::k3;
       }},
      {"abs",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.estimator = KlEstimator::abs;
       }},
      {"capped k3",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.cap = 0.02;
       }},
      {"importance-weighted k3",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.importance_weighted = true;
       }},
      {"importance-weighted k3 of completions",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.importance_weighted = true;
         o.ratio = RatioLevel::sequence;
       }},
      {"unclipped", [](auto& o) { o.surrogate = Surrogate::unclipped; }},
      {"sapo", [](auto& o) { o.surrogate = Surrogate::sapo; }},
      {"sapo of completions",
       [](auto& o) {
         o.surrogate = Surrogate::sapo;
         o.ratio = RatioLevel::sequence;
       }},
      {"gmpo", [](auto& o) { o = preset_options("gmpo"); }},
      {"gmpo, tight",
       [](auto& o) {
         o = preset_options("gmpo");
         o.epsilon = 0.1;
         o.epsilon_high = 0.2;
       }},
      {"token sum", [](auto& o) { o.aggregation = Aggregation::token_sum; }},
      {"drift", [](auto& o) { o.drift_coef = 0.3; }},
      {"kl over tokens",
       [](auto& o) {
         o.kl.coef = 0.1;
         o.kl.over = MeanOver::tokens;
       }},
      {"masked correction by token",
       [](auto& o) {
         o.correction = {Correction::token_mask, 0.999, 1.002};
       }},
      {"truncated correction by completion",
       [](auto& o) {
         o.correction = {Correction::sequence_truncate, 0.995, 1.005};
       }},
      {"prompt mean", [](auto& o) { o.aggregation = Aggregation::prompt_mean; }},
      {"top entropy",
       [](auto& o) {
         o.top_entropy = 0.4;
         o.entropy_coef = 0.02;
         o.entropy.over = MeanOver::tokens;
       }},
      {"clip-cov",
       [](auto& o) {
         o.clip_cov = {0.2, -0.5, 5};
       }},
      {"kl-cov",
       [](auto& o) {
         o.kl_cov = {0.2, 0.5};
       }},
      {"off-policy mask", [](auto& o) { o.off_policy = 0.05; }},
      {"truncated correction by token",
       [](auto& o) {
         o.correction = {Correction::token_truncate, 0.999, 1.002};
       }},
      {"masked correction by completion",
       [](auto& o) {
         o.correction = {Correction::sequence_mask, 0.995, 1.005};
       }},
      {"entropy", [](auto& o) { o.entropy_coef = 0.01; }},
      {"entropy over tokens",
       [](auto& o) {
         o.entropy_coef = 0.01;
         o.entropy.over = MeanOver::tokens;
       }},
      {"filters",
       [](auto& o) {
         o.filters = {"zero_variance", "truncated"};
       }},
      {"truncated, tokens",
       [](auto& o) {
         o.filters = {"truncated"};
         o.aggregation = Aggregation::token_mean;
       }},
      {"dapo and all", [](auto& o) {
         o = preset_options("dapo");
         o.kl.coef = 0.05;
         o.entropy_coef = 0.02;
         o.dual_clip = 3;
       }}};
  return all;
}

TEST_CASE("gradients agree with finite differences for every switch") {
  for (const Case& c : cases()) {
    DYNAMIC_SECTION(c.name) {
      ObjectiveOptions o;
      c.set(o);
      std::vector<Sample> samples = random_samples(1);
      // The correction is of the weights before the step: its factors are given, not functions.
      for (Sample& s : samples) {
        if (o.correction.mode == Correction::none && !o.off_policy) s.sampler_logp.clear();
      }
      choose(o, samples);
      const ObjectiveResult r = whole(o, samples);
      const double h = 1e-6;
      for (size_t i = 0; i < samples.size(); ++i) {
        for (size_t t = 0; t < samples[i].logp.size(); ++t) {
          const auto slope = [&](double& x) {
            const double at = x;
            x = at + h;
            const double up = whole(o, samples).loss;
            x = at - h;
            const double down = whole(o, samples).loss;
            x = at;
            return (up - down) / (2 * h);
          };
          CHECK_THAT(r.grad_logp[i][t], WithinAbs(slope(samples[i].logp[t]), 2e-8));
          if (needs_entropy_gradient(o)) {
            CHECK_THAT(r.grad_entropy[i][t], WithinAbs(slope(samples[i].entropy[t]), 2e-8));
          }
        }
      }
    }
  }
}

TEST_CASE("loss, gradient and statistics do not depend on the cut into micro-batches") {
  for (const Case& c : cases()) {
    DYNAMIC_SECTION(c.name) {
      ObjectiveOptions o;
      c.set(o);
      std::vector<Sample> samples = random_samples(2);
      choose(o, samples);
      const ObjectiveResult all = whole(o, samples);
      const std::vector<ObjectiveRow> rows = rows_of(samples);
      const StepNormaliser n = normaliser_of(o, samples);
      for (size_t size : {1, 2, 7}) {
        ObjectiveStats stats;
        double loss = 0;
        for (size_t at = 0; at < rows.size(); at += size) {
          const size_t count = std::min(size, rows.size() - at);
          const ObjectiveResult part = objective(o, n, std::span(rows).subspan(at, count));
          loss += part.loss;
          stats.merge(part.stats);
          for (size_t i = 0; i < count; ++i) {  // bit for bit: no sum crosses completions
            CHECK(part.grad_logp[i] == all.grad_logp[at + i]);
            CHECK(part.grad_entropy[i] == all.grad_entropy[at + i]);
          }
        }
        CHECK_THAT(loss, WithinAbs(all.loss, 1e-14));
        const auto merged = objective_metrics(stats);
        const auto expected = objective_metrics(all.stats);
        REQUIRE(merged.size() == expected.size());
        for (size_t k = 0; k < merged.size(); ++k) {
          INFO(merged[k].first);
          CHECK(merged[k].first == expected[k].first);
          CHECK_THAT(merged[k].second, WithinAbs(expected[k].second, 1e-13));
        }
      }
    }
  }
}

// Two completions of ratios 1.5 and 0.5 | 1.1, worked out by hand.
std::vector<Sample> small() {
  Sample a, b;
  a.logp = {std::log(0.6), std::log(0.2)};
  a.old_logp = {std::log(0.4), std::log(0.4)};  // ratios 1.5, 0.5
  a.advantage = 1;
  b.logp = {std::log(0.55)};
  b.old_logp = {std::log(0.5)};  // ratio 1.1
  b.advantage = -2;
  return {a, b};
}

TEST_CASE("small cases come out as on paper") {
  ObjectiveOptions o;  // clip .2
  const std::vector<Sample> samples = small();
  // a: min(1.5, 1.2) = 1.2 and min(.5, .8) = .5; b: min(-2.2, -2.2) = -2.2
  SECTION("sequence mean") {
    const ObjectiveResult r = whole(o, samples);
    CHECK_THAT(r.loss, WithinRel((-(1.2 + 0.5) / 2 + 2.2) / 2, 1e-12));
    CHECK(r.grad_logp[0][0] == 0);
    CHECK_THAT(r.grad_logp[0][1], WithinRel(-0.5 / 4, 1e-12));
    CHECK_THAT(r.grad_logp[1][0], WithinRel(2.2 / 2, 1e-12));
    CHECK(r.stats.clipped_high == 1);
    CHECK(r.stats.clipped_low == 0);  // below the range with A > 0 is not cut
    CHECK_THAT(r.stats.ratio_max, WithinRel(1.5, 1e-12));
    CHECK_THAT(r.stats.ratio_min, WithinRel(0.5, 1e-12));
  }
  SECTION("token mean") {
    o.aggregation = Aggregation::token_mean;
    CHECK_THAT(whole(o, samples).loss, WithinRel((-1.7 + 2.2) / 3, 1e-12));
  }
  SECTION("constant length") {
    o.aggregation = Aggregation::constant_length;
    o.length = 10;
    CHECK_THAT(whole(o, samples).loss, WithinRel((-1.7 + 2.2) / 20, 1e-12));
  }
  SECTION("sequence sum of reinforce") {
    o = preset_options("rloo");
    const double expected = (-(std::log(0.6) + std::log(0.2)) + 2 * std::log(0.55)) / 2;
    CHECK_THAT(whole(o, samples).loss, WithinRel(expected, 1e-12));
  }
  SECTION("clip higher lets the good token rise") {
    o.epsilon_high = 0.6;
    CHECK_THAT(whole(o, samples).loss, WithinRel((-(1.5 + 0.5) / 2 + 2.2) / 2, 1e-12));
  }
  SECTION("sequence ratio is the geometric mean") {
    o.ratio = RatioLevel::sequence;
    const ObjectiveResult r = whole(o, samples);
    const double s = std::sqrt(1.5 * 0.5);
    CHECK_THAT(r.loss, WithinRel((-s + 2.2) / 2, 1e-12));
    CHECK_THAT(r.grad_logp[0][0], WithinRel(-s / 4, 1e-12));
    CHECK(r.stats.ratios == 2);
  }
  SECTION("dual clip bounds the loss of a bad answer that became likely") {
    std::vector<Sample> bad = small();
    bad[1].logp[0] = 0;
    bad[1].old_logp[0] = std::log(0.1);  // ratio 10
    CHECK_THAT(whole(o, bad).loss, WithinRel((-0.85 + 20) / 2, 1e-12));
    o.dual_clip = 3;
    const ObjectiveResult r = whole(o, bad);
    CHECK_THAT(r.loss, WithinRel((-0.85 + 6) / 2, 1e-12));
    CHECK(r.grad_logp[1][0] == 0);
    o.dual_clip.reset();
    o.delta = 4;
    CHECK_THAT(whole(o, bad).loss, WithinRel((-0.85 + 8) / 2, 1e-12));
  }
  SECTION("KL estimators") {
    std::vector<Sample> with_reference = small();
    for (Sample& s : with_reference) {
      s.ref_logp = s.logp;
      for (double& x : s.ref_logp) x -= 0.3;  // u = 0.3
      s.advantage = 0;
    }
    o.aggregation = Aggregation::token_mean;
    o.kl.coef = 2;
    o.kl.estimator = KlEstimator::k1;
    CHECK_THAT(whole(o, with_reference).loss, WithinRel(0.6, 1e-12));
    o.kl.estimator = KlEstimator::k2;
    CHECK_THAT(whole(o, with_reference).loss, WithinRel(0.09, 1e-12));
    o.kl.estimator = KlEstimator::k3;
    const double k3 = std::exp(-0.3) + 0.3 - 1;
    const ObjectiveResult r = whole(o, with_reference);
    CHECK_THAT(r.loss, WithinRel(2 * k3, 1e-12));
    CHECK_THAT(r.stats.kl_sum / 3, WithinRel(k3, 1e-12));
    SECTION("in the reward, not in the loss") {
      o.kl.place = KlPlace::reward;
      o.kl.estimator = KlEstimator::k1;
      CHECK(whole(o, with_reference).loss == 0);
      // sampled log-probability minus the reference's: log(.4/.6) + log(.4/.2) + 2 * .3
      const double expected = 2 * (std::log(0.4 / 0.6) + std::log(2.0) + 0.6);
      double sum = 0;
      for (double kl : token_kl(o, row_of(with_reference[0]))) sum += kl;
      CHECK_THAT(sum, WithinRel(expected, 1e-12));
    }
  }
}

TEST_CASE("without old log-probabilities the gradient is that of old = logp") {
  for (RatioLevel level : {RatioLevel::token, RatioLevel::sequence}) {
    ObjectiveOptions o;
    o.ratio = level;
    std::vector<Sample> absent = random_samples(3), equal = absent;
    for (Sample& s : absent) s.old_logp.clear();
    for (Sample& s : equal) s.old_logp = s.logp;
    const ObjectiveResult a = whole(o, absent), b = whole(o, equal);
    CHECK(a.grad_logp == b.grad_logp);
    CHECK(a.loss == b.loss);
    CHECK(a.stats.ratio_max == 1);
    // the on-policy gradient of a completion is -A / (N |o|) for each of its tokens
    const double tokens = static_cast<double>(row_counts(row_of(absent[0])).tokens);
    for (size_t t = 0; t < absent[0].logp.size(); ++t) {
      const double expected = absent[0].mask[t] ? -absent[0].advantage / (10 * tokens) : 0;
      CHECK_THAT(a.grad_logp[0][t], WithinAbs(expected, 1e-15));
    }
  }
}

TEST_CASE("advantages by token take the place of the completion's") {
  std::vector<Sample> by_row = random_samples(4), by_token = by_row;
  for (Sample& s : by_token) {
    s.token_advantages.assign(s.logp.size(), s.advantage);
    s.advantage = 99;
  }
  for (RatioLevel level : {RatioLevel::token, RatioLevel::sequence}) {
    ObjectiveOptions o;
    o.ratio = level;
    CHECK(whole(o, by_row).grad_logp == whole(o, by_token).grad_logp);
  }
}

TEST_CASE("filters take out what they say and nothing else") {
  std::vector<Sample> samples = random_samples(5);
  ObjectiveOptions o;
  const StepNormaliser plain = normaliser_of(o, samples);
  o.filters = {"truncated"};
  const StepNormaliser truncated = normaliser_of(o, samples);
  CHECK(truncated.sequences == plain.sequences);
  CHECK(truncated.tokens == plain.tokens - row_counts(row_of(samples[2])).tokens);
  const ObjectiveResult without = whole(o, samples);
  for (double g : without.grad_logp[2]) CHECK(g == 0);
  o.filters = {"zero_variance"};
  const StepNormaliser dropped = normaliser_of(o, samples);
  CHECK(dropped.sequences == plain.sequences - 1);
  CHECK(dropped.tokens == plain.tokens - row_counts(row_of(samples[4])).tokens);
}

// Surrogates that are a constant times the log-probability: their gradient is REINFORCE's with the
// advantage times that constant, which is worked out here from the formulas of the papers.
TEST_CASE("gradients of surrogates with a held weight are those of the weighted log-likelihood") {
  const auto clip = [](double x, double low, double high) {
    return std::min(std::max(x, low), high);
  };
  using Weight = std::function<double(const Sample&, size_t)>;
  const auto ratio = [](const Sample& s, size_t t) { return std::exp(s.logp[t] - s.old_logp[t]); };
  const auto sequence = [&](const Sample& s, bool mean) {
    double sum = 0, n = 0;
    for (size_t t = 0; t < s.logp.size(); ++t) {
      sum += s.mask[t] ? s.logp[t] - s.old_logp[t] : 0;
      n += s.mask[t];
    }
    return std::exp(mean ? sum / n : sum);
  };
  const struct {
    const char* preset;
    Weight weight;
  } held[] = {{"cispo", [&](const Sample& s, size_t t) { return clip(ratio(s, t), 0, 5); }},
              {"dppo_tv",
               [&](const Sample& s, size_t t) {
                 const double moved = std::exp(s.logp[t]) - std::exp(s.old_logp[t]);
                 const bool allowed = s.advantage > 0 ? moved <= 0.2 : moved >= -0.2;
                 return allowed ? std::min(ratio(s, t), 20.0) : 0.0;
               }},
              {"dppo_kl",
               [&](const Sample& s, size_t t) {
                 const double p = std::exp(s.logp[t]), q = std::exp(s.old_logp[t]);
                 const double kl =
                     q * std::log(q / p) + (1 - q) * std::log((1 - q + 1e-8) / (1 - p + 1e-8));
                 const bool away = s.advantage > 0 ? p > q : p < q;
                 return away && kl > 0.2 ? 0.0 : std::min(p / q, 20.0);
               }},
              {"vespo",
               [&](const Sample& s, size_t) {
                 const double w = sequence(s, false);
                 const double k = s.advantage >= 0 ? 2 : 3, lambda = s.advantage >= 0 ? 3 : 2;
                 return std::exp(lambda) * std::pow(w, k) * std::exp(-lambda * w);
               }},
              {"gspo_token", [&](const Sample& s, size_t) {
                 const double x = sequence(s, true);
                 const bool cut = s.advantage > 0 ? x > 1.0004 : x < 0.9997;
                 return cut ? 0.0 : x;
               }}};
  for (const auto& h : held) {
    INFO(h.preset);
    const ObjectiveOptions o = preset_options(h.preset);
    ObjectiveOptions plain = o;
    plain.surrogate = Surrogate::reinforce;
    plain.ratio = RatioLevel::token;
    const std::vector<Sample> samples = random_samples(11);
    std::vector<Sample> weighted = samples;
    for (Sample& s : weighted) {
      for (size_t t = 0; t < s.logp.size(); ++t) {
        s.token_advantages.push_back(h.weight(s, t) * s.advantage);
      }
      s.sampler_logp.clear();
    }
    const ObjectiveResult found = whole(o, samples), expected = whole(plain, weighted);
    double most = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      for (size_t t = 0; t < samples[i].logp.size(); ++t) {
        CHECK_THAT(found.grad_logp[i][t], WithinAbs(expected.grad_logp[i][t], 1e-14));
        most = std::max(most, std::abs(found.grad_logp[i][t]));
      }
    }
    CHECK(most > 0.01);
  }
}

TEST_CASE("straight-through: the estimator's value with k2's gradient") {
  const std::vector<Sample> samples = random_samples(12);
  for (const KlEstimator estimator : {KlEstimator::k1, KlEstimator::k3, KlEstimator::abs}) {
    ObjectiveOptions o, value, gradient;
    o.kl.coef = value.kl.coef = gradient.kl.coef = 0.3;
    o.kl.estimator = value.kl.estimator = estimator;
    o.kl.straight_through = true;
    gradient.kl.estimator = KlEstimator::k2;
    const ObjectiveResult found = whole(o, samples);
    CHECK(found.loss == whole(value, samples).loss);
    CHECK(found.grad_logp == whole(gradient, samples).grad_logp);
  }
}

TEST_CASE("the selections keep what they say, and Clip-Cov's draw is a function of its seed") {
  std::vector<Sample> samples = random_samples(13);
  int64_t tokens = 0;
  for (const Sample& s : samples) {
    for (const uint8_t m : s.mask) tokens += m;
  }
  const auto count = [&](const ObjectiveOptions& o, uint64_t seed, bool hold) {
    choose(o, samples, seed);
    int64_t n = 0;
    for (const Sample& s : samples) {
      for (size_t t = 0; t < s.mask.size(); ++t) {
        n += s.mask[t] && (hold ? s.selection.hold[t] : s.selection.keep[t]);
      }
    }
    return n;
  };
  ObjectiveOptions entropy, clip, held;
  entropy.top_entropy = 0.25;
  CHECK(std::abs(count(entropy, 0, false) - 0.25 * static_cast<double>(tokens)) <= 1);
  held.kl_cov.share = 0.3;
  CHECK(count(held, 0, true) == static_cast<int64_t>(0.3 * static_cast<double>(tokens)));
  clip.clip_cov = {0.2, -10, 10};
  CHECK(count(clip, 1, false) == tokens - static_cast<int64_t>(0.2 * static_cast<double>(tokens)));
  const auto kept = [&](uint64_t seed) {
    choose(clip, samples, seed);
    std::vector<uint8_t> all;
    for (const Sample& s : samples) {
      all.insert(all.end(), s.selection.keep.begin(), s.selection.keep.end());
    }
    return all;
  };
  CHECK(kept(1) == kept(1));
  CHECK(kept(1) != kept(2));
}

TEST_CASE("nothing becomes nothing, not a NaN") {
  for (const Case& c : cases()) {
    ObjectiveOptions o;
    c.set(o);
    Sample s = random_samples(6)[0];
    s.mask.assign(s.mask.size(), 0);
    std::vector<Sample> alone{s};
    choose(o, alone);
    s = alone[0];
    CHECK(whole(o, {s}).loss == 0);
    CHECK(whole(o, {}).loss == 0);
    for (const auto& [name, value] : objective_metrics(whole(o, {s}).stats)) {
      CHECK(std::isfinite(value));
    }
  }
  // advantage 0 at an overflowing ratio
  ObjectiveOptions o;
  Sample s;
  s.logp = {0};
  s.old_logp = {-1000};
  CHECK(whole(o, {s}).loss == 0);
  s.advantage = 1;
  CHECK_THAT(whole(o, {s}).loss, WithinRel(-1.2, 1e-12));
}

ObjectiveOptions read(const std::string& text) {
  ObjectiveOptions o;
  OptionReader(YAML::Load(text), "x.yaml").read(o);
  return o;
}

TEST_CASE("a preset is expanded first and the keys beside it override") {
  const ObjectiveOptions o = read("{epsilon: 0.1, kl: {coef: 0.5}, preset: dapo, filters: []}");
  CHECK(o.aggregation == Aggregation::token_mean);
  CHECK(o.epsilon_high == 0.28);
  CHECK(o.epsilon == 0.1);
  CHECK(o.kl.coef == 0.5);
  CHECK(o.filters.empty());
  const Json written = OptionWriter::write(o);
  CHECK(written["preset"] == "dapo");
  CHECK(written["aggregation"] == "token_mean");
  CHECK(OptionWriter::write(read(written.dump())) == written);  // reads back as itself
  CHECK(read("{preset: dr_grpo}").advantage.scale == AdvantageScale::none);
  for (const Preset& p : presets()) {
    INFO(p.name);
    const ObjectiveOptions preset = read("{preset: " + p.name + "}");
    CHECK(preset.preset == p.name);
    const Json expanded = OptionWriter::write(preset);
    CHECK(OptionWriter::write(read(expanded.dump())) == expanded);
  }
}

TEST_CASE("what is no option is refused by name") {
  CHECK_THROWS_MATCHES(read("{preset: dapoo}"), UserError,
                       MessageMatches(ContainsSubstring("did you mean 'dapo'")));
  CHECK_THROWS_MATCHES(read("{aggregation: tokenmean}"), UserError,
                       MessageMatches(ContainsSubstring("token_mean")));
  CHECK_THROWS_MATCHES(read("{filters: [zero]}"), UserError,
                       MessageMatches(ContainsSubstring("zero_variance")));
  CHECK_THROWS_MATCHES(read("{delta: 1.1}"), UserError, MessageMatches(ContainsSubstring("delta")));
  CHECK_THROWS_AS(read("{epsilom: 0.1}"), UserError);
}

}  // namespace
}  // namespace hone
