#!/usr/bin/env python3
"""Sampling with LibTorch's stock operations: the peer of `hone bench decode --shape bench-5m`.

The same shape (hidden 256, 6 layers, 4 heads, 2 KV heads, inner 768, vocabulary 512), prompts of 32
tokens, 64 new ones, a preallocated KV cache and scaled_dot_product_attention; random weights.
Prints one JSON line: tokens/s, the median and the best of the repetitions.

  python scripts/peers/stock_decode.py --batch 64 --threads 1
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--sequences", type=int, default=256)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
parser.add_argument("--repetitions", type=int, default=3)
a = parser.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
dtype = getattr(torch, a.dtype)
C, L, H, G, I, V, P, N = 256, 6, 4, 2, 768, 512, 32, 64
D = C // H


def weight(rows, columns):
    return (torch.randn(rows, columns) * 0.02).to(dtype)


embedding = weight(V, C)
layers = [dict(qkv=weight((H + 2 * G) * D, C), o=weight(C, H * D), gu=weight(2 * I, C), d=weight(C, I),
               n1=torch.ones(C, dtype=dtype), n2=torch.ones(C, dtype=dtype)) for _ in range(L)]
final_norm = torch.ones(C, dtype=dtype)
inverse = 1.0 / 10000 ** (torch.arange(0, D, 2) / D)
angles = torch.arange(P + N)[:, None] * inverse[None]
cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x, c, s):  # [B, heads, T, D]
    x1, x2 = x.chunk(2, -1)
    return torch.cat((x1 * c - x2 * s, x2 * c + x1 * s), -1)


@torch.inference_mode()
def generate(batch):
    k = torch.empty(L, batch, G, P + N, D, dtype=dtype)
    v = torch.empty_like(k)
    ids = torch.randint(0, V, (batch, P))
    begin = 0
    for _ in range(N):
        t = ids.shape[1]
        x = F.embedding(ids, embedding)
        c, s = cos[begin:begin + t], sin[begin:begin + t]
        for i, w in enumerate(layers):
            y = F.linear(F.rms_norm(x, (C,), w["n1"], 1e-6), w["qkv"])
            q, kk, vv = y.view(batch, t, H + 2 * G, D).transpose(1, 2).split([H, G, G], 1)
            k[i, :, :, begin:begin + t] = rotate(kk, c, s)
            v[i, :, :, begin:begin + t] = vv
            o = F.scaled_dot_product_attention(rotate(q, c, s), k[i, :, :, :begin + t], v[i, :, :, :begin + t],
                                               is_causal=t > 1, enable_gqa=True)
            x = x + F.linear(o.transpose(1, 2).reshape(batch, t, H * D), w["o"])
            g, u = F.linear(F.rms_norm(x, (C,), w["n2"], 1e-6), w["gu"]).chunk(2, -1)
            x = x + F.linear(F.silu(g) * u, w["d"])
        logits = F.linear(F.rms_norm(x[:, -1], (C,), final_norm, 1e-6), embedding).float()
        logp = F.log_softmax(logits, -1)
        ids = torch.multinomial(logp.exp(), 1)
        logp.gather(1, ids)
        begin += t


rates = []
for repetition in range(a.repetitions + 1):
    start = time.perf_counter()
    for _ in range(a.sequences // a.batch):
        generate(a.batch)
    if repetition:  # the first is warm-up
        rates.append(a.sequences * N / (time.perf_counter() - start))
print(json.dumps(dict(torch=torch.__version__, batch=a.batch, threads=a.threads, dtype=a.dtype,
                      tokens_per_second=round(statistics.median(rates), 1), best=round(max(rates), 1))))
