"""Every script of recipes/: what is wrong is one line, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipes.embedded import make
from recipes.rejection import tune

ROOT = Path(__file__).parents[2]
ENDS = ('if __name__ == "__main__":\n    run(main)\n', 'if __name__ == "__main__":\n    raise SystemExit(main())\n')
OTHERS = ("verl-offline/probe.py",)  # tells of each check itself what it raised
SCRIPTS = {
    str(file.relative_to(ROOT / "recipes")): file
    for file in sorted((ROOT / "recipes").glob("*/*.py"))
    if "__main__" in file.read_text()
}


def ran(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"recipes.{module}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in OTHERS])
def test_a_script_ends_as_the_others_do(name: str) -> None:
    assert SCRIPTS[name].read_text().endswith(ENDS)


@pytest.mark.parametrize("module", ["embedded.make", "rejection.tune", "factbook.build", "factbook.measure"])
def test_a_wrong_word_is_refused_with_the_usage(module: str) -> None:
    found = ran(module, "a", "b", "c")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("usage: ")
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("parse", "words"), [(make.parse, ["policy"]), (tune.parse, ["tries", "--model", "m"])], ids=["make", "tune"]
)
def test_a_count_or_a_size_that_trains_nothing_is_refused(
    parse: Callable[[list[str]], Any], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    least = {"epochs": 0.01, "examples": 1, "per-question": 1, "rank": 1, "batch-size": 1, "micro-batch-tokens": 64}
    for option, smallest in least.items():
        assert parse([*words, "--out", "o", f"--{option}", str(smallest)])
        for wrong in ("-1", "0", "nan", "inf", "ten"):
            with pytest.raises(SystemExit):
                parse([*words, "--out", "o", f"--{option}", wrong])
            told = capsys.readouterr().err.splitlines()[-1]
            kind = "a number" if option == "epochs" else "a whole number"
            assert told.endswith(f"error: argument --{option}: {wrong!r} is not {kind} of at least {smallest}")


def test_a_missing_file_or_model_is_one_line(tmp_path: Path) -> None:
    for words, said in (
        (
            ("rejection.tune", f"{tmp_path}/none", "--model", "smollm2-135m"),
            f"{tmp_path}/none: holds no part-*.jsonl.zst",
        ),
        (("embedded.make", "policy", "--model", "nope"), "no model 'nope'"),
        (("embedded.make", "policy", "--start", "nope"), "adapter nope: no such folder"),
    ):
        found = ran(*words, "--out", str(tmp_path / "out"))
        assert found.returncode == 1
        assert found.stderr.startswith(f"error: {said}")
        assert len(found.stderr.splitlines()) == 1
