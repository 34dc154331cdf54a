"""Every script of recipes/: what is wrong is one line, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
