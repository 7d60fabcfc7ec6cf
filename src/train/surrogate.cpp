#include "train/surrogate.h"

#include <algorithm>
#include <cmath>

namespace hone {
namespace {

bool dppo_allows(const ObjectiveOptions& o, double advantage, double p, double old) {
  const double probability = std::exp(p), before = std::exp(old);
  const double high = o.epsilon_high.value_or(o.epsilon);
  if (o.surrogate == Surrogate::dppo_tv) {
    const double moved = probability - before;
    return advantage > 0 ? moved <= high : moved >= -o.epsilon;
  }
  constexpr double kTiny = 1e-8;  // probabilities of 1
  const double kl = before * (old - p) +
                    (1 - before) * std::log((1 - before + kTiny) / (1 - probability + kTiny));
  return advantage > 0 ? kl <= high || probability <= before
                       : kl <= o.epsilon || probability >= before;
}

Term ppo_clip(const ObjectiveOptions& o, double x, double advantage) {
  const bool capped = o.delta && x > *o.delta;
  const double free = (capped ? *o.delta : x) * advantage;
  const double clipped = std::clamp(x, 1 - o.epsilon, o.high()) * advantage;
  Term l{-clipped, 0.0};
  if (free <= clipped) l = {-free, capped ? 0.0 : -x * advantage};
  if (o.dual_clip && advantage < 0 && l.value > -*o.dual_clip * advantage) {
    l = {-*o.dual_clip * advantage, 0.0};
  }
  return l;
}

}  // namespace

Term kl_term(const KlOptions& o, double u) {
  Term k;
  switch (o.estimator) {
    case KlEstimator::k1:
      k = {u, 1};
      break;
    case KlEstimator::k2:
      k = {0.5 * u * u, u};
      break;
    case KlEstimator::k3:
      k = {std::exp(-u) + u - 1, 1 - std::exp(-u)};
      break;
    case KlEstimator::abs:
      k = {std::fabs(u), u > 0 ? 1.0 : u < 0 ? -1.0 : 0.0};
      break;
  }
  if (o.cap && std::fabs(k.value) > *o.cap) k = {std::copysign(*o.cap, k.value), 0};
  if (o.straight_through) k.slope = u;
  return k;
}

bool is_of_ratio(Surrogate s) {
  return s == Surrogate::ppo_clip || s == Surrogate::unclipped || s == Surrogate::sapo;
}

Term ratio_term(const ObjectiveOptions& o, double x, double advantage) {
  if (advantage == 0) return {};  // also where x is infinite
  if (o.surrogate == Surrogate::ppo_clip) return ppo_clip(o, x, advantage);
  if (o.surrogate == Surrogate::unclipped) return {-x * advantage, -x * advantage};
  const double tau = advantage > 0 ? o.tau_positive : o.tau_negative;
  const double gate = 1 / (1 + std::exp(-tau * (x - 1)));
  // x gate (1 - gate) is 0 for an infinite x, where the product is not a number
  const double slope = gate == 1 ? 0 : 4 * gate * (1 - gate) * x;
  return {-4 / tau * gate * advantage, -slope * advantage};
}

double likelihood_weight(const ObjectiveOptions& o, double x, double advantage, double p,
                         double old) {
  switch (o.surrogate) {
    case Surrogate::cispo:
      return std::clamp(x, 1 - o.epsilon, o.high());
    case Surrogate::dppo_tv:
    case Surrogate::dppo_kl:
      return dppo_allows(o, advantage, p, old) ? std::min(x, o.ratio_cap) : 0.0;
    default:
      return 1;
  }
}

double vespo_weight(const ObjectiveOptions& o, double log_w, double advantage) {
  const double k = advantage >= 0 ? o.k_positive : o.k_negative;
  const double lambda = std::max(advantage >= 0 ? o.lambda_positive : o.lambda_negative, 1e-4);
  const double log_weight = std::clamp(log_w, std::log(1e-8), 20.0);
  const double phi = std::exp(lambda + k * log_weight - lambda * std::exp(log_weight));
  return std::isfinite(phi) ? phi : 0.0;
}

int clip_side(const ObjectiveOptions& o, double x, double advantage, double p, double old) {
  if (o.surrogate == Surrogate::ppo_clip || o.surrogate == Surrogate::cispo) {
    if (x < 1 - o.epsilon && advantage < 0) return -1;
    if (x > o.high() && advantage > 0) return 1;
    return 0;
  }
  if (o.surrogate == Surrogate::dppo_tv || o.surrogate == Surrogate::dppo_kl) {
    if (advantage == 0 || dppo_allows(o, advantage, p, old)) return 0;
    return advantage > 0 ? 1 : -1;
  }
  return 0;
}

}  // namespace hone
