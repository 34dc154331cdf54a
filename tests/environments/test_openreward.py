"""The OpenReward environment behind its own server, played by OpenReward's own client.

Run by `make test-environments`, in an environment of its own; elsewhere it is skipped.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint
from environments.standin_policy import ANSWER, PAGE, QUERY, QUESTION, serve_simulator, was_told

from zerosearch.files.jsonl import write_jsonl

pytest.importorskip("openreward", reason="openreward is not installed here: make test-environments")
SERVER = Path(__file__).parents[2] / "examples" / "environments" / "openreward_search.py"


@pytest.fixture
def simulator() -> Iterator[Endpoint]:
    endpoint = serve_simulator()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def server(simulator: Endpoint, tmp_path: Path) -> Iterator[str]:
    """The address of a running server of the example."""
    write_jsonl(tmp_path / "questions.jsonl", [QUESTION])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, SERVER, simulator.url, "served", tmp_path / "questions.jsonl", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            break
    else:
        process.kill()
        raise AssertionError(process.communicate()[0])
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_a_session_searches_with_the_simulated_engine_and_is_rewarded_by_f1(server: str, simulator: Endpoint) -> None:
    from openreward import EnvironmentsAPI

    api: Any = EnvironmentsAPI(server, "none")
    try:
        environment = api.get("zerosearch", base_url=server)
        assert environment.list_splits() == ["train"]
        (task,) = environment.list_tasks("train")
        with environment.session(task=task) as session:
            assert QUESTION["question"] in session.get_prompt()[0].text
            assert [tool.name for tool in session.list_tools()] == ["search"]
            assert session.call_tool("search", {"query": QUERY}).blocks[0].text == PAGE
            ended = session.call_terminal_tool(f"It is {ANSWER}")
        assert (ended.finished, ended.reward) == (True, pytest.approx(0.5))  # one word of three, and all of the answer
    finally:
        api.close()
    assert was_told(simulator)
