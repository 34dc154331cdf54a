"""Where a run begins: never on top of results, at an older checkpoint where the newest is damaged, and what is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from learning.test_trainer import rows_of
from learning.toy import toy_config, toy_trainer

from zerosearch.config import TrainConfig
from zerosearch.errors import CheckpointError, DataError, FolderError
from zerosearch.learning.beginning import check_run_folder, look
from zerosearch.learning.checkpoints import list_checkpoints, mark_start

REINFORCE = {"name": "reinforce", "kl": "none"}


def configure(folder: Path, **changes: Any) -> TrainConfig:
    small = {"steps": 3, "checkpoint_every": 1, "questions_per_step": 2, "rollouts": 2}
    return toy_config(folder, REINFORCE, **{**small, **changes})


def run(config: TrainConfig) -> list[str]:
    """Train to the end; what was said."""
    said: list[str] = []
    trainer = toy_trainer(config)
    trainer.say = said.append
    assert trainer.run()
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three steps, with the checkpoints of steps 2 and 3."""
    folder = tmp_path_factory.mktemp("finished")
    run(configure(folder))
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "toy"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip(path: Path) -> None:
    """Whole as a zip, and no state all the same."""
    import torch

    torch.save([1, 2], path)


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def wrong(path: Path) -> None:
    path.write_text('{"settings": 7}')


DAMAGE = [
    *[("learner.pt", damage) for damage in (cut, gone, folder)],
    *[("state.json", damage) for damage in (gone, loop, wrong)],
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_damaged_newest_checkpoint_gives_way_to_the_older_one(
    copy: Path, finished: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(copy / "checkpoints" / "step-000003" / name)
    said = run(configure(copy.parent))
    assert any(text.startswith("warning") and "step-000003" in text for text in said)
    assert f"{copy / 'checkpoints' / 'step-000003'} is now step-000003.damaged" in said
    assert f"resuming from {copy / 'checkpoints' / 'step-000002'}" in said
    assert rows_of(configure(copy.parent)) == rows_of(configure(finished))
    assert [c.step for c in list_checkpoints(copy / "checkpoints")] == [2, 3]
    assert (copy / "checkpoints" / "step-000003.damaged").is_dir()


@pytest.mark.parametrize(("name", "damage"), [("learner.pt", cut), ("learner.pt", flip), ("state.json", loop)])
def test_results_without_a_whole_checkpoint_are_not_begun_over(
    copy: Path, name: str, damage: Callable[[Path], None]
) -> None:
    for step in (2, 3):
        damage(copy / "checkpoints" / f"step-00000{step}" / name)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(
        CheckpointError, match=r"--fresh sets them aside and starts over, or take another --name"
    ) as caught:
        run(configure(copy.parent))
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("algorithm", [REINFORCE, {"name": "grpo"}])
def test_results_whose_checkpoints_are_gone_are_not_begun_over(copy: Path, algorithm: dict[str, Any]) -> None:
    shutil.rmtree(copy / "checkpoints")
    config = toy_config(copy.parent, algorithm, steps=3)
    with pytest.raises(CheckpointError, match=r"holds results \(metrics.jsonl, evaluations/\).*it has no checkpoint"):
        look(config)
    assert len(rows_of(configure(copy.parent))) == 3


def test_a_run_stopped_before_its_first_checkpoint_begins_again_with_its_own_settings_only(copy: Path) -> None:
    config = configure(copy.parent, checkpoint_every=0)
    shutil.rmtree(copy / "checkpoints")
    mark_start(copy / "checkpoints", config)
    with pytest.raises(CheckpointError, match=r"algorithm\.kl = 'none', now it is 'loss'"):
        look(toy_config(copy.parent, {"name": "grpo"}, steps=3))
    whole = rows_of(configure(copy.parent))
    assert any("was stopped before its first checkpoint; it begins again" in text for text in run(config))
    assert rows_of(configure(copy.parent)) == whole
    assert [path.name for path in (copy / "checkpoints").iterdir()] == ["step-000003"]  # and no start.json


def test_metrics_that_are_lost_are_said(copy: Path) -> None:
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    shutil.rmtree(copy / "checkpoints" / "step-000003")
    (copy / "metrics.jsonl").write_text(lines[1])
    assert any(
        "metrics.jsonl lacks 1 of the 2 steps before the checkpoint" in text for text in run(configure(copy.parent))
    )
    assert [row["step"] for row in rows_of(configure(copy.parent))] == [1, 2]


@pytest.mark.parametrize("line", [b"\0" * 200, b"[1]", b"null", b'{"step": "x", "reward": 1}', b"[" * 100_000, b"\xff"])
def test_a_damaged_line_of_metrics_is_one_line_with_a_way_out(copy: Path, line: bytes) -> None:
    with (copy / "metrics.jsonl").open("ab") as out:
        out.write(line + b"\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl:4: .*(remove this line|not an object)") as caught:
        run(configure(copy.parent))
    assert "\n" not in str(caught.value)


def test_what_kills_left_among_the_checkpoints_is_swept(copy: Path) -> None:
    root = copy / "checkpoints"
    for name in (".step-000004.partial", ".step-000003.before"):
        (root / name).mkdir()
    shutil.copytree(root / "step-000002", root / "step-000001")  # killed before it was dropped
    (root / "mine").mkdir()
    run(configure(copy.parent))
    assert sorted(path.name for path in root.iterdir()) == ["mine", "step-000002", "step-000003"]


def test_a_folder_that_is_no_runs_is_not_run_in(tmp_path: Path) -> None:
    check_run_folder(tmp_path)
    check_run_folder(tmp_path / "new")
    (tmp_path / "config.toml").write_text("mine")
    for manifest in (None, "{", "[]", '{"name": "a web page"}'):
        if manifest is not None:
            (tmp_path / "manifest.json").write_text(manifest)
        with pytest.raises(FolderError, match=r"holds config\.toml.* and no manifest of a run; take another --name"):
            check_run_folder(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"packages": {}}))
    check_run_folder(tmp_path)
    with pytest.raises(FolderError, match="cannot be run in"):
        check_run_folder(tmp_path / "config.toml")
