"""Random inputs of `hone loss`, and the file of goldens made from them; for trl_objective.py and
verl_objective.py. Every case draws from a generator seeded by its name, so that a case added or
changed leaves the others as they were."""
import json
import random
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent.parent / "tests/train/golden"


def draw_rows(rng: random.Random, group_sizes: list, tokens=(3, 7), spread=0.25, drift=0.15,
              extreme=0, holes=0.1, truncated=0.2) -> dict:
    """Everything `hone loss` reads of a completion; the caller keeps the keys its case needs.

    spread: deviation of logp - old_logp and logp - ref_logp; drift: of old_logp - sampler_logp.
    extreme: so many tokens have |logp - old_logp| between 8 and 15, alternately up and down.
    holes: share of tokens that are not the model's own (mask 0); a completion's last one always is.
    """
    rows = {key: [] for key in ("logp", "old_logp", "ref_logp", "sampler_logp", "mask", "entropy")}
    group = [g for g, size in enumerate(group_sizes) for _ in range(size)]
    for _ in group:
        n = rng.randint(*tokens)
        # Below 0 by more than the noise added to it, so that all are log-probabilities.
        old = [-(0.02 + 4 * rng.random() ** 2 + 2.5 * spread) for _ in range(n)]
        rows["old_logp"].append(old)
        rows["logp"].append([min(-0.01, x + rng.gauss(0, spread)) for x in old])
        rows["ref_logp"].append([min(-0.01, x + rng.gauss(0, spread)) for x in old])
        rows["sampler_logp"].append([min(-0.01, x + rng.gauss(0, drift)) for x in old])
        rows["mask"].append([int(rng.random() >= holes) for _ in range(n - 1)] + [1])
        # Multiples of 1/1024: float32, in which TRL takes their quantile, holds them exactly.
        rows["entropy"].append([rng.randint(1, 3072) / 1024 for _ in range(n)])
    for k in range(extreme):
        i = rng.randrange(len(group))
        t = rng.randrange(len(rows["logp"][i]))
        jump = rng.uniform(8, 15)
        up, down = ("logp", "old_logp") if k % 2 == 0 else ("old_logp", "logp")
        rows[up][i][t] = -rng.uniform(0.05, 1)
        rows[down][i][t] = rows[up][i][t] - jump
        rows["sampler_logp"][i][t] = rows["old_logp"][i][t]
        rows["ref_logp"][i][t] = rows["logp"][i][t] + rng.gauss(0, spread)
    for key in ("logp", "old_logp", "ref_logp", "sampler_logp"):
        rows[key] = [[round(min(x, -0.0001), 4) for x in row] for row in rows[key]]
    rows["group"] = group
    rows["truncated"] = [rng.random() < truncated for _ in group]
    return rows


def draw_rewards(rng: random.Random, count: int, null=0.0) -> list:
    """Multiples of 1/8, which float32 holds exactly; null as often as asked for."""
    return [None if rng.random() < null else rng.choice([0, 0, 1, 1, 0.125, 0.5, 0.75, -0.5, 1.5])
            for _ in range(count)]


def ragged(matrix, lengths: list) -> list:
    """Rows of a padded tensor without their padding, fifteen digits."""
    return [[float(f"{x:.15g}") + 0.0 for x in row[:n]] for row, n in zip(matrix.tolist(), lengths)]


def padded(rows: list, fill: float = 0.0) -> list:
    width = max(len(row) for row in rows)
    return [list(row) + [fill] * (width - len(row)) for row in rows]


def write_cases(name: str, cases: list) -> None:
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    OUT.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(case, separators=(",", ":"), allow_nan=False) + "\n" for case in cases]
    text = "".join(lines)
    (OUT / name).write_text(text)
    print(f"{OUT / name}: {len(cases)} cases, {len(text)} bytes")
