#!/usr/bin/env python3
"""Writes tests/train/golden/verl_objective.jsonl: what verl's own code makes of random rewards and
log-probabilities, for `hone loss` with {"config": {"verl": ...}} to be compared with.

Needs Python with verl's package and the few that it cannot be read without, in an environment
outside of this repository (what only its workers need is replaced by stubs, see UNUSED):

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.11.0 transformers==5.17.0 \\
        tensordict orjson omegaconf accelerate
    /tmp/golden/bin/pip install --no-deps verl==0.9.1
    /tmp/golden/bin/python scripts/golden/verl_objective.py

In the order of its trainer (trainer/ppo/v1/trainer_base.py, _compute_advantage): apply_kl_penalty,
compute_rollout_correction_and_add_to_batch, compute_advantage; then the actor's ppo_loss
(workers/utils/losses.py), which calls the loss, the aggregation and the KL of core_algos, and
autograd. All in float64; the whole input is one mini-batch on one process.

One line a case: {name, input, loss, grad_logp, advantages, grad_entropy where the loss has one}.
`input` is a whole input of `hone loss`. `config.verl` is flat: algorithm.*, rollout_correction.*,
actor.* and actor.policy_loss.* have no name in common but loss_type, which is rollout_correction's.
Names that begin with `trap_` are what verl does and hone means not to; `why` says why.
"""
import importlib.abc
import importlib.machinery
import random
import sys
import types
from unittest import mock

import numpy as np
import torch
import transformers  # before the stubs, so that it decides by itself what is installed

from objective_cases import draw_rewards, draw_rows, padded, ragged, write_cases

# verl imports these with its workers; nothing of them is called here.
UNUSED = {"PIL", "aiohttp", "cachetools", "codetiming", "datasets", "fastapi", "hydra", "pandas",
          "peft", "pyarrow", "pydantic_settings", "ray", "starlette", "torchdata",
          "transfer_queue", "uvicorn", "wandb"}


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []

        def attribute(key):
            if key.startswith("__"):
                raise AttributeError(key)
            return mock.MagicMock(name=key)

        module.__getattr__ = attribute
        return module

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, StubFinder())

from omegaconf import OmegaConf  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from verl.protocol import DataProto  # noqa: E402
from verl.trainer.ppo import core_algos  # noqa: E402
from verl.trainer.ppo.ray_trainer import apply_kl_penalty, compute_advantage  # noqa: E402
from verl.trainer.ppo.rollout_corr_helper import (  # noqa: E402
    compute_rollout_correction_and_add_to_batch)
from verl.workers.config.actor import ActorConfig, PolicyLossConfig  # noqa: E402
from verl.workers.utils import losses  # noqa: E402

class InDouble:
    """torch or numpy with float64 for float32, which core_algos' gdpo names outright."""

    def __init__(self, module):
        self.module = module
        self.float32 = module.float64

    def __getattr__(self, name):
        return getattr(self.module, name)


torch.set_default_dtype(torch.float64)
core_algos.torch, core_algos.np = InDouble(torch), InDouble(np)
# ppo_loss unpacks the model's output with this; ours is padded as it is.
losses.no_padding_2_padding = lambda values, data: values

ALGORITHM = {"adv_estimator", "gamma", "norm_adv_by_std_in_grpo", "use_kl_in_reward", "kl_penalty",
             "kl_coef", "gdpo_reward_keys", "gdpo_reward_weights"}
CORRECTION = {"rollout_is", "rollout_is_threshold", "rollout_is_batch_normalize", "rollout_rs",
              "rollout_rs_threshold", "bypass_mode", "loss_type"}
POLICY_LOSS = {"loss_mode", "clip_cov_ratio", "clip_cov_lb", "clip_cov_ub", "kl_cov_ratio",
               "ppo_kl_coef", "dro_beta"}


class PaddedBatch(TensorDict):
    """What ppo_loss reads: fields that are padded tensors already, and plain values."""

    def select(self, *fields):
        return self

    def to_padded_tensor(self):
        return self


def policy_loss_config(options: dict, correction: dict) -> PolicyLossConfig:
    config = {k: v for k, v in options.items() if k in POLICY_LOSS}
    if correction.get("bypass_mode"):
        # As apply_bypass_mode() sets it.
        config = {**config, "loss_mode": "bypass_mode", "rollout_correction": correction}
    return PolicyLossConfig(**config)


def run_case(name: str, case_input: dict, why: str | None) -> dict:
    verl = case_input["config"]["verl"]
    lengths = [len(row) for row in case_input["logp"]]
    rows, width = len(lengths), max(lengths)

    def tensor(key):
        return torch.tensor(padded(case_input[key])) if key in case_input else None

    logp, entropy = tensor("logp").requires_grad_(), tensor("entropy")
    mask = torch.tensor(padded(case_input["mask"], 0), dtype=torch.long)
    last = torch.tensor(lengths) - 1
    old = logp.detach() if "old_logp" not in case_input else tensor("old_logp")
    ref, sampler = tensor("ref_logp"), tensor("sampler_logp")

    correction = {k: v for k, v in verl.items() if k in CORRECTION}
    if correction.get("bypass_mode"):
        old = sampler

    # -- rewards to advantages, as the trainer does it
    rewards = case_input.get("rewards", [0.0] * rows)
    by_name = rewards if isinstance(rewards, dict) else {"reward": rewards}
    total = np.sum([np.array(v, dtype=float) for v in by_name.values()], axis=0)
    scores = torch.zeros(rows, width)
    scores[torch.arange(rows), last] = torch.tensor(total)
    tensors = {"token_level_scores": scores, "token_level_rewards": scores.clone(),
               "response_mask": mask, "old_log_probs": old,
               "prompts": torch.ones(rows, 1, dtype=torch.long),
               "attention_mask": torch.arange(1 + width)[None] <= torch.tensor(lengths)[:, None]}
    tensors["attention_mask"] = tensors["attention_mask"].long()
    if ref is not None:
        tensors["ref_log_prob"] = ref
    if sampler is not None:
        tensors["rollout_log_probs"] = sampler
    if "greedy_rewards" in case_input:
        tensors["reward_baselines"] = torch.tensor(
            [float(case_input["greedy_rewards"][str(g)]) for g in case_input["group"]])
    batch = DataProto.from_dict(
        tensors=tensors,
        non_tensors={"uid": np.array([str(g) for g in case_input["group"]], dtype=object),
                     **{k: np.array(v, dtype=float) for k, v in by_name.items()}})
    if verl.get("use_kl_in_reward"):
        control = core_algos.FixedKLController(verl.get("kl_coef", 0.001))
        batch, _ = apply_kl_penalty(batch, control, verl.get("kl_penalty", "kl"))
    if correction and not correction.get("bypass_mode"):
        batch, _ = compute_rollout_correction_and_add_to_batch(batch, correction)
        mask = batch.batch["response_mask"]
    algorithm = OmegaConf.create({"gamma": 1.0, "lam": 1.0,
                                  **{k: v for k, v in verl.items() if k in ALGORITHM}})
    if "advantages" in case_input:
        given = case_input["advantages"]
        by_token = isinstance(given[0], list)
        advantages = torch.tensor(padded(given if by_token else
                                         [[a] * n for a, n in zip(given, lengths)])) * mask
    else:
        batch = compute_advantage(
            batch, verl["adv_estimator"], gamma=algorithm.gamma,
            norm_adv_by_std_in_grpo=verl.get("norm_adv_by_std_in_grpo", True), config=algorithm)
        advantages = batch.batch["advantages"]

    # -- the actor's loss
    actor = {k: v for k, v in verl.items() if k not in ALGORITHM | CORRECTION | POLICY_LOSS}
    config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=rows,
                         policy_loss=policy_loss_config(verl, correction), **actor)
    fields = {"response_mask": mask, "old_log_probs": old, "advantages": advantages}
    if ref is not None:
        fields["ref_log_prob"] = ref
    if "rollout_is_weights" in batch.batch:
        fields["rollout_is_weights"] = batch.batch["rollout_is_weights"]
    output = {"log_probs": logp}
    if entropy is not None:
        output["entropy"] = entropy.requires_grad_()
    data = PaddedBatch(fields, batch_size=[rows])
    data.set_non_tensor("dp_size", 1)
    data.set_non_tensor("batch_num_tokens", mask.sum().item())
    data.set_non_tensor("global_batch_size", rows)
    loss, _ = losses.ppo_loss(config, output, data)
    loss.backward()

    case = {"name": name, "input": case_input, "loss": float(f"{loss.item():.15g}"),
            "grad_logp": ragged(logp.grad, lengths)}
    if entropy is not None and entropy.grad is not None and verl.get("entropy_coeff"):
        case["grad_entropy"] = ragged(entropy.grad, lengths)
    if "advantages" not in case_input:
        case["advantages"] = by_row_or_token(advantages, mask, lengths)
    if why:
        case["why"] = why
    return case


def by_row_or_token(advantages, mask, lengths):
    """[N] if every row has one value where its mask is 1 (0 for a row without tokens)."""
    values = [a[m.bool()] for a, m in zip(advantages, mask)]
    if all(len(v) == 0 or bool((v == v[0]).all()) for v in values):
        return [float(f"{v[0].item():.15g}") + 0.0 if len(v) else 0.0 for v in values]
    return ragged(advantages, lengths)


LOSS_MODES = ("vanilla", "dppo_tv", "dppo_kl", "gspo", "sapo", "gpg", "clip_cov", "kl_cov",
              "geo_mean", "dro", "cispo")
AGGREGATIONS = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean",
                "seq-mean-token-sum-norm")
KL_TYPES = ("k1", "k2", "k3", "abs", "k1+", "k2+", "k3+", "abs+", "low_var_kl", "mse", "kl")


def build_cases() -> list:
    cases = []

    def add(name, verl, keep="", groups=(3, 3), rewards="one", given=None, why=None, edit=None,
            greedy=False, **draw):
        """keep: arrays beside logp and old_logp, by letters: r(ef) s(ampler) e(ntropy), and o for
        no old_logp. rewards: one, two (by name), same."""
        rng = random.Random(name)
        rows = draw_rows(rng, list(groups), **draw)
        case_input = {"logp": rows["logp"]}
        if "o" not in keep:
            case_input["old_logp"] = rows["old_logp"]
        for letter, key in (("r", "ref_logp"), ("s", "sampler_logp"), ("e", "entropy")):
            if letter in keep:
                case_input[key] = rows[key]
        case_input["mask"] = rows["mask"]
        count = len(rows["group"])
        if given == "row":
            case_input["advantages"] = [round(rng.gauss(0, 1), 4) for _ in range(count)]
        elif given == "token":
            case_input["advantages"] = [[round(rng.gauss(0, 1), 4) for _ in row]
                                        for row in rows["logp"]]
        elif rewards == "same":
            case_input["rewards"] = [0.5] * count
        elif rewards == "one":
            case_input["rewards"] = draw_rewards(rng, count)
        else:
            case_input["rewards"] = {k: draw_rewards(rng, count) for k in ("a", "b")}
        case_input["group"] = rows["group"]
        if greedy:
            case_input["greedy_rewards"] = {str(g): draw_rewards(rng, 1)[0]
                                            for g in range(len(groups))}
        case_input["config"] = {"verl": {"adv_estimator": "grpo", **verl}}
        if edit:
            edit(case_input)
        cases.append(run_case(name, case_input, why))

    # -- advantages
    for flag in (True, False):
        word = "scaled" if flag else "unscaled"
        add(f"grpo_{word}", {"norm_adv_by_std_in_grpo": flag}, groups=(4, 3))
        add(f"grpo_{word}_same_rewards", {"norm_adv_by_std_in_grpo": flag}, rewards="same",
            groups=(2, 2))
        add(f"grpo_passk_{word}", {"adv_estimator": "grpo_passk", "norm_adv_by_std_in_grpo": flag},
            groups=(4, 3))
        # verl scales by the deviation here whatever the flag says.
        add(f"gdpo_asked_{word}",
            {"adv_estimator": "gdpo", "norm_adv_by_std_in_grpo": flag,
             "gdpo_reward_keys": ["a", "b"], "gdpo_reward_weights": [1.0, 0.5]}, rewards="two",
            groups=(4, 3))
    add("gdpo_weights_default", {"adv_estimator": "gdpo", "gdpo_reward_keys": ["a", "b"]},
        rewards="two")
    for estimator in ("rloo", "rloo_vectorized", "opo", "gpg", "reinforce_plus_plus",
                      "reinforce_plus_plus_baseline"):
        add(estimator, {"adv_estimator": estimator}, groups=(4, 3))
        trap = estimator == "reinforce_plus_plus"
        add(f"{'trap_' if trap else ''}{estimator}_same_rewards", {"adv_estimator": estimator},
            rewards="same",
            why="verl's mean adds 1e-8 to the count, and a variance of 0 multiplies that by 1e4; "
                "hone's differences are 0" if trap else None)
        if "reinforce" not in estimator:
            add(f"{estimator}_kl_in_reward",
                {"adv_estimator": estimator, "use_kl_in_reward": True, "kl_coef": 0.05}, "r")
    add("grpo_kl_in_reward", {"use_kl_in_reward": True, "kl_coef": 0.1}, "r")
    add("grpo_kl_in_reward_first_pass", {"use_kl_in_reward": True, "kl_coef": 0.1}, "ro")
    for kind in ("k2", "k3", "abs"):
        add(f"grpo_kl_in_reward_{kind}",
            {"use_kl_in_reward": True, "kl_coef": 0.1, "kl_penalty": kind}, "r")
    plus = {"adv_estimator": "reinforce_plus_plus"}
    add("reinforce_plus_plus_discounted", {**plus, "gamma": 0.9})
    add("reinforce_plus_plus_kl_in_reward", {**plus, "use_kl_in_reward": True, "kl_coef": 0.05},
        "r")
    add("reinforce_plus_plus_discounted_kl_in_reward",
        {**plus, "gamma": 0.95, "use_kl_in_reward": True, "kl_coef": 0.05}, "r", holes=0.3)
    add("reinforce_plus_plus_baseline_kl_in_reward",
        {"adv_estimator": "reinforce_plus_plus_baseline", "use_kl_in_reward": True,
         "kl_coef": 0.05}, "r")
    add("remax", {"adv_estimator": "remax"}, greedy=True, groups=(3, 2, 1))
    add("remax_kl_in_reward",
        {"adv_estimator": "remax", "use_kl_in_reward": True, "kl_coef": 0.05}, "r", greedy=True)
    singleton = ("verl gives an answer that is alone in its group the whole reward as advantage: "
                 "it is pushed up for want of a comparison")
    for estimator, extra in (("grpo", {}), ("grpo", {"norm_adv_by_std_in_grpo": False}),
                             ("rloo", {}), ("opo", {}), ("gpg", {}),
                             ("reinforce_plus_plus_baseline", {})):
        def alone(case_input):
            case_input["rewards"][-1] = 1
        word = "_unscaled" if extra else ""
        add(f"trap_{estimator}{word}_singleton", {"adv_estimator": estimator, **extra},
            groups=(3, 1), edit=alone, why=singleton)
    def alone_too(case_input):
        case_input["rewards"][-1] = 1
    add("rloo_vectorized_singleton", {"adv_estimator": "rloo_vectorized"}, groups=(3, 1),
        edit=alone_too)

    # -- losses
    needs = {"dro": {"dro_beta": 0.1},
             # Every candidate is taken, so that nothing depends on the draw (torch.randperm).
             "clip_cov": {"clip_cov_ratio": 0.9, "clip_cov_lb": 0.2, "clip_cov_ub": 1.5},
             "kl_cov": {"kl_cov_ratio": 0.2},
             "dppo_tv": {"clip_ratio_c": 5.0, "clip_ratio_low": 0.04, "clip_ratio_high": 0.02},
             "dppo_kl": {"clip_ratio_c": 20.0, "clip_ratio_low": 0.01, "clip_ratio_high": 0.005},
             "gspo": {"loss_agg_mode": "seq-mean-token-mean"}}
    for mode in LOSS_MODES:
        config = {"loss_mode": mode, **needs.get(mode, {})}
        add(f"loss_{mode}", config, spread=0.4, groups=(4, 3))
        add(f"loss_{mode}_advantages_by_token", config, given="token", spread=0.4)
        if mode != "clip_cov":
            add(f"loss_{mode}_extreme_ratios", config, extreme=4)
        add(f"loss_{mode}_first_pass", config, "o")
        add(f"loss_{mode}_kl_entropy", {**config, "use_kl_loss": True, "kl_loss_coef": 0.05,
                                   "entropy_coeff": 0.01}, "re")
        if mode != "gspo":
            agg = AGGREGATIONS[1 + LOSS_MODES.index(mode) % 4]
            add(f"loss_{mode}_{agg}", {**config, "loss_agg_mode": agg}, spread=0.4)
        add(f"loss_{mode}_rollout_is",
            {**config, "rollout_is": ("token", "sequence")[LOSS_MODES.index(mode) % 2],
             "rollout_is_threshold": 1.1}, "s", spread=0.3)
        if mode not in ("dppo_tv", "dppo_kl", "gpg", "kl_cov", "sapo", "dro"):
            clip = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.28}
            add(f"loss_{mode}_clip_higher", {**config, **clip}, spread=0.4)
    add("vanilla_dual_clip", {"clip_ratio_c": 1.3}, spread=1.2, groups=(4, 4))
    add("gspo_narrow", {"loss_mode": "gspo", "loss_agg_mode": "seq-mean-token-mean",
                        "clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}, spread=0.02)
    add("vanilla_no_clip_reached", {"clip_ratio_low": 0.9, "clip_ratio_high": 50.0,
                                    "clip_ratio_c": 100.0}, spread=0.8)
    add("dppo_tv_truncated_ratio", {"loss_mode": "dppo_tv", "clip_ratio_c": 1.2,
                                    "clip_ratio_low": 0.5, "clip_ratio_high": 0.5}, spread=0.6)
    add("sapo_temperatures", {"loss_mode": "sapo", "tau_pos": 2.0, "tau_neg": 0.7}, spread=0.6)
    add("geo_mean_wide", {"loss_mode": "geo_mean", "clip_ratio_low": 0.4, "clip_ratio_high": 0.4},
        spread=0.6)
    add("kl_cov_one_token", {"loss_mode": "kl_cov"}, spread=0.4)
    add("clip_cov_no_candidate",
        {"loss_mode": "clip_cov", "clip_cov_lb": 50.0, "clip_cov_ub": 60.0}, spread=0.4)
    def drifted(case_input):
        case_input["old_logp"][0] = [-12.5] * len(case_input["logp"][0])
        case_input["logp"][0] = [-0.5] * len(case_input["logp"][0])
        case_input["advantages"][0] = -1.25
    add("trap_gspo_drifted", {"loss_mode": "gspo", "loss_agg_mode": "seq-mean-token-mean"},
        given="row", edit=drifted,
        why="verl caps the ratio of a completion at exp(10), and gives it no gradient beyond")
    for agg in AGGREGATIONS:
        def no_tokens(case_input):
            case_input["mask"][1] = [0] * len(case_input["mask"][1])
        add(f"agg_{agg}", {"loss_agg_mode": agg, "use_kl_loss": True, "kl_loss_coef": 0.1,
                           "entropy_coeff": 0.02}, "re")
        add(f"agg_{agg}_row_without_tokens", {"loss_agg_mode": agg}, given="row", edit=no_tokens)
    add("agg_scale_factor", {"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": 20})
    for kind in KL_TYPES:
        add(f"kl_{kind}", {"use_kl_loss": True, "kl_loss_coef": 0.1, "kl_loss_type": kind}, "r",
            groups=(2, 2), spread=0.4)
    for kind in ("k1", "k2", "k2+", "k3", "k3+"):
        def far(case_input):
            case_input["ref_logp"][0][0] = round(case_input["logp"][0][0] - 12.5, 4)
            case_input["logp"][1][0] = -14.25
            case_input["ref_logp"][1][0] = -0.75
        add(f"kl_{kind}_far_reference",
            {"use_kl_loss": True, "kl_loss_coef": 0.1, "kl_loss_type": kind}, "ro", groups=(2, 2),
            edit=far, holes=0.0)

    # -- correction of the sampler
    for level, drift in (("token", 0.2), ("sequence", 0.1)):
        for word, threshold in (("truncated", 1.05), ("truncated_by_text", "1.05"),
                                ("icepop", "0.85_1.2")):
            add(f"rollout_is_{level}_{word}",
                {"rollout_is": level, "rollout_is_threshold": threshold}, "s", drift=drift)
            add(f"rollout_is_{level}_{word}_normalized",
                {"rollout_is": level, "rollout_is_threshold": threshold,
                 "rollout_is_batch_normalize": True}, "s", drift=drift)
    add("rollout_is_default_threshold", {"rollout_is": "token"}, "s", drift=0.8)
    for kind, threshold in (("token_k1", "0.8_1.25"), ("token_k1", 1.2), ("token_k2", 0.03),
                            ("token_k3", 0.02), ("seq_sum_k1", "0.7_1.3"), ("seq_sum_k2", 0.1),
                            ("seq_sum_k3", 0.06), ("seq_mean_k1", "0.95_1.05"),
                            ("seq_mean_k2", 0.02), ("seq_mean_k3", 0.02), ("seq_max_k2", 0.05),
                            ("seq_max_k3", 0.05)):
        word = "_one_bound" if kind == "token_k1" and threshold == 1.2 else ""
        add(f"rollout_rs_{kind}{word}", {"rollout_rs": kind, "rollout_rs_threshold": threshold},
            "s", drift=0.2, groups=(4, 3))
    add("rollout_rs_two_of_them",
        {"rollout_rs": "token_k1,seq_mean_k3", "rollout_rs_threshold": "0.7_1.4,0.03",
         "rollout_is": "token", "rollout_is_threshold": 1.2}, "s", drift=0.25, groups=(4, 3))
    add("rollout_rs_reinforce_plus_plus_baseline",
        {"adv_estimator": "reinforce_plus_plus_baseline", "rollout_rs": "seq_mean_k2",
         "rollout_rs_threshold": 0.02}, "s", drift=0.2, groups=(4, 3))
    add("rollout_rs_opo", {"adv_estimator": "opo", "rollout_rs": "token_k2",
                           "rollout_rs_threshold": 0.02}, "s", drift=0.2, groups=(4, 3))
    add("dppo_tv_default_truncation", {"loss_mode": "dppo_tv"}, extreme=4)
    add("dppo_kl_default_truncation", {"loss_mode": "dppo_kl"}, extreme=4)
    add("bypass_ppo_clip", {"bypass_mode": True}, "s", drift=0.2)
    add("bypass_reinforce", {"bypass_mode": True, "loss_type": "reinforce"}, "s", drift=0.2)
    add("bypass_reinforce_is",
        {"bypass_mode": True, "loss_type": "reinforce", "rollout_is": "token",
         "rollout_is_threshold": 1.05, "loss_agg_mode": "seq-mean-token-sum"}, "s", drift=0.2)
    add("bypass_ppo_clip_rejected",
        {"bypass_mode": True, "rollout_rs": "seq_mean_k1", "rollout_rs_threshold": "0.9_1.1",
         "loss_agg_mode": "seq-mean-token-sum"}, "s", drift=0.2)

    add("trap_clip_ratio_alone", {"clip_ratio": 0.05}, spread=0.4,
        why="clip_ratio has no effect: clip_ratio_low and clip_ratio_high default to 0.2, not to "
            "it")
    add("trap_gspo_token_mean", {"loss_mode": "gspo", "loss_agg_mode": "token-mean"}, spread=0.3,
        why="verl 0.9.1 averages GSPO by token where loss_agg_mode is left at its default; its "
            "later versions and the paper average by completion")
    return cases


if __name__ == "__main__":
    write_cases("verl_objective.jsonl", build_cases())
