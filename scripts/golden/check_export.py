#!/usr/bin/env python3
"""Compares models that hone wrote, as transformers loads them, with what hone computes itself.

    PYTHON scripts/golden/check_export.py [--hone PROGRAM] MODEL...

Needs Python with torch and transformers, as dump_transformers.py does. For each model directory:
the tokenizers give the same ids, log-probabilities of every token agree within 1e-4 (float32 on
both sides), and greedy completions are the same tokens. Prints one line for each model; exit code
1 if one differs.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
TEXTS = ["Q: 37+58\nA:", "Q: 12*34\nA: <think>\n12*34=12*30+12*4\n", "Q: 8+99+17\nA: <think>\n",
         "Numbers  add up:\n\n 1, 22 and 333.", "\u00e9\U0001f642 </think><answer>7</answer>", "7"]
NEW_TOKENS = 48
TOLERANCE = 1e-4


def hone(program, arguments, rows):
    """Runs a verb of hone on JSONL rows: its rows."""
    done = subprocess.run([program, *arguments, "--in", "-"], text=True, capture_output=True,
                          input="".join(json.dumps(r) + "\n" for r in rows), cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{program} {' '.join(arguments)}: exit code {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


@torch.no_grad()
def check(program, directory):
    """(what was measured, whether it agrees)"""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    ours = [r["ids"] for r in hone(program, ["tokenize", directory],
                                   [{"text": t, "add_special_tokens": True} for t in TEXTS])]
    theirs = [tokenizer(t)["input_ids"] for t in TEXTS]
    same_ids = sum(a == b for a, b in zip(ours, theirs))

    prompts = [f"Q: {17 * i % 90 + 10}{'+*'[i % 2]}{31 * i % 80 + 10}\nA:" for i in range(8)]
    sampled = hone(program, ["sample", directory, "--device", "cpu", "--temperature", "0",
                             "--max-tokens", str(NEW_TOKENS)], [{"prompt": p} for p in prompts])
    rows, same_greedy, closest = [], 0, float("inf")
    for prompt, row in zip(prompts, sampled):
        completion = row["completions"][0]
        ids = tokenizer(prompt)["input_ids"]
        out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                             do_sample=False, max_new_tokens=NEW_TOKENS,
                             repetition_penalty=1.0,  # some generation_config.json have another
                             pad_token_id=tokenizer.pad_token_id)[0, len(ids):].tolist()
        same_greedy += out == completion["ids"]
        best = model(torch.tensor([ids + out])).logits[0, len(ids) - 1:-1].topk(2).values
        closest = min(closest, (best[:, 0] - best[:, 1]).min().item())
        rows.append({"ids": ids + completion["ids"]})
    rows += [{"ids": i} for i in theirs]
    worst = 0.0
    for row, result in zip(rows, hone(program, ["logprobs", directory, "--device", "cpu"], rows)):
        ids = torch.tensor([row["ids"]])
        logp = torch.log_softmax(model(ids).logits[0], -1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
        if logp.numel():
            found = torch.tensor(result["logprobs"][1:])
            worst = max(worst, (logp - found).abs().max().item())
    good = same_ids == len(TEXTS) and same_greedy == len(prompts) and worst < TOLERANCE
    return (f"ids of {same_ids} of {len(TEXTS)} texts alike, greedy completions of {same_greedy} "
            f"of {len(prompts)} prompts alike (closest decision {closest:.2g}), log-probabilities "
            f"within {worst:.2g}"), good


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--hone", default=ROOT / "build/hone", help="the program")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bad = 0
    for directory in options.models:
        measured, good = check(str(Path(options.hone).resolve()), str(Path(directory).resolve()))
        print(f"{directory}: {measured}{'' if good else ': DIFFERS'}", flush=True)
        bad += not good
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
