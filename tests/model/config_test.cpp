// A shape that a recipe gives means what the same keys mean in a config.json.
#include "model/config.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "small_models.h"

namespace hone {
namespace {

using Catch::Matchers::ContainsSubstring;
using testing::error_of;

ModelConfig mixture() {
  ModelConfig shape;
  shape.family = "deepseek_v3";
  shape.more = {{"vocab_size", "96"},
                {"q_lora_rank", "null"},
                {"kv_lora_rank", "32"},
                {"qk_nope_head_dim", "16"},
                {"qk_rope_head_dim", "8"},
                {"v_head_dim", "24"},
                {"n_routed_experts", "8"},
                {"num_experts_per_tok", "2"},
                {"n_group", "4"},
                {"topk_group", "2"},
                {"n_shared_experts", "1"},
                {"moe_intermediate_size", "40"},
                {"first_k_dense_replace", "1"},
                {"norm_topk_prob", "true"},
                {"routed_scaling_factor", "2.5"},
                {"hidden_act", "gelu"},
                {"rope_scaling", R"({"type": "yarn", "factor": 4,
                                     "original_max_position_embeddings": 128})"}};
  return shape;
}

}  // namespace

TEST_CASE("a plain shape keeps what it says and becomes a config.json that says it too") {
  ModelConfig shape;
  shape.family = "qwen3";
  shape.hidden = 40;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 12;
  shape.rope.theta = 5e5;
  shape.tied_head = false;
  const ModelConfig c = complete_shape(shape, "shape");
  CHECK(c.family == "qwen3");
  CHECK(c.head_norms);  // what the family means
  const ModelConfig again = model_config_of(model_config_json(c), "again");
  for (const ModelConfig* m : {&c, &again}) {
    CHECK(m->hidden == 40);
    CHECK(m->kv_heads == 2);
    CHECK(m->head_dim == 12);
    CHECK(m->rope.theta == 5e5);
    CHECK_FALSE(m->tied_head);
    CHECK(m->parameter_count() == c.parameter_count());
  }
}

TEST_CASE("further keys of a shape are numbers, words, truths and objects, as JSON reads them") {
  const ModelConfig c = complete_shape(mixture(), "shape");
  CHECK(c.vocab_size == 96);
  CHECK(c.latent.q_rank == 0);
  CHECK(c.latent.kv_rank == 32);
  CHECK(c.latent.value == 24);
  CHECK(c.experts.count == 8);
  CHECK(c.experts.best_groups == 2);
  CHECK(c.experts.router == Router::sigmoid);
  CHECK(c.experts.normalize);
  CHECK(c.experts.scale == 2.5);
  CHECK(c.activation == Activation::gelu);
  CHECK(c.rope.kind == "yarn");
  CHECK(c.rope.original_positions == 128);
  CHECK_FALSE(c.is_sparse(0));
  CHECK(c.is_sparse(1));
  CHECK(c.file["rope_scaling"]["factor"] == 4);
  CHECK(c.file["head_dim"] == 8);  // transformers turns so much of a head
  CHECK(Transformer(c, {}).weights().numel() > 0);
}

TEST_CASE("the special tokens of a shape are its tokenizer's, also where it has none") {
  ModelConfig shape = mixture();
  shape.bos = -1;
  shape.eos = -1;
  shape.pad = 5;
  const ModelConfig none = complete_shape(shape, "shape");
  CHECK(none.bos == -1);
  CHECK(none.eos == -1);
  CHECK(none.stop_ids.empty());
  CHECK(none.pad == 5);
  CHECK_FALSE(none.file.contains("bos_token_id"));
  CHECK_FALSE(none.file.contains("eos_token_id"));
  shape.bos = 1;
  shape.eos = 7;
  shape.stop_ids = {7, 9};
  const ModelConfig two = complete_shape(shape, "shape");
  CHECK(two.bos == 1);
  CHECK(two.stop_ids == std::vector<int64_t>{7, 9});
  CHECK(generation_config_json(two)["eos_token_id"] == Json({7, 9}));
}

TEST_CASE("a shape that fits no model is refused by its key") {
  const auto refusal = [](const std::string& key, const std::string& value) {
    ModelConfig shape = mixture();
    shape.more[key] = value;
    return error_of([&] { complete_shape(shape, "stage 'base': shape"); });
  };
  CHECK_THAT(refusal("n_routed_experts", "many"),
             ContainsSubstring("stage 'base': shape") && ContainsSubstring("n_routed_experts"));
  CHECK_THAT(refusal("kv_lora_rank", "-1"), ContainsSubstring("kv_lora_rank"));
  CHECK_THAT(refusal("rope_scaling", "yarn"), ContainsSubstring("rope_scaling"));
  CHECK_THAT(refusal("hidden_act", "tanh"), ContainsSubstring("hidden_act"));
  ModelConfig shape;
  shape.family = "gpt5";
  CHECK_THAT(error_of([&] { complete_shape(shape, "shape"); }),
             ContainsSubstring("gpt5") && ContainsSubstring("deepseek_v3"));
  shape.family = "llama";
  shape.kv_heads = 2;
  CHECK_THAT(error_of([&] { complete_shape(shape, "shape"); }),
             ContainsSubstring("num_key_value_heads 2"));
}

TEST_CASE("DeepSeek-V3 has 671 billion parameters, of which a token uses 37") {
  const Json config = Json::parse(R"({"model_type": "deepseek_v3", "vocab_size": 129280,
      "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
      "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
      "n_shared_experts": 1, "n_routed_experts": 256, "num_experts_per_tok": 8,
      "first_k_dense_replace": 3, "moe_layer_freq": 1, "n_group": 8, "topk_group": 4,
      "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": true,
      "routed_scaling_factor": 2.5, "q_lora_rank": 1536, "kv_lora_rank": 512,
      "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "hidden_act": "silu",
      "max_position_embeddings": 163840, "rms_norm_eps": 1e-6, "rope_theta": 10000,
      "tie_word_embeddings": false})");
  const ModelConfig c = model_config_of(config, "DeepSeek-V3");
  // By hand: matrices, norms and the routers' selection biases, without the prediction module.
  const int64_t attention = 7168 * 1536 + 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 +
                            512 * 128 * 256 + 128 * 128 * 7168 + 2 * 7168;
  const int64_t expert = 3 * 7168 * 2048, router = 256 * 7168 + 256;
  const int64_t rest = 61 * attention + 3 * 3 * 7168 * 18432 + 2 * 129280 * 7168 + 7168;
  REQUIRE(rest + 58 * (257 * expert + router) == 671'026'419'200);
  CHECK(c.parameter_count() == 671'026'419'200);
  CHECK(c.active_parameter_count() == rest + 58 * (9 * expert + router));
  CHECK(c.active_parameter_count() / 1'000'000'000 == 37);
}

TEST_CASE(
    "what a model multiplies in 8 bits has sides of whole blocks, and is no latent or expert") {
  ModelConfig dense;
  dense.vocab_size = 1000;
  dense.hidden = 256;
  dense.layers = 3;
  dense.heads = 4;
  dense.kv_heads = 2;
  dense.head_dim = 64;
  dense.intermediate = 640;
  const int64_t qkv = 512 * 256, output = 256 * 256, mlp = 3 * 640 * 256;
  CHECK(dense.eight_bit_parameters() == 3 * (qkv + output + mlp));
  const auto all = static_cast<double>(dense.parameter_count());
  CHECK(dense.eight_bit_share() == 3.0 * (qkv + output + mlp) / all);
  dense.tied_head = false;  // an embedding that no product reads
  CHECK(dense.eight_bit_share() == 3.0 * (qkv + output + mlp) / all);
  dense.head_dim = 48;  // queries 192 wide, with keys and values 384
  CHECK(dense.eight_bit_parameters() == 3 * (384 * 256 + mlp));
  dense.hidden = 192;
  CHECK(dense.eight_bit_parameters() == 0);

  ModelConfig shape = mixture();
  shape.hidden = 128;
  shape.layers = 3;
  shape.heads = shape.kv_heads = 16;
  shape.intermediate = 256;
  const ModelConfig latent = complete_shape(shape, "shape");  // 16 values of 24 are 384
  CHECK(latent.eight_bit_parameters() == 3 * 384 * 128 + 3 * 256 * 128);
}

}  // namespace hone
