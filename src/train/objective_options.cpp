#include "train/objective_options.h"

#include <algorithm>

#include "base/error.h"
#include "train/choice.h"

namespace hone {
namespace {

const std::vector<std::string> kFilters{"zero_variance", "truncated"};

struct KnownPreset {
  Preset preset;
  void (*apply)(ObjectiveOptions&);  // onto grpo, which is as the struct has it
};

void unscaled(ObjectiveOptions& o) { o.advantage.scale = AdvantageScale::none; }

void dr_grpo(ObjectiveOptions& o) {
  unscaled(o);
  o.aggregation = Aggregation::constant_length;
}
void dapo(ObjectiveOptions& o) {
  o.epsilon_high = 0.28;
  o.aggregation = Aggregation::token_mean;
  o.filters = {"zero_variance"};
}
void gspo(ObjectiveOptions& o) {  // clip range: section 5.1 of the paper
  o.ratio = RatioLevel::sequence;
  o.epsilon = 3e-4;
  o.epsilon_high = 4e-4;
}
void gspo_token(ObjectiveOptions& o) {
  gspo(o);
  o.ratio = RatioLevel::sequence_token;
}
void luspo(ObjectiveOptions& o) {  // a sequence's loss times its length is its sum over tokens
  o.ratio = RatioLevel::sequence;
  o.epsilon = 2e-3;
  o.epsilon_high = 2.5e-3;
  o.aggregation = Aggregation::sequence_sum;
}
void gmpo(ObjectiveOptions& o) {
  o.ratio = RatioLevel::geometric;
  o.epsilon = 0.4;
}
void cispo(ObjectiveOptions& o) {
  o.surrogate = Surrogate::cispo;
  o.epsilon = 1;       // no lower bound
  o.epsilon_high = 4;  // ratios count up to 5
  o.aggregation = Aggregation::token_mean;
}
void sapo(ObjectiveOptions& o) { o.surrogate = Surrogate::sapo; }
void vespo(ObjectiveOptions& o) {
  o.surrogate = Surrogate::vespo;
  o.aggregation = Aggregation::token_mean;
}
void dppo_tv(ObjectiveOptions& o) {
  o.surrogate = Surrogate::dppo_tv;
  o.aggregation = Aggregation::token_mean;
}
void dppo_kl(ObjectiveOptions& o) {
  dppo_tv(o);
  o.surrogate = Surrogate::dppo_kl;
}
void rloo(ObjectiveOptions& o) {
  o.advantage.kind = Baseline::leave_one_out;
  unscaled(o);
  o.surrogate = Surrogate::reinforce;
  o.aggregation = Aggregation::sequence_sum;
}
void reinforce_plus_plus(ObjectiveOptions& o) {
  o.advantage.kind = Baseline::none;
  o.advantage.scale = AdvantageScale::tokens;
  o.aggregation = Aggregation::token_mean;
  o.kl.coef = 0.01;
  o.kl.estimator = KlEstimator::k1;
  o.kl.place = KlPlace::reward;
}
void reinforce_plus_plus_baseline(ObjectiveOptions& o) {
  o.advantage.scale = AdvantageScale::tokens;
  o.aggregation = Aggregation::token_mean;
  o.kl.coef = 0.01;
  o.kl.estimator = KlEstimator::k2;
}
void remax(ObjectiveOptions& o) {
  o.advantage.kind = Baseline::greedy;
  unscaled(o);
  o.surrogate = Surrogate::reinforce;
  o.aggregation = Aggregation::sequence_sum;
}
void opo(ObjectiveOptions& o) {
  o.advantage.kind = Baseline::length_weighted;
  unscaled(o);
  o.surrogate = Surrogate::reinforce;
  o.aggregation = Aggregation::sequence_sum;
}
void gpg(ObjectiveOptions& o) {
  unscaled(o);
  o.advantage.gain = AdvantageGain::informative;
  o.surrogate = Surrogate::reinforce;
  o.aggregation = Aggregation::token_mean;
}
void pass_at_k(ObjectiveOptions& o) { o.advantage.kind = Baseline::best_of_group; }
void gdpo(ObjectiveOptions& o) {
  o.advantage.per_reward = true;
  o.advantage.scale = AdvantageScale::batch;
}
void max_rl(ObjectiveOptions& o) {
  o.advantage.scale = AdvantageScale::mean;
  o.aggregation = Aggregation::token_mean;
}
void lite_ppo(ObjectiveOptions& o) {
  o.advantage.scale = AdvantageScale::batch;
  o.aggregation = Aggregation::token_mean;
}
void r1_zero(ObjectiveOptions& o) {
  o.epsilon = 10;
  o.kl.coef = 0.001;
  o.kl.reference_refresh = 400;
}

const std::vector<KnownPreset>& known_presets() {
  static const std::vector<KnownPreset> known{
      {{"grpo", "2402.03300", "group-relative advantages, PPO clip"}, [](ObjectiveOptions&) {}},
      {{"dr_grpo", "2503.20783", "no division by deviation or length"}, dr_grpo},
      {{"dapo", "2503.14476", "clip-higher, token mean, groups that differ"}, dapo},
      {{"gspo", "2507.18071", "ratio of whole completions"}, gspo},
      {{"gspo_token", "2507.18071 sec. 4.3", "its form with advantages by token"}, gspo_token},
      {{"luspo", "2602.05261", "GSPO without length bias"}, luspo},
      {{"gmpo", "2507.20673", "geometric mean of clipped ratios"}, gmpo},
      {{"cispo", "2506.13585", "clipped weights, every token keeps a gradient"}, cispo},
      {{"sapo", "2511.20347", "soft gate instead of a clip"}, sapo},
      {{"vespo", "2602.10693", "gamma weight of the sequence's ratio"}, vespo},
      {{"dppo_tv", "2602.04879", "mask by total variation"}, dppo_tv},
      {{"dppo_kl", "2602.04879", "mask by binary KL"}, dppo_kl},
      {{"rloo", "2402.14740", "leave-one-out baseline, REINFORCE"}, rloo},
      {{"reinforce++", "2501.03262", "no baseline, whitened over the step, KL in the reward"},
       reinforce_plus_plus},
      {{"reinforce++_baseline", "2501.03262", "minus the group's mean, then whitened"},
       reinforce_plus_plus_baseline},
      {{"remax", "2310.10505", "minus the greedy answer's reward"}, remax},
      {{"opo", "2505.23585", "length-weighted baseline"}, opo},
      {{"gpg", "2504.02546", "plain policy gradient, scaled for groups that say nothing"}, gpg},
      {{"pass_at_k", "2503.19595", "only the best answer's lead counts"}, pass_at_k},
      {{"gdpo", "2601.05242", "each reward normalised by itself"}, gdpo},
      {{"max_rl", "2602.02710", "divided by the group's mean reward"}, max_rl},
      {{"lite_ppo", "2508.08221", "group mean, deviation of the batch, token mean"}, lite_ppo},
      {{"r1_zero", "2501.12948", "DeepSeek-R1-Zero's settings"}, r1_zero},
  };
  return known;
}

std::string preset_list() {
  std::string list;
  for (const Preset& p : presets()) list += (list.empty() ? "" : ", ") + p.name;
  return list;
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> list = [] {
    std::vector<Preset> all;
    for (const KnownPreset& p : known_presets()) all.push_back(p.preset);
    return all;
  }();
  return list;
}

ObjectiveOptions preset_options(const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& p : presets()) names.push_back(p.name);
  ObjectiveOptions o;
  known_presets()[word_index("objective.preset", name, names)].apply(o);
  o.preset = name;
  return o;
}

void describe(OptionVisitor& v, KlOptions& o) {
  v.value("coef", o.coef, "weight of the KL to the reference; 0: no reference is kept");
  choice(v, "estimator", o.estimator, {"k1", "k2", "k3", "abs"},
         "Schulman's estimator: k1, k2, k3; or abs");
  v.value("straight_through", o.straight_through, "the estimator's value with k2's gradient");
  v.value("importance_weighted", o.importance_weighted,
          "times the ratio, which makes k3 unbiased off the policy (DeepSeek-V3.2)");
  v.value("cap", o.cap, "largest value of a token's KL (verl: 10); null: none");
  choice(v, "place", o.place, {"loss", "reward"}, "where it is added: loss, reward");
  choice(v, "over", o.over, {"loss", "tokens"},
         "in the loss it is averaged as the surrogate is, or over all tokens: loss, tokens");
  v.value("target", o.target, "KL that an adaptive coefficient aims at; null: coef is fixed");
  v.value("horizon", o.horizon, "completions over which the adaptive coefficient moves");
  v.value("reference_refresh", o.reference_refresh,
          "optimizer steps after which the reference becomes the trained model; 0: never");
  v.value("reference_mix", o.reference_mix,
          "share of the trained model in the refreshed reference (TR-DPO: 0.6)");
}

void describe(OptionVisitor& v, CorrectionOptions& o) {
  choice(v, "mode", o.mode,
         {"none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"},
         "importance weight of the trainer's against the sampler's probability: none, "
         "token_truncate, token_mask, sequence_truncate, sequence_mask");
  v.value("low", o.low, "smallest weight; null: no bound");
  v.value("high", o.high, "largest weight; null: no bound");
}

void describe(OptionVisitor& v, EntropyOptions& o) {
  choice(v, "over", o.over, {"loss", "tokens"},
         "the bonus is averaged as the loss is, or over all tokens (as TRL): loss, tokens");
  v.value("target", o.target, "entropy below which an adaptive bonus acts; null: fixed");
  v.value("delta", o.delta, "how far the adaptive coefficient moves a step");
  v.value("min", o.min, "its smallest value");
  v.value("max", o.max, "its largest value");
}

void describe(OptionVisitor& v, ClipCovOptions& o) {
  v.value("share", o.share, "of the tokens that lose their gradient (2505.22617: 2e-4); 0: none");
  v.value("low", o.low, "they are drawn from those whose covariance is above it");
  v.value("high", o.high, "and below it");
}

void describe(OptionVisitor& v, KlCovOptions& o) {
  v.value("share", o.share, "of the tokens of highest covariance (2505.22617: 2e-4); 0: none");
  v.value("coef", o.coef, "weight of |log ratio| that is added to their loss");
}

void describe(OptionVisitor& v, ObjectiveOptions& o) {
  const std::string before = o.preset;
  static const std::string meaning = preset_list() + ": sets the other keys";
  v.value("preset", o.preset, meaning.c_str());
  // Only a reader changes it; what it reads next overrides the preset's switches.
  if (o.preset != before) o = preset_options(o.preset);
  v.section("advantage", o.advantage, "how rewards become advantages");
  choice(v, "ratio", o.ratio, {"token", "sequence", "sequence_token", "geometric"},
         "importance ratio of each token; of the whole completion (GSPO); its value with each "
         "token's gradient (GSPO-token); geometric mean of clipped ratios (GMPO)");
  choice(v, "surrogate", o.surrogate,
         {"ppo_clip", "unclipped", "cispo", "sapo", "dppo_tv", "dppo_kl", "vespo", "reinforce"},
         "ppo_clip, unclipped, cispo, sapo, dppo_tv, dppo_kl, vespo, reinforce");
  v.value("epsilon", o.epsilon, "the ratio is clipped below 1 - epsilon");
  v.value("epsilon_high", o.epsilon_high, "and above 1 + epsilon_high; null: epsilon");
  v.value("delta", o.delta, "ppo_clip: cap of the unclipped ratio (two-sided clip); null: none");
  v.value("dual_clip", o.dual_clip,
          "ppo_clip: bound of the loss of a negative advantage, times it; null: none");
  v.value("ratio_cap", o.ratio_cap, "dppo: largest weight of a token");
  v.value("drift_coef", o.drift_coef, "adds half of it times the squared log ratio (DRO)");
  v.value("tau_positive", o.tau_positive, "sapo: temperature of positive advantages");
  v.value("tau_negative", o.tau_negative, "sapo: and of the others");
  v.value("k_positive", o.k_positive, "vespo: shape for advantages >= 0");
  v.value("lambda_positive", o.lambda_positive, "vespo: rate for advantages >= 0");
  v.value("k_negative", o.k_negative, "vespo: shape for the others");
  v.value("lambda_negative", o.lambda_negative, "vespo: rate for the others");
  choice(v, "aggregation", o.aggregation,
         {"token_mean", "sequence_mean", "sequence_sum", "constant_length", "prompt_mean",
          "token_sum"},
         "token_mean, sequence_mean, sequence_sum, constant_length, prompt_mean, token_sum");
  v.value("length", o.length, "denominator of constant_length; 0: the stage's max_tokens");
  v.section("kl", o.kl, "KL to the reference model");
  v.value("entropy_coef", o.entropy_coef, "weight of the entropy bonus");
  v.section("entropy", o.entropy, "how the entropy bonus is averaged and adapted");
  v.value("filters", o.filters, "what is left out: zero_variance, truncated");
  v.value("top_entropy", o.top_entropy,
          "share of the tokens of highest entropy that are learned from (2506.01939: 0.2); 1: all");
  v.section("clip_cov", o.clip_cov,
            "Clip-Cov: drawn tokens of high covariance lose their gradient");
  v.section("kl_cov", o.kl_cov, "KL-Cov: tokens of highest covariance are held back");
  v.value("off_policy", o.off_policy,
          "bad answers whose mean log-probability fell by more since they were sampled are left "
          "out (DeepSeek-V3.2); null: none");
  v.section("correction", o.correction, "for a sampler that is not exactly the trainer");
  check_objective(o);
}

void check_objective(const ObjectiveOptions& o) {
  const auto expect = [](bool good, const auto&... what) {
    if (!good) throw UserError(cat(what...));
  };
  expect(o.epsilon >= 0, "epsilon: expected >= 0, found ", o.epsilon);
  const double least = o.surrogate == Surrogate::cispo ? 1 - o.epsilon : 1;  // a cap below 1 is one
  expect(o.high() >= least, "epsilon_high: expected >= ", least - 1, ", found ",
         o.epsilon_high.value_or(0));
  expect(!o.delta || *o.delta > o.high(), "delta: expected more than 1 + epsilon_high = ", o.high(),
         ", found ", o.delta.value_or(0), " (below it every update would be cut)");
  expect(!o.dual_clip || *o.dual_clip > 1, "dual_clip: expected more than 1, found ",
         o.dual_clip.value_or(0));
  expect(o.ratio_cap > 0, "ratio_cap: expected more than 0, found ", o.ratio_cap);
  expect(o.tau_positive > 0 && o.tau_negative > 0, "tau_positive, tau_negative: expected above 0");
  expect(o.length >= 0, "length: expected >= 0, found ", o.length);
  expect(o.kl.reference_refresh >= 0, "kl.reference_refresh: expected >= 0, found ",
         o.kl.reference_refresh);
  expect(o.kl.reference_mix > 0 && o.kl.reference_mix <= 1,
         "kl.reference_mix: expected above 0 and at most 1, found ", o.kl.reference_mix);
  expect(!o.kl.cap || *o.kl.cap > 0, "kl.cap: expected above 0");
  expect(!o.kl.target || *o.kl.target > 0, "kl.target: expected above 0");
  expect(!o.kl.target || o.kl.coef > 0, "kl.target: needs a kl.coef above 0 to begin with");
  expect(o.kl.horizon > 0, "kl.horizon: expected above 0, found ", o.kl.horizon);
  expect(o.top_entropy > 0 && o.top_entropy <= 1,
         "top_entropy: expected above 0 and at most 1, found ", o.top_entropy);
  for (const auto& [key, share] :
       {std::pair("clip_cov.share", o.clip_cov.share), std::pair("kl_cov.share", o.kl_cov.share)}) {
    expect(share >= 0 && share <= 1, key, ": expected from 0 to 1, found ", share);
  }
  const CorrectionOptions& c = o.correction;
  expect(!c.low || !c.high || *c.low <= *c.high, "correction: low is above high");
  for (const std::string& filter : o.filters) word_index("filters", filter, kFilters);
  if (o.ratio == RatioLevel::geometric) {
    expect(o.surrogate == Surrogate::ppo_clip, "ratio geometric: needs surrogate ppo_clip");
    expect(!o.delta && !o.dual_clip, "ratio geometric: has no delta and no dual_clip");
    expect(!o.kl.importance_weighted, "ratio geometric: has no kl.importance_weighted");
  }
  if (o.surrogate == Surrogate::vespo || o.surrogate == Surrogate::dppo_tv ||
      o.surrogate == Surrogate::dppo_kl) {
    expect(o.ratio == RatioLevel::token, "surrogates vespo and dppo: need ratio token");
  }
  if (o.surrogate == Surrogate::vespo) {
    expect(c.mode != Correction::sequence_truncate && c.mode != Correction::sequence_mask,
           "surrogate vespo: takes the correction by token (token_truncate or token_mask)");
  }
  expect(o.kl.coef >= 0, "kl.coef: expected >= 0, found ", o.kl.coef);
  expect(o.entropy.min <= o.entropy.max, "entropy: min is above max");
  if (o.kl.place == KlPlace::reward && o.kl.coef > 0) {
    expect(!o.advantage.process && !o.advantage.per_reward,
           "kl.place reward: has no effect with advantage.process or per_reward; take place loss");
  }
  if (o.kl.place == KlPlace::reward) {
    expect(!o.kl.straight_through && !o.kl.importance_weighted,
           "kl.place reward: the KL has no gradient there, so neither straight_through nor "
           "importance_weighted");
  }
}

bool has_filter(const ObjectiveOptions& options, const char* name) {
  return std::find(options.filters.begin(), options.filters.end(), name) != options.filters.end();
}
bool needs_reference(const ObjectiveOptions& options) { return options.kl.coef != 0; }
bool needs_entropy_gradient(const ObjectiveOptions& options) {
  return options.entropy_coef != 0 || options.entropy.target.has_value();
}
bool needs_selection(const ObjectiveOptions& options) {
  return options.top_entropy < 1 || options.clip_cov.share > 0 || options.kl_cov.share > 0;
}

}  // namespace hone
