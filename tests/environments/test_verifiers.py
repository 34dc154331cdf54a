"""The verifiers taskset in a real evaluation by `vf-eval`: its own harness, its MCP server, servers on loopback.

Run by `make test-environments`, in an environment of its own; elsewhere it is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from environments.standin_policy import QUESTION, serve_policy, serve_simulator, was_told

from zerosearch.files.jsonl import read_rows, write_jsonl

pytest.importorskip("verifiers", reason="verifiers is not installed here: make test-environments")
PACKAGE = Path(__file__).parents[2] / "examples" / "environments" / "verifiers_search"


def test_an_evaluation_searches_with_the_simulated_engine_and_scores_by_f1(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "questions.jsonl", [QUESTION, QUESTION | {"id": "other", "golden_answers": ["Lima"]}])
    policy, simulator = serve_policy(), serve_simulator()
    folder = Path(sys.executable).parent
    path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "STANDIN_KEY": "none"}
    assert shutil.which("uv", path=env["PATH"]), "verifiers runs its harness by uv"
    try:
        done = subprocess.run(
            [
                folder / "vf-eval", "zerosearch-questions", "--no-push", "--no-rich", "--model", "tiny",
                "--client.base-url", policy.url, "--client.api-key-var", "STANDIN_KEY",
                "--env.agent.harness.id", "null", "--env.agent.runtime.type", "subprocess",
                "--env.taskset.questions", tmp_path / "questions.jsonl",
                "--env.taskset.task.tools.base-url", simulator.url, "--env.taskset.task.tools.model", "served",
                "--output-dir", tmp_path / "out",
            ],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        policy.stop()
        simulator.stop()
    assert done.returncode == 0, done.stderr
    (traces,) = (tmp_path / "out").rglob("traces.jsonl")
    episodes = {row["task"]["data"]["id"]: row for row in read_rows(traces)}
    assert [row["errors"] for row in episodes.values()] == [[], []], json.dumps(list(episodes.values()))[:3000]
    found = {key: row["traces"][0]["rewards"]["f1"]["score"] for key, row in episodes.items()}
    assert found == {"n": 1.0, "other": 0.0}
    assert len(simulator.requests) == 2
    assert "Lima" in str([request["messages"] for request in simulator.requests])  # each query with its own answer
    simulator.requests[:] = [r for r in simulator.requests if "Lima" not in str(r["messages"])]
    assert was_told(simulator)
