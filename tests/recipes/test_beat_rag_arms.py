"""The command that runs the arms: what it runs, in which order, on which GPU, and what it does after a failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zerosearch.config_file import load_config

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "beat-rag"))
import arms
import thrifty
from arms import Stage
from script import EVALUATION, MINUTES, Runner


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def writes(name: str, after: str = "") -> tuple[str, ...]:
    return python(
        f"import os, time; {after or 'pass'}; print(os.environ.get('CUDA_VISIBLE_DEVICES'), file=open('{name}', 'a'))"
    )


def runner(folder: Path, gpus: str = "0", minutes: float = 7.5, within: float | None = None) -> Runner:
    return Runner(folder, gpus.split(","), minutes, within)


def test_every_stage_comes_after_what_it_needs_and_its_settings_are_settings() -> None:
    planned = arms.stages(["concise:0", "unneeded:1", "concise:2"], "some/model")
    seen: set[str] = set()
    for stage in planned:
        assert seen.issuperset(stage.needs)
        seen.add(stage.name)
        assert Path(stage.command[1]).exists() or stage.command[1:3] == ("-m", "zerosearch")
        files = [word for word in stage.command if word.endswith(".toml")]
        told = [word.replace(MINUTES, "1") for word in stage.command if re.match(r"[a-z_.]+=", word)]
        for file in files:
            config = load_config(Path(file), told)
            assert config.model.name == "some/model"
        if stage.trains:
            reward = config.reward.name.partition(":")[2]
            assert callable(getattr(thrifty, reward))
    assert {"train-concise-0", "kinds-unneeded-1"} < seen
    commands = {stage.name: stage.command for stage in planned}
    assert "out-concise-0:concise-0,out-concise-2:concise-2" in commands["kinds-concise"]
    told = "-m zerosearch export runs/concise-0 runs/concise-2 --form adapter --out work/mean-concise-0-concise-2"
    assert " ".join(commands["mean-concise"][1:]) == told
    assert "model.adapter=work/mean-concise-0-concise-2" in commands["evaluate-mean-concise"]
    assert "mean-unneeded" not in commands
    given = {stage.name: stage for stage in arms.stages(["concise:0"], "some/model", "some/adapter")}
    assert "tune" not in given
    assert {name for name, stage in given.items() if any("some/adapter" in word for word in stage.command)} == {
        "warm", "pages", "train-concise-0"
    }  # fmt: skip
    assert all(given.keys() >= set(stage.needs) for stage in given.values())
    lines = [stage.line for stage in planned]
    assert lines[0] == "python recipes/beat-rag/hit_rows.py data/corpus.jsonl.gz data/train work/hit-rows.jsonl"
    assert not [line for line in lines if str(arms.HERE) in line or sys.executable in line]


def test_stages_that_wait_for_nothing_share_the_gpus(tmp_path: Path) -> None:
    meets = "open('{0}', 'w').close(); [time.sleep(.02) for _ in range(500) if not os.path.exists('{1}')]"
    asked = [
        Stage("a", writes("gpu-a", meets.format("one", "two"))),
        Stage("b", writes("gpu-b", meets.format("two", "one"))),
        Stage("c", writes("gpu-c"), ("a", "b")),
        Stage("d", writes("gpu-d"), ("c",), gpu=False),
    ]
    assert runner(tmp_path, "3,5").run(asked) == []
    assert {(tmp_path / f"gpu-{name}").read_text() for name in "ab"} == {"3\n", "5\n"}
    assert (tmp_path / "gpu-c").read_text() in ("3\n", "5\n")
    assert (tmp_path / "gpu-d").read_text() == f"{os.environ.get('CUDA_VISIBLE_DEVICES')}\n"


def test_nothing_that_needs_a_failed_stage_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        Stage("bad", python("import sys; print('the reason'); sys.exit(3)")),
        Stage("after", writes("after"), ("bad",)),
        Stage("last", writes("last"), ("after",)),
        Stage("other", writes("other")),
    ]
    assert runner(tmp_path).run(asked) == ["bad", "after", "last"]
    assert (tmp_path / "other").exists()
    assert not (tmp_path / "after").exists()
    told = capsys.readouterr().out
    assert "bad FAILED with 3" in told
    assert "the reason" in told


def test_what_was_done_is_done_again_only_where_something_changed(tmp_path: Path) -> None:
    asked = [Stage("a", writes("a")), Stage("b", writes("b"), ("a",)), Stage("c", writes("c"))]
    for _ in range(2):
        assert runner(tmp_path).run(asked) == []
    assert [len((tmp_path / name).read_text().split()) for name in "abc"] == [1, 1, 1]
    asked[0] = Stage("a", writes("a", "print(1)"))
    assert runner(tmp_path).run(asked) == []
    assert [len((tmp_path / name).read_text().split()) for name in "abc"] == [2, 2, 1]


def test_arms_share_the_time_that_is_left(tmp_path: Path) -> None:
    two = runner(tmp_path, "0,1", within=60 * 30)
    assert two.share(2) == 7.5
    two.minutes = 100
    assert two.share(2) == pytest.approx(30 - EVALUATION / 60, abs=0.01)
    assert [two.share(3), two.share(4)] == pytest.approx([15 - EVALUATION / 60] * 2, abs=0.01)
    assert two.share(2, 1) == pytest.approx(30 - 2 * EVALUATION / 60, abs=0.01)
    two.within = 0
    assert two.share(1) == 0.1
    assert runner(tmp_path).share(9) == 7.5


def test_stages_after_the_last_arm_run_within_a_time_too(tmp_path: Path) -> None:
    asked = [
        Stage("train", (*writes("train"), f"max={MINUTES}")),
        Stage("evaluate", writes("evaluate"), ("train",)),
        Stage("other", writes("other")),
    ]
    assert runner(tmp_path, within=60).run(asked) == []
    assert (tmp_path / "evaluate").exists()


def test_a_comparison_is_shown_before_what_comes_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        Stage("kinds-a", python("print('the table')"), gpu=False, title="a against rag"),
        Stage("late", python("import sys; sys.exit(1)"), ("kinds-a",)),
    ]
    for _ in range(2):  # the second call finds it done
        assert runner(tmp_path).run(asked) == ["late"]
        told = capsys.readouterr().out
        assert told.count("a against rag\nthe table\n") == 1
        assert told.index("the table") < told.index("late begins")


def test_an_arm_is_told_its_minutes_and_its_mark_does_not_hold_them(tmp_path: Path) -> None:
    says = Stage("train", (*python("import sys; print(sys.argv[1], file=open('told', 'a'))"), f"max={MINUTES}"))
    assert says.trains
    for minutes in (2.0, 3.0):
        assert runner(tmp_path, minutes=minutes).run([says]) == []
    assert (tmp_path / "told").read_text() == "max=2.00\n"


def test_a_killed_command_ends_what_it_runs(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(arms.HERE)!r}); import arms, signal\n"
        "arms.stages = lambda *_: [arms.Stage('long', (sys.executable, '-c',"
        " \"import os, time; print(os.getpid(), file=open('pid', 'w'), flush=True); time.sleep(60)\"))]\n"
        "sys.argv = ['arms.py']; sys.exit(arms.main())"
    )
    command = subprocess.Popen(python(code), cwd=tmp_path)
    mark = tmp_path / "pid"
    while not (mark.exists() and mark.read_text().strip()):
        time.sleep(0.05)
    command.send_signal(signal.SIGTERM)
    assert command.wait(20) == 143
    child = int(mark.read_text())
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the child lives on")


@pytest.mark.parametrize("wrong", ["concise", "concise:", ":0", "concise:0,unneeded:one"])
def test_an_arm_that_is_none_is_told_before_anything_runs(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["arms.py", "--arms", wrong])
    monkeypatch.setattr(Runner, "run", lambda *_: [])
    with pytest.raises(SystemExit) as stop:
        arms.main()
    assert stop.value.code == 2
    assert "is not REWARD:SEED" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
