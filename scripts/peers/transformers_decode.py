#!/usr/bin/env python3
"""Sampling with transformers' `generate`: the peer of `hone bench decode` on the same machine.

Random weights of a named shape in bf16, random prompts, plain sampling, every completion of full
length, sdpa attention. Needs a Python with torch and transformers 5; nothing is downloaded. Prints
one JSON line: tokens/s of the new tokens, prefill included, the median and the range of the runs.

  python3 scripts/peers/transformers_decode.py --shape qwen2.5-0.5b --batch 256 --prompt 128 --new 512
  python3 scripts/peers/transformers_decode.py --device cpu --layers 2 --hidden 64 --heads 4 --kv-heads 2 \\
      --intermediate 128 --vocab 512 --batch 4 --prompt 8 --new 16         a trial of the script
"""
import argparse
import json
import os
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers

FIELDS = dict(vocab="vocab_size", hidden="hidden_size", intermediate="intermediate_size",
              layers="num_hidden_layers", heads="num_attention_heads", kv_heads="num_key_value_heads")
SHAPES = {  # of FIELDS, and whether the head is the embedding; as src/model/named_shapes.cpp
    "qwen2.5-0.5b": (151936, 896, 4864, 24, 14, 2, True),
    "qwen2.5-1.5b": (151936, 1536, 8960, 28, 12, 2, True),
    "qwen2.5-7b": (152064, 3584, 18944, 28, 28, 4, False),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--prompt", type=int, default=128)
parser.add_argument("--new", type=int, default=512)
parser.add_argument("--warmup", type=int, default=1)
parser.add_argument("--runs", type=int, default=2)
parser.add_argument("--device", default="cuda")
for field in FIELDS:
    parser.add_argument("--" + field.replace("_", "-"), type=int, help="in place of the shape's")
a = parser.parse_args()

*sizes, tied = SHAPES[a.shape]
given = {name: getattr(a, field) for field, name in FIELDS.items() if getattr(a, field) is not None}
config = transformers.Qwen2Config(**{**dict(zip(FIELDS.values(), sizes)), **given}, rms_norm_eps=1e-6,
                                  max_position_embeddings=32768, tie_word_embeddings=tied,
                                  rope_parameters=dict(rope_type="default", rope_theta=1e6))
torch.manual_seed(0)
with torch.device(a.device):
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
model.eval()
# Without end tokens, and without the filter of 50 tokens that is a default of some versions.
options = transformers.GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=0,
                                        min_new_tokens=a.new, max_new_tokens=a.new)
cuda = torch.device(a.device).type == "cuda"


def run():
    prompts = torch.randint(0, config.vocab_size, (a.batch, a.prompt), device=a.device)
    start = time.perf_counter()
    out = model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=options)
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    assert out.shape == (a.batch, a.prompt + a.new)
    return seconds


seconds = [run() for _ in range(a.warmup + a.runs)][a.warmup:]
tokens = a.batch * a.new
print(json.dumps(dict(
    bench="transformers generate", transformers=transformers.__version__, torch=torch.__version__,
    shape=a.shape, changed=given, parameters=model.num_parameters(), device=a.device, dtype="bfloat16",
    batch=a.batch, prompt=a.prompt, new=a.new, runs=a.runs, seconds=statistics.median(seconds),
    tokens_per_second=tokens / statistics.median(seconds), tokens_per_second_min=tokens / max(seconds),
    tokens_per_second_max=tokens / min(seconds), peak_memory=torch.cuda.max_memory_allocated() if cuda else None)))
