"""Simulator replicas that Ray places on the GPUs that are left: real Ray with four GPUs that do not exist, and a
stand-in for vLLM. `make test-verl`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed here: make test-verl has an environment of its own")

import httpx
import ray
from ray.util.placement_group import placement_group
from scaleout.verl_run.processes import gone, wait_until
from scaleout.verl_run.standin_vllm import install, lives

from zerosearch.errors import RunError
from zerosearch.scaleout.verl.served import Served
from zerosearch.scaleout.verl.simulators import Simulators, check_room
from zerosearch.scaleout.verl.watch import deaths

ROOT = Path(__file__).parents[3]
TWO = Served("/models/sim", "sim", count=2, words=("--max-model-len", "4096"))


@pytest.fixture
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray with four GPUs, two of which a policy has. The folder of logs."""
    monkeypatch.setenv("PATH", f"{install(tmp_path / 'bin')}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=2, num_gpus=4, include_dashboard=False, object_store_memory=100_000_000)
    try:
        yield tmp_path / "logs"
    finally:
        ray.shutdown()


def health(url: str) -> int:
    try:
        return httpx.get(url.removesuffix("/v1") + "/health", trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def test_replicas_have_the_free_gpus_come_back_and_leave_nothing(four_gpus: Path) -> None:
    policy = placement_group([{"GPU": 1}] * 2, strategy="STRICT_PACK")
    ray.get(policy.ready())
    with pytest.raises(RunError, match="3 of 1 GPUs each are more than Ray has free: 2 GPUs"):
        check_room(Served("/models/sim", "sim", count=3))
    simulators = Simulators.start(TWO, four_gpus)
    first, second = (lives(four_gpus / f"simulator-{n}.log")[0] for n in (0, 1))
    theirs = {gpu for bundle in _gpus_of(policy) for gpu in bundle}
    assert {first["gpus"], second["gpus"]} | theirs == {"0", "1", "2", "3"}
    host, port = re.fullmatch(r"http://(.+):(\d+)/v1", simulators.urls[0]).groups()  # type: ignore[union-attr]
    assert first["words"] == [
        "serve", "/models/sim", "--served-model-name", "sim", "--host", host, "--port", port,
        "--tensor-parallel-size", "1", "--max-model-len", "4096",
    ]  # fmt: skip
    assert [health(url) for url in simulators.urls] == [200, 200]

    os.kill(first["processes"][0], signal.SIGKILL)  # a server dies: its engine too, and both are started again
    wait_until(lambda: gone(first["processes"]))
    wait_until(lambda: health(simulators.urls[0]) == 200)
    again = lives(four_gpus / "simulator-0.log")[-1]
    assert (again["words"], again["gpus"]) == (first["words"], first["gpus"])

    actor = ray._private.state.actors(actor_id=simulators.replicas[1]._actor_id.hex())["Pid"]
    os.kill(actor, signal.SIGKILL)  # a worker of Ray dies: its server is not left behind
    wait_until(lambda: gone(second["processes"]))
    wait_until(lambda: [(death.worker, death.process) for death in deaths()] == [("SimulatorReplica", actor)])
    assert health(simulators.urls[0]) == 200

    simulators.close()
    assert gone(again["processes"])


def _gpus_of(policy: Any) -> list[list[str]]:
    @ray.remote(num_gpus=1, num_cpus=0)
    def gpus() -> list[str]:
        time.sleep(1)  # so that each is in a bundle of its own
        return list(map(str, ray.get_runtime_context().get_accelerator_ids()["GPU"]))

    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(policy)
    return list(ray.get([gpus.options(scheduling_strategy=strategy).remote() for _ in range(2)]))


DRIVER = """
import sys, time
from pathlib import Path
import ray
from zerosearch.scaleout.verl.served import Served
from zerosearch.scaleout.verl.simulators import Simulators
ray.init(num_cpus=2, num_gpus=4, include_dashboard=False, object_store_memory=100_000_000)
Simulators.start(Served("/models/sim", "sim", gpus=2), Path(sys.argv[1]))
print("started", flush=True)
time.sleep(3600)
"""


def test_a_killed_driver_leaves_no_server(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "RAY_AUTH_MODE": "disabled"}
    env["PATH"] = f"{install(tmp_path / 'bin')}:{env['PATH']}"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert "started\n" in iter(driver.stdout.readline, "")
    (life,) = lives(tmp_path / "simulator-0.log")
    assert sorted(life["gpus"].split(",")) == ["0", "1"]
    assert life["words"][life["words"].index("--tensor-parallel-size") + 1] == "2"
    assert not gone(life["processes"])
    driver.kill()
    driver.wait()
    wait_until(lambda: gone(life["processes"]))


def test_a_server_that_ends_at_once_is_said(four_gpus: Path) -> None:
    broken = Path(os.environ["PATH"].split(":")[0]) / "vllm"
    broken.write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
    with pytest.raises(RunError, match=r"ended before it answered; its log is .*simulator-0.log"):
        Simulators.start(Served("/models/sim", "sim"), four_gpus)
    assert "no such model" in (four_gpus / "simulator-0.log").read_text()
