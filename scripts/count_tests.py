#!/usr/bin/env python3
"""Counts the test cases that the Catch2 XML files of a build directory tell of.

    scripts/count_tests.py build

Names the skipped cases with their reasons and the failed ones, then prints
`N passed, N failed, N skipped`. Exit code 1 if a case failed or none ran.
"""
import re
import sys
from html import unescape
from pathlib import Path

CASE = re.compile(r'<TestCase name="([^"]*)"')
SKIP = re.compile(r"<Skip\b[^>]*>\s*(.*?)\s*</Skip>", re.S)


def read_cases(xml: str):
    """Yields (name, outcome, reason). A program that died leaves its last case open: failed.

    Read by pattern, not by a parser, since the file of a program that died is cut off.
    """
    for begin in CASE.finditer(xml):
        end = xml.find("</TestCase>", begin.end())
        body = xml[begin.end():end] if end >= 0 else ""
        # The outcome is the last thing in a case, after its sections and expressions.
        outcome = re.search(r'<OverallResult success="(\w+)" skips="(\d+)"(?!.*<OverallResult )',
                            body, re.S)
        name = unescape(begin[1])
        if not outcome or outcome[1] != "true":
            yield name, "failed", ""
        elif skip := SKIP.search(body):
            yield name, "skipped", " ".join(unescape(skip[1]).split())
        else:
            yield name, "passed", ""


def main() -> int:
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(Path(sys.argv[1]).glob("test-*.xml")):
        for name, outcome, reason in read_cases(path.read_text(errors="replace")):
            count[outcome] += 1
            if outcome != "passed":
                print(f"{outcome} in {path.stem.removeprefix('test-')}: {name}"
                      + (f" ({reason})" if reason else ""))
    print(", ".join(f"{number} {outcome}" for outcome, number in count.items()))
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
