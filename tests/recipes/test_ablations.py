"""The ablations: their settings are settings, and the arm without the loss mask trains on pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from learning.test_learner import after, assert_same_step, config, norm, uneven, weights
from learning.toy import toy_model

from zerosearch.config_file import load_config
from zerosearch.learning.learner import Learner

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "ablations"))
import ablate
import unmasked

FOLDER = Path(__file__).parents[2] / "recipes" / "ablations"


@pytest.mark.parametrize("arm", ablate.ARMS)
def test_the_settings_of_an_arm_are_settings_and_change_something(arm: str) -> None:
    base, found = (load_config("demo-gpu", [*ablate.ALIKE, *ablate.ARMS[name]]) for name in ("base", arm))
    assert (found == base) == (arm in ("base", "unmasked"))


def test_every_arm_runs_with_every_seed_and_is_compared_with_the_base() -> None:
    planned = ablate.stages(["base", "em", "unmasked"], ["0", "3"], 2)
    assert [stage.name for stage in planned if stage.gpu] == [
        f"train-{arm}-{seed}" for seed in (0, 3) for arm in ("base", "em", "unmasked")
    ]
    compared = {stage.name: stage for stage in planned if not stage.gpu}
    assert set(compared) == {"compare-em", "compare-unmasked"}
    assert compared["compare-em"].line == (
        "python -m zerosearch compare runs/em-0,runs/em-3 runs/base-0,runs/base-3 --examples 0"
    )
    assert set(compared["compare-em"].needs) == {"train-em-0", "train-em-3", "train-base-0", "train-base-3"}
    assert "reward.name=em" in planned[1].command
    assert planned[2].line.startswith("python recipes/ablations/unmasked.py demo-gpu --set name=unmasked-0 ")


@pytest.mark.parametrize("words", [("--arms", "em,mask"), ("--seeds", "0,-1"), ("--steps", "0")])
def test_what_is_no_arm_and_no_seed_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "ablate.py"), "--dry-run", *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert f"{words[0]}: " in found.stderr


def test_without_the_mask_an_update_is_that_of_episodes_whose_pages_are_the_policys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, rows = config({"name": "reinforce", "kl": "none", "correct_sampler": None}), uneven()
    masked, _ = after(settings, rows)
    wanted, _ = after(settings, [unmasked.unmasked(row) for row in rows])
    monkeypatch.setattr(Learner, "update", Learner.update)  # put back at the end
    unmasked.train_on_pages()
    found, metrics = after(settings, rows)
    assert_same_step(found, wanted)
    start = weights(toy_model())
    assert norm(found, masked) > 0.1 * norm(masked, start)
    assert metrics["sampler_gap"] > 0.1  # a page's tokens have no log-probs of the sampler


def test_a_prompt_stays_masked() -> None:
    for row in uneven():
        found = unmasked.unmasked(row)
        assert found.mask[: row.prompt_length] == (0,) * row.prompt_length
        assert found.mask[row.prompt_length :] == (1,) * (len(row.ids) - row.prompt_length)
