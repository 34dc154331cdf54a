"""`zerosearch train`, run as it is installed: real model folders, a real server, and what is left when things break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from engines.conftest import PAGE, Endpoint, Reply, completion
from learning.test_sinks import written
from small_run import write_config
from tiny import save_chain

from zerosearch.commands.screen import Console
from zerosearch.commands.train import results_table
from zerosearch.config_file import load_config
from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.files.jsonl import read_rows
from zerosearch.learning.lines import clock

SECRET = "sk-mustnotbewrittenanywhere"
CHANGES = {
    "engine.kind": "simulated", "engine.bm25.corpus": None, "engine.attempts": 1, "engine.simulated.model": "served",
    "engine.simulated.api_key_env": "ZS_TEST_KEY", "algorithm.entropy_coef": 0.1, "logging.tensorboard": None,
    "training.steps": 2, "training.learning_rate": 0.01,
}  # fmt: skip


def serve() -> Endpoint:
    """A server that knows one page. It says nothing of clients that go away: standard error is looked at here."""
    endpoint = Endpoint()
    endpoint.script = [Reply(body=completion(PAGE, usage=USAGE))]
    endpoint._server.handle_error = lambda *_: None  # type: ignore[method-assign]
    return endpoint


USAGE = {"prompt_tokens": 200, "completion_tokens": 60}


@pytest.fixture
def server() -> Iterator[Endpoint]:
    endpoint = serve()
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that searches for nepal in every turn."""
    return save_chain(tiny_tokenizer, "\n<search>nepal</search>", tmp_path_factory.mktemp("model"))


@pytest.fixture
def config(
    tmp_path: Path, model: Path, server: Endpoint, questions_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZS_TEST_KEY", SECRET)
    monkeypatch.setenv("COLUMNS", "300")  # no line is broken at a word that a test looks for
    found = {"model.name": str(model), "engine.simulated.base_url": server.url}
    return write_config(tmp_path / "small.toml", CHANGES, found)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small"


def everything(folder: Path) -> dict[str, bytes]:
    """The run's files; compressed ones unpacked."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found[str(path.relative_to(folder))] = (
                zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data
            )
    return found


def is_readable(folder: Path) -> None:
    """Whatever happened, what is there can be read."""
    load_config(folder / "config.toml")
    json.loads((folder / "manifest.json").read_text())
    list(read_rows(folder / "metrics.jsonl"))
    for path in folder.rglob("*.jsonl.zst"):
        assert list(read_trajectories(path))
    assert not list(folder.rglob("*.partial*"))


def test_a_run_leaves_its_folder_and_says_where_and_its_key_stands_nowhere(
    zerosearch: Any, config: Path, run_folder: Path, server: Endpoint
) -> None:
    result = zerosearch("train", str(config))
    assert (result.code, result.err) == (0, "")
    assert "2 steps of 2 questions x 2 rollouts" in result.out
    assert "step 1/2" in result.out
    assert "2 held-out questions, simulated:served, top 2, greedy" in " ".join(result.out.split())
    assert f"{run_folder}/metrics.jsonl" in result.out
    found = everything(run_folder)
    assert found.keys() >= {
        "config.toml", "manifest.json", "metrics.jsonl", "report.html",
        "checkpoints/step-000002/state.json",
        "checkpoints/step-000002/policy/adapter_model.safetensors", "trajectories/step-000000.jsonl.zst",
        "trajectories/step-000001.jsonl.zst", "evaluations/step-000000.json", "evaluations/step-000002.json",
    }  # fmt: skip
    assert written(run_folder / "tensorboard")["evaluation/f1"].keys() == {0, 2}
    assert written(run_folder / "tensorboard")["reward"].keys() == {0, 1}
    is_readable(run_folder)
    rows = list(read_rows(run_folder / "metrics.jsonl"))
    assert [row["pages_parsed"] for row in rows] == [1.0, 1.0]
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert len(asked) == 2 + 2 + 2 + 2  # before, two steps, after: one page for a question and query in each
    assert all("nepal" in text for text in asked)
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {SECRET}"}
    assert [name for name, data in found.items() if SECRET.encode() in data] == []
    assert b"ZS_TEST_KEY" in found["config.toml"]
    assert SECRET not in result.out


def test_a_run_ends_with_its_report_or_says_why_there_is_none(zerosearch: Any, config: Path, run_folder: Path) -> None:
    result = zerosearch("train", str(config))
    (line,) = [line for line in result.out.splitlines() if line.startswith("  report     ")]
    assert line.split()[1] == f"{run_folder}/report.html"
    written = (run_folder / "report.html").read_text()
    assert all(f'id="{name}-data">' in written for name in ("summary", "episodes"))
    (run_folder / "report.html").write_text("my own notes")
    again = zerosearch("train", str(config))
    assert (again.code, again.err) == (0, "")
    assert "  report     could not be written" in again.out
    assert (run_folder / "report.html").read_text() == "my own notes"


def test_out_of_time_is_no_failure_and_the_same_command_goes_on_also_with_another_server(
    zerosearch: Any, config: Path, run_folder: Path, server: Endpoint
) -> None:
    command = ("train", str(config), "--set", "training.max_minutes=0.0000001")
    first = zerosearch(*command)
    assert first.code == 0
    assert "stopped after step 1 of 2" in first.out
    assert "the run is not complete: the same command resumes it" in first.out
    other = serve()
    try:
        server.stop()
        second = zerosearch(*command, "--set", f"engine.simulated.base_url={other.url}")
    finally:
        other.stop()
    assert (second.code, second.err) == (0, "")
    assert "resuming from" in second.out
    assert "not complete" not in second.out
    assert [row["step"] for row in read_rows(run_folder / "metrics.jsonl")] == [0, 1]
    is_readable(run_folder)


def test_fresh_starts_over_and_loses_nothing(zerosearch: Any, config: Path, run_folder: Path) -> None:
    assert zerosearch("train", str(config), "--set", "training.steps=1").code == 0
    before = everything(run_folder)
    refused = zerosearch("train", str(config))
    assert refused.code == 2
    assert "training.steps = 1, now it is 2" in refused.line
    missing = zerosearch("train", str(config), "--fresh", "--set", "model.adapter=nowhere")
    assert "adapter nowhere: no such folder" in missing.line
    assert everything(run_folder) == before
    result = zerosearch("train", str(config), "--fresh", "--set", "training.steps=1")
    assert result.code == 0
    assert f"the older run is now {run_folder}.old-1" in result.out
    assert everything(run_folder.with_name("small.old-1")) == before


BROKEN: dict[str, tuple[Reply, str]] = {
    "down": (Reply(), "connection"),
    "401 that tells the key": (Reply(status=401, body=f"bad key {SECRET}".encode()), "HTTP 401: bad key [key]"),
    "nothing said": (Reply(body=completion("", usage=USAGE)), "the answer is empty"),
    "no document": (Reply(body=completion("```\n***\n```", usage=USAGE)), "wrote no document"),
    "silence": (Reply(hold=True), "no answer within the deadline of 0.3 s"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_server_ends_the_run_with_one_line(
    case: str, zerosearch: Any, config: Path, run_folder: Path, server: Endpoint
) -> None:
    reply, text = BROKEN[case]
    server.script = [reply]
    if case == "down":
        server.stop()
    result = zerosearch(
        "train", str(config), "--set", "training.questions_per_step=4", "--set", "evaluation.limit=1",
        "--set", f"engine.deadline_seconds={0.3 if case == 'silence' else 60}",
    )  # fmt: skip
    assert result.code == 3
    first, line = result.err.splitlines()  # the first failure is told as it happens, the last with the end
    for said in (first, line):
        assert (f"{server.url}/chat/completions" if case == "down" else text) in said
    assert "searches failed (limit 20%)" in line or "every search of this step failed" in line
    assert SECRET not in result.out + result.err
    is_readable(run_folder)
    assert not (run_folder / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("training.stepz=3", "unknown setting training.stepz"),
        ("logging.trackio=true", "pip install 'zerosearch-rl[trackio]'"),
        ("data.train=nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("engine.simulated.api_key_env=ZS_NOT_SET", "ZS_NOT_SET is not set"),
        ("protocol.prompt=hello", "protocol.prompt must hold {question}"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    change: str, text: str, zerosearch: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZS_NOT_SET", raising=False)
    result = zerosearch("train", str(config), "--set", change)
    assert result.code == 2
    assert text in result.line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_table_has_a_column_for_each_evaluation_and_rows_for_the_transfer() -> None:
    summary = dict.fromkeys(("f1", "em", "cover_em", "searches", "evidence", "valid_actions", "answered"), 0.25)
    first = {"step": 0, "engine": "bm25:x", "top_k": 3, "summary": summary | {"questions": 9}}
    last = first | {"step": 7, "transfer": {"transfer_gap": -0.5, "leak_rate": None}}
    plain, both = results_table([first]), results_table([first, last])
    assert [str(column.header) for column in both.columns] == ["", "before", "after 7 steps"]
    assert both.row_count == plain.row_count + 2
    assert list(both.columns[2].cells)[-2:] == ["-0.500", "-"]
    assert list(both.columns[1].cells)[-2:] == ["-", "-"]


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        ("80", ["24 held-out questions, bm25:corpus/snippets-15, top 3, greedy"]),
        ("49", ["24 held-out questions,", "bm25:corpus/snippets-15, top 3, greedy"]),
    ],
)
def test_the_title_of_the_demos_table_is_broken_only_where_the_screen_is_too_narrow(
    columns: str, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    summary = dict.fromkeys(("f1", "em", "cover_em", "searches", "evidence", "valid_actions", "answered"), 0.25)
    made = {"engine": "bm25:corpus/snippets-15", "top_k": 3, "summary": summary | {"questions": 24}}
    console = Console()
    monkeypatch.setattr("zerosearch.commands.screen.console", console)
    console.print(results_table([{"step": 0, **made}, {"step": 3, **made}]))
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown[: len(lines)] == lines
    assert shown[len(lines)].startswith("┏")
    made["summary"]["questions"] = 1
    assert str(results_table([{"step": 0, **made}]).title).startswith("1 held-out question,")
    assert len(shown[len(lines)]) == 49
