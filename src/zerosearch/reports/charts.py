"""The charts of a report: which numbers of a run they draw, and what these mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Chart:
    """`value` is where the number stands in a row of metrics (`timing/seconds`: within `timing`); `evaluation` where it
    stands in the summary of an evaluation, empty where it is not there. `form` is how a number is shown."""

    title: str
    value: str
    meaning: str
    evaluation: str = ""
    form: str = "number"


CHARTS = (
    Chart(
        "Reward", "reward",
        "Mean reward of a step's episodes: what is learned from. It rises while the policy learns. With rising noise a "
        "level line is progress too.",
    ),
    Chart(
        "F1", "f1",
        "Words that the answer shares with a golden one (0 to 1). The line is training, with noisy simulated pages and "
        "sampling; dots are evaluations on held-out questions, with 95 % intervals.",
        "f1",
    ),
    Chart(
        "EM", "em",
        "Share of answers that equal a golden one once case, articles and punctuation are gone. Dots are evaluations "
        "on held-out questions, with 95 % intervals.",
        "em", "share",
    ),
    Chart(
        "Searches per episode", "searches",
        "How often the policy searches before it answers. It should come to what the questions need: 1 for one hop, 2 "
        "for two. 0 means that it has stopped searching.",
        "searches",
    ),
    Chart(
        "Valid actions", "valid_actions",
        "Share of turns that are a search or an answer in the exact tags. A fall is the first sign of a collapse.",
        "valid_actions", "share",
    ),
    Chart(
        "Page held the answer", "evidence",
        "Share of episodes in which a page held a golden answer. A reward above it means answers from memory or "
        "guesses.",
        "evidence", "share",
    ),
    Chart(
        "Noise", "noise",
        "Chance that a simulated page is asked for as a noisy one, by the curriculum. A real engine has none.",
        "", "share",
    ),
    Chart(
        "KL to the reference", "kl",
        "How far the policy has moved from where it began, in nats a token. It grows slowly; a jump goes with a jump "
        "of the reward, or comes before a collapse. Not measured where algorithm.kl is none or its coefficient 0.",
    ),
    Chart(
        "Entropy", "entropy",
        "How undecided the policy is about its next token, in nats. Near 0 all rollouts are alike and nothing more is "
        "learned; a steep rise is a policy that falls apart.",
    ),
    Chart(
        "Sampler gap", "sampler_gap",
        "Mean difference between the log-prob that a token was sampled with and the trainer's own, in nats. Below .001 "
        "in float32, about .02 in bfloat16; above .1 what is sampled is not what is trained.",
    ),
    Chart(
        "Tokens the policy writes", "policy_tokens",
        "Mean tokens that the policy writes in an episode, pages not counted.",
        "policy_tokens",
    ),
    Chart(
        "Speed", "timing/policy_tokens_per_second",
        "Tokens of the policy a second while episodes are played, searches included.",
    ),
    Chart("Seconds a step", "timing/seconds", "Wall-clock seconds of a step: episodes played, and the update."),
    Chart(
        "Cost so far", "cost/usd",
        "US dollars charged for searches and tokens up to this step, evaluations included. A local simulator charges "
        "nothing: see the bill below for what its time is worth.",
        "", "usd",
    ),
    Chart(
        "Searches so far", "cost/searches",
        "Searches up to this step, evaluations included. A paid engine would have charged for each.",
    ),
)  # fmt: skip


def read_value(row: Mapping[str, Any], place: str) -> float | None:
    """The number at `place` (`timing/seconds`) of a row; None where there is none, or one that is not finite."""
    found: Any = row
    for part in place.split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return float(found)


def series(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """The values of each chart over the rows of a run; charts without any value are left out."""
    drawn = {chart.value: [_rounded(read_value(row, chart.value)) for row in rows] for chart in CHARTS}
    return {name: values for name, values in drawn.items() if any(value is not None for value in values)}


def _rounded(value: float | None) -> float | None:
    """Six digits are more than a chart shows."""
    return None if value is None else float(f"{value:.6g}")
