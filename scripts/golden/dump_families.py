#!/usr/bin/env python3
"""Writes tests/golden/families/*.json: what transformers computes for tiny models of every family
and every switch of its config, for our families to be compared with.

    PYTHON scripts/golden/dump_families.py [CASE...]

Needs Python as dump_transformers.py does. No weights are stored: they are a function of the
tensor's name that the test computes too, `center + amplitude * u(salt + name, i)`, where amplitudes
are powers of two, so that the sum is rounded once and equal everywhere. The names are those that
`save_pretrained` writes, which are the ones on the hub: transformers 5 holds fused experts in
memory only.

A file:
  config      config.json as transformers 5 wrote it
  config_v4   the same in the form of transformers 4 and the hub, without what is the default;
              transformers reads both alike
  salt        of the weights
  sequences   [{ids, logprobs}]: logprobs[t] = log p(ids[t] given ids[<t]), without the first
  tensors     [name, shape, center, amplitude, norm, samples]: of the gradient of the sum over
              sequences s and t > 0 of -u(salt + "loss" + s, t) * logprobs[t]: its L2 norm and the
              elements mix64(hash64(salt + name) + 2^32 + j) % size; null for what has no gradient
  mtp         where the file holds modules for multi-token prediction, what transformers' MtpLayer
              computes with the first: logprobs of every sequence without the first two tokens, and
              gradients [name, norm, samples] of a sum over them like that above, with "mtp_loss"

Where transformers differs from others, these are its answers: DeepSeek-V2 ignores norm_topk_prob;
DeepSeek-V3 leaves closed groups out with -inf; Qwen3-MoE's window is that of all layers.
"""
import argparse
import copy
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_layers import MtpLayer

OUT = Path(__file__).resolve().parent.parent.parent / "tests/golden/families"
LENGTHS = [1, 9, 40]
SAMPLES = 8

SMALL = dict(vocab_size=97, hidden_size=48, intermediate_size=56, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
LLAMA = dict(SMALL, model_type="llama", head_dim=16)
MISTRAL = dict(SMALL, model_type="mistral", sliding_window=None)
QWEN2 = dict(SMALL, model_type="qwen2", rms_norm_eps=1e-6)
QWEN3 = dict(SMALL, model_type="qwen3", rms_norm_eps=1e-6, head_dim=16)
QWEN3_MOE = dict(SMALL, model_type="qwen3_moe", rms_norm_eps=1e-6, head_dim=16, num_experts=6,
                 num_experts_per_tok=2, moe_intermediate_size=24)
MIXTRAL = dict(SMALL, model_type="mixtral", num_local_experts=4, num_experts_per_tok=2)
GRANITE = dict(SMALL, model_type="granite", embedding_multiplier=6.0, attention_multiplier=0.2,
               residual_multiplier=0.45, logits_scaling=1.5)
DEEPSEEK = dict(SMALL, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=2,
                moe_intermediate_size=20, n_shared_experts=1, first_k_dense_replace=1,
                kv_lora_rank=20, q_lora_rank=28, qk_nope_head_dim=12, qk_rope_head_dim=8,
                v_head_dim=16)
DEEPSEEK_V2 = dict(DEEPSEEK, model_type="deepseek_v2")
DEEPSEEK_V3 = dict(DEEPSEEK, model_type="deepseek_v3", n_group=4, topk_group=2, num_mtp_layers=0)


def rope(kind, theta=10000.0, **parameters):
    return {"rope_parameters": dict(rope_type=kind, rope_theta=theta, **parameters)}


def yarn(theta=10000.0, **parameters):
    return rope("yarn", theta, factor=4.0, original_max_position_embeddings=16, **parameters)


CASES = {
    "llama": LLAMA,
    "llama-one-key-head-tied": dict(LLAMA, num_key_value_heads=1, head_dim=24, num_hidden_layers=3,
                                    tie_word_embeddings=True, **rope("default", 500.0)),
    "llama-bias": dict(LLAMA, num_key_value_heads=4, head_dim=8, attention_bias=True,
                       mlp_bias=True),
    "llama-attention-bias": dict(LLAMA, attention_bias=True, hidden_size=36, head_dim=9 * 2),
    "llama-llama3": dict(LLAMA, **rope("llama3", factor=8.0, low_freq_factor=1.0,
                                       high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama-linear": dict(LLAMA, **rope("linear", factor=4.0)),
    "llama-dynamic": dict(LLAMA, **rope("dynamic", factor=2.0)),
    "llama-yarn": dict(LLAMA, head_dim=32, **yarn()),
    "llama-yarn-attention-factor": dict(LLAMA, head_dim=32, **yarn(
        100.0, attention_factor=0.8, beta_fast=1.5, beta_slow=0.25)),
    "llama-yarn-mscale": dict(LLAMA, head_dim=32, **yarn(
        100.0, mscale=1.5, mscale_all_dim=0.5, beta_fast=1.2, truncate=False)),
    "llama-gelu": dict(LLAMA, hidden_act="gelu"),
    "llama-gelu-tanh": dict(LLAMA, hidden_act="gelu_pytorch_tanh"),
    "llama-relu": dict(LLAMA, hidden_act="relu"),
    "mistral": dict(MISTRAL),
    "mistral-window": dict(MISTRAL, sliding_window=8, head_dim=24),
    "qwen2-tied": dict(QWEN2, tie_word_embeddings=True, num_hidden_layers=3,
                       **rope("default", 1e6)),
    "qwen2-window": dict(QWEN2, num_hidden_layers=3, use_sliding_window=True, sliding_window=8,
                         max_window_layers=1),
    "qwen2-layer-types": dict(QWEN2, num_hidden_layers=3, use_sliding_window=True,
                              sliding_window=6, layer_types=["sliding_attention", "full_attention",
                                                             "full_attention"]),
    "qwen2-unused-window": dict(QWEN2, use_sliding_window=False, sliding_window=4,
                                max_window_layers=0, **yarn()),
    "qwen3-tied": dict(QWEN3, tie_word_embeddings=True, head_dim=24, num_hidden_layers=3),
    "qwen3-bias-window": dict(QWEN3, attention_bias=True, use_sliding_window=True,
                              sliding_window=8, max_window_layers=1),
    "qwen3_moe": dict(QWEN3_MOE, norm_topk_prob=True),
    "qwen3_moe-step": dict(QWEN3_MOE, norm_topk_prob=False, decoder_sparse_step=2,
                           num_hidden_layers=3, num_experts_per_tok=3),
    "qwen3_moe-mlp-only-tied": dict(QWEN3_MOE, norm_topk_prob=True, mlp_only_layers=[0],
                                    tie_word_embeddings=True, attention_bias=True),
    "qwen3_moe-window": dict(QWEN3_MOE, use_sliding_window=True, sliding_window=8, head_dim=24,
                             max_window_layers=2, num_experts_per_tok=1),
    "mixtral": MIXTRAL,
    "mixtral-window": dict(MIXTRAL, sliding_window=8, head_dim=24, num_local_experts=5,
                           num_experts_per_tok=3, tie_word_embeddings=True),
    "granite": GRANITE,
    "granite-bias-tied": dict(GRANITE, attention_bias=True, mlp_bias=True,
                              tie_word_embeddings=True),
    "granitemoe-tied": dict(GRANITE, model_type="granitemoe", num_local_experts=4,
                            num_experts_per_tok=2, tie_word_embeddings=True),
    "granitemoe-bias": dict(SMALL, model_type="granitemoe", num_local_experts=5,
                            num_experts_per_tok=3, attention_bias=True, attention_multiplier=0.3),
    "deepseek_v2-lite": dict(DEEPSEEK_V2, q_lora_rank=None, n_shared_experts=2),
    "deepseek_v2-groups": dict(DEEPSEEK_V2, topk_method="group_limited_greedy", n_group=4,
                               topk_group=2, num_experts_per_tok=3, routed_scaling_factor=2.5,
                               norm_topk_prob=True),
    "deepseek_v2-yarn": dict(DEEPSEEK_V2, qk_rope_head_dim=16, routed_scaling_factor=1.5, **yarn(
        100.0, mscale=0.707, mscale_all_dim=0.707, beta_fast=32, beta_slow=1)),
    "deepseek_v2-yarn-attention-factor": dict(DEEPSEEK_V2, q_lora_rank=None, qk_rope_head_dim=16,
                                              **yarn(100.0, mscale=1.5, mscale_all_dim=0.5)),
    "deepseek_v2-bias": dict(DEEPSEEK_V2, attention_bias=True, mlp_bias=True,
                             num_experts_per_tok=3),
    "deepseek_v3": dict(DEEPSEEK_V3, norm_topk_prob=True, routed_scaling_factor=2.5),
    "deepseek_v3-half-rope": dict(DEEPSEEK_V3, q_lora_rank=None, rope_interleave=False,
                                  norm_topk_prob=False, routed_scaling_factor=1.0, n_group=1,
                                  topk_group=1, n_shared_experts=2, num_experts_per_tok=3),
    "deepseek_v3-yarn": dict(DEEPSEEK_V3, qk_rope_head_dim=16, **yarn(
        100.0, mscale=1.0, mscale_all_dim=1.0, beta_fast=32, beta_slow=1)),
    "deepseek_v3-yarn-attention-factor": dict(DEEPSEEK_V3, rope_interleave=False, **yarn(
        100.0, mscale=0.5, mscale_all_dim=1.5)),
    "deepseek_v3-bias-tied": dict(DEEPSEEK_V3, attention_bias=True, tie_word_embeddings=True,
                                  first_k_dense_replace=0, n_group=2, topk_group=1,
                                  num_experts_per_tok=4, v_head_dim=8),
    "deepseek_v3-mtp": dict(DEEPSEEK_V3, num_mtp_layers=1),
    "deepseek_v3-mtp-two-tied": dict(DEEPSEEK_V3, num_mtp_layers=2, tie_word_embeddings=True,
                                     q_lora_rank=None, n_routed_experts=4, n_group=1, topk_group=1),
}

MASK = (1 << 64) - 1


def hash64(text: str) -> int:
    """FNV-1a, as src/base/rng.h has it."""
    h = 0xCBF29CE484222325
    for c in text.encode():
        h = ((h ^ c) * 0x100000001B3) & MASK
    return h


def mix64(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, as src/base/rng.h has it; x are uint64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draws(text: str, count: int, start: int = 0) -> np.ndarray:
    return mix64(np.arange(start, start + count, dtype=np.uint64) + np.uint64(hash64(text)))


def u(text: str, count: int) -> np.ndarray:
    """Uniform in [-1, 1) with 24 bits, exact in float32."""
    top = (draws(text, count) >> np.uint64(40)).astype(np.float32)
    return top * np.float32(2.0**-23) - np.float32(1)


def center_and_amplitude(name: str, shape: list[int]) -> tuple[float, float]:
    """Activations of order 1, attention far from uniform, experts far from ties."""
    if "norm" in name:
        return 1.0, 0.25
    if name.endswith("e_score_correction_bias"):
        return 0.0, 0.25
    if name.endswith("bias") or "embed_tokens" in name:
        return 0.0, 0.5
    router = name.endswith(("gate.weight", "router.layer.weight"))
    # Uniform in [-a, a) has the deviation a / sqrt(3).
    wanted = math.sqrt(3 / shape[-1]) * (2.5 if router else 1.25)
    return 0.0, 2.0 ** round(math.log2(wanted))


def weights(salt: str, shapes: dict) -> dict:
    made = {}
    for name, shape in shapes.items():
        center, amplitude = center_and_amplitude(name, shape)
        values = np.float32(center) + np.float32(amplitude) * u(salt + name, math.prod(shape))
        made[name] = values.reshape(shape)
    return made


def shapes_on_disk(model, directory: str) -> dict:
    model.save_pretrained(directory)
    with safe_open(f"{directory}/model.safetensors", "np") as f:
        return {name: f.get_slice(name).get_shape() for name in f.keys()}


def mtp_shapes(shapes: dict, config: dict) -> dict:
    """Modules for multi-token prediction, as DeepSeek-V3 has them on the hub: a whole sparse layer
    after the last, with copies of embedding and head."""
    last = config["num_hidden_layers"] - 1
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    more = {}
    for k in range(config.get("num_nextn_predict_layers", 0)):
        prefix = f"model.layers.{last + 1 + k}."
        more |= {prefix + "enorm.weight": [hidden], prefix + "hnorm.weight": [hidden],
                 prefix + "eh_proj.weight": [hidden, 2 * hidden],
                 prefix + "shared_head.norm.weight": [hidden]}
        more |= {n.replace(f"layers.{last}.", f"layers.{last + 1 + k}."): s
                 for n, s in shapes.items() if f"layers.{last}." in n}
    return more


def old_config(config: dict) -> dict:
    """The form of transformers 4, with keys as the hub has them and without defaults."""
    default = AutoConfig.for_model(config["model_type"]).to_dict()
    kept = ("architectures", "model_type", "num_nextn_predict_layers")
    dropped = ("dtype", "rope_parameters", "layer_types", "pad_token_id", "qk_head_dim")
    old = {k: v for k, v in config.items()
           if k in kept or k not in dropped and (k not in default or default[k] != v)}
    old["transformers_version"] = "4.48.0"
    old["torch_dtype"] = "float32"
    parameters = dict(config["rope_parameters"])
    theta = parameters.pop("rope_theta")
    if theta != default["rope_parameters"]["rope_theta"]:
        old["rope_theta"] = theta
    kind = parameters.pop("rope_type")
    # Llama 3 and later say rope_type, everything before says type.
    key = "rope_type" if kind == "llama3" else "type"
    old["rope_scaling"] = None if kind == "default" else {key: kind, **parameters}
    if config.get("layer_types") and "max_window_layers" in config:
        by_index = ["sliding_attention" if config["sliding_window"] is not None
                    and i >= config["max_window_layers"] else "full_attention"
                    for i in range(config["num_hidden_layers"])]
        if by_index != config["layer_types"]:
            old["layer_types"] = config["layer_types"]
    if config["model_type"] == "qwen3_moe":
        old["num_experts"] = old.pop("num_local_experts")
    if config["model_type"].startswith("deepseek"):
        old.pop("head_dim", None)
        old |= {"aux_loss_alpha": 0.001, "seq_aux": True, "ep_size": 1, "moe_layer_freq": 1,
                "scoring_func": "softmax"}
    if config["model_type"] == "deepseek_v3":
        old |= {"scoring_func": "sigmoid", "topk_method": "noaux_tc"}
    return old


def load(directory: str, config: dict):
    Path(directory, "config.json").write_text(json.dumps(config))
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager",
        experts_implementation="eager")
    return model.eval()


def log_probs(model, ids: list[int]) -> torch.Tensor:
    logits = model(torch.tensor([ids])).logits[0]
    return torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:]).view(-1, 1)).view(-1)


def gradients(model) -> dict:
    """By the names on disk: the gradients are written as if they were the weights. Buffers stay
    what they are and are left out."""
    mirror = copy.deepcopy(model)
    with torch.no_grad():
        for p, q in zip(mirror.parameters(), model.parameters()):
            p.copy_(torch.zeros_like(p) if q.grad is None else q.grad)
    with tempfile.TemporaryDirectory() as directory:
        mirror.save_pretrained(directory)
        with safe_open(f"{directory}/model.safetensors", "np") as f:
            return {n: f.get_tensor(n) for n in f.keys() if "e_score_correction_bias" not in n}


def chosen_experts(model, ids: list[int], noise: float) -> list:
    """Sets of experts of every router and token, with relative noise on what the routers see."""
    chosen, handles = [], []
    draw = torch.Generator().manual_seed(5)

    def disturb(_, inputs):
        x = inputs[0]
        return (x * (1 + noise * torch.randn(x.shape, generator=draw)),)

    def note(_, __, outputs):
        picked = next(o for o in outputs if o.dtype == torch.int64)
        chosen.append(picked.sort(-1).values.tolist())

    for module in model.modules():
        if type(module).__name__.lower().endswith("router"):
            handles += [module.register_forward_pre_hook(disturb),
                        module.register_forward_hook(note)]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for h in handles:
        h.remove()
    return chosen


@torch.no_grad()
def conditioning(model, sequences: list, expected: list) -> float:
    """The largest change of a log-probability when every weight moves by its rounding."""
    moved = copy.deepcopy(model)
    torch.manual_seed(1)
    for p in moved.parameters():
        p.mul_(1 + 6e-8 * torch.randn_like(p))
    return max((log_probs(moved, ids) - e).abs().max().item()
               for ids, e in zip(sequences, expected) if len(ids) > 1)


def mtp_layer(model, values: dict):
    """(layer, donor). transformers ignores the modules when it loads a model, and its MtpModel
    finds them in layer 61 only: the first MtpLayer gets its block from a model, the donor, in which
    that block stands as the last layer."""
    config = model.config.get_mtp_config()
    config._attn_implementation = config._experts_implementation = "eager"
    prefix = f"model.layers.{model.config.num_hidden_layers}."
    own = f"model.layers.{model.config.num_hidden_layers - 1}."
    moved = {n: values[n.replace(own, prefix)] for n in values if n.replace(own, prefix) in values}
    with tempfile.TemporaryDirectory() as directory:
        save_file(moved, f"{directory}/model.safetensors", {"format": "pt"})
        donor = load(directory, model.config.to_dict())
    layer = MtpLayer(config, type(model.model.layers[-1]), type(model.model.norm), 0).eval()
    layer.mtp_block = donor.model.layers[-1]
    with torch.no_grad():
        for name, module in outer_modules(layer).items():
            module.weight.copy_(torch.from_numpy(values[f"{prefix}{name}.weight"]))
    return layer, donor


def outer_modules(layer: MtpLayer) -> dict:
    return {"enorm": layer.enorm, "hnorm": layer.hnorm, "eh_proj": layer.eh_proj,
            "shared_head.norm": layer.post_norm}


def mtp_log_probs(model, layer: MtpLayer, ids: list[int]) -> torch.Tensor:
    """The module sees the model's last hidden state at t, after the norm, and the embedding of
    token t + 1, and predicts token t + 2."""
    n = len(ids) - 2
    if n < 1:
        return torch.zeros(0)
    embedded = model.model.embed_tokens(torch.tensor([ids[1:-1]]))
    positions = torch.arange(1, n + 1)[None]
    hidden = layer(embedded, model.model(torch.tensor([ids])).last_hidden_state[:, :n],
                   position_embeddings=model.model.rotary_emb(embedded, positions),
                   attention_mask=torch.full((n, n), float("-inf")).triu(1)[None, None],
                   position_ids=positions, past_key_values=None)
    logp = torch.log_softmax(model.lm_head(hidden)[0], -1)
    return logp.gather(1, torch.tensor(ids[2:]).view(-1, 1)).view(-1)


def mtp_golden(salt: str, model, values: dict, sequences: list) -> dict:
    layer, donor = mtp_layer(model, values)
    expected = [mtp_log_probs(model, layer, ids) for ids in sequences]
    loss = 0.0
    for s, (ids, logp) in enumerate(zip(sequences, expected)):
        loss = loss - (torch.from_numpy(u(f"{salt}mtp_loss{s}", len(ids)))[2:] * logp).sum()
    model.zero_grad()
    loss.backward()
    grads = gradients(model)
    prefix = f"model.layers.{model.config.num_hidden_layers}."
    own = f"model.layers.{model.config.num_hidden_layers - 1}."
    grads |= {f"{prefix}{name}.weight": module.weight.grad.numpy()
              for name, module in outer_modules(layer).items()}
    grads |= {n.replace(own, prefix): g for n, g in gradients(donor).items() if own in n}
    return {"logprobs": [rounded(e.detach()) for e in expected],
            "gradients": [[n, *norm_and_samples(salt, n, grads[n])] for n in values if n in grads]}


def norm_and_samples(salt: str, name: str, gradient: np.ndarray) -> list:
    flat = gradient.reshape(-1)
    where = draws(salt + name, SAMPLES, 1 << 32) % np.uint64(flat.size)
    return [*rounded([np.linalg.norm(flat.astype(np.float64))]), rounded(flat[where])]


def rounded(values) -> list:
    """Nine digits bring a float32 back exactly."""
    return [float(f"{float(x):.9g}") for x in values]


def dump(case: str, shape: dict) -> None:
    salt = case + "/"
    config = AutoConfig.for_model(**shape)
    config._attn_implementation = "eager"
    config.dtype = "float32"
    with tempfile.TemporaryDirectory() as directory:
        shapes = shapes_on_disk(AutoModelForCausalLM.from_config(config), directory)
        written = json.loads(Path(directory, "config.json").read_text())
        more = mtp_shapes(shapes, written)
        values = weights(salt, shapes | more)
        save_file(values, f"{directory}/model.safetensors", {"format": "pt"})
        old = old_config(written)
        if "sliding_window" in shape:  # the hub keeps the number of a window that is not used
            old["sliding_window"] = shape["sliding_window"]
        model_old = load(directory, old)
        model = load(directory, written)

    sequences = [(draws(f"{salt}ids{s}", n) % np.uint64(shape["vocab_size"])).tolist()
                 for s, n in enumerate(LENGTHS)]
    expected, loss = [], 0.0
    for s, ids in enumerate(sequences):
        logp = log_probs(model, ids)
        assert torch.equal(logp, log_probs(model_old, ids)), "config_v4 means another model"
        expected.append(logp.detach())
        loss = loss - (torch.from_numpy(u(f"{salt}loss{s}", len(ids)))[1:] * logp).sum()
        exact = chosen_experts(model, ids, 0.0)
        assert exact == chosen_experts(model, ids, 1e-4), "experts hang on rounding: another salt"
    loss.backward()
    grads = gradients(model)
    # The gradients came back under the names of the weights, whole.
    assert set(grads) == {n for n in shapes if "e_score_correction_bias" not in n}

    tensors = []
    for name, size in (shapes | more).items():
        row = [name, size, *center_and_amplitude(name, size), None, None]
        if name in grads:
            assert list(grads[name].shape) == size
            row[4:] = norm_and_samples(salt, name, grads[name])
        tensors.append(row)
    golden = {"made_by": f"scripts/golden/dump_families.py, torch {torch.__version__}, "
                         f"transformers {transformers.__version__}, eager, float32",
              "config": written, "config_v4": old, "salt": salt,
              "sequences": [{"ids": ids, "logprobs": rounded(e)}
                            for ids, e in zip(sequences, expected)]}
    if more:
        golden["mtp"] = mtp_golden(salt, model, values, sequences)
    compact = dict(separators=(",", ":"))
    lines = [f"{json.dumps(k)}:{json.dumps(v, **compact)}" for k, v in golden.items()]
    lines.append('"tensors":[\n' + ",\n".join(json.dumps(t, **compact) for t in tensors) + "]")
    path = OUT / f"{case}.json"
    path.write_text("{" + ",\n".join(lines) + "}\n")
    dead = [t[0] for t in tensors if t[4] == 0]
    entropy = -torch.cat(expected).mean().item()
    print(f"{case}: {path.stat().st_size} bytes, {len(tensors)} tensors, mean -logp {entropy:.2f}, "
          f"rounding of the weights moves logp by {conditioning(model, sequences, expected):.1e}"
          + (f", no gradient in {dead}" if dead else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all of them by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    OUT.mkdir(parents=True, exist_ok=True)
    for case in options.cases or CASES:
        dump(case, CASES[case])


if __name__ == "__main__":
    main()
