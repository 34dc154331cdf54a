"""The public door: names that are there, loaded when they are used; README's lines; engines by name."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply, completion, endpoint
from small_run import write_config
from tiny import save_chain

import zerosearch
from zerosearch import (
    Document,
    EngineError,
    Question,
    SearchPage,
    SearchRequest,
    Trials,
    ask,
    collect,
    evaluate,
    load_config,
    open_engine,
    train,
)
from zerosearch.commands.train import next_steps
from zerosearch.errors import CheckpointError, ConfigError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.process.runtime import prepare
from zerosearch.simulator.page_text import format_page

__all__ = ["endpoint"]
ROOT = Path(__file__).parent.parent
PAGE = format_page([Document("Nepal", "Kathmandu is the capital.")])
TINY = {
    "name": None, "folder": None, "model.lora.rank": 2, "model.lora.alpha": 4.0, "protocol.max_searches": 0,
    "engine.top_k": 1, "training.steps": None, "algorithm.name": "reinforce",
}  # fmt: skip


def test_every_name_is_there_and_none_is_loaded_before_it_is_used() -> None:
    assert [name for name in zerosearch.__all__ if not hasattr(zerosearch, name)] == []
    assert set(dir(zerosearch)) == set(zerosearch.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = zerosearch.nothing  # type: ignore[attr-defined]
    code = "import sys, zerosearch; print(sorted(n for n in sys.modules if n.startswith('zerosearch')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['zerosearch', 'zerosearch.version']"
    light = [n for n in zerosearch.__all__ if n not in ("train", "tune")]
    code = f"import sys; from zerosearch import {', '.join(light)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("call", ["train", "Parts, load_config; Parts(load_config('demo'))"])
def test_the_process_is_prepared_before_torch_is_imported(call: str) -> None:
    code = (
        f"import os; from zerosearch import {call}; from torch._inductor.async_compile import get_compile_threads; "
        "print(os.environ['OMP_WAIT_POLICY'], get_compile_threads())"
    )
    ours = ("OMP_WAIT_POLICY", "TORCHINDUCTOR_COMPILE_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["PASSIVE", "1"]


def test_of_what_libraries_announce_only_what_peft_asks_for_is_kept_back(tiny_model: Any) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prepare()
        assert tiny_model.base.is_gradient_checkpointing is False
        tiny_model.base.gradient_checkpointing_enable()
        warnings.warn_explicit("other", FutureWarning, "modeling.py", 1, module="transformers.modeling")
    assert [str(one.message) for one in told] == ["other"]


def test_names_and_types_are_the_same_for_a_type_checker() -> None:
    text = (ROOT / "src" / "zerosearch" / "__init__.py").read_text()
    checked = re.findall(r"^    from zerosearch\.(\S+) import (.+) as (.+)$", text, re.M)
    assert {name: module for module, name, alias in checked if name == alias} == zerosearch._PLACES


@pytest.fixture
def place(tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the configuration `demo` is a file of the user's own: a model that answers kathmandu."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    save_chain(tiny_tokenizer, "\n<answer>kathmandu</answer>", tmp_path / "model")
    rows = [{"id": f"q{n}", "question": f"Capital {n}?", "golden_answers": ["Kathmandu"]} for n in range(4)]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Nepal", "text": "Kathmandu."}\n')
    write_config(tmp_path / "demo", TINY)
    return tmp_path


@pytest.mark.parametrize("notebook", [False, True])
def test_the_lines_of_the_readme_run(
    place: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str], notebook: bool
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 10
    endpoint.script = [Reply(body=completion(PAGE))]
    code = snippet.replace("http://localhost:8000/v1", endpoint.url)

    async def cell() -> None:
        exec(code, {})  # a notebook runs its cells in an event loop

    asyncio.run(cell()) if notebook else exec(code, {})
    out = capsys.readouterr().out
    assert "kathmandu\n" in out
    assert "Document(title='Nepal'" in out
    assert (place / "runs" / "mine" / "checkpoints" / "step-000002" / "policy").is_dir()


def test_an_engine_by_name_searches_in_scripts_and_in_event_loops(place: Path) -> None:
    with open_engine("bm25", corpus="corpus.jsonl", top_k=1) as engine:
        assert [d.title for d in engine.find("Kathmandu").documents] == ["Nepal"]
        assert engine.name == "bm25:corpus"

    async def program() -> int:
        async with open_engine("bm25", corpus="corpus.jsonl") as engine:
            return len((await engine.search(SearchRequest("Kathmandu", 5))).documents)

    assert asyncio.run(program()) == 1


def test_a_simulated_engine_is_told_question_and_quality(endpoint: Endpoint) -> None:
    endpoint.script = [Reply(body=completion(PAGE)), Reply(status=400)]
    question = Question("q", "Capital of Nepal?", ("Kathmandu",))
    with open_engine("simulated", base_url=endpoint.url, model="m", top_k=1, attempts=1) as engine:
        page = engine.find("nepal", question, "noisy")
        assert (page.quality, page.documents[0].title) == ("noisy", "Nepal")
        assert "Kathmandu" in json.dumps(endpoint.requests[0]["messages"])
        with pytest.raises(EngineError):
            engine.find("peru", question)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("bm25", {"corpsu": "x"}, "unknown setting engine.bm25.corpsu; did you mean engine.bm25.corpus"),
        ("bm25", {"top_k": 0, "corpus": "x"}, "engine.top_k"),
        ("simulatd", {}, "did you mean simulated"),
        ("searxng", {}, "kind searxng needs searxng.url"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(kind: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_engine(kind, **settings)


def test_what_a_complete_run_offers_next_works(place: Path) -> None:
    """Its noise goes by its length, so that it cannot be made longer."""
    simulated = ["engine.kind=simulated", "engine.simulated.model=model", "curriculum.end=0.25", "training.steps=1"]
    short = load_config("demo", [*simulated, "name=short"])
    said: list[str] = []
    assert train(short, say=said.append)
    report = short.run_folder / "report.html"  # as the command writes it
    assert report.stat().st_size > 10_000
    assert said[-1].startswith(f"report {report} (")
    assert [line for line in said if line.startswith("step 1/1  reward ")]
    with pytest.raises(CheckpointError, match="the curriculum goes by it"):
        train(load_config("demo", [*simulated, "name=short", "training.steps=2"]))
    (offered,) = [line for line in next_steps(short) if "trains its policy further" in line]
    words = offered.split()
    name, change = words[words.index("--name") + 1], words[words.index("--set") + 1]
    assert train(load_config(words[2], [f"name={name}", change]))
    assert (place / "runs" / "short-2" / "checkpoints" / "step-000001" / "policy").is_dir()


def test_a_run_is_read_back_as_the_page_on_runs_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "report.md").read_text()
    block = page.partition("## From Python\n")[2].partition("\nThe objects")[0]
    train(load_config("demo", ["name=demo", "training.steps=1"]), say=lambda line: None)
    left: dict[str, Any] = {}
    exec(textwrap.dedent(block), left)
    out = capsys.readouterr().out
    assert re.search(r"^step-000000.jsonl.zst \[1\.0, ", out, re.M)
    assert "'kathmandu', 1.0)" in out
    assert [row["step"] for row in left["metrics"]] == [0]


def test_the_types_that_a_program_needs_are_at_the_door(place: Path) -> None:
    with open_engine("bm25", corpus="corpus.jsonl") as engine:
        assert isinstance(engine.find("Kathmandu", quality=zerosearch.Quality.NOISY), SearchPage)
    got: zerosearch.Answered = ask("Capital?", load_config("demo"))
    assert isinstance(got, zerosearch.Answered)
    assert isinstance(got.trajectory, zerosearch.Trajectory)
    assert isinstance(got.trajectory.scores, zerosearch.Scores)


def test_a_place_may_be_given_as_text(place: Path) -> None:
    config = load_config("demo", ["model.name=model"])
    (place / "sets").mkdir()
    (place / "questions.jsonl").rename(place / "sets" / "mine.jsonl")
    table = evaluate(config, "episode", "mine", out="scores", trials=Trials(data="sets"))
    assert table.rows[0].cells["mine"].value == 1.0
    assert (place / "scores" / "mine" / "episode.jsonl").is_file()
    assert collect(config, "pages", questions="sets/mine.jsonl").done == 4
    assert (place / "pages" / "collect.json").is_file()
