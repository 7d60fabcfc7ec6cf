#!/usr/bin/env python3
"""Compares random tiny models of every family in hone with transformers.

    PYTHON scripts/golden/family_differential.py [--count N] [--seed S] [--hone PROGRAM] [FAMILY...]

Needs Python as dump_transformers.py does. Every model draws sizes, odd ones too, the switches of
its config, the form of the config (transformers 4 or 5), the type of the stored weights and whether
they are sharded. Compared, in float32 on the CPU:

  logprobs   `hone logprobs` of random ids: within 2e-5, or three times what rounding the weights
             to float32 once more moves them by in transformers
  greedy     `hone sample --temperature 0`: every token is the best of transformers, or its logit is
             within 1e-4 of the best; the log-probabilities of sampling as near as those above

A model that differs where rounding decides between experts (noise of 1e-6 changes a choice) is
counted as a tie. Prints a line for each model that differs or is refused, with its config, and
the worst differences of all; exit code 1 if there was one.
"""
import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dump_families import (chosen_experts, conditioning, load, log_probs, old_config,
                           shapes_on_disk, weights)

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENIZER = ROOT / "data/models/tiny-base"
TOLERANCE, REGRET = 2e-5, 1e-4
NEW_TOKENS = 24
CONTEXT = 160
PROMPTS = ["7", "Q: 37+58\nA:", "Numbers  add up:\n\n 1, 22 and 333.",
           "Q: 12*34\nA: <think>\n12*30"]


def random_rope(draw, context):
    theta = draw.choice([100.0, 500.0, 10000.0, 1e6])
    old = draw.choice([8, 16, 32])
    kind = draw.choice(["default", "default", "linear", "dynamic", "llama3", "yarn", "yarn"])
    rope = {"rope_type": kind, "rope_theta": theta}
    if kind != "default":
        rope["factor"] = draw.choice([1.0, 2.0, 4.0, 10.0])
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": draw.choice([2.0, 4.0]),
                 "original_max_position_embeddings": old}
    if kind == "yarn":
        rope["original_max_position_embeddings"] = old
        options = {"attention_factor": draw.choice([0.7, 1.3]),
                   "beta_fast": draw.choice([1.5, 4.0]), "beta_slow": draw.choice([0.25, 1.0]),
                   "mscale": draw.choice([0.7, 1.5]), "mscale_all_dim": draw.choice([0.5, 1.0]),
                   "truncate": draw.random() < 0.5}
        rope |= {k: v for k, v in options.items() if draw.random() < 0.4}
    return rope


def random_config(family, draw, vocab):
    def maybe(p=0.5):
        return draw.random() < p

    heads = draw.randint(1, 6)
    layers = draw.randint(1, 4)
    c = dict(model_type=family, vocab_size=vocab + draw.choice([0, 1, 13, 64]),
             hidden_size=heads * draw.choice([6, 8, 10, 14, 16]),
             intermediate_size=draw.randint(5, 90), num_hidden_layers=layers,
             num_attention_heads=heads, max_position_embeddings=CONTEXT, bos_token_id=1,
             eos_token_id=2, rms_norm_eps=draw.choice([1e-6, 1e-5, 1e-3]),
             tie_word_embeddings=maybe(), rope_parameters=random_rope(draw, CONTEXT),
             num_key_value_heads=draw.choice([g for g in range(1, heads + 1) if heads % g == 0]),
             hidden_act=draw.choice(["silu"] * 5 + ["gelu", "gelu_pytorch_tanh", "relu"]))
    if family not in ("qwen2", "granite", "granitemoe") and not family.startswith("deepseek"):
        # transformers' Mixtral fails at some kinds of rope without a head_dim.
        if family in ("qwen3", "qwen3_moe", "mixtral") or maybe():
            c["head_dim"] = draw.choice([4, 6, 8, 10, 16, 20, 24, 32, 64])
    if family in ("llama", "qwen3", "qwen3_moe", "granite", "granitemoe") or "deepseek" in family:
        c["attention_bias"] = maybe(0.3)
    if family in ("llama", "granite", "deepseek_v2"):
        c["mlp_bias"] = maybe(0.3)
    if family in ("mistral", "mixtral"):
        c["sliding_window"] = draw.choice([None, 1, 5, 16, 33])
    if family.startswith("qwen"):
        c |= dict(use_sliding_window=maybe(), sliding_window=draw.choice([1, 5, 16, 33]))
        if family != "qwen3_moe":
            c["max_window_layers"] = draw.randint(0, layers)
            if maybe(0.3):
                c["use_sliding_window"] = True
                c["layer_types"] = [draw.choice(["full_attention", "sliding_attention"])
                                    for _ in range(layers)]
    if family.startswith("granite"):
        c |= dict(embedding_multiplier=draw.choice([1.0, 6.0]),
                  attention_multiplier=draw.choice([0.1, 0.25, 0.4]),
                  residual_multiplier=draw.choice([1.0, 0.3]),
                  logits_scaling=draw.choice([1.0, 3.0]))
    if family in ("mixtral", "granitemoe", "qwen3_moe"):
        experts = draw.randint(2, 9)
        c |= dict(num_experts_per_tok=draw.randint(1, experts), num_local_experts=experts)
    if family == "qwen3_moe":
        c |= dict(moe_intermediate_size=draw.randint(3, 40), norm_topk_prob=maybe(),
                  decoder_sparse_step=draw.randint(1, 3),
                  mlp_only_layers=[i for i in range(layers) if maybe(0.2)])
        c["num_experts"] = c.pop("num_local_experts")
    if family.startswith("deepseek"):
        groups, of_group = draw.choice([1, 2, 4]), draw.randint(2, 4)
        open_groups = draw.randint(1, groups)
        c |= dict(num_key_value_heads=heads, n_routed_experts=groups * of_group, n_group=groups,
                  topk_group=open_groups, num_experts_per_tok=draw.randint(
                      1, open_groups * of_group), n_shared_experts=draw.randint(1, 2),
                  moe_intermediate_size=draw.randint(3, 40), first_k_dense_replace=draw.randint(
                      0, layers), kv_lora_rank=draw.randint(3, 40),
                  q_lora_rank=draw.choice([None, draw.randint(3, 40)]),
                  qk_nope_head_dim=draw.choice([3, 8, 12, 16]),
                  qk_rope_head_dim=draw.choice([4, 6, 8, 16]), v_head_dim=draw.choice([3, 8, 16]),
                  routed_scaling_factor=draw.choice([1.0, 2.5]))
        if family == "deepseek_v2":
            c["topk_method"] = draw.choice(["greedy", "group_limited_greedy"])
            # transformers' complex numbers must lie at even places.
            c["kv_lora_rank"] += c["kv_lora_rank"] % 2
            c["qk_nope_head_dim"] += c["qk_nope_head_dim"] % 2
        else:
            c |= dict(norm_topk_prob=maybe(), rope_interleave=maybe(), num_mtp_layers=0)
    return c


def write_model(config, directory, draw):
    """Saves random weights; returns the config.json that is theirs."""
    with tempfile.TemporaryDirectory() as scratch:
        shell = AutoConfig.for_model(**config)
        shell._attn_implementation = "eager"
        shapes = shapes_on_disk(AutoModelForCausalLM.from_config(shell), scratch)
        written = json.loads(Path(scratch, "config.json").read_text())
        save_file(weights(f"{draw.random()}/", shapes), f"{scratch}/model.safetensors",
                  {"format": "pt"})
        model = load(scratch, written)
    kind = draw.choice([torch.float32, torch.bfloat16, torch.float16])
    size = draw.choice(["5GB", "20KB"])
    model.to(kind).save_pretrained(directory, max_shard_size=size)
    written["dtype"] = str(kind).removeprefix("torch.")
    if draw.random() < 0.5:
        written = old_config(written) | {"torch_dtype": written["dtype"]}
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json",
                 "special_tokens_map.json"):
        shutil.copy(TOKENIZER / name, directory)
    Path(directory, "config.json").write_text(json.dumps(written))
    return written


def hone(program, arguments, rows):
    done = subprocess.run([program, *arguments, "--device", "cpu", "--in", "-"], text=True,
                          capture_output=True, input="".join(json.dumps(r) + "\n" for r in rows))
    if done.returncode != 0:
        message = done.stderr.strip() or done.stdout.strip()
        raise RuntimeError(f"exit code {done.returncode}: {message}")
    return [json.loads(line) for line in done.stdout.splitlines()]


@torch.no_grad()
def compare(program, directory, written, tokenizer, draw):
    """(worst difference of log-probabilities, worst regret of a greedy token, "" or "tie" or what
    is wrong)"""
    model = load(directory, written)
    sequences = [[draw.randrange(written["vocab_size"]) for _ in range(n)]
                 for n in (1, 2, draw.randint(3, 40), draw.randint(40, CONTEXT))]
    found = [r["logprobs"] for r in hone(program, ["logprobs", directory],
                                         [{"ids": ids} for ids in sequences])]
    sampled = hone(program, ["sample", directory, "--temperature", "0", "--max-tokens",
                             str(NEW_TOKENS)], [{"prompt": p} for p in PROMPTS])
    worst, regret = 0.0, 0.0
    for ids, logprobs in zip(sequences, found):
        assert logprobs[0] is None and len(logprobs) == len(ids)
        if len(ids) > 1:
            difference = log_probs(model, ids) - torch.tensor(logprobs[1:])
            worst = max(worst, difference.abs().max().item())
    for prompt, row in zip(PROMPTS, sampled):
        ids, out = tokenizer(prompt)["input_ids"], row["completions"][0]
        sequences.append(ids + out["ids"])
        new = slice(len(ids) - 1, -1)
        logits = model(torch.tensor([ids + out["ids"]])).logits[0, new]
        chosen = torch.tensor(out["ids"])[:, None]
        regret = max(regret, (logits.max(-1).values - logits.gather(1, chosen)[:, 0]).max().item())
        logp = torch.log_softmax(logits, -1).gather(1, chosen)[:, 0]
        worst = max(worst, (logp - torch.tensor(out["logprobs"])).abs().max().item())
    if worst <= TOLERANCE and regret <= REGRET:
        return worst, regret, ""
    if any(chosen_experts(model, ids, 0.0) != chosen_experts(model, ids, 1e-6)
           for ids in sequences):
        return worst, regret, "tie"
    expected = [log_probs(model, ids) for ids in sequences]
    allowed = max(TOLERANCE, 3 * conditioning(model, sequences, expected))
    good = worst <= allowed and regret <= REGRET
    return worst, regret, "" if good else (f"log-probabilities differ by {worst:.2g} (allowed "
                                           f"{allowed:.2g}), greedy tokens by {regret:.2g}")


def main():
    families = ["llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "mixtral", "granite",
                "granitemoe", "deepseek_v2", "deepseek_v3"]
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(families))
    parser.add_argument("--count", type=int, default=10, help="models of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hone", default=ROOT / "build/hone", help="the program")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # Not from the directories: transformers has a kind of tokenizer of its own for some families.
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    program = str(Path(options.hone).resolve())
    bad = 0
    for family in options.families or families:
        worst, regret, ties = 0.0, 0.0, 0
        for i in range(options.count):
            draw = random.Random(f"{family} {options.seed} {i}")
            config = random_config(family, draw, len(tokenizer))
            with tempfile.TemporaryDirectory() as directory:
                written = write_model(config, directory, draw)
                try:
                    w, r, verdict = compare(program, directory, written, tokenizer, draw)
                except RuntimeError as error:
                    w, r, verdict = 0.0, 0.0, f"refused: {error}"
            if verdict == "tie":
                ties += 1
                continue
            worst, regret = max(worst, w), max(regret, r)
            if verdict:
                print(f"{family} {i}: {verdict}: {json.dumps(written)}", flush=True)
                bad += 1
        print(f"{family}: {options.count} models, {ties} ties; log-probabilities within "
              f"{worst:.2g}, greedy tokens within {regret:.2g}", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
