"""Values from Python: what a command refuses is refused here too, and the usual forms are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zerosearch import Collecting, Trials, ask
from zerosearch.errors import ConfigError


@pytest.mark.parametrize("kind", [Trials, Collecting])
@pytest.mark.parametrize("name", ["limit", "concurrency", "samples", "max_tokens", "rollouts", "depth"])
def test_no_number_of_an_evaluation_or_collection_is_below_one(kind: Callable[..., Any], name: str) -> None:
    if name not in kind.__annotations__:
        return
    kind(**{name: 1})
    with pytest.raises(ConfigError, match=f"{name} is 0; it must be at least 1"):
        kind(**{name: 0})


@pytest.mark.parametrize("kind", [Trials, Collecting])
@pytest.mark.parametrize("wrong", [-0.5, float("nan")])
def test_no_temperature_is_below_zero(kind: Callable[..., Any], wrong: float) -> None:
    kind(temperature=0.0)
    with pytest.raises(ConfigError, match=f"temperature is {wrong}; it must be at least 0"):
        kind(temperature=wrong)


def test_a_question_is_not_asked_at_a_temperature_below_zero() -> None:
    with pytest.raises(ConfigError, match="temperature is -1; it must be at least 0"):
        ask("Capital of Nepal?", temperature=-1)
