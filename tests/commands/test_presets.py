"""The peers' presets: they are read, they run dry, and they say what their papers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.episodes.scoring import score_answer, with_format

FOLDER = Path(__file__).parents[2] / "src" / "zerosearch" / "configs"
PAPERS = {"search-r1": "2503.09516", "research": "2503.19470", "r1": "2501.12948", "zerosearch": "2505.04588"}


def preset(name: str) -> TrainConfig:
    return load_config(FOLDER / "presets" / f"{name}.toml")


def reward(config: TrainConfig, answer: str | None, *, well_formed: bool) -> float:
    scores = score_answer(answer, ["Lake Titicaca"], well_formed=well_formed)
    return with_format(getattr(scores, config.reward.name), scores, config.reward.format)


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_cites_its_paper_and_says_whose_each_number_is(name: str) -> None:
    text = (FOLDER / "presets" / f"{name}.toml").read_text()
    assert f"arXiv {PAPERS[name]}" in text
    assert preset(name).name == name
    assert {path.stem for path in (FOLDER / "presets").glob("*.toml")} == set(PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_runs_dry(zerosearch: Any, name: str, tokenizer_folder: Path, questions_file: Path) -> None:
    given = {"model.name": tokenizer_folder, "data.train": questions_file, "evaluation.questions": questions_file}
    changes = [argument for key, value in given.items() for argument in ("--set", f"{key}={value}")]
    done = zerosearch("check", str(FOLDER / "presets" / f"{name}.toml"), *changes)
    assert done.code == 0, done.err
    assert "the settings are right" in done.out
    assert "not here" not in done.out
    assert ("<search>" in done.out) == (name != "r1")  # its instructions mention no search


def test_the_search_r1_preset_has_also_the_papers_grpo_arm() -> None:
    text = (FOLDER / "presets" / "search-r1.toml").read_text()
    changes = [word for line in text.splitlines() if line.startswith("#     --set") for word in line.split()[2::2]]
    config = load_config(FOLDER / "presets" / "search-r1.toml", changes)
    assert (config.algorithm.name, config.algorithm.kl, config.training.rollouts) == ("grpo", "loss", 5)
    assert config.training.questions_per_step * config.training.rollouts / config.algorithm.updates_per_batch == 256


@pytest.mark.parametrize(
    ("answer", "well_formed", "expected"),
    [
        ("Lake Titicaca", True, 1.0),
        ("Titicaca", True, 2 / 3),
        ("Titicaca", False, 2 / 3),  # equation 2 of the paper looks at the form only where F1 is 0
        ("Lima", True, 0.1),
        ("Lima", False, 0.0),
        (None, False, 0.0),
    ],
)
def test_research_is_rewarded_as_in_its_equation_2(answer: str | None, well_formed: bool, expected: float) -> None:
    assert reward(preset("research"), answer, well_formed=well_formed) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["search-r1", "r1"])
def test_exact_match_alone_is_the_reward_of_search_r1_and_r1(name: str) -> None:
    config = preset(name)
    assert reward(config, "the lake Titicaca", well_formed=False) == 1.0
    assert reward(config, "Titicaca", well_formed=True) == 0.0


def test_the_arms_differ_by_engine_and_search() -> None:
    engines = {name: preset(name).engine.kind for name in PAPERS if preset(name).protocol.max_searches}
    assert engines == {"search-r1": "remote", "research": "remote", "zerosearch": "simulated"}
    assert preset("r1").data == preset("search-r1").data == preset("zerosearch").data
