"""`zerosearch ask` as a user types it: real model folders, a real index, a real terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply, completion
from small_run import SIMULATED, write_config
from tiny import chain_model, give_adapter, save_chain

from zerosearch.commands.ask import told_apart
from zerosearch.commands.screen import read_input
from zerosearch.config_file import config_toml, load_config
from zerosearch.errors import CheckpointError, ConfigError, DataError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.run_folder import EMBEDDED, policy_config

CHANGES = {
    "protocol.max_turn_tokens": 24, "protocol.max_page_tokens": 60, "protocol.max_context_tokens": 500,
    "engine.simulated.model": "{folder}/searcher",
}  # fmt: skip
DOWN = (
    "evaluation.engine.kind=remote",
    "evaluation.engine.remote.url=http://127.0.0.1:9/retrieve",  # nobody listens there
    "evaluation.engine.attempts=1",
)


@pytest.fixture(scope="module")
def place(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that only ever searches for nepal, one that answers at once, and a corpus."""
    folder = tmp_path_factory.mktemp("ask")
    for name, text in (("searcher", "\n<search>nepal</search>"), ("knower", "\n<answer>kathmandu</answer>")):
        save_chain(tiny_tokenizer, text, folder / name)
    rows = {"Nepal": "Kathmandu is the capital of Nepal.", "Peru": "Lima."}
    write_jsonl(folder / "corpus.jsonl", [{"id": t, "title": t, "text": text} for t, text in rows.items()])
    for model, searches in (("searcher", 1), ("knower", 0)):
        own = {"model.name": f"{folder}/{model}", "protocol.max_searches": searches}
        write_config(folder / f"{model}.toml", SIMULATED, CHANGES, own)
    return folder


@pytest.fixture
def run_folder(place: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    """What training leaves: steps 2 and 10 with an adapter each, and a newer one that a kill cut off."""
    config = load_config(place / "knower.toml")
    (tmp_path / "config.toml").write_text(config_toml(config))
    model = chain_model(tiny_tokenizer, {})
    give_adapter(model, "policy")
    for step in ("000002", "000010"):
        folder = tmp_path / "checkpoints" / f"step-{step}"
        folder.mkdir(parents=True)
        model.save_adapter("policy", folder / "policy")
        (folder / "state.json").write_text("{}")
    (tmp_path / "checkpoints" / ".step-000020.partial").mkdir()
    return tmp_path


def test_search_page_and_what_became_of_it_are_shown(zerosearch: Any, place: Path) -> None:
    done = zerosearch("ask", str(place / "searcher.toml"), "Capital of Nepal?")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:2] == ["searches  nepal", "finds     [1] Nepal: Kathmandu is the capital of Nepal."]
    assert "no answer: it wanted more than 1 search (protocol.max_searches)" in done.out
    assert lines[-1].strip().startswith("1 search, ")
    assert f"{place}/searcher, bm25:corpus, top 2" in done.err
    assert "\x1b" not in done.out


def test_json_is_one_object_a_question_and_nothing_else(zerosearch: Any, place: Path) -> None:
    asked = "Capital of Nepal?\n\nCapital of Peru?\n"
    done = zerosearch("ask", "--json", str(place / "searcher.toml"), stdin=asked)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["question"] for row in rows] == ["Capital of Nepal?", "Capital of Peru?"]
    for row in rows:
        assert [search["query"] for search in row["searches"]] == ["nepal"]
        assert row["searches"][0]["documents"][0]["title"] == "Nepal"
        assert row["answer"] is None
        assert row["stop_reason"] == "refused_search"
        assert "<information>" in row["text"]
        assert row["seconds"]["total"] > 0


def test_questions_from_a_pipe_are_answered_one_after_the_other(zerosearch: Any, place: Path) -> None:
    done = zerosearch("ask", str(place / "knower.toml"), stdin="One?\nTwo?\n")
    assert done.out.count("answers   kathmandu") == 2
    assert done.out.index("question> One?") < done.out.index("answers") < done.out.index("question> Two?")


def test_a_word_alone_is_a_question_unless_it_is_a_configuration(place: Path) -> None:
    assert told_apart(["Why?"]) == (None, "Why?")
    assert told_apart(["demo"]) == ("demo", None)
    assert told_apart(["gone.toml"]) == ("gone.toml", None)
    assert told_apart([str(place)]) == (str(place), None)  # a run's folder without --run is told so, and no question
    assert told_apart(["?" * 5000]) == (None, "?" * 5000)
    assert told_apart(["runs/x/config.toml", "demo"]) == ("runs/x/config.toml", "demo")
    for words in (["What", "is", "this?"], ["Who", "won?"]):
        with pytest.raises(ConfigError, match="goes in quotes"):
            told_apart(words)
    assert told_apart(["dmeo", "Who won?"]) == ("dmeo", "Who won?")  # whose nearest name is then told


@pytest.mark.parametrize(("args", "said"), [((" ",), "the question is empty"), ((), "no question: give one")])
def test_an_empty_question_is_one_line(zerosearch: Any, place: Path, args: tuple[str, ...], said: str) -> None:
    done = zerosearch("ask", str(place / "knower.toml"), *args)
    assert done.code == 2
    assert said in done.line


def test_an_engine_that_is_down_is_one_line_with_its_kind(zerosearch: Any, place: Path) -> None:
    down = [part for change in DOWN for part in ("--set", change)]
    done = zerosearch("ask", str(place / "searcher.toml"), "Why?", "--json", *down)
    assert done.code == 3
    assert "error: the search failed (connection)" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    row = json.loads(done.out)
    assert row["error"]["kind"] == "connection"
    assert row["answer"] is None


def test_a_simulated_engine_is_asked_and_said_to_know_no_more(zerosearch: Any, place: Path) -> None:
    config = str(place / "searcher.toml")
    done = zerosearch("ask", config, "Why?", "--json", "--set", "evaluation.engine=none")
    row = json.loads(done.out)
    assert [search["engine"] for search in row["searches"]] == [f"simulated:{place}/searcher"]
    done = zerosearch("ask", config, "Why?", "--set", "evaluation.engine=none")
    assert "the engine is simulated" in done.err


def test_a_policy_behind_a_url_is_asked_there_and_never_other_weights(
    zerosearch: Any, place: Path, endpoint: Endpoint
) -> None:
    """The model's name is a folder that is here, too: its weights would answer kathmandu."""
    body = completion("<think>?</think><answer>from the server</answer>", usage={"completion_tokens": 7})
    endpoint.script = [Reply(body=body)]
    config = (str(place / "knower.toml"), "--set", f"model.base_url={endpoint.url}")
    done = zerosearch("ask", *config, "Why?", "--json")
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert (row["answer"], row["policy_tokens"]) == ("from the server", 7)
    assert len(endpoint.requests) == 1
    shown = zerosearch("ask", *config, "Why?")
    assert "answers   from the server" in shown.out
    assert f"knower at {endpoint.url}" in shown.err
    endpoint.script = [Reply(400, b"no such model")]
    refused = zerosearch("ask", *config, "Why?", "--json")
    assert refused.code == 3
    assert "no such model" in refused.line


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (b"\xef\xbb\xbfWho wrote Emma?\r\n", "Who wrote Emma?"),
        ("Où est né Molière ?\n".encode("utf-16"), "Où est né Molière ?"),
        ("Où est né Molière ?\n".encode(), "Où est né Molière ?"),
        (b"Why?\nO\xf9 ?\n", None),
    ],
)
def test_questions_on_a_pipe_may_begin_with_a_mark(
    monkeypatch: pytest.MonkeyPatch, data: bytes, asked: str | None
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    if asked is None:
        with pytest.raises(DataError, match=r"standard input, line 2: is not UTF-8 \(byte 0xf9\)"):
            read_input()
    else:
        assert read_input().splitlines() == [asked]


def test_a_run_is_asked_with_its_newest_whole_checkpoint(zerosearch: Any, run_folder: Path) -> None:
    settings = policy_config(None, run_folder, ())
    assert settings.model.adapter == str(run_folder / "checkpoints" / "step-000010" / "policy")
    assert settings.evaluation.engine is not None
    assert settings.evaluation.engine.kind == "bm25"
    done = zerosearch("ask", "Why?", "--run", str(run_folder))
    assert done.code == 0, done.err
    assert "step-000010/policy, bm25" in done.err.replace("\n", "")
    other = policy_config(None, run_folder, ["model.adapter=elsewhere"])
    assert other.model.adapter == "elsewhere"


def test_all_trained_weights_are_the_model_itself(run_folder: Path) -> None:
    config = load_config(run_folder / "config.toml", ["model.full=true", "model.lora=none"])
    (run_folder / "config.toml").write_text(config_toml(config))
    settings = policy_config(None, run_folder, ())
    assert settings.model.name == str(run_folder / "checkpoints" / "step-000010" / "policy")
    assert settings.model.adapter is None


def test_a_run_without_a_checkpoint_and_a_folder_that_is_no_run_are_named(tmp_path: Path, place: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        policy_config(None, tmp_path / "none", ())
    with pytest.raises(ConfigError, match=r"holds no config\.toml"):
        policy_config(None, tmp_path, ())
    (tmp_path / "config.toml").write_text(config_toml(load_config(place / "knower.toml")))
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        policy_config(None, tmp_path, ())
    with pytest.raises(ConfigError, match="CONFIG and --run"):
        policy_config(place / "knower.toml", tmp_path, ())


def test_without_options_it_is_what_the_demo_begins_with_and_is_judged_by() -> None:
    ours = policy_config(None, None, ["engine.top_k=3"])
    demo = load_config("demo")
    assert ours.model == demo.model
    assert ours.protocol == demo.protocol
    assert ours.engine == demo.evaluation.engine
    assert policy_config(None, None, ["engine.top_k=1"]).engine.top_k == 1
    assert EMBEDDED["engine"]["top_k"] == 3  # the override changed a copy


def test_another_policy_without_a_configuration_is_asked_with_the_shipped_prompt_and_that_is_said(
    zerosearch: Any, place: Path
) -> None:
    ours = ("model.adapter=none", f"model.name={place}/knower", f"engine.bm25.corpus={place}/corpus.jsonl")
    given = [word for setting in ours for word in ("--set", setting)]
    asked = zerosearch("ask", "Capital?", *given)
    assert asked.code == 0
    assert "the prompt is that of the policy that ships: zerosearch ask CONFIG takes the one of CONFIG" in asked.err
    assert "the prompt is" not in zerosearch("ask", "Capital?", *given, "--set", "protocol.prompt=Q: {question}").err
    assert "the prompt is" not in zerosearch("ask", str(place / "knower.toml"), "Capital?", *given[:4]).err


def test_a_budget_holds_for_what_is_asked(zerosearch: Any, place: Path) -> None:
    config = (str(place / "searcher.toml"), "--set", "engine.budget_searches=1", "--json")
    done = zerosearch("ask", *config, stdin="Capital of Nepal?\nCapital of Peru?\n")
    assert done.code == 3
    assert len(done.out.splitlines()) == 1  # the first question was asked, and needed one search
    assert "the budget of this call is spent" in done.line


class Terminal:
    """`zerosearch ask` in a process of its own, on a terminal of 60 columns."""

    def __init__(self, *args: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "zerosearch", "ask", *args]
        env = {**os.environ, "COLUMNS": "60", "TERM": "xterm", **environment}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            close_fds=True,
            start_new_session=True,
            # a shell's background jobs ignore Ctrl-C, and what they start does too
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str, patience: float = 60.0) -> str:
        """What came since the last call, up to `text`."""
        end = time.monotonic() + patience
        while text not in self.seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"waited for {text!r}, saw {self.seen!r}"
            self.seen += os.read(self._master, 4096).decode(errors="replace")
        before, self.seen = self.seen.split(text, 1)
        return before

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C, again where it came between readline's prompt and its wait for a key: there it is noticed late."""
        for _ in range(10):
            self.process.send_signal(signal.SIGINT)
            try:
                self.until(text, patience=3.0)
                return
            except AssertionError:
                assert self.process.poll() is None
        raise AssertionError(f"waited for {text!r}, saw {self.seen!r}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_a_conversation_keeps_its_questions_for_the_next_one(place: Path, tmp_path: Path) -> None:
    for first in (True, False):
        cache = str(tmp_path / "zerosearch")
        terminal = Terminal(str(place / "knower.toml"), ZEROSEARCH_CACHE=cache, NO_COLOR="1")
        try:
            terminal.until("question> ")
            terminal.type("Capital of Nepal?\r" if first else "\x1b[A\r")  # arrow up: the one before
            assert "Capital of Nepal?" in terminal.until("answers ")  # as it was typed, or came back
            assert "kathmandu" in terminal.until("question> ")
            assert terminal.process.poll() is None
            terminal.type("\r")  # nothing asked
            terminal.until("question> ")
            terminal.interrupt_until("question> ")  # Ctrl-C does not end it
            terminal.type("quit\r")
            assert terminal.process.wait(timeout=30) == 0
        finally:
            terminal.close()
    history = tmp_path / "zerosearch" / "ask-history"
    assert history.read_text().splitlines().count("Capital of Nepal?") == 2
