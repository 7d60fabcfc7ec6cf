#!/usr/bin/env python3
"""Makes small tokenizers of the kinds that real models have, and what Hugging Face's tokenizers
(0.23) make of nasty strings with them: tests/text/golden/kinds/KIND/{tokenizer.json,cases.jsonl}.

    PYTHON scripts/golden/tokenizer_kinds.py [--size 500] [--cases 60] [DIRECTORY]

Normalizers, pre-tokenizers, decoders and added tokens are those of the models' own files; the
vocabulary is trained here on a page of text. Rows: {text, ids, decoded, with_special}.
"""
import argparse
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, trainers
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre
from tokenizers import processors as post
from tokenizer_differential import CODE, LANGUAGES, ROOT, WORDS, nasty_texts

CORPUS = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))] + CODE * 20 + LANGUAGES * 20

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace("{1,3}", "")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve"
         r"|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s"
         r"|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = [
    r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
# The published class of letters, shortened to its first scripts.
DEEPSEEK_V2 = ["[\r\n]", "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ𐐀-𐑏]+",
               "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", "\\s+$", "[一-龥ࠀ-一가-\ud7ff]+"]


def split(regex):
    return pre.Split(Regex(regex), "isolated", False)


def to_bytes():
    return pre.ByteLevel(add_prefix_space=False, use_regex=False)


def byte_level(size, steps, normalizer=None, added=(), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre.ByteLevel.alphabet()), show_progress=False))
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) if isinstance(t, str) else t
                          for t in added])
    return tokenizer


def begins_with(tokenizer, token):
    tokenizer.post_processor = post.Sequence([
        post.ByteLevel(trim_offsets=False),
        post.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token}:1 $B:1",
                                special_tokens=[(token, tokenizer.token_to_id(token))])])
    return tokenizer


def sentencepiece_style(size, added=(), **parts):
    """Trained with spaces as signs; `parts` are the file's own normalizer and pre_tokenizer."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre.Metaspace(prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=80, show_progress=False))
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]
    file["normalizer"] = parts.get("normalizer")
    file["pre_tokenizer"] = parts.get("pre_tokenizer")
    file["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    tokenizer = begins_with(Tokenizer.from_str(json.dumps(file)), "<s>")
    tokenizer.add_tokens(list(added))
    return tokenizer


OLD_SIGN = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
NEW_SIGN = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def stripping(texts, **strip):
    return [AddedToken(t, special=True, normalized=False, **strip) for t in texts]


def kinds(size):
    yield "gpt2", byte_level(size, [pre.ByteLevel(add_prefix_space=False)], added=["<|endoftext|>"])
    yield "llama3", begins_with(byte_level(
        size, [split(LLAMA3), to_bytes()], ignore_merges=True,
        added=["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]), "<|begin_of_text|>")
    yield "qwen3", byte_level(
        size, [split(QWEN), to_bytes()], norm.NFC(),
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", AddedToken("<think>", normalized=False)])
    yield "deepseek-v3", begins_with(byte_level(
        size, [split(r) for r in DEEPSEEK_V3] + [to_bytes()],
        added=["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
               AddedToken("<｜User｜>", normalized=False), AddedToken("<think>", normalized=False)]),
        "<｜begin▁of▁sentence｜>")
    yield "deepseek-v2", byte_level(
        size, [split(r) for r in DEEPSEEK_V2] + [pre.Digits(individual_digits=True), to_bytes()],
        added=[AddedToken("<｜begin▁of▁sentence｜>", normalized=True, special=True)])
    yield "falcon", byte_level(
        size, [pre.Punctuation("contiguous"), pre.ByteLevel(add_prefix_space=False),
               pre.Digits(individual_digits=False), split("[0-9][0-9][0-9]")],
        added=[">>TITLE<<", "<|endoftext|>"])
    yield "phi-2", byte_level(
        size, [pre.ByteLevel(add_prefix_space=False)],
        added=["<|endoftext|>"] + [AddedToken(" " * n, normalized=True) for n in range(31, 1, -1)])
    yield "phi-3", sentencepiece_style(
        size + 100, normalizer=OLD_SIGN,
        added=stripping(["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"], rstrip=True))
    yield "phi-4", byte_level(
        size, [split(O200K), to_bytes()],
        added=stripping(["<|im_start|>", "<|im_end|>", "<|im_sep|>"], lstrip=True, rstrip=True))
    yield "llama2", sentencepiece_style(size + 100, normalizer=OLD_SIGN)
    yield "mistral", sentencepiece_style(size + 100, pre_tokenizer=NEW_SIGN)
    # All behaviours of Split, the other normalizers, and single words, in files of no real model.
    yield "splits", byte_level(
        size, [pre.Split("-", "merged_with_previous"), pre.Split(Regex("[,;]+"), "merged_with_next"),
               pre.Split(Regex("[a-z&&[^aeiou]]{2,3}+"), "contiguous"), pre.Split(" ", "removed"),
               pre.Split(Regex("\\w+"), "removed", True), to_bytes()],
        norm.Sequence([norm.NFKC(), norm.Lowercase(), norm.Strip(),
                       norm.Replace(Regex("\\s+"), " ")]),
        [AddedToken("word", single_word=True), AddedToken("Tok En", lstrip=True),
         AddedToken("éa", normalized=True)])
    yield "whitespace", byte_level(
        size, [pre.Whitespace(), pre.ByteLevel(add_prefix_space=True, use_regex=False)], norm.NFD(),
        [AddedToken("ab", single_word=True, normalized=False)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "tests/text/golden/kinds")
    parser.add_argument("--size", type=int, default=500, help="tokens in the vocabulary")
    parser.add_argument("--cases", type=int, default=60)
    options = parser.parse_args()
    for name, tokenizer in kinds(options.size):
        directory = options.directory / name
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
        added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
        with open(directory / "cases.jsonl", "w") as out:
            for text in nasty_texts(options.cases, added, seed=7):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                out.write(json.dumps({"text": text, "ids": ids,
                                      "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                                      "with_special": tokenizer.encode(text).ids}) + "\n")
        print(name, tokenizer.get_vocab_size(), "tokens")


if __name__ == "__main__":
    main()
