#!/usr/bin/env python3
"""Prints the tables of src/text/unicode_tables.h: where the Unicode versions of the libraries differ.

    PYTHON scripts/golden/unicode_differences.py

Needs Python with tokenizers, and libpcre2-8 and libutf8proc of the versions that hone supports at
least (10.42, 2.8). Goes through all code points: the general categories that tokenizers' Regex
(Oniguruma) gives and PCRE2 does not; the code points whose normal forms differ, alone or between two
combining marks, and the marks that StripAccents leaves; the capitals whose lower case differs.
"""
import ctypes
import ctypes.util

from tokenizers import Regex
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf "
              "Co").split()
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CODES))


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def oniguruma(regex):
    """The code points that it matches; in blocks, since the library's work grows with the text."""
    contiguous = pre.Split(Regex(regex), "contiguous")
    removed = pre.Split(Regex(regex), "removed")
    found = set()
    for i in range(0, len(CODES), 16384):
        block = ALL[i:i + 16384]
        for word, (begin, end) in contiguous.pre_tokenize_str(block):
            if not removed.pre_tokenize_str(word[0]):
                found.update(CODES[i + begin:i + end])
    return found


def pcre2(regex):
    lib = ctypes.CDLL(ctypes.util.find_library("pcre2-8"))
    lib.pcre2_compile_8.restype = ctypes.c_void_p
    lib.pcre2_match_data_create_8.restype = ctypes.c_void_p
    lib.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(ctypes.c_size_t)
    error, at = ctypes.c_int(), ctypes.c_size_t()
    utf, ucp = 0x00080000, 0x00020000
    pattern = f"(?:{regex})+".encode()
    code = ctypes.c_void_p(lib.pcre2_compile_8(pattern, ctypes.c_size_t(len(pattern)), utf | ucp,
                                               ctypes.byref(error), ctypes.byref(at), None))
    data = ctypes.c_void_p(lib.pcre2_match_data_create_8(1, None))
    text = ALL.encode()
    found, begin = set(), 0
    while lib.pcre2_match_8(code, text, ctypes.c_size_t(len(text)), ctypes.c_size_t(begin), 0x40000000,
                            data, None) >= 0:
        vector = lib.pcre2_get_ovector_pointer_8(data)
        found.update(map(ord, text[vector[0]:vector[1]].decode()))
        begin = vector[1]
    return found


def lib():
    return ctypes.CDLL(ctypes.util.find_library("utf8proc"))


def utf8proc(text, options):
    map_text = lib().utf8proc_map
    map_text.restype = ctypes.c_ssize_t
    out = ctypes.c_char_p()
    raw = text.encode()
    stable = 1 << 1
    size = map_text(raw, ctypes.c_ssize_t(len(raw)), ctypes.byref(out), options | stable)
    result = ctypes.string_at(out, size).decode()
    ctypes.CDLL(None).free(out)
    return result


def main():
    print("kNewerThanPcre2:")
    rows = []
    for category in CATEGORIES:
        newer = oniguruma(f"\\p{{{category}}}") - pcre2(f"\\p{{{category}}}")
        rows += [(first, last, category) for first, last in ranges(newer)]
    print(", ".join(f'{{0x{a:X}, 0x{b:X}, "{c}"}}' for a, b, c in sorted(rows)))
    print("kNewerThanNormalizers:")
    compose, decompose, compat = 1 << 3, 1 << 4, 1 << 2
    different = set()
    codes = [c for c in CODES if c != ord("\n")]  # which separates the texts
    texts = [chr(c) for c in codes] + ["a\u0301" + chr(c) + "\u0323" for c in codes]
    for theirs, options in [(norm.NFC(), compose), (norm.NFD(), decompose),
                            (norm.NFKC(), compose | compat), (norm.NFKD(), decompose | compat)]:
        ours = utf8proc("\n".join(texts), options).split("\n")
        different.update(codes[i % len(codes)] for i, text in enumerate(texts)
                         if theirs.normalize_str(text) != ours[i])
    category = lib().utf8proc_category
    marks = {c for c in codes if category(c) in (6, 7, 8)}  # Mn, Mc, Me
    different.update(c for c in marks if norm.StripAccents().normalize_str("a" + chr(c)) != "a")
    print(", ".join(f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(different)))
    print("kNewerCapitals:")
    lower = {c: norm.Lowercase().normalize_str(chr(c)) for c in CODES}
    newer = {c: ord(s) for c, s in lower.items() if len(s) == 1 and ord(s) != lib().utf8proc_tolower(c)}
    runs = []
    for c in sorted(newer):
        if runs and c == runs[-1][1] + 1 and newer[c] - c == runs[-1][2] - runs[-1][0]:
            runs[-1][1] = c
        else:
            runs.append([c, c, newer[c]])
    print(", ".join(f"{{0x{a:X}, 0x{b:X}, 0x{c:X}}}" for a, b, c in runs))


if __name__ == "__main__":
    main()
