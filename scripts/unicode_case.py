#!/usr/bin/env python3
"""Writes src/text/jinja/case_table.inc: Python's str.upper and str.lower of single characters, as runs
{first, last, stride, difference}.

    scripts/unicode_case.py > src/text/jinja/case_table.inc
"""
import unicodedata


def runs(convert):
    found = []
    for code in range(128, 0x110000):
        changed = convert(chr(code))
        if len(changed) != 1 or changed == chr(code):
            continue
        difference = ord(changed) - code
        if found and found[-1][3] == difference:
            first, last, stride, _ = found[-1]
            gap = code - last
            if gap == stride or (first == last and gap <= 2):
                found[-1] = (first, code, gap, difference)
                continue
        found.append((code, code, 1, difference))
    return found


def write(name, convert):
    print(f"constexpr CaseRun {name}[] = {{")
    line = "   "
    for run in runs(convert):
        item = " {0x%X, 0x%X, %d, %d}," % run
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


print(f"// Written by scripts/unicode_case.py with Unicode {unicodedata.unidata_version}.")
write("kUpper", str.upper)
write("kLower", str.lower)
