#!/usr/bin/env python3
"""An update with transformers: the peer of `hone bench train` on the same machine.

Random weights of a named shape in bf16, rows of random tokens of one length (so that nothing is
padding), forward, backward, clipping and fused AdamW on bf16 weights and moments, sdpa attention.
Needs a Python with torch and transformers 5; nothing is downloaded. Prints one JSON line: tokens/s
(the median of the runs), the share of the rate of an 8192 x 8192 x 8192 product (mfu, counted as
`hone bench train` counts it), peak memory.

  python3 scripts/peers/transformers_train.py --shape qwen2.5-0.5b --rows 128 --tokens 640 --micro 32
"""
import argparse
import json
import os
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers

SHAPES = {  # vocabulary, hidden, intermediate, layers, heads, key heads, tied; as src/model/named_shapes.cpp
    "qwen2.5-0.5b": (151936, 896, 4864, 24, 14, 2, True),
    "qwen2.5-1.5b": (151936, 1536, 8960, 28, 12, 2, True),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
parser.add_argument("--rows", type=int, default=128, help="of an update")
parser.add_argument("--tokens", type=int, default=640, help="of a row")
parser.add_argument("--micro", type=int, default=32, help="rows of a forward pass")
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--checkpointing", action="store_true", help="layers run again in the backward pass")
args = parser.parse_args()

vocab, hidden, inner, layers, heads, kv_heads, tied = SHAPES[args.shape]
torch.manual_seed(0)
model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(
    vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
    num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=tied, use_cache=False,
    max_position_embeddings=args.tokens, attn_implementation="sdpa")).to("cuda", torch.bfloat16).train()
if args.checkpointing:
    model.gradient_checkpointing_enable()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)


def seconds(call):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def update():
    ids = torch.randint(3, vocab, (args.rows, args.tokens), device="cuda")
    for part in ids.split(args.micro):
        (model(input_ids=part, labels=part).loss * len(part) / args.rows).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


side = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
for _ in range(3):
    side @ side
product = 2 * 8192**3 / statistics.median(seconds(lambda: [side @ side for _ in range(20)]) / 20 for _ in range(3))
update()
update()
times = [seconds(update) for _ in range(args.runs)]
tokens = args.rows * args.tokens
multiplied = sum(p.numel() for p in model.parameters()) - (0 if tied else vocab * hidden)
flops = tokens * (6 * multiplied + 6 * layers * hidden * args.tokens)
rate = flops / statistics.median(times)
print(json.dumps({
    "tool": f"transformers {transformers.__version__}, torch {torch.__version__}", "shape": args.shape,
    "seconds": statistics.median(times), "tokens_per_second": tokens / statistics.median(times),
    "flops_per_second": rate, "mfu": rate / product, "peak_memory": torch.cuda.max_memory_allocated()}))
