"""Supervised tuning with its folder: what a stopped tuning leaves is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from learning.test_sft import QUICK, examples
from tiny import give_adapter, tiny_local_model

from zerosearch.learning.policy import Policy
from zerosearch.learning.tuning import made_by, output, tune_model, unfinished
from zerosearch.models.adapters import read_card


def test_the_weights_of_a_stopped_tuning_are_kept_when_it_begins_anew(tiny_tokenizer: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said: list[str] = []

    def tuned(*, stop: bool) -> None:
        def say(line: str) -> None:
            said.append(line)
            if stop and "  validation" in line:
                raise KeyboardInterrupt

        model = tiny_local_model(tiny_tokenizer)
        give_adapter(model, "simulator")
        with output(out, "tune"):
            tune_model(Policy(model, adapter="simulator"), examples(20), QUICK, out, {"role": "r"}, say)

    with pytest.raises(KeyboardInterrupt):
        tuned(stop=True)
    weights = unfinished(out) / "adapter_model.safetensors"
    kept, older = weights.read_bytes(), tmp_path / "out.unfinished.old-1"
    assert said[-1] == f"stopped early: the best weights so far are in {unfinished(out)}"
    tuned(stop=False)
    assert f"this begins anew: the best weights of the tuning that was stopped are now in {older}" in said
    assert (older / weights.name).read_bytes() == kept
    assert not unfinished(out).exists()
    assert (read_card(out)["role"], read_card(out)["command"]) == ("r", "zerosearch.tune, from Python")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["/bin/zerosearch", "tune", "my labels.jsonl"], "zerosearch tune 'my labels.jsonl'"),
        (["/x/site-packages/zerosearch/__main__.py", "tune"], "zerosearch tune"),
        (["make.py", "--token", "hf_secret"], "zerosearch.tune, from Python"),
        (["/x/mine/__main__.py", "tune"], "zerosearch.tune, from Python"),
    ],
)
def test_a_card_names_the_command_and_not_the_arguments_of_another_program(words: list[str], told: str) -> None:
    assert made_by(words) == told
