#!/usr/bin/env python3
"""command:rewards/examples/command.py - 1 if no line of the completion stands in it twice.

One line of JSON comes in for each completion, one goes out: a number, null, or an object.
"""
import json
import sys

for line in sys.stdin:
    item = json.loads(line)  # prompt, completion, and the fields of the problem's row
    lines = [part for part in item["completion"].split("\n") if part.strip()]
    repeated = len(lines) - len(set(lines))
    print(json.dumps({"score": float(repeated == 0), "details": {"repeated": repeated}}),
          flush=True)
