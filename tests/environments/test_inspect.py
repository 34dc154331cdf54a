"""The inspect-ai task in a real evaluation by `inspect eval`, with model and simulator behind servers on loopback.

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
from environments.standin_policy import PAGE, QUESTION, serve_policy, serve_simulator, was_told

from zerosearch.files.jsonl import write_jsonl

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed here: make test-environments")
TASK = Path(__file__).parents[2] / "examples" / "environments" / "inspect_search.py"


def test_an_evaluation_searches_with_the_simulated_engine_and_scores_by_f1(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "questions.jsonl", [QUESTION])
    shutil.copy(TASK, tmp_path)  # inspect takes a file of the folder it runs in
    policy, simulator = serve_policy(), serve_simulator()
    env = {**os.environ, "STANDIN_BASE_URL": policy.url, "STANDIN_API_KEY": "none", "INSPECT_DISPLAY": "plain"}
    command = [
        Path(sys.executable).parent / "inspect", "eval", TASK.name, "--model", "openai-api/standin/tiny",
        "-T", f"base_url={simulator.url}", "-T", "simulator=served", "-T", f"questions={tmp_path / 'questions.jsonl'}",
        "--log-dir", tmp_path / "logs", "--log-format", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
    finally:
        policy.stop()
        simulator.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "logs").glob("*.json")
    log = json.loads(path.read_text())
    assert log["status"] == "success", log.get("error")
    (sample,) = log["samples"]
    assert sample["scores"]["f1"]["value"] == 1.0
    assert [message["content"] for message in sample["messages"] if message["role"] == "tool"] == [PAGE]
    assert was_told(simulator)
