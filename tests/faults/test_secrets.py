"""Secrets and escapes: whatever a command is given, and whatever a server sends back, none of them comes out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from commands.conftest import questions_file, zerosearch
from engines.conftest import Reply, completion, endpoint
from faults.chaos import ESCAPES, KEY, leaks

__all__ = ["endpoint", "questions_file", "zerosearch"]  # fixtures

Tally = Callable[..., AbstractContextManager[None]]

SECRET = "hunt/er22@x"
ADDRESSES = (
    "http://user:hunter22@127.0.0.1:9/v1",
    "user:hunter22@127.0.0.1:9",
    "http:/user:hunter22@127.0.0.1:9",
    "ftp://user:hunter22@127.0.0.1/v1",
    "http://127.0.0.1:9/v1?api_key=hunter22",
    f"http://user:{SECRET}@127.0.0.1:9/v1",
    "http://user:hunter%32%32@127.0.0.1:9/v1",
    "http://user%3Ahunter22%40127.0.0.1:9/v1",
    "http://hunter22@127.0.0.1:9/v1",
    "http://user:hunter22@[::1]:9/v1",
    "http://user:hunter22@host:port/v1",
    "http://user:hunter22@",
    "//user:hunter22@127.0.0.1:9",
    "http://127.0.0.1:9/v1?token=hunter22",
    "HTTPS://USER:hunter22@127.0.0.1:9/v1#x",
    "socks5://user:hunter22@127.0.0.1:9",
)
KEYS = ("sk-hunter22-abcdef", "0123hunter22456789abcdef01234567", "hf_hunter22AbCdEf", "hunter22 key", "hunter22/+==")
MARKS = ("hunter22", "er22@x", "hunter%32", "hunt/er22")


def calls(config: str, questions: str, out: Path) -> dict[str, list[str]]:
    """Every command that takes an address and a key; ADDRESS and NAME stand where they go."""
    real = [
        "--set",
        "engine.kind=remote",
        "--set",
        "engine.remote.url=ADDRESS",
        "--set",
        "engine.remote.api_key_env=NAME",
    ]
    model = ["--set", "model.base_url=ADDRESS", "--set", "model.api_key_env=NAME"]
    simulator = ["--set", "engine.simulated.base_url=ADDRESS", "--set", "engine.simulated.api_key_env=NAME"]
    recorded = str(out / "recorded.jsonl")
    return {
        "train, policy": ["train", config, "--folder", str(out), *model],
        "train, simulator": ["train", config, "--folder", str(out), *simulator],
        "check, policy": ["check", config, *model],
        "check, simulator": ["check", config, *simulator],
        "check, engine": ["check", config, *real],
        "check --toml": ["check", config, "--toml", *simulator],
        "collect": ["collect", config, "--out", str(out / "c"), "--questions", questions, *model],
        "collect, engine": ["collect", config, "--out", str(out / "c"), "--questions", questions, *real],
        "record": ["record", config, "--queries", questions, "--out", str(out / "r.jsonl"), *real],
        "evaluate": [
            "evaluate", "--model", "m", "--url", "ADDRESS", "--key-env", "NAME", "--methods", "direct",
            "--benchmarks", questions, "--out", str(out / "e"),
        ],
        "ask": ["ask", config, "Why?", *real],
        "label": [
            "label", config, "--recorded", recorded, "--out", str(out / "l.jsonl"), "--set", "label.judge.model=m",
            "--set", "label.judge.base_url=ADDRESS", "--set", "label.judge.api_key_env=NAME",
        ],
        "fidelity": [
            "fidelity", config, "--set", "evaluation.engine.kind=remote",
            "--set", "evaluation.engine.remote.url=ADDRESS", "--set", "evaluation.engine.remote.api_key_env=NAME",
        ],
        "a wrong option": ["check", "--limit", "ADDRESS"],
        "a wrong place": ["check", "ADDRESS", "--set", "model.name=ADDRESS", "--set", "ADDRESS"],
    }  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "c.toml"
    path.write_text("[logging]\ntensorboard = false\n[engine]\nattempts = 1\n")
    row = {"query": "q", "engine": "e", "id": "n", "question": "Why?", "golden_answers": ["x"], "results": []}
    (tmp_path / "recorded.jsonl").write_text(json.dumps(row | {"results": [{"title": "T", "text": "It is x"}]}) + "\n")
    return str(path)


def test_no_command_shows_a_password_of_an_address_or_a_key_for_a_name(
    tally: Tally, tries: Any, zerosearch: Any, tmp_path: Path, config: str, questions_file: Path
) -> None:
    given = [(address, "MY_KEY") for address in ADDRESSES] + [("http://127.0.0.1:9/v1", key) for key in KEYS]
    commands = calls(config, str(questions_file), tmp_path)
    whole = tries(1, 0)
    for number, (name, args) in enumerate(commands.items()):
        for address, key in given if whole else [given[number % len(given)]]:
            with tally("a secret in the settings", f"{name}: {address} {key}"):
                done = zerosearch(*(arg.replace("ADDRESS", address).replace("NAME", key) for arg in args))
                assert done.code != 0, done.out
                assert "Traceback" not in done.out + done.err
                shown = [done.out, done.err, *(p.read_text("utf-8", "replace") for p in _written(tmp_path))]
                assert not [text for text in shown if any(mark in text for mark in MARKS)], shown


def _written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def echoes(url: str, questions: str, out: Path, recorded: str, config: str) -> dict[str, list[str]]:
    engine = [
        "--set",
        "engine.kind=remote",
        "--set",
        f"engine.remote.url={url}",
        "--set",
        "engine.remote.api_key_env=MY_KEY",
    ]
    return {
        "record": ["record", config, "--queries", questions, "--out", str(out / "r.jsonl"), *engine],
        "label": [
            "label", config, "--recorded", recorded, "--out", str(out / "l.jsonl"), "--set", "label.judge.model=m",
            "--set", f"label.judge.base_url={url}", "--set", "label.judge.api_key_env=MY_KEY",
        ],
        "doctor": ["doctor", "--url", url, "--key-env", "MY_KEY"],
    }  # fmt: skip


def test_no_command_shows_what_a_server_echoes(
    tally: Tally,
    tries: Any,
    zerosearch: Any,
    endpoint: Any,
    tmp_path: Path,
    config: str,
    questions_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    page = [{"contents": f"{KEY}{ESCAPES}\nIt is {KEY[:9]} {KEY[9:]}", "id": KEY}]
    replies = [
        Reply(401, json.dumps({"error": {"message": f"{ESCAPES} Incorrect API key provided: {KEY}"}}).encode()),
        Reply(403, f"{KEY[:20]}\n{KEY[20:]} {' '.join(KEY)}".encode(), {"Location": f"http://x/?key={KEY}"}),
        Reply(400, ("x" * 185 + KEY + ESCAPES).encode()),
        Reply(302, b"", {"Location": f"https://elsewhere/?key={KEY}"}),
        Reply(200, json.dumps({"result": [page]}).encode()),
        Reply(200, completion(f"{ESCAPES} yes {KEY} {KEY[:20]}\n{KEY[20:]}")),
    ]
    for place, reply in enumerate(replies[: tries(len(replies), 2)]):
        out = tmp_path / str(place)
        out.mkdir()
        commands = echoes(endpoint.url, str(questions_file), out, str(tmp_path / "recorded.jsonl"), config)
        for name, args in commands.items():
            if name == "label" and reply.status == 200 and place != len(replies) - 1:
                continue  # a judge that answers in another form is asked for half a minute
            with tally("a secret that a server echoes", f"{name}: reply {place}"):
                endpoint.script = [reply]
                done = zerosearch(*args)
                assert "Traceback" not in done.out + done.err
                assert not leaks(done.out.replace(ESCAPES, ""), done.err, folder=out)
