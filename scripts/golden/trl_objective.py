#!/usr/bin/env python3
"""Writes tests/train/golden/trl_objective.jsonl: what TRL 1.16's own GRPOTrainer makes of random
rewards and log-probabilities, for `hone loss` with {"config": {"trl": ...}} to be compared with.

Needs Python with trl 1.16, in an environment outside of this repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install trl==1.16.0 torch==2.11.0
    /tmp/golden/bin/python scripts/golden/trl_objective.py

Advantages, masks, importance ratios and normalisers come from GRPOTrainer's
_generate_and_score_completions, the loss from its _compute_loss and the gradients from autograd
through that. Only what would run a model is replaced: generation, the forward pass and the reward
functions give the case's numbers. All in float64, one optimizer step a generation batch.

One line a case: {name, input, loss, grad_logp, advantages, grad_entropy where the loss has one}.
`input` is a whole input of `hone loss`. Two things are not in GRPOConfig: "use_vllm": true stands
where sampler_logp corrects, as in TRL; "trainer": "gmpo" is the class GMPOTrainer. Names that
begin with `trap_` are what TRL does and hone means not to; `why` says why.
"""
import random
import tempfile
from collections import defaultdict
from types import SimpleNamespace

import torch
from accelerate import Accelerator
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

from objective_cases import draw_rewards, draw_rows, padded, ragged, write_cases

torch.set_default_dtype(torch.float64)
PAD, EOS, WORD = 0, 1, 2


def stub_trainer(case_input: dict, trl: dict):
    """A trainer whose __init__ never ran: what it would have copied from its GRPOConfig, and the
    case's numbers where a model, a sampler or a reward function would be asked."""
    options = {k: v for k, v in trl.items() if k != "trainer"}
    rows = len(case_input["logp"])
    size = rows // len(set(case_input["group"]))
    assert case_input["group"] == [i // size for i in range(rows)], "TRL's groups are neighbours"
    gmpo = trl.get("trainer") == "gmpo"
    args = (GMPOConfig if gmpo else GRPOConfig)(
        output_dir=tempfile.gettempdir(), report_to=[], bf16=False, use_cpu=True,
        num_generations=size, per_device_train_batch_size=rows, gradient_accumulation_steps=1,
        steps_per_generation=1,
        # A second pass over the batch is what makes TRL keep old log-probabilities.
        num_iterations=2 if "old_logp" in case_input else 1, **options)
    base = GMPOTrainer if gmpo else GRPOTrainer

    lengths = [len(row) for row in case_input["logp"]]

    def tensor(key):
        return torch.tensor(padded(case_input[key])) if key in case_input else None

    logp = tensor("logp").requires_grad_()
    entropy = tensor("entropy")
    entropy = (torch.ones_like(logp) if entropy is None else entropy).requires_grad_()
    old, ref = tensor("old_logp"), tensor("ref_logp")
    rewards = case_input.get("rewards", [0.0] * rows)
    by_name = rewards if isinstance(rewards, dict) else {"reward": rewards}
    columns = [[float("nan") if r is None else float(r) for r in by_name[k]]
               for k in sorted(by_name)]

    class Stub(base):
        def __init__(self):
            pass

        def _generate(self, prompts):
            ids = [[WORD] * (n - 1) + [WORD if cut else EOS]
                   for n, cut in zip(lengths, case_input.get("truncated", [False] * rows))]
            return ([[WORD]] * rows, ids, case_input.get("mask"), [""] * rows,
                    case_input.get("sampler_logp"), {}, None, None)

        def _calculate_rewards(self, *_):
            return torch.tensor(columns).T.contiguous()

        def _get_per_token_logps_and_entropies(self, model, *_, compute_entropy=False, **__):
            if compute_entropy:
                return logp, entropy, None
            if model is self.ref_model:
                return ref, None, None
            return (logp.detach() if old is None else old), None, None

    self = Stub()
    self.args = args
    self.model = SimpleNamespace(training=True, is_gradient_checkpointing=False)
    self.ref_model = SimpleNamespace(name="reference")
    self.accelerator = Accelerator(cpu=True)
    self._tokenizer = SimpleNamespace(pad_token_id=PAD, eos_token_id=EOS)
    self.eos_token_ids = [EOS]
    self.environment_factories = self.environments = self.tools = None
    self.pad_to_multiple_of = None
    self.log_multimodal = False
    self.aux_loss_enabled = False
    self.reward_funcs = self.reward_func_names = sorted(by_name)
    self.reward_weights = torch.tensor(args.reward_weights or [1.0] * len(columns))
    self.epsilon_low = args.epsilon
    self.epsilon_high = args.epsilon if args.epsilon_high is None else args.epsilon_high
    for name in ("num_generations", "num_iterations", "beta", "loss_type", "max_completion_length",
                 "mask_truncated_completions", "scale_rewards", "multi_objective_aggregation",
                 "importance_sampling_level", "off_policy_mask_threshold", "top_entropy_quantile",
                 "entropy_coef", "use_adaptive_entropy", "use_vllm",
                 "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
                 "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min"):
        setattr(self, name, getattr(args, name))
    self._entropy_bonus_enabled = self.entropy_coef != 0.0 or self.use_adaptive_entropy
    self.current_gradient_accumulation_steps = 1
    self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    self._logs = defaultdict(list)
    self._logs["rewards"] = defaultdict(list)
    self._pending_extra_logs = defaultdict(list)
    self._pending_metrics = defaultdict(list)
    return self, logp, entropy, lengths


def run_case(name: str, case_input: dict, why: str | None) -> dict:
    self, logp, entropy, lengths = stub_trainer(case_input, case_input["config"]["trl"])
    batch = self._generate_and_score_completions([{"prompt": ""}] * len(lengths))
    if "advantages" in case_input:
        given = case_input["advantages"]
        by_token = isinstance(given[0], list)
        batch["advantages"] = torch.tensor(padded(given) if by_token else given)
    loss = self._compute_loss(self.model, batch)
    loss.backward()
    case = {"name": name, "input": case_input, "loss": float(f"{loss.item():.15g}")}
    case["grad_logp"] = ragged(torch.zeros_like(logp) if logp.grad is None else logp.grad, lengths)
    if entropy.grad is not None:
        case["grad_entropy"] = ragged(entropy.grad, lengths)
    if "advantages" not in case_input:
        case["advantages"] = [float(f"{a:.15g}") for a in batch["advantages"].tolist()]
    if why:
        case["why"] = why
    return case


ALL_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")
IS_MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def build_cases() -> list:
    cases = []

    def add(name, trl, keep="", groups=(4, 4), rewards="one", null=0.0, given=None, why=None,
            edit=None, **draw):
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
        elif rewards == "one":
            case_input["rewards"] = draw_rewards(rng, count, null)
        elif rewards == "same":
            case_input["rewards"] = [0.5] * count
        else:
            case_input["rewards"] = {k: draw_rewards(rng, count, null) for k in ("a", "b")}
        case_input["group"] = rows["group"]
        if trl.get("mask_truncated_completions") or rng.random() < 0.3:
            case_input["truncated"] = rows["truncated"]
            if not any(rows["truncated"]):
                case_input["truncated"][count // 2] = True
        case_input["config"] = {"trl": trl}
        if edit:
            edit(case_input)
        cases.append(run_case(name, case_input, why))

    for kind in ALL_TYPES:
        own = {"dr_grpo": {"max_completion_length": 11}, "cispo": {"epsilon_high": 1.15}}
        config = {"loss_type": kind, **own.get(kind, {})}
        add(kind, config)
        add(f"{kind}_first_pass", config, "o", groups=(3, 3))
        add(f"{kind}_extreme_ratios", config, extreme=4, groups=(3, 3))
        add(f"{kind}_sequence", {**config, "importance_sampling_level": "sequence"}, groups=(3, 3))
        add(f"{kind}_kl", {**config, "beta": 0.07, "use_bias_correction_kl": False}, "r",
            groups=(3, 3))
        add(f"{kind}_kl_bias_corrected_truncated_masked",
            {**config, "beta": 0.1, "use_bias_correction_kl": True,
             "mask_truncated_completions": True}, "r", groups=(3, 3), null=0.2)
        add(f"{kind}_top_entropy_and_bonus",
            {**config, "top_entropy_quantile": 0.35, "entropy_coef": 0.02}, "e", groups=(3, 3))
        add(f"{kind}_sequence_extreme_ratios",
            {**config, "importance_sampling_level": "sequence"}, extreme=3, groups=(3, 3))
        # Each mode twice but for vespo, which TRL allows only the first two.
        mode = IS_MODES[ALL_TYPES.index(kind) % (2 if kind == "vespo" else 4)]
        add(f"{kind}_vllm_{mode}",
            {**config, "use_vllm": True, "vllm_importance_sampling_mode": mode,
             "vllm_importance_sampling_clip_max": 1.1}, "s", groups=(3, 3), drift=0.25)

    add("default_config", {})
    add("rewards_group_scaled_null", {"scale_rewards": "group"}, null=0.35, groups=(4, 4))
    add("rewards_batch_scaled_null", {"scale_rewards": "batch"}, null=0.35, groups=(4, 4))
    add("rewards_unscaled_null", {"scale_rewards": "none"}, null=0.35, groups=(4, 4))
    add("rewards_batch_scaled", {"scale_rewards": "batch"}, groups=(2, 2, 2))
    add("rewards_scale_true", {"scale_rewards": True}, groups=(2, 2, 2))
    add("rewards_scale_false", {"scale_rewards": False}, groups=(2, 2, 2))
    add("rewards_all_the_same", {"loss_type": "grpo", "beta": 0.05}, "r", rewards="same")
    def lone(case_input):
        case_input["rewards"] = [None, 1, None, 0.5, 0, 1]
    for scale in ("group", "batch", "none"):
        add(f"rewards_{scale}_one_scored_in_a_group", {"scale_rewards": scale}, groups=(3, 3),
            edit=lone)
    def nothing(case_input):
        case_input["rewards"] = [None] * 6
    add("rewards_all_null", {"beta": 0.05}, "r", groups=(3, 3), edit=nothing)
    weights = {"reward_weights": [1.0, 0.25]}
    add("two_rewards", weights, rewards="two")
    add("two_rewards_null", {**weights, "scale_rewards": "batch"}, rewards="two", null=0.4)
    decoupled = {**weights, "multi_objective_aggregation": "normalize_then_sum"}
    add("two_rewards_normalized_then_summed", decoupled, rewards="two")
    add("two_rewards_normalized_then_summed_null", decoupled, rewards="two", null=0.4)
    add("two_rewards_normalized_then_summed_scale_ignored", {**decoupled, "scale_rewards": "none"},
        rewards="two", null=0.1, groups=(3, 3))
    add("one_reward_normalized_then_summed",
        {"multi_objective_aggregation": "normalize_then_sum"}, groups=(3, 3))
    def lone_a(case_input):
        case_input["rewards"] = {"a": [1, None, None, 1, 0, 0], "b": [None, None, None, 0, 1, 0.5]}
    add("two_rewards_normalized_then_summed_lone", decoupled, groups=(3, 3), edit=lone_a)

    add("clip_higher", {"epsilon": 0.1, "epsilon_high": 0.28}, spread=0.5)
    add("delta", {"epsilon_high": 0.28, "delta": 1.4}, spread=0.6)
    add("delta_extreme_ratios", {"loss_type": "grpo", "delta": 4.0}, extreme=5)
    add("delta_sequence", {"loss_type": "grpo", "delta": 1.1, "epsilon": 0.05,
                           "importance_sampling_level": "sequence"}, spread=0.9, groups=(4, 4, 4))
    add("trap_delta_inside_the_clip", {"delta": 1.1}, spread=0.5, groups=(3, 3),
        why="TRL asks for delta > 1 + epsilon_high and does not look whether it is")
    add("gspo", {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-3,
                 "epsilon_high": 4e-3}, spread=0.05)
    add("kl_sequence_bias_corrected", {"loss_type": "grpo", "beta": 0.2, "delta": 1.02,
                                       "epsilon": 0.01, "use_bias_correction_kl": True,
                                       "importance_sampling_level": "sequence"}, "r", spread=0.5)
    # Corrected, by TRL 1.16's default.
    add("kl_default", {"beta": 0.1}, "r")
    add("kl_default_first_pass", {"beta": 0.1}, "ro")
    add("kl_far_reference", {"beta": 0.01, "use_bias_correction_kl": False}, "r", spread=1.0)
    add("kl_far_reference_bias_corrected", {"beta": 0.01}, "r", spread=1.0)
    add("advantages_by_row", {"loss_type": "grpo"}, given="row")
    add("advantages_by_token", {"loss_type": "dapo", "beta": 0.04}, "r", given="token")
    add("advantages_by_token_sapo", {"loss_type": "sapo"}, given="token", groups=(3, 3))
    add("sapo_temperatures", {"loss_type": "sapo", "sapo_temperature_pos": 2.0,
                              "sapo_temperature_neg": 0.7}, spread=0.6)
    add("vespo_weights", {"loss_type": "vespo", "vespo_k_pos": 1.5, "vespo_lambda_pos": 2.5,
                          "vespo_k_neg": 2.0, "vespo_lambda_neg": 1.5}, spread=0.2)
    add("vespo_long_drift", {"loss_type": "vespo"}, spread=1.5)
    add("cispo_cap", {"loss_type": "cispo", "epsilon_high": 5.0}, extreme=3, spread=0.8)
    add("cispo_cap_is_epsilon_where_no_epsilon_high", {"loss_type": "cispo", "epsilon": 0.9})

    vllm = {"use_vllm": True}
    for mode in IS_MODES:
        add(f"vllm_{mode}_two_sided",
            {**vllm, "loss_type": "grpo", "vllm_importance_sampling_mode": mode,
             "vllm_importance_sampling_clip_max": 1.25, "vllm_importance_sampling_clip_min": 0.85,
             "beta": 0.05}, "sr", drift=0.25, groups=(3, 3))
    add("vllm_default", vllm, "s", drift=0.5)
    add("vllm_default_first_pass", vllm, "so", drift=0.2, groups=(3, 3))
    add("vllm_correction_off", {**vllm, "vllm_importance_sampling_correction": False}, "s",
        groups=(3, 3))
    add("vllm_lower_bound_only",
        {**vllm, "vllm_importance_sampling_mode": "token_truncate",
         "vllm_importance_sampling_clip_max": None, "vllm_importance_sampling_clip_min": 0.9}, "s",
        groups=(3, 3))
    add("vllm_vespo_token_mask_two_sided",
        {**vllm, "loss_type": "vespo", "vllm_importance_sampling_mode": "token_mask",
         "vllm_importance_sampling_clip_max": 1.3, "vllm_importance_sampling_clip_min": 0.8}, "s",
        spread=0.1, groups=(3, 3))
    add("vllm_truncated_masked",
        {**vllm, "mask_truncated_completions": True, "vllm_importance_sampling_mode":
         "token_truncate", "vllm_importance_sampling_clip_max": 1.1}, "s", truncated=0.4)
    add("off_policy_mask", {"loss_type": "grpo", "off_policy_mask_threshold": 0.05}, spread=0.4)
    add("off_policy_mask_kl_entropy",
        {"off_policy_mask_threshold": 0.02, "beta": 0.1, "entropy_coef": 0.01}, "re", spread=0.4)
    add("off_policy_mask_by_the_sampler",
        {**vllm, "off_policy_mask_threshold": 0.03, "vllm_importance_sampling_mode":
         "token_truncate"}, "s", spread=0.4, drift=0.3)
    add("off_policy_mask_first_pass", {"off_policy_mask_threshold": 0.0}, "o", groups=(3, 3))
    add("off_policy_mask_advantages_by_token",
        {"off_policy_mask_threshold": 0.0}, given="token", spread=0.4, groups=(3, 3))

    add("entropy_bonus", {"loss_type": "dr_grpo", "entropy_coef": 0.05}, "e")
    add("entropy_bonus_truncated_masked",
        {"loss_type": "grpo", "entropy_coef": 0.05, "mask_truncated_completions": True}, "e",
        truncated=0.4)
    add("top_entropy", {"loss_type": "dapo", "top_entropy_quantile": 0.2, "beta": 0.1}, "er")
    add("top_entropy_sequence",
        {"loss_type": "grpo", "top_entropy_quantile": 0.5,
         "importance_sampling_level": "sequence"}, "e")
    add("truncated_masked", {"mask_truncated_completions": True}, truncated=0.5, null=0.2)
    def all_cut(case_input):
        case_input["truncated"] = [True] * len(case_input["group"])
    for kind in ("grpo", "dapo", "dr_grpo"):
        add(f"truncated_masked_all_{kind}",
            {"loss_type": kind, "mask_truncated_completions": True, "beta": 0.1}, "r",
            groups=(2, 2), edit=all_cut)
    def no_tokens(case_input):
        case_input["mask"][1] = [0] * len(case_input["mask"][1])
    for kind in ("grpo", "bnpo", "luspo", "sapo"):
        add(f"no_tokens_in_a_row_{kind}", {"loss_type": kind}, groups=(3, 3), edit=no_tokens)
    add("one_token_rows", {"loss_type": "grpo", "beta": 0.1}, "r", tokens=(1, 2))
    add("everything_at_once",
        {**vllm, **weights, "loss_type": "grpo", "epsilon": 0.1, "epsilon_high": 0.15,
         "delta": 1.2, "beta": 0.03, "use_bias_correction_kl": True, "scale_rewards": "batch",
         "mask_truncated_completions": True, "top_entropy_quantile": 0.6, "entropy_coef": 0.01,
         "off_policy_mask_threshold": 0.05, "vllm_importance_sampling_mode": "token_mask",
         "vllm_importance_sampling_clip_max": 1.2}, "sre", rewards="two", null=0.15, spread=0.4,
        groups=(4, 4, 4))

    gmpo = {"trainer": "gmpo"}
    add("gmpo", gmpo, spread=0.5)
    add("gmpo_extreme_ratios", gmpo, extreme=4)
    add("gmpo_clip_higher_kl", {**gmpo, "epsilon": 0.2, "epsilon_high": 0.3, "beta": 0.05}, "r",
        spread=0.5)
    add("gmpo_top_entropy", {**gmpo, "top_entropy_quantile": 0.5}, "e", spread=0.5)
    add("trap_gmpo_truncated_masked", {**gmpo, "mask_truncated_completions": True},
        truncated=0.4, spread=0.4,
        why="a completion without tokens has ratio exp(0) = 1 in TRL's GMPO, so its -A goes into "
            "the loss, with no gradient")
    return cases


if __name__ == "__main__":
    write_cases("trl_objective.jsonl", build_cases())
