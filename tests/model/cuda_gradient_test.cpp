// Gradients in bf16 on the GPU against those of the same weights in float32 on the CPU. How far
// they may be apart is what a plain bf16 model of LibTorch's own operations is.
#include <map>

#include "gradient_task.h"
#include "model/cuda_ops.h"

namespace hone {
namespace {

using at::Tensor;
using testing::distance;
using Task = testing::GradientTask;

struct Kind {
  const char* name;
  int64_t head_dim, kv_heads;
  bool exact, head_norms, tied;
  int64_t window;
  bool prefixes;
};

ModelConfig config_of(const Kind& kind) {
  ModelConfig c;
  c.vocab_size = kind.exact ? 328 : 331;
  c.hidden = 128;
  c.layers = 2;
  c.heads = 6;
  c.kv_heads = kind.kv_heads;
  c.head_dim = kind.head_dim;
  c.intermediate = 200;
  c.max_positions = 512;
  c.qkv_bias = !kind.head_norms;
  c.head_norms = kind.head_norms;
  c.tied_head = kind.tied;
  if (kind.window > 0) c.windows = {kind.window, 0};
  return c;
}

// The same model of LibTorch's operations, in the type of its weights.
class Plain {
 public:
  Plain(const Transformer& model, at::ScalarType type) : c_(model.config()) {
    for (const NamedTensor& t : model.weights().tensors()) {
      weights_[t.name] = model.weights().view(t).to(type).clone().set_requires_grad(true);
    }
    rope_ = ops::make_rope_table(c_.rope, c_.max_positions, c_.head_dim, model.device());
  }
  Tensor grad(const std::string& name) const { return weights_.at(name).grad(); }

  ops::LogProbs backward(const Task& task) const {
    const Tensor hidden = forward(task.batch).index_select(0, task.rows);
    const Tensor& head = weights_.at(c_.tied_head ? "model.embed_tokens.weight" : "lm_head.weight");
    const Tensor logits = at::linear(hidden, head).to(at::kFloat) / 0.9;
    const Tensor log_p = at::log_softmax(logits, 1);
    return task.backward(
        {log_p.gather(1, task.targets.unsqueeze(1)).squeeze(1), -(log_p.exp() * log_p).sum(1)});
  }

 private:
  Tensor norm(const Tensor& x, const std::string& name) const {
    const Tensor f = x.to(at::kFloat);
    const Tensor inverse = at::rsqrt((f * f).mean(-1, true) + c_.rms_eps);
    return (f * inverse * weights_.at(name).to(at::kFloat)).to(x.scalar_type());
  }
  Tensor linear(const Tensor& x, const std::string& name) const {
    const auto bias = weights_.find(name + ".bias");
    return at::linear(x, weights_.at(name + ".weight"),
                      bias == weights_.end() ? std::optional<Tensor>() : bias->second);
  }
  Tensor rotated(const Tensor& x, const Tensor& positions) const {  // [T, heads, D]
    const int64_t half = c_.head_dim / 2;
    const Tensor cos = rope_.cos.index_select(0, positions).unsqueeze(1);
    const Tensor sin = rope_.sin.index_select(0, positions).unsqueeze(1);
    const Tensor a = x.narrow(2, 0, half).to(at::kFloat),
                 b = x.narrow(2, half, half).to(at::kFloat);
    return at::cat({a * cos - b * sin, b * cos + a * sin}, 2).to(x.scalar_type());
  }
  Tensor attend(const Tensor& x, const std::string& p, int64_t layer,
                const ForwardBatch& batch) const {
    const int64_t t = x.size(0), d = c_.head_dim;
    const auto heads = [&](const char* name, int64_t n, const char* norm_name) {
      const Tensor y = linear(x, p + name).view({t, n, d});
      return norm_name && c_.head_norms ? norm(y, p + norm_name) : y;
    };
    const Tensor q = rotated(heads("q_proj", c_.heads, "q_norm.weight"), batch.positions);
    const Tensor k = rotated(heads("k_proj", c_.kv_heads, "k_norm.weight"), batch.positions);
    const Tensor v = heads("v_proj", c_.kv_heads, nullptr);
    std::vector<Tensor> out;
    for (const AttentionSegment& s : batch.segments) {
      const auto keys = [&](const Tensor& of) {  // [H, K, D]
        return at::cat(
                   {of.narrow(0, s.prefix_begin, s.prefix_length), of.narrow(0, s.begin, s.length)})
            .repeat_interleave(c_.heads / c_.kv_heads, 1)
            .transpose(0, 1);
      };
      const Tensor scores =
          at::matmul(q.narrow(0, s.begin, s.length).transpose(0, 1).to(at::kFloat),
                     keys(k).transpose(1, 2).to(at::kFloat)) *
          c_.softmax_scale();
      const auto longs = x.options().dtype(at::kLong);
      const Tensor distance = at::arange(s.length, longs).unsqueeze(1) + s.prefix_length -
                              at::arange(s.prefix_length + s.length, longs);
      Tensor seen = distance.ge(0);
      if (c_.window(layer) > 0) seen = seen & distance.lt(c_.window(layer));
      const Tensor share = at::softmax(scores.masked_fill(~seen, -INFINITY), 2);
      out.push_back(at::matmul(share.to(x.scalar_type()), keys(v)).transpose(0, 1));
    }
    return linear(at::cat(out).reshape({t, c_.heads * d}), p + "o_proj");
  }
  Tensor forward(const ForwardBatch& batch) const {
    Tensor x = at::embedding(weights_.at("model.embed_tokens.weight"), batch.tokens);
    for (int64_t layer = 0; layer < c_.layers; ++layer) {
      const std::string p = "model.layers." + std::to_string(layer) + ".";
      x = x + attend(norm(x, p + "input_layernorm.weight"), p + "self_attn.", layer, batch);
      const Tensor y = norm(x, p + "post_attention_layernorm.weight");
      const Tensor gate = linear(y, p + "mlp.gate_proj"), up = linear(y, p + "mlp.up_proj");
      x = x + linear(at::silu(gate) * up, p + "mlp.down_proj");
    }
    return norm(x, "model.norm.weight");
  }

  ModelConfig c_;
  std::map<std::string, Tensor> weights_;
  ops::RopeTable rope_;
};

std::unique_ptr<Transformer> host_model(const ModelConfig& c) {
  auto host = std::make_unique<Transformer>(c, ModelPlace{at::Device(at::kCPU), at::kFloat, true});
  host->initialize(7);
  host->weights().master().mul_(3.0);  // far from the mean: gradients that differ by place
  host->weights().master().copy_(host->weights().master().to(at::kBFloat16));
  host->weights().weights_changed();
  return host;
}

}  // namespace

TEST_CASE("the whole model's gradients in float32 on the CPU are those of plain operations") {
  for (const Kind& kind : {Kind{"biased", 32, 2, false, false, true, 0, true},
                           Kind{"normed, a window", 16, 6, false, true, false, 20, false}}) {
    CAPTURE(kind.name);
    const ModelConfig c = config_of(kind);
    const auto host = host_model(c);
    const Plain plain(*host, at::kFloat);
    const Task task(c.vocab_size, at::kCPU, kind.prefixes);
    const ops::LogProbs expected = plain.backward(task), actual = task.backward(*host);
    CHECK(distance(actual.logp, expected.logp) < 1e-5);
    CHECK(distance(actual.entropy, expected.entropy) < 1e-5);
    for (const NamedTensor& t : host->weights().tensors()) {
      CAPTURE(t.name);
      CHECK(distance(WeightArena::view(host->weights().grad(), t), plain.grad(t.name)) < 1e-4);
    }
  }
}

TEST_CASE("gradients in bf16 on the GPU are as near to float32's as those of plain operations") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  for (const Kind& kind :
       {Kind{"heads of 64", 64, 2, false, false, true, 0, false},
        Kind{"heads of 64, prefixes", 64, 2, false, false, true, 0, true},
        Kind{"heads of 32, a window", 32, 6, false, false, false, 20, false},
        Kind{"heads of 32, a window, prefixes", 32, 6, false, false, false, 20, true},
        Kind{"heads of 128, normed", 128, 1, false, true, false, 0, false},
        Kind{"heads of 20", 20, 3, false, false, true, 0, false},
        Kind{"exact, heads of 64", 64, 2, true, false, true, 0, false},
        Kind{"exact, heads of 64, prefixes", 64, 2, true, false, true, 0, true},
        Kind{"exact, heads of 128, normed", 128, 3, true, true, false, 40, true}}) {
    const ModelConfig c = config_of(kind);
    const auto host = host_model(c);
    Transformer model(c, {at::Device(at::kCUDA, 0), at::kBFloat16, true, kind.exact});
    model.weights().master().copy_(host->weights().master());
    model.weights().weights_changed();
    const Plain plain(model, at::kBFloat16);
    const ops::LogProbs expected = Task(c.vocab_size, at::kCPU, kind.prefixes).backward(*host);
    const Task task(c.vocab_size, model.device(), kind.prefixes);
    const ops::LogProbs actual = task.backward(model), other = plain.backward(task);
    CAPTURE(kind.name);
    const auto check = [](const Tensor& of, const Tensor& of_plain, const Tensor& exact) {
      const double far = distance(of, exact), plain_far = distance(of_plain, exact);
      CHECK(far < 1.25 * plain_far + 0.002);
    };
    check(actual.logp, other.logp, expected.logp);
    check(actual.entropy, other.entropy, expected.entropy);
    const Tensor first = model.weights().grad().clone();
    for (const NamedTensor& t : host->weights().tensors()) {
      CAPTURE(t.name);
      check(WeightArena::view(first, t), plain.grad(t.name),
            WeightArena::view(host->weights().grad(), t));
    }
    model.weights().grad().zero_();
    task.backward(model);
    CHECK(at::equal(model.weights().grad(), first));  // one order of every sum
  }
}

namespace {

void check_known_gradient(at::Device device, at::ScalarType type) {
  const ModelConfig c = config_of(Kind{"", 32, 2, false, false, true, 0, true});
  Transformer model(c, {device, type, true});
  model.initialize(7);
  const Task task(c.vocab_size, device, true);
  const auto gradients = [&](bool known) {
    model.weights().grad().zero_();
    const Tensor hidden = ops::select_rows(model.forward(task.batch), task.rows);
    const ops::LogProbs out =
        model.log_probs(hidden, task.targets, 1 / 0.9, known ? task.dlogp : Tensor());
    torch::autograd::backward({out.logp}, {task.dlogp});
    return std::make_pair(out.logp.detach().clone(), model.weights().grad().clone());
  };
  const auto [logp, expected] = gradients(false);
  const auto [known_logp, actual] = gradients(true);
  CHECK(at::equal(logp, known_logp));
  CHECK(expected.abs().max().item<double>() > 0);
  CHECK(at::equal(expected, actual));
}

}  // namespace

TEST_CASE("a gradient that is known beforehand is formed with the logits, the same bits") {
  check_known_gradient(at::kCPU, at::kFloat);
}

TEST_CASE("on the GPU, too, a gradient that is known beforehand is formed with the logits") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  check_known_gradient(at::Device(at::kCUDA, 0), at::kBFloat16);
}

TEST_CASE("the GPU adds a product to a gradient in float32, whatever its shape") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
#ifdef HONE_WITH_CUDA
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16);
  for (const int64_t m : {1, 7, 64, 333, 2048}) {
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{8, 16}, {331, 128}, {200, 20}, {896, 64}, {1000, 520}}) {
      CAPTURE(m, n, k);
      const Tensor dy = at::randn({m, n + 8}, options).narrow(1, 0, n);
      const Tensor x = at::randn({m, k}, options),
                   before = at::randn({n, k}, options.dtype(at::kFloat));
      const Tensor grad = before.clone();
      ops::cuda::add_gradient(dy, x, grad);
      const Tensor expected =
          before.to(at::kDouble) + at::mm(dy.to(at::kDouble).t(), x.to(at::kDouble));
      CHECK(distance(grad, expected) < 1e-5);
    }
  }
#endif
}

}  // namespace hone
