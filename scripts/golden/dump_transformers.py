#!/usr/bin/env python3
"""Writes tests/golden/llama-tiny and llama-tiny-tied: random Llama models in float32 and what
transformers computes with them, for our forward pass and sampler to be compared with.

Needs Python with torch 2.11 and transformers 5.17, in an environment outside of this repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.11.0 transformers==5.17.0
    /tmp/golden/bin/python scripts/golden/dump_transformers.py

expected.json:
  sequences  [{ids, logprobs, positions, logits}]: logprobs[t] = log p(ids[t] given ids[<t]), the
             first null; logits are the rows at the named positions
  greedy     [{prompt, tokens, margin}]: the most probable continuation, and by how much the best
             logit was ahead of the second in its closest decision
"""
import json
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parent.parent.parent / "tests/golden"
LENGTHS = [1, 2, 7, 16, 17, 33, 48]  # around the 16 tokens of a cache block
GREEDY_PROMPTS = [1, 5, 16, 20]
GREEDY_TOKENS = 24
EOS = 2

MODELS = {
    # Grouped queries, and a head that is not the embedding.
    "llama-tiny": dict(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                       rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
                       rms_norm_eps=1e-5, tie_word_embeddings=False, seed=7),
    # One key head for all, heads that together are wider than the model, another rotation.
    "llama-tiny-tied": dict(vocab_size=101, hidden_size=48, intermediate_size=72,
                            num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1,
                            head_dim=32,
                            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
                            rms_norm_eps=1e-6, tie_word_embeddings=True, seed=9),
}


def rounded(values: torch.Tensor) -> list:
    """Nine digits bring a float32 back exactly."""
    return [float(f"{x:.9g}") for x in values.tolist()]


def make_model(shape: dict, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(**shape, max_position_embeddings=128, bos_token_id=1, eos_token_id=EOS,
                         attn_implementation="eager", dtype="float32")
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Wide enough that attention is far from uniform and logits are far apart.
            if "norm" in name:
                p.copy_(1 + 0.3 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (1.6 / p.shape[-1] ** 0.5))
    return model


def teacher_forced(model, ids: list[int]) -> dict:
    logits = model(torch.tensor([ids])).logits[0]
    logp = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:]).view(-1, 1)).view(-1)
    positions = sorted({0, len(ids) // 2, len(ids) - 1})
    return {"ids": ids, "logprobs": [None] + rounded(logp), "positions": positions,
            "logits": [rounded(logits[p]) for p in positions]}


def greedy(model, prompt: list[int]) -> dict:
    ids, margin = list(prompt), float("inf")
    for _ in range(GREEDY_TOKENS):
        best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    tokens = ids[len(prompt):]
    # Nothing here may hang on the end token or on rounding: another seed if it does.
    assert EOS not in tokens and margin > 1e-3, (tokens, margin)
    # transformers' own loop, with its cache, says the same.
    generated = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)),
                               do_sample=False, max_new_tokens=GREEDY_TOKENS, pad_token_id=0)
    assert generated[0, len(prompt):].tolist() == tokens
    return {"prompt": prompt, "tokens": tokens, "margin": float(f"{margin:.3g}")}


@torch.no_grad()
def dump(name: str, shape: dict) -> None:
    seed = shape.pop("seed")
    model = make_model(shape, seed)
    directory = OUT / name
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)

    draw = torch.Generator().manual_seed(seed)
    def ids(n):
        return torch.randint(3, shape["vocab_size"], (n,), generator=draw).tolist()

    expected = {"made_by": f"scripts/golden/dump_transformers.py, torch {torch.__version__}, "
                           f"transformers {transformers.__version__}, eager attention, float32",
                "sequences": [teacher_forced(model, ids(n)) for n in LENGTHS],
                "greedy": [greedy(model, ids(n)) for n in GREEDY_PROMPTS]}
    (directory / "expected.json").write_text(json.dumps(expected) + "\n")
    size = (directory / "model.safetensors").stat().st_size
    print(f"{name}: {size} bytes, closest decision {min(g['margin'] for g in expected['greedy'])}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, shape in MODELS.items():
        dump(name, shape)
