"""Where metrics and evaluations go: real event files of TensorBoard; wandb and trackio where they are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands.conftest import zerosearch

from zerosearch.config import LoggingConfig
from zerosearch.config_file import config_from_dict
from zerosearch.errors import ConfigError
from zerosearch.learning.sinks import TensorBoardSink, evaluation_scalars, open_sinks, scalars, tracker_options

__all__ = ["zerosearch"]
ROW = {"step": 0, "reward": 0.5, "timing": {"seconds": 2.0}, "alarms": [], "kl": None, "on": True}
RECORD = {
    "step": 1, "summary": {"f1": 0.25, "em": 0.0, "questions": 4}, "engine": "bm25",
    "transfer": {"transfer_gap": 0.1, "leak_rate": None}, "timing": {"search_seconds": 1.0},
}  # fmt: skip


def written(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard itself reads: of each tag, its values by their step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_only_numbers_are_sent_and_evaluations_are_told_apart() -> None:
    assert dict(scalars(ROW)) == {"reward": 0.5, "timing/seconds": 2.0}
    assert dict(evaluation_scalars(RECORD)) == {
        "evaluation/f1": 0.25, "evaluation/em": 0.0, "evaluation/questions": 4.0, "transfer/transfer_gap": 0.1,
    }  # fmt: skip


def test_tensorboard_has_evaluations_and_a_resumed_run_has_them_once(tmp_path: Path) -> None:
    first = TensorBoardSink(tmp_path, 0)
    first.evaluated(RECORD | {"step": 0, "summary": {"f1": 0.0}})
    first.log(ROW)
    first.evaluated(RECORD)
    first.log(ROW | {"step": 1, "reward": 0.9})
    first.close()
    again = TensorBoardSink(tmp_path, 1)  # goes on after a step: what came after it is made again
    again.evaluated(RECORD)
    again.log(ROW | {"step": 1, "reward": 0.7})
    again.close()
    found = written(tmp_path)
    assert found["evaluation/f1"] == {0: 0.0, 1: 0.25}
    assert found["reward"] == pytest.approx({0: 0.5, 1: 0.7})


def test_trackers_are_told_project_group_and_wandb_all() -> None:
    logging = LoggingConfig(project="p", group="g", entity="team", run_id="abc-1", tags=["x", "y"])
    assert tracker_options("trackio", logging, Path("runs/r")) == {"project": "p", "group": "g"}
    assert tracker_options("wandb", logging, Path("runs/r")) == {
        "project": "p", "group": "g", "dir": "runs/r", "tags": ["x", "y"], "entity": "team", "id": "abc-1",
        "resume": "allow",
    }  # fmt: skip
    assert tracker_options("wandb", LoggingConfig(), Path("r")) == {
        "project": "zerosearch", "dir": "r", "tags": None, "entity": None,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [{"run_id": "a/b"}, {"run_id": ""}, {"project": ""}, {"tags": [""]}])
def test_settings_that_a_tracker_would_refuse_are_refused_at_once(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"logging\."):
        config_from_dict({"logging": bad}, "test")


def test_one_id_is_not_for_several_runs(zerosearch: Any) -> None:
    refused = zerosearch("train", "demo", "--set", "logging.run_id=mine", "--seeds", "0,1")
    assert refused.code == 2
    assert "logging.run_id is one run's" in refused.line


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_a_tracker_takes_a_run_and_its_evaluations(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read as trackio is imported
    tracker = pytest.importorskip(package, reason=f"{package} is not installed: pip install 'zerosearch-rl[{package}]'")
    logging = {"tensorboard": False, package: True, "project": "looked", "group": "g", "run_id": "one", "tags": ["t"]}
    config = config_from_dict({"name": "r", "logging": logging}, "test")
    (tmp_path / "r").mkdir()
    (sink,) = open_sinks(config, tmp_path / "r", 0)
    sink.evaluated(RECORD | {"step": 0})  # type: ignore[attr-defined]
    sink.log(ROW)
    sink.evaluated(RECORD)  # type: ignore[attr-defined]
    if package == "wandb":
        run = tracker.run
        assert (run.project, run.group, run.id, run.tags) == ("looked", "g", "one", ("t",))
        assert json.loads(json.dumps(dict(run.summary)))["evaluation/f1"] == 0.25
    sink.close()
    assert any((tmp_path / {"wandb": "r/wandb", "trackio": "trackio"}[package]).iterdir())
