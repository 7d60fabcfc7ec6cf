"""Writes tiny_base_ids.jsonl: texts and the ids that transformers (5.17.0) gives them.

    python3 dump_tiny_base_ids.py ../../../data/models/tiny-base
"""
import json
import pathlib
import random
import sys

from transformers import AutoTokenizer

PARTS = ["<think>", "</think>", "<answer>", "</answer>", " ok", " wait", "Q:", "A:", " ", "  ",
         "\n", "\n\n", "\t", "\r\n", "0", "12", "345", "+", "-", "*", "/", "=", "(", ")", "->",
         "é", "ü", "中文", "日本語", "🙂", "👨‍👩‍👧", "a\u0301", "the", "window", "ok", "wait",
         " okay", "waiting", "<s>", "</s>", "<pad>", "<unk>", "<0x0A>", "<", "think", ">",
         "<|im_start|>", "\u00a0", "\u200b", "\ufeff", "Ω", "so", "easy", "guess", "no", "\x00",
         "\x07", "{", "}", '"', "'", "\\", "%", "\\boxed{12}", "ﬁ", "½", "Q", "A", ":", "answer",
         "</", " ok ok", "नमस्ते", "مرحبا", "\U0010ffff"]

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
random.seed(0)
texts = ["Q: 37+58+64+29+71\nA:", "Q: 76*27\nA: <think>\n70*20=1400 ok\n</think>\n<answer>2052</answer>"]
texts += ["".join(random.choices(PARTS, k=random.randint(1, 12))) for _ in range(400)]
with open(pathlib.Path(__file__).with_name("tiny_base_ids.jsonl"), "w") as out:
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        out.write(json.dumps({"text": text, "ids": ids}) + "\n")
