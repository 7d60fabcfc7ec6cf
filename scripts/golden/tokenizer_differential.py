#!/usr/bin/env python3
"""Compares `hone tokenize` with Hugging Face's tokenizers on random nasty strings, and their speed.

    PYTHON scripts/golden/tokenizer_differential.py [--hone PROGRAM] [--texts 100000] DIRECTORY...
    PYTHON scripts/golden/tokenizer_differential.py --speed TEXTS.jsonl [--hone PROGRAM] DIRECTORY...

Needs Python with tokenizers. Each DIRECTORY holds a tokenizer.json, or vocab.json and merges.txt.
The reference is the file itself (Tokenizer.from_file), with the tokens in text recognised and none
added. For each directory: on how many texts the ids differ, on how many the decoded text, and on
how many lists of random ids. Exit code 1 if any differ. --speed takes rows {"text": ...} and one
thread of each: Tokenizer.encode alone against all of `hone tokenize` but its start, so with reading
and writing JSON.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, models, pre_tokenizers, decoders  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
SEED = 20

CODE = ["def f(x):\n    return x\n", "for(int i=0;i<n;++i){", "#include <vector>", "a->b", "x_1", "==",
        "!=", "/*", "*/", "\\n", 'printf("%d\\n", x);', '<div class="a">', "$x^2$", "\\boxed{42}",
        "http://a.b/c?d=e", "user@example.com"]
WORDS = ("the of and to in is you that it he was for on are as with his they at be this have from or "
         "one had by word but not what all were when your can said there use an each which she do "
         "how their if will up other about out many then them these so some her would make").split()
ENDINGS = ["'s", "'S", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'LL", "'d", "'\u017f", "\u2019s",
           "'x", "n't"]
EMOJI = ["\U0001f642", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
         "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f3f3\ufe0f\u200d\U0001f308", "1\ufe0f\u20e3"]
LANGUAGES = ["中文文本", "你好", "日本語", "ひらがな", "カタカナ", "한국어", "Привет", "мир", "नमस्ते", "مرحبا",
             "שלום", "ไทย", "ελλάδα", "\u2126", "\u212b", "ﬁ", "ß", "İ", "ı", "ſ", "\u212a", "Ⅷ", "½",
             "²", "٣", "𝟘", "ǅ", "ʰ", "Ａ", "～", "、", "。", "「", "—", "…", "“", "”", "«", "€", "№",
             "™", "⁄", "々", "〇"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u2003", "\u3000", "\u180e",
          "\u200b", "\u2028", "\x85", "\x0b", "\x0c", "\ufeff", "\u1680", "\u205f"]
BLOCKS = [(0x300, 0x370), (0x1AB0, 0x1B00), (0x591, 0x5C8), (0x1100, 0x1200), (0xAC00, 0xD7A4),
          (0x2000, 0x2070), (0x1F300, 0x1FB00), (0xE0000, 0xE0080), (0x30A0, 0x3100), (0x900, 0xD80)]


def character(r):
    """Of any plane, assigned or not; low ones more often."""
    while True:
        kind = r.random()
        if kind < 0.15:
            code = r.randrange(*r.choice(BLOCKS))
        else:
            code = r.randrange(0x80 if kind < 0.4 else 0x800 if kind < 0.6 else
                               0x10000 if kind < 0.88 else 0x110000)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def part(r, added):
    kind = r.randrange(16)
    if kind < 3:
        return r.choice(["", "", " "]) + r.choice(WORDS)
    if kind == 3:
        return r.choice(ENDINGS)
    if kind == 4:
        return "".join(character(r) for _ in range(r.randint(1, 6)))
    if kind == 5:
        return r.choice(LANGUAGES)
    if kind == 6:
        return r.choice(EMOJI)
    if kind == 7:
        return r.choice(SPACES) * r.choice([1, 1, 2, 3, 5, r.randint(1, 40)])
    if kind == 8:
        return str(r.randrange(10 ** r.randint(1, 12)))
    if kind == 9:
        return r.choice(CODE)
    if kind == 10 and added:
        return r.choice(["", "", " ", "  "]) + r.choice(added) + r.choice(["", "", " ", "\n"])
    if kind == 11:
        return "".join(r.choice("!?.,;:-_()[]{}<>/\\|@#$%^&*~`'\"+=") for _ in range(r.randint(1, 5)))
    if kind == 12:
        return r.choice("aeiou") + "".join(chr(r.randrange(0x300, 0x340))
                                           for _ in range(r.randint(1, 4)))
    if kind == 13:
        return r.choice(WORDS).upper() + r.choice(WORDS).capitalize()
    if kind == 14:
        return r.choice(["a", "ab", "=", "-", " ", "0", "\n", "é", "中", "\u0301"]) * r.randint(1, 60)
    return character(r)


def nasty_texts(count, added, seed=SEED):
    r = random.Random(seed)
    return ["".join(part(r, added) for _ in range(r.randint(1, 12))) for _ in range(count)]


def load(directory):
    if (directory / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    else:
        tokenizer = Tokenizer(models.BPE.from_file(str(directory / "vocab.json"),
                                                   str(directory / "merges.txt")))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def hone(program, directory, rows):
    done = subprocess.run([program, "tokenize", directory, "--in", "-", "--quiet"], text=True,
                          capture_output=True, input="".join(json.dumps(r) + "\n" for r in rows))
    if done.returncode != 0:
        sys.exit(f"{program} tokenize {directory}: exit code {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def compare(program, directory, count):
    tokenizer = load(directory)
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    texts = nasty_texts(count, added)
    wanted = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    r = random.Random(SEED + 1)
    known = sorted(tokenizer.get_vocab().values())
    lists = wanted + [r.choices(known, k=r.randint(1, 12)) for _ in range(count // 10)]
    got = hone(program, directory, [{"text": text} for text in texts])
    back = hone(program, directory, [{"ids": ids} for ids in lists])
    bad_ids = [i for i in range(count) if got[i]["ids"] != wanted[i]]
    bad_text = [i for i, ids in enumerate(lists)
                if back[i]["text"] != tokenizer.decode(ids, skip_special_tokens=False)]
    print(f"{directory}: of {count} texts the ids differ on {len(bad_ids)}, the decoded text on "
          f"{sum(i < count for i in bad_text)}; of {count // 10} lists of random ids the decoded "
          f"text on {sum(i >= count for i in bad_text)}", flush=True)
    for i in bad_ids[:3]:
        print(f"  {ascii(texts[i])}\n    expected {wanted[i]}\n    found    {got[i]['ids']}")
    for i in bad_text[:3]:
        print(f"  {lists[i]}\n    expected "
              f"{ascii(tokenizer.decode(lists[i], skip_special_tokens=False))}\n    found    "
              f"{ascii(back[i]['text'])}")
    return not bad_ids and not bad_text


def speed(program, directory, path):
    texts = [json.loads(line)["text"] for line in open(path, encoding="utf-8")]
    tokenizer = load(directory)
    theirs = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        tokens = sum(len(tokenizer.encode(t, add_special_tokens=False).ids) for t in texts)
        theirs = min(theirs, time.perf_counter() - start)
    rows = [{"text": text} for text in texts]

    def seconds(rows):
        start = time.perf_counter()
        hone(program, directory, rows)
        return time.perf_counter() - start
    ours = min(seconds(rows) for _ in range(3)) - min(seconds([{"text": ""}]) for _ in range(3))
    print(f"{directory}: {tokens} tokens; Hugging Face {tokens / theirs / 1e6:.2f} million tokens/s; "
          f"hone with JSONL in and out {tokens / ours / 1e6:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIRECTORY")
    parser.add_argument("--hone", default=ROOT / "build/hone", help="the program")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--speed", metavar="TEXTS.jsonl")
    options = parser.parse_args()
    program = str(Path(options.hone).resolve())
    if options.speed:
        for directory in options.directories:
            speed(program, directory, options.speed)
        return
    good = [compare(program, directory, options.texts) for directory in options.directories]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
