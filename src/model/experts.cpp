// Mixture of experts: a router gives each token its experts and their weights, tokens are sorted by
// expert, each expert runs on its rows, and a token's results are added in the order of its choice.
// Every step treats a token by itself, so its result does not depend on its batch.
//
// Routers, with z = W x in float32:
//   softmax (Mixtral, Qwen3-MoE, DeepSeek-V2): s = softmax(z); the largest s are chosen, their
//     weights are s, made to sum to 1 where ExpertOptions::normalize says so
//   softmax_of_chosen (GraniteMoE): the largest z are chosen; weights are their softmax
//   sigmoid (DeepSeek-V3, arXiv 2412.19437, equations 12 to 16): s = sigmoid(z); the largest
//     s + selection bias are chosen; weights are s
// With groups only experts of the best groups are chosen from; a group is as good as its best
// expert, or as the sum of its two best (sigmoid).
// A batch may bring the choices along (ForwardBatch::replay); the router then weighs those.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/expert_rows.h"
#include "model/matmul.h"
#include "model/ops.h"

namespace hone::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kTiny = 1e-20;  // of DeepSeek-V3's normalisation

// x [T, C] -> z [T, E] float32.
struct RouterScores : torch::autograd::Function<RouterScores> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Again& again,
                        const Parameter* w) {
    if (w->grad.defined()) ctx->save_for_backward({to_keep(ctx, x, again)});
    save_parameter(ctx, w);
    if (x.scalar_type() == at::kFloat) return product(x, *w);
    return at::mm(x, w->value.t(), at::kFloat);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Tensor d = dy[0].contiguous();
    const Parameter& w = saved_parameter(ctx);
    if (w.grad.defined()) {
      const Tensor x = kept_or_again(ctx, ctx->get_saved_variables()[0]);
      add_weight_gradient(d, x.to(at::kFloat), w);
    }
    const at::ScalarType type = w.value.scalar_type();
    if (type == at::kFloat) return {product_transposed(d, w), Tensor(), Tensor()};
    return {at::mm(d, w.value.to(at::kFloat)).to(type), Tensor(), Tensor()};
  }
};

// The weights of given choices, ids [T, k]; for autograd.
Tensor weights_of(const Tensor& z, const Tensor& ids, const ExpertOptions& o) {
  if (o.router == Router::softmax_of_chosen) return at::softmax(z.gather(1, ids), 1) * o.scale;
  const Tensor scores = o.router == Router::sigmoid ? at::sigmoid(z) : at::softmax(z, 1);
  Tensor weights = scores.gather(1, ids);
  if (o.normalize) {
    weights = weights / (weights.sum(1, true) + (o.router == Router::sigmoid ? kTiny : 0.0));
  }
  return weights * o.scale;
}

// The indices of the `count` largest values, the largest first, the lower index first of equals.
void largest(const double* values, int64_t n, int64_t count, std::vector<int64_t>& out) {
  out.resize(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  std::partial_sort(out.begin(), out.begin() + count, out.end(), [&](int64_t a, int64_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  out.resize(static_cast<size_t>(count));
}

// One token's scores; z: [E].
std::vector<double> scores_of_row(const float* z, const ExpertOptions& o) {
  std::vector<double> score(z, z + o.count);
  if (o.router == Router::sigmoid) {
    for (double& s : score) s = 1 / (1 + std::exp(-s));
  } else if (o.router == Router::softmax) {
    const double best = *std::max_element(score.begin(), score.end());
    double total = 0;
    for (double& s : score) total += s = std::exp(s - best);
    for (double& s : score) s /= total;
  }
  return score;
}

// One token's choice; bias (or null): [E]; ids: [k].
void choose_row(const std::vector<double>& score, const float* bias, const ExpertOptions& o,
                int64_t* ids) {
  std::vector<double> choice = score;
  for (size_t e = 0; bias && e < choice.size(); ++e) choice[e] += bias[e];
  std::vector<int64_t> chosen;
  if (o.groups > 1) {
    const int64_t size = o.count / o.groups;
    std::vector<double> group;
    for (int64_t g = 0; g < o.groups; ++g) {
      largest(choice.data() + g * size, size,
              std::min<int64_t>(size, o.router == Router::sigmoid ? 2 : 1), chosen);
      double sum = 0;
      for (const int64_t e : chosen) sum += choice[static_cast<size_t>(g * size + e)];
      group.push_back(sum);
    }
    largest(group.data(), o.groups, o.best_groups, chosen);
    for (int64_t e = 0; e < o.count; ++e) {
      if (std::find(chosen.begin(), chosen.end(), e / size) == chosen.end()) {
        choice[static_cast<size_t>(e)] = -INFINITY;
      }
    }
  }
  largest(choice.data(), o.count, o.per_token, chosen);
  std::copy(chosen.begin(), chosen.end(), ids);
}

// What one token's choices weigh; ids, weights: [k].
void weigh_row(const std::vector<double>& score, const ExpertOptions& o, const int64_t* ids,
               float* weights) {
  std::vector<double> weight;
  for (int64_t k = 0; k < o.per_token; ++k) weight.push_back(score[static_cast<size_t>(ids[k])]);
  if (o.router == Router::softmax_of_chosen) {
    const double best = *std::max_element(weight.begin(), weight.end());
    for (double& w : weight) w = std::exp(w - best);
  }
  double total = 1;
  if (o.normalize || o.router == Router::softmax_of_chosen) {
    total = std::accumulate(weight.begin(), weight.end(), kTiny);
  }
  for (size_t k = 0; k < weight.size(); ++k) {
    weights[k] = static_cast<float>(weight[k] / total * o.scale);
  }
}

// z [T, E] -> weights [T, k] of the choices, ids [T, k]; it makes them unless they are `given`.
struct RouteCpu : torch::autograd::Function<RouteCpu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& z, const Parameter* bias,
                        const ExpertOptions* options, const Tensor& ids, bool given) {
    const int64_t t = z.size(0), k = options->per_token;
    Tensor weights = at::empty({t, k}, z.options());
    const float* b = bias ? bias->value.const_data_ptr<float>() : nullptr;
    for (int64_t i = 0; i < t; ++i) {
      int64_t* chosen = ids.data_ptr<int64_t>() + i * k;
      const auto score = scores_of_row(z.const_data_ptr<float>() + i * options->count, *options);
      if (!given) choose_row(score, b, *options, chosen);
      weigh_row(score, *options, chosen, weights.data_ptr<float>() + i * k);
    }
    ctx->save_for_backward({z, ids});
    ctx->saved_data["options"] = reinterpret_cast<int64_t>(options);
    return weights;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const at::AutoGradMode with_grad(true);
    const auto* options =
        reinterpret_cast<const ExpertOptions*>(ctx->saved_data["options"].toInt());
    const variable_list saved = ctx->get_saved_variables();
    Tensor z = saved[0].detach();
    z.set_requires_grad(true);
    const Tensor weights = weights_of(z, saved[1], *options);
    return {torch::autograd::grad({weights}, {z}, {dy[0]})[0], Tensor(), Tensor(), Tensor(),
            Tensor()};
  }
};

// The choices on CUDA, [T, k].
Tensor choose(const Tensor& z, const Parameter* bias, const ExpertOptions& o) {
  const at::NoGradGuard no_grad;
  Tensor choice = o.router == Router::sigmoid ? at::sigmoid(z) : at::softmax(z, 1);
  if (bias) choice = choice + bias->value;
  if (o.groups > 1) {
    const Tensor by_group = choice.view({z.size(0), o.groups, o.count / o.groups});
    const int64_t best = std::min<int64_t>(by_group.size(2), o.router == Router::sigmoid ? 2 : 1);
    const Tensor group = std::get<0>(by_group.topk(best, 2)).sum(2);
    const Tensor chosen = std::get<1>(group.topk(o.best_groups, 1));
    const Tensor kept = at::zeros_like(group, at::kBool).scatter_(1, chosen, true);
    choice = by_group.masked_fill(kept.logical_not().unsqueeze(2), -INFINITY).view_as(choice);
  }
  return std::get<1>(choice.topk(o.per_token, 1));
}

// Rows sorted by expert, as the experts' products read them.
struct Dispatch {
  Tensor token;                      // [R] token of each row, R = T k
  Tensor place;                      // [T, k] row of each choice
  Tensor counts;                     // [E] rows of each expert
  Tensor ends;                       // [E] int32: where each expert's rows end; CUDA
  std::vector<int64_t> host_counts;  // counts, where the products need them: CPU, float32
};

Dispatch dispatch(const Tensor& ids, int64_t count, bool on_host) {
  Dispatch d;
  const int64_t k = ids.size(1);
  const Tensor flat = ids.view({-1});
  // Narrow keys: the GPU sorts by a few bits at a time.
  const Tensor order = flat.to(at::kShort).argsort(/*stable=*/true, 0, false);
  d.token = at::floor_divide(order, k);
  d.place = at::empty_like(order)
                .scatter_(0, order, at::arange(order.numel(), order.options()))
                .view_as(ids);
  d.counts = at::zeros({count}, flat.options()).scatter_add_(0, flat, at::ones_like(flat));
  if (on_host) {
    const Tensor host = d.counts.cpu();
    const int64_t* p = host.const_data_ptr<int64_t>();
    d.host_counts.assign(p, p + count);
  } else {
    d.ends = d.counts.cumsum(0).to(at::kInt);
  }
  return d;
}

// x [R, K], sorted by expert, times each expert's part of the weight -> [R, N].
struct ExpertProduct : torch::autograd::Function<ExpertProduct> {
  // Calls run(part, first row, rows) for the experts that have rows.
  template <class Run>
  static void each(const Dispatch& d, const Run& run) {
    int64_t row = 0;
    for (size_t e = 0; e < d.host_counts.size(); ++e) {
      if (d.host_counts[e] > 0) run(static_cast<int64_t>(e), row, d.host_counts[e]);
      row += d.host_counts[e];
    }
  }
  static Tensor stacked(const Tensor& weight, const Parameter& w) {  // [E, N, K]
    return weight.view({w.part_count(), w.part_rows(0), w.columns});
  }

  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Again& again,
                        const Parameter* w, const std::shared_ptr<Dispatch>& d) {
    if (w->grad.defined()) ctx->save_for_backward({to_keep(ctx, x, again)});
    save_parameter(ctx, w);
    ctx->saved_data["dispatch"] = at::IValue::make_capsule(c10::make_intrusive<Holder>(d));
    if (d->ends.defined()) {
      return at::_grouped_mm(x, stacked(w->value, *w).transpose(1, 2), d->ends);
    }
    const Tensor y = at::empty({x.size(0), w->part_rows(0)}, x.options());
    each(*d, [&](int64_t e, int64_t row, int64_t rows) {
      product_into(y.narrow(0, row, rows), x.narrow(0, row, rows), *w, e);
    });
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Tensor g = dy[0].contiguous();
    const Parameter& w = saved_parameter(ctx);
    Tensor x;  // of frozen weights not there
    if (w.grad.defined()) x = kept_or_again(ctx, ctx->get_saved_variables()[0]);
    const Dispatch& d =
        *c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["dispatch"].toCapsule())->held;
    if (d.ends.defined()) {
      if (w.grad.defined()) {
        // An expert without rows gets zeros on Hopper (not on Blackwell: pytorch issue 172439).
        Tensor grad = stacked(w.grad, w);
        grad.add_(at::_grouped_mm(g.t(), x, d.ends));
      }
      return {at::_grouped_mm(g, stacked(w.value, w), d.ends), Tensor(), Tensor(), Tensor()};
    }
    const Tensor dx = at::empty({g.size(0), w.columns}, g.options());
    each(d, [&](int64_t e, int64_t row, int64_t rows) {
      const Tensor ge = g.narrow(0, row, rows);
      product_transposed_into(dx.narrow(0, row, rows), ge, w, e);
      if (x.defined()) add_weight_gradient(ge, x.narrow(0, row, rows), w, e);
    });
    return {dx, Tensor(), Tensor(), Tensor()};
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<Dispatch> d) : held(std::move(d)) {}
    std::shared_ptr<Dispatch> held;
  };
};

// The segment of each token, [T].
Tensor segment_of_tokens(const std::vector<AttentionSegment>& segments, int64_t t,
                         at::Device device) {
  const Tensor segment = at::empty({t}, at::kLong);
  for (size_t s = 0; s < segments.size(); ++s) {
    std::fill_n(segment.data_ptr<int64_t>() + segments[s].begin, segments[s].length,
                static_cast<int64_t>(s));
  }
  return segment.to(device);
}

// DeepSeek-V3, equations 17 to 20: sum over experts of f_e P_e, f_e the share of a sequence's
// choices that fell on e times E, P_e the mean of its normalised score; a mean over sequences by
// their tokens. A shared prefix counts as a sequence. Weighed by tokens, the means of the scores
// are a sum over tokens, each with the shares of its sequence.
Tensor balance_of(const Tensor& z, const Tensor& ids, const ExpertOptions& o, const Tensor& segment,
                  int64_t segments) {
  Tensor p = o.router == Router::sigmoid ? at::sigmoid(z) : at::softmax(z, 1);  // [T, E]
  p = p / p.sum(1, true);
  const Tensor cell = (segment.unsqueeze(1) * o.count + ids).view({-1});  // of each choice
  const Tensor counts = at::zeros({segments * o.count}, p.options())
                            .scatter_add_(0, cell, at::ones({cell.size(0)}, p.options()))
                            .view({segments, o.count});
  const Tensor share = counts / counts.mean(1, true);
  return (p * share.index_select(0, segment)).sum() / static_cast<double>(z.size(0));
}

}  // namespace

bool has_grouped_experts(const ModelConfig& config, at::ScalarType type) {
  // The grouped product wants rows of a multiple of 16 bytes.
  return type == at::kBFloat16 && config.hidden % 8 == 0 && config.experts.intermediate % 8 == 0;
}

Tensor experts(const Input& input, const ExpertWeights& w, const ModelConfig& config,
               const ForwardBatch& batch) {
  const Tensor& x = input.value;
  const ExpertOptions& o = config.experts;
  const int64_t t = x.size(0), k = o.per_token;
  const Tensor z = RouterScores::apply(x, input.again, w.router);
  Tensor ids, weights;  // [T, k]
  const bool given = batch.replay.defined() && w.number >= 0;
  if (given) ids = batch.replay.select(1, w.number).to(at::kLong);
  if (x.is_cpu()) {
    if (!given) ids = at::empty({t, k}, at::kLong);
    weights = RouteCpu::apply(z, w.selection, &o, ids, given);
  } else {
    if (!given) ids = choose(z, w.selection, o);
    weights = weights_of(z, ids, o);
  }
  if (batch.routes.defined() && w.number >= 0) batch.routes.select(1, w.number).copy_(ids);
  const bool grouped = has_grouped_experts(config, x.scalar_type());
  const auto plan = std::make_shared<Dispatch>(dispatch(ids, o.count, !grouped));
  if (batch.routing) {
    batch.routing->counts.push_back(plan->counts);
    Tensor& segment = batch.routing->segment;
    if (!segment.defined()) segment = segment_of_tokens(batch.segments, t, x.device());
    const Tensor balance =
        balance_of(z, ids, o, segment, static_cast<int64_t>(batch.segments.size()));
    Tensor& sum = batch.routing->balance;
    sum = sum.defined() ? sum + balance : balance;
  }
  Again rows_again;
  if (input.again) {
    rows_again = [x_again = input.again, token = plan->token] {
      return x_again().index_select(0, token);
    };
  }
  const Tensor rows = gather_rows(x, plan->token, plan->place);
  const Input mixed = gated(ExpertProduct::apply(rows, rows_again, w.gate_up, plan),
                            config.activation, static_cast<bool>(input.again));
  return sum_rows(ExpertProduct::apply(mixed.value, mixed.again, w.down, plan), weights,
                  plan->place);
}

}  // namespace hone::ops
