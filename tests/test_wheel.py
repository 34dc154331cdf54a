"""The wheel, in an empty folder outside of the repository."""

from __future__ import annotations

import email
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow  # pip fetches the build backend


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked; what it depends on is that of these tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("zerosearch_rl-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """`run("init", "mine.toml")` in an empty folder; `bare`: as if no extra were installed."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers', 'peft', 'tokenizers', 'gguf', 'safetensors'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
    )
    empty = tmp_path / "empty"
    empty.mkdir()

    def go(*arguments: str, bare: bool = False) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(site), *([str(tmp_path / "bare")] if bare else [])])
        command = [sys.executable, "-m", "zerosearch", *arguments]
        environment = {**os.environ, "PYTHONPATH": path, "ZEROSEARCH_CACHE": str(tmp_path / "cache")}
        return subprocess.run(
            command, cwd=empty, capture_output=True, text=True, timeout=300, env=environment, check=False
        )

    return go


def test_the_package_says_what_it_is(site: Path) -> None:
    (file,) = site.glob("zerosearch_rl-*.dist-info/METADATA")
    told = email.message_from_string(file.read_text(encoding="utf-8"))
    assert (told["Name"], told["License-Expression"]) == ("zerosearch-rl", "Apache-2.0")
    assert told["Description-Content-Type"] == "text/markdown"
    text = str(told.get_payload())
    assert "pip install 'zerosearch-rl[train]'" in text
    assert "](" not in text  # a link to a file of the repository leads nowhere on the package index
    assert told["Project-URL"] is None
    assert (site / "zerosearch" / "py.typed").is_file()
    page = site / "zerosearch" / "reports" / "page"
    assert "MIT License" in (page / "vendor" / "LICENSE").read_text(encoding="utf-8")
    assert {"body.html", "report.css", "main.js"} <= {file.name for file in page.iterdir()}


@pytest.mark.parametrize("bare", [False, True])
def test_commands_work_in_an_empty_folder_or_say_what_to_install(run: Run, bare: bool) -> None:
    for command in ("train", "ask", "evaluate"):
        assert "Usage: " in run(command, "--help", bare=bare).stdout
    assert run("init", "mine.toml", "--from", "demo", bare=bare).returncode == 0
    shown = run("data", "factbook:test:two-hop", "--limit", "3", bare=bare)
    assert "factbook:test:two-hop: 3 questions" in shown.stdout, shown.stderr
    for config in ("preset:search-r1", "paper-qwen2.5-3b"):
        checked = run("check", config, bare=bare)
        assert f"{config}: the settings are right" in checked.stdout, checked.stderr
    if bare:
        for line in (("train", "mine.toml"), ("train", "demo"), ("ask", "Why?"), ("evaluate", "demo", "--out", "out")):
            refused = run(*line, bare=True)
            assert refused.returncode in (1, 2), line
            assert "pip install 'zerosearch-rl[train]'" in refused.stderr.splitlines()[-1], (line, refused.stderr)


@pytest.mark.model
def test_the_demo_is_ready_in_an_empty_folder(run: Run) -> None:
    checked = run("check", "demo")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "demo: the settings are right" in checked.stdout
