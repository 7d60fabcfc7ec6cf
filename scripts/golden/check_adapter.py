#!/usr/bin/env python3
"""Adapters between PEFT and hone, in both directions, by logits: scripts/golden/check_adapter.py.

    check_adapter.py HONE MODEL [ADAPTER]

Adapters that PEFT makes of MODEL (a small directory) are merged by `hone export`, and ADAPTER,
which hone trained on MODEL, is loaded by PEFT; both must agree with the merged model's logits in
float32. Needs transformers and peft; ran with 5.17 and 0.21.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

KINDS = {
    "all linear layers": {"target_modules": "all-linear"},
    "two, rank-stabilised": {"target_modules": ["q_proj", "down_proj"], "use_rslora": True},
    "a regular expression": {"target_modules": r".*\.(k_proj|gate_proj)"},
}


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def logits(model):
    ids = torch.arange(3, 60).unsqueeze(0)
    with torch.no_grad():
        return model.eval()(ids).logits


def check(hone, base, name, adapter, theirs):
    with tempfile.TemporaryDirectory() as directory:
        merged = Path(directory) / "merged"
        subprocess.run([hone, "export", adapter, "--base", base, "--dtype", "float32",
                        "--out", merged], check=True)
        ours = logits(load(merged))
    moved = (theirs - logits(load(base))).abs().max().item()
    apart = (theirs - ours).abs().max().item()
    print(f"{name}: the adapter moves logits by {moved:.3g}, PEFT and hone differ by {apart:.3g}")
    return moved > 0.01 and apart < 1e-3 * moved


def main():
    hone, base = sys.argv[1:3]
    good = True
    for name, options in KINDS.items():
        torch.manual_seed(0)
        model = get_peft_model(load(base), LoraConfig(r=5, lora_alpha=7, **options))
        for key, value in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(value, std=0.05)
        with tempfile.TemporaryDirectory() as adapter:
            model.save_pretrained(adapter)
            good &= check(hone, base, name, adapter, logits(model))
    for adapter in sys.argv[3:]:
        good &= check(hone, base, adapter, adapter,
                      logits(PeftModel.from_pretrained(load(base), adapter)))
    sys.exit(not good)


if __name__ == "__main__":
    main()
