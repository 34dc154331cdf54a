"""What a step's numbers say where learning went wrong: a word on its line, and where it is beyond limits an end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from learning.test_trainer import Watch, configure, rows_of, trainer

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import RunError
from zerosearch.learning.alarms import Alarms

SOUND = {
    "valid_actions": 0.93, "answered": 0.95, "sampler_gap": 0.02, "sampler_gap_max": 14.6, "entropy": 0.7,
    "episodes": 80, "trained_rows": 80.0, "stops": {"answer": 80},
}  # fmt: skip


def judged(*rows: dict[str, Any], max_gap: float | None = 0.5, collapses: bool = True) -> list[dict[str, bool]]:
    alarms = Alarms(max_gap, collapses)
    return [{alarm.name: alarm.stops for alarm in alarms.look({**SOUND, **row})} for row in rows]


def test_a_sound_run_with_one_wild_token_is_left_alone() -> None:
    sound = {"valid_actions": 0.8, "sampler_gap": 0.05, "answered": 0.5, "stops": {"context": 39, "answer": 41}}
    assert judged(*[{}] * 4, sound) == [{}] * 5


def test_the_sampler_that_was_broken_on_the_second_gpu_stops_the_run_at_once() -> None:
    assert judged({"sampler_gap": 2.6, "valid_actions": 0.38}) == [{"sampler_gap": True}]


@pytest.mark.parametrize(
    ("gap", "max_gap", "found"),
    [
        (0.09, 0.5, {}), (0.2, 0.5, {"sampler_gap": False}), (0.6, 0.5, {"sampler_gap": True}),
        (9.0, None, {"sampler_gap": False}), (0.6, 1.0, {"sampler_gap": False}), (0.06, 0.05, {"sampler_gap": True}),
    ],
)  # fmt: skip
def test_a_gap_is_said_and_beyond_the_limit_stops(gap: float, max_gap: float | None, found: dict[str, bool]) -> None:
    assert judged({"sampler_gap": gap}, max_gap=max_gap) == [found]


def test_a_collapse_is_measured_by_the_runs_own_first_steps_and_must_last() -> None:
    low = {"valid_actions": 0.3}
    names = judged({}, low, {}, *[low] * 3)
    assert names == [{}, {"valid_actions": False}, {}] + [{"valid_actions": False}] * 2 + [{"valid_actions": True}]
    assert judged(*[low] * 9) == [{}] * 9  # a policy that begins so has not collapsed
    assert not any(any(found.values()) for found in judged({}, *[low] * 9, collapses=False))


def test_a_policy_that_stops_answering_is_stopped_and_one_that_never_did_is_not() -> None:
    none = {"answered": 0.01}
    assert judged({}, *[none] * 3)[-1] == {"answered": True}
    assert judged(*[none] * 9) == [{"answered": False}] * 9


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"entropy": 0.001}, "entropy"),
        ({"stops": {"context": 40, "answer": 40}}, "context"),
        ({"trained_rows": 0.0}, "trained_rows"),
    ],
)
def test_what_looks_wrong_is_said_and_does_not_stop(row: dict[str, Any], name: str) -> None:
    assert judged(row) == [{name: False}]


def test_a_run_that_goes_on_remembers_its_first_steps() -> None:
    whole, resumed = Alarms(0.5, True), Alarms(0.5, True)
    rows = [SOUND, *[{**SOUND, "valid_actions": 0.3}] * 3]
    for row in rows:
        found = whole.look(row)
    for row in rows[:-1]:
        resumed.look(row)
    assert resumed.look(rows[-1]) == found
    assert found[0].stops


class OtherWeights:
    """A sampler whose log-probs are not those of the weights that are trained."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        made = await self._inner.generate(prompt_ids, sampling)
        return Generation(made.token_ids, [value - 2.6 for value in made.logprobs], made.stop_reason)

    def sync(self) -> None:
        self._inner.sync()


def test_a_run_whose_sampler_is_another_model_ends_with_one_line_and_says_so_on_the_step(tmp_path: Path) -> None:
    config, watch = configure(tmp_path, steps=3), Watch()
    made = trainer(config, watch=watch)
    made.inputs = replace(made.inputs, generator=OtherWeights(made.inputs.generator))
    with pytest.raises(
        RunError, match=r"stopped after step 1: sampler gap 2\.\d+ nats a token\. what is sampled"
    ) as end:
        made.run()
    assert "\n" not in str(end.value)
    (row,) = rows_of(config)
    assert row["alarms"][0].startswith("sampler gap 2.")
    assert watch.rows[0]["alarms"] == row["alarms"]
