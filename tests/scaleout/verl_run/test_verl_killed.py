"""Workers of verl that are killed: the run ends and says so, and resumes as if nothing had been. `make test-verl`."""

from __future__ import annotations

import os
import re
import signal

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

import psutil
from engines.conftest import PAGE, Endpoint, Reply, completion
from scaleout.verl_run.processes import gone, wait_until
from scaleout.verl_run.verl_bench import RUNS, Bench, Trained, weights

SAID = (
    r"error: the run on verl failed: {worker}, which {does}, died \(process {process} on [^)]+\): .+\. "
    r"Lost: what step 2 had begun\. The same command resumes from the checkpoint after step 1\."
)
KILLED = {"AgentLoopWorkerTQ": "plays episodes", "WorkerDict": "computes log-probs and updates"}


def test_a_killed_worker_ends_the_run_which_resumes_as_if_nothing_had_been(
    trained: Trained, bench: Bench, simulator: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in its own start, in the midst of the rollouts of step 2, whose pages do not come."""
    config = bench.config("killed", *RUNS["grpo"])
    page = completion(PAGE, usage={"prompt_tokens": 9, "completion_tokens": 5})
    for start, worker in enumerate(KILLED, start=1):
        metrics = bench.run("killed") / "verl" / f"metrics-{start}.jsonl"
        held: list[Reply] = []

        def answer(request: object, metrics=metrics, held=held) -> Reply:  # type: ignore[no-untyped-def]
            if 1 not in bench.steps(metrics):
                return Reply(body=page)
            held.append(Reply(body=page, hold=True))
            return held[-1]

        with monkeypatch.context() as patch:
            patch.setattr(simulator, "answer", answer)
            started = bench.start(config)
            wait_until(lambda held=held: bool(held), started)  # type: ignore[misc]
            everyone = psutil.Process(started.pid).children(recursive=True)
            (process,) = (one.pid for one in everyone if f"ray::{worker}" in " ".join(one.cmdline()))
            os.kill(process, signal.SIGKILL)
            assert started.wait(timeout=180) == 3
            simulator.released.set()
        simulator.released.clear()
        said = (bench.folder / "killed.log").read_text()
        assert re.search(SAID.format(worker=worker, does=KILLED[worker], process=process), said), said[-3000:]
        assert gone([one.pid for one in everyone])
    bench.train(config)
    assert sorted(bench.steps(bench.run("killed") / "verl" / "metrics-3.jsonl")) == [1, 2]
    _same_second_step(bench, trained.run("grpo"))


def _same_second_step(resumed: Bench, whole: Bench) -> None:
    """Sampled ids, scores, gradient and weights, against a run that nothing happened to."""
    ours, theirs = resumed.metrics("killed")[2], whole.metrics("grpo")[2]
    shown = [key for key in theirs if key.startswith(("search/", "actor/", "critic/"))]
    alike = [key for key in shown if "seconds" not in key and "perf/" not in key]
    assert len(alike) > 20
    for key in alike:
        assert ours[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5), key
    mine, its = (weights(bench.policy(name, 2)) for bench, name in ((resumed, "killed"), (whole, "grpo")))
    before = weights(whole.policy("grpo", 1))
    moved = max(float((its[key] - before[key]).abs().max()) for key in its)
    apart = max(float((its[key] - mine[key]).abs().max()) for key in its)
    assert apart < moved / 100, (apart, moved)
