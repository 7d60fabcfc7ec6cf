"""python:judge.py:shows_work - 1 if the completion computes before it answers.

The signature is TRL's: one number for each completion, or None where there is nothing to say. The
row's own fields are arguments: a row {"prompt": ..., "answer": "12"} gives `answer`.
"""
import re


def shows_work(prompts, completions, answer, log_extra=None, **columns):
    scores, counts = [], []
    for completion, right in zip(completions, answer):
        if right is None:  # a row without a reference
            scores.append(None)
            counts.append(0)
            continue
        thinking = completion.partition("<answer>")[0]
        equations = re.findall(r"\d+\s*[-+*/]\s*\d+\s*=\s*\d+", thinking)
        counts.append(len(equations))
        scores.append(min(len(equations), 2) / 2)
    if log_extra:
        log_extra("equations", counts)  # stands in the details of each completion
    return scores
