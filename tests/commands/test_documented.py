"""The commands that the documentation shows and that take seconds are run, beside files of the names that they use."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from doc_commands import ROOT, configurations, pages, shown_in_configuration, shown_in_page
from evaluation.made import made
from reports.looked import episodes_of, write_evaluation, write_run

from zerosearch.commands.listing import SUMMARIES
from zerosearch.config_file import copy
from zerosearch.episodes.episode import Codec

RUN = ("init", "check", "data", "doctor", "models", "cost", "show", "report", "compare")
ONLY_PARSED = {
    "train": "minutes of a CPU, or a GPU; tests/learning trains tiny models",
    "ask": "loads the embedded model; test_ask.py asks a tiny one",
    "evaluate": "loads a model and asks benchmarks; test_evaluate.py does so with a tiny one",
    "collect": "a policy plays; test_chain.py and test_collect_url.py",
    "record": "continues what collect made; test_chain.py",
    "label": "continues what record made; test_chain.py",
    "tune": "trains an adapter; test_chain.py",
    "refresh": "plays and tunes; test_refresh.py does so with tiny models",
    "fidelity": "a simulator writes hundreds of pages; test_chain.py",
    "serve": "serves until it is stopped; test_serve.py",
    "export": "loads a model; test_export.py",
    "bench": "minutes, on a GPU; test_bench.py",
}
NOT_RUN = {
    "--url": "asks a server",
    "--live": "serves until it is stopped",
    "--fetch": "downloads a model",
    "--unlike": "part of a longer command of a recipe",
    "fidelity": "needs a report of fidelity; test_report.py",
    "pages": "needs a collection; test_show.py",
}
"""Words of a command, and why it is only parsed although others of its name are run."""
STANDS_FOR = {"ID": "q0", "CONFIG": "one-gpu-3b", "RUN": "runs/demo"}


def documented() -> dict[str, str]:
    """Every command of a code block that is run here, with its first place."""
    shown = [one for page in pages() for one in shown_in_page(page) if not one.inline]
    shown += [one for file in configurations() for one in shown_in_configuration(file)]
    own = [one for one in shown if one.words[0] == "zerosearch" and one.words[1:2] and one.words[1] in RUN]
    return {one.text: one.place for one in reversed(own) if not set(one.words) & set(NOT_RUN)}


@pytest.fixture(scope="module")
def stage(byte_codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: runs, evaluations, questions, and the configurations that they `init`."""
    folder = tmp_path_factory.mktemp("stage")
    for name, seed in (("demo", 0), ("demo-seed0", 0), ("demo-seed1", 1), ("valley", 0)):
        run = write_run(folder / "runs" / name, byte_codec, 4, seed=seed)
        for step in (0, 3, 4):
            write_evaluation(run, step, episodes_of(byte_codec, step, seed=seed))
    for out in ("out", "out-fifth", "out-rag"):
        for method in ("rag", "react", "fifth"):
            made(folder / out, [1, 0, 1] * 4, method=method)
    for file in (ROOT / "examples" / "own-questions").iterdir():
        shutil.copy(file, folder / file.name)
    for words in map(shlex.split, documented()):
        if words[1] == "init" and "--from" in words and not (folder / words[2]).exists():
            copy(words[words.index("--from") + 1], folder / words[2])
    return folder


@pytest.mark.model
@pytest.mark.parametrize("text", documented())
def test_a_command_of_the_pages_runs(
    text: str, stage: Path, zerosearch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stage)
    words = [STANDS_FOR.get(word, word) for word in shlex.split(text)[1:]]
    if words[0] == "check":  # as on the pages: before there is a run
        monkeypatch.chdir(shutil.copytree(stage, tmp_path / "new", ignore=shutil.ignore_patterns("runs")))
    if words[0] == "init" and len(words) > 1:
        (stage / words[1]).unlink(missing_ok=True)
    if words[0] == "check":
        words += ["--set", "folder=empty"]  # the runs here are made up, and training refuses them
    done = zerosearch(*words)
    assert done.err == "" or done.code == 0, done.err
    # 1: what is documented is right, and this machine lacks something that the command names
    assert done.code == 0 or (done.code == 1 and re.search("not here|does not fit", done.out)), done.out


def test_every_command_is_run_or_has_a_reason() -> None:
    assert {*RUN, *ONLY_PARSED} == set(SUMMARIES)
    assert not {*RUN} & {*ONLY_PARSED}
    assert len(documented()) > 15
