"""The verifiers taskset in a real evaluation by `vf-eval`: its own harness, its MCP server, servers on loopback.

Run by `make test-environments`, in an environment of its own; elsewhere it is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.conftest import Endpoint
from environments.served import serving
from environments.standin_policy import QUESTION, serve_policy, serve_simulator, was_told

from zerosearch.files.jsonl import read_rows, write_jsonl

pytest.importorskip("verifiers", reason="verifiers is not installed here: make test-environments")
PACKAGE = Path(__file__).parents[2] / "examples" / "environments" / "verifiers_search"


def evaluate(folder: Path, *tools: str) -> None:
    """`vf-eval` on two questions, with these options of the search tool: no errors, and F1 1 and 0."""
    write_jsonl(folder / "questions.jsonl", [QUESTION, QUESTION | {"id": "other", "golden_answers": ["Lima"]}])
    policy, place = serve_policy(), Path(sys.executable).parent
    path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}", "STANDIN_KEY": "none"}
    assert shutil.which("uv", path=env["PATH"]), "verifiers runs its harness by uv"
    try:
        done = subprocess.run(
            [
                place / "vf-eval", "zerosearch-questions", "--no-push", "--no-rich", "--model", "tiny",
                "--client.base-url", policy.url, "--client.api-key-var", "STANDIN_KEY",
                "--env.agent.harness.id", "null", "--env.agent.runtime.type", "subprocess",
                "--env.taskset.questions", folder / "questions.jsonl", *tools, "--output-dir", folder / "out",
            ],
            cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        policy.stop()
    assert done.returncode == 0, done.stderr
    (traces,) = (folder / "out").rglob("traces.jsonl")
    episodes = {row["task"]["data"]["id"]: row for row in read_rows(traces)}
    assert [row["errors"] for row in episodes.values()] == [[], []], json.dumps(list(episodes.values()))[:3000]
    found = {key: row["traces"][0]["rewards"]["f1"]["score"] for key, row in episodes.items()}
    assert found == {"n": 1.0, "other": 0.0}
    assert len(policy.requests) == 4  # a search and an answer each
    lasts = [request["messages"][-1] for request in policy.requests]
    seen = [str(last["content"]) for last in lasts if last["role"] == "tool"]
    assert len(seen) == 2
    assert all("Kathmandu is the" in page for page in seen), seen  # the policy got its page


def each_was_told(simulator: Endpoint) -> bool:
    """Whether the simulator was asked twice, each query with the golden answer of its own question."""
    assert len(simulator.requests) == 2
    assert "Lima" in str([request["messages"] for request in simulator.requests])
    simulator.requests[:] = [r for r in simulator.requests if "Lima" not in str(r["messages"])]
    return was_told(simulator)


@pytest.fixture
def simulator() -> Iterator[Endpoint]:
    endpoint = serve_simulator()
    yield endpoint
    endpoint.stop()


def test_an_evaluation_searches_with_the_simulated_engine_and_scores_by_f1(simulator: Endpoint, tmp_path: Path) -> None:
    tools = "--env.taskset.task.tools"
    evaluate(tmp_path, f"{tools}.base-url", simulator.url, f"{tools}.model", "served")
    assert each_was_told(simulator)


def test_an_evaluation_searches_at_the_mcp_address_of_zerosearch_serve(simulator: Endpoint, tmp_path: Path) -> None:
    with serving(tmp_path, simulator.url) as url:
        evaluate(tmp_path, "--env.taskset.task.tools.url", f"{url}/mcp")
    assert each_was_told(simulator)


def test_an_evaluation_searches_with_the_real_engine_of_zerosearch_serve(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        evaluate(tmp_path, "--env.taskset.task.tools.url", f"{url}/mcp")
