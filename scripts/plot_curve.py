#!/usr/bin/env python3
"""Draws the learning curves of RL runs as one SVG, with Python's standard library alone.

    scripts/plot_curve.py RUN [RUN ...] --out F.svg [--title TEXT] [--stage NAME]

RUN is a run directory or a metrics.jsonl. Left: the rewards' means over each step's completions
(lines) and pass@1 on held-out problems (dots). Right: the mean length of completions. Several runs,
for instance of several seeds, are drawn thin and their mean thick. The background is left
transparent and the colours are readable on light and on dark.
"""
import argparse
import html
import json
import os
import sys
from pathlib import Path

COLOURS = ["#2f81f7", "#d29922", "#a371f7", "#e5534b"]  # the rewards, in the recipe's order
HELDOUT = "#2da44e"
LENGTH = "#8250df"
INK = "#7d8590"
WIDTH, HEIGHT = 860, 330
TOP, BOTTOM, LEFT, GAP, RIGHT = 64, 44, 48, 72, 16


def read_rows(place: str, stage: str | None) -> list[dict]:
    """The metrics of one RL stage: the named one, or the last that has rewards."""
    path = Path(place)
    if path.is_dir():
        path /= "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    trained = [row["stage"] for row in rows if "reward" in row]
    if not trained:
        sys.exit(f"plot_curve: {path}: no RL stage")
    return [row for row in rows if row["stage"] == (stage or trained[-1])]


def series(rows: list[dict], name: str) -> dict[int, float]:
    return {row["step"]: row[name] for row in rows if row.get(name) is not None}


def mean(curves: list[dict[int, float]]) -> dict[int, float]:
    """At the steps that all curves have."""
    steps = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {step: sum(curve[step] for curve in curves) / len(curves) for step in sorted(steps)}


def round_ticks(top: float) -> list[float]:
    """0 and at most five round numbers above it, the last at or above `top`."""
    for exponent in range(-3, 7):
        for digit in (1, 2, 5):
            step = digit * 10.0 ** exponent
            if top <= 5 * step:
                return [step * i for i in range(int(-(-top // step)) + 1)]
    return [0, top]


class Panel:
    """A pair of axes: turns (step, value) into points of the picture."""

    def __init__(self, x: float, width: float, last_step: int, ticks: list[float]):
        self.x, self.width, self.last_step, self.ticks = x, width, last_step, ticks

    def at(self, step: float, value: float) -> tuple[float, float]:
        height = HEIGHT - TOP - BOTTOM
        return (self.x + self.width * step / max(self.last_step, 1),
                HEIGHT - BOTTOM - height * value / self.ticks[-1])

    def axes(self) -> list[str]:
        out = []
        for tick in self.ticks:
            x, y = self.at(0, tick)
            out.append(f'<path d="M{x:.1f} {y:.1f}h{self.width:.1f}" stroke="{INK}" '
                       f'stroke-opacity="{0.7 if tick == 0 else 0.22}"/>')
            out.append(text(x - 8, y + 4, f"{tick:g}", "end"))
        for step in round_ticks(self.last_step):
            if step <= self.last_step:
                x, y = self.at(step, 0)
                out.append(text(x, y + 18, f"{step:g}", "middle"))
        x, y = self.at(self.last_step / 2, 0)
        return out + [text(x, y + 35, "step", "middle")]

    def line(self, curve: dict[int, float], colour: str, width: float, opacity: float) -> str:
        points = " ".join("{:.1f},{:.1f}".format(*self.at(s, v)) for s, v in sorted(curve.items()))
        return (f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
                f'stroke-opacity="{opacity}" stroke-linejoin="round"/>')

    def dots(self, curve: dict[int, float], colour: str, radius: float, opacity: float) -> list[str]:
        return ['<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}" fill-opacity="{}"/>'.format(
            *self.at(s, v), radius, colour, opacity) for s, v in sorted(curve.items())]

    def curves(self, curves: list[dict[int, float]], colour: str) -> list[str]:
        curves = [curve for curve in curves if curve]
        if len(curves) == 1:
            return [self.line(curves[0], colour, 2, 1)]
        return [self.line(curve, colour, 1, 0.3) for curve in curves] + [
            self.line(mean(curves), colour, 2.4, 1)]


def text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{INK}">{html.escape(words)}</text>')


def legend(x: float, entries: list[tuple[str, str, bool]]) -> list[str]:
    out = []
    for words, colour, dot in entries:
        out.append(f'<circle cx="{x + 9:.1f}" cy="44" r="4.5" fill="{colour}"/>' if dot else
                   f'<path d="M{x:.1f} 44h18" stroke="{colour}" stroke-width="2.4"/>')
        out.append(text(x + 24, 48, words))
        x += 40 + 6.6 * len(words)
    return out


def names_of(runs: list[list[dict]], wanted) -> list[str]:
    return list(dict.fromkeys(n for rows in runs for row in rows for n in row if wanted(n)))


def picture(runs: list[list[dict]], title: str) -> str:
    last = max(row["step"] for rows in runs for row in rows)
    rewards = names_of(runs, lambda n: n.startswith("rewards/") and n.endswith("/mean"))
    heldout = names_of(runs, lambda n: n.startswith("eval/") and n.endswith("/pass@1"))
    half = (WIDTH - LEFT - GAP - RIGHT) / 2
    top = max((v for rows in runs for n in rewards for v in series(rows, n).values()), default=1)
    left = Panel(LEFT, half, last, [0, 0.2, 0.4, 0.6, 0.8, 1] if top <= 1 else round_ticks(top))
    body, entries = left.axes(), []
    for i, name in enumerate(rewards):
        colour = COLOURS[i % len(COLOURS)]
        body += left.curves([series(rows, name) for rows in runs], colour)
        entries.append((name.split("/")[1], colour, False))
    for name in heldout:
        curves = [curve for rows in runs if (curve := series(rows, name))]
        if len(runs) > 1:
            body += [dot for curve in curves for dot in left.dots(curve, HELDOUT, 2.5, 0.45)]
        body += left.dots(mean(curves), HELDOUT, 4.5, 1)
        entries.append(("pass@1, held-out " + name.split("/")[1], HELDOUT, True))
    body += legend(LEFT, entries)

    lengths = [series(rows, "completions/mean_length") for rows in runs]
    right = Panel(LEFT + half + GAP, half, last,
                  round_ticks(max((v for curve in lengths for v in curve.values()), default=1)))
    body += right.axes() + right.curves(lengths, LENGTH)
    body += legend(right.x, [("mean length, tokens", LENGTH, False)])
    many = f", {len(runs)} runs and their mean" if len(runs) > 1 else ""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" role="img">',
        f"<title>{html.escape(title + many)}</title>",
        text(LEFT, 22, title + many, size=15), *body, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", default="", help="default: the first run's name")
    parser.add_argument("--stage", help="default: the last that has rewards")
    options = parser.parse_args()
    runs = [read_rows(place, options.stage) for place in options.runs]
    first = Path(options.runs[0])
    title = options.title or (first.parent if first.is_file() else first).resolve().name
    beside = options.out.with_name(options.out.name + ".tmp")
    beside.write_text(picture(runs, title))
    os.replace(beside, options.out)


if __name__ == "__main__":
    main()
