"""Simulator replicas on GPUs that the policy does not use: Ray places them, `vllm serve` runs them.

    simulators = Simulators.start(served, folder)
    simulators.urls
    simulators.close()

A replica is an actor of Ray with GPUs of its own. Its server ends with it, however it ends. A server that ends by
itself is started again at the same address; until then a pool does without it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import ray
from ray._private import state

from zerosearch.errors import RunError
from zerosearch.scaleout.verl.served import Served, find_vllm

_STARTS = 4  # of one replica's server in a run
_PATIENCE = 1800.0  # seconds for loading a model


class SimulatorReplica:
    """One server and its GPUs; `ray.remote` makes an actor of it."""

    def __init__(self, served: Served, log: Path) -> None:
        self._served, self._log = served, log
        self._gpus = ",".join(map(str, ray.get_runtime_context().get_accelerator_ids()["GPU"]))
        self._host = ray.util.get_node_ip_address()
        self._port = _free_port(self._host)
        self._answered = self._closing = False
        self._ended = threading.Event()

    def start(self) -> str:
        """Its address, once it answers. Raises `RunError` where it ends before, or takes half an hour."""
        threading.Thread(target=self._keep, args=(self._begin(),), daemon=True).start()
        host = f"[{self._host}]" if ":" in self._host else self._host
        address, deadline = f"http://{host}:{self._port}", time.monotonic() + _PATIENCE
        while not self._ended.wait(0.2):
            with suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health", timeout=5, trust_env=False).status_code == 200:
                    self._answered = True
                    return f"{address}/v1"
            if time.monotonic() > deadline:
                raise RunError(f"the simulator replica at {address} does not answer; its log is {self._log}")
        raise RunError(f"the simulator replica at {address} ended before it answered; its log is {self._log}")

    def close(self) -> None:
        """End the server, and wait until it has ended."""
        self._closing = True
        self._process.stdin.close()
        self._ended.wait(30)

    def _begin(self) -> subprocess.Popen[str]:
        command = self._served.command(find_vllm(), self._host, self._port)
        kept = [sys.executable, "-m", "zerosearch.scaleout.kept", *command]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": self._gpus}
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process: Any = subprocess.Popen(
                kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        self._process.wait()  # what keeps the server has left this process
        return self._process

    def _keep(self, process: Any) -> None:
        """Wait for the server's end; start it again where it had answered."""
        where = f"{self._host}:{self._port} on GPU {self._gpus}"
        try:
            for again in range(_STARTS - 1, -1, -1):
                told = process.stdout.read().split()  # until it has ended: its process and its status
                if self._closing or not self._answered:
                    return
                status, then = told[1:] or ["unknown"], "started again" if again else "left so"
                print(
                    f"the simulator replica at {where} ended, status {status[0]}; {then}; log: {self._log}", flush=True
                )
                if again:
                    time.sleep(1)
                    process = self._begin()
        finally:
            self._ended.set()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


class Simulators:
    """Running replicas: `urls` are their addresses."""

    def __init__(self, replicas: Sequence[Any], urls: list[str]) -> None:
        self.replicas, self.urls = replicas, urls

    @classmethod
    def start(cls, served: Served, logs: Path) -> Simulators:
        """Place replicas on free GPUs, and wait until all answer. Each has a log `simulator-N.log` in `logs`.

        Raises `RunError` where Ray has too few free GPUs, or a server does not start.
        """
        check_room(served)
        actor = ray.remote(num_gpus=served.gpus, num_cpus=0)(SimulatorReplica)
        replicas = [actor.remote(served, logs / f"simulator-{number}.log") for number in range(served.count)]
        return cls(replicas, ray.get([replica.start.remote() for replica in replicas]))

    def close(self) -> None:
        """End the servers. A replica that has died has ended its own."""
        for ending in [replica.close.remote() for replica in self.replicas]:
            with suppress(ray.exceptions.RayActorError):
                ray.get(ending)


def check_room(served: Served, others: int = 0) -> None:
    """Raises `RunError` unless Ray has free GPUs for the replicas, each within a machine, and for `others`."""
    free = [int(node.get("GPU", 0)) for node in state.available_resources_per_node().values()]
    room = sum(gpus // served.gpus for gpus in free)
    if room < served.count or sum(free) < served.count * served.gpus + others:
        beside = f" and {others} of the policy" if others else ""
        raise RunError(
            f"--simulators: {served.count} of {served.gpus} GPUs each{beside} are more than Ray has free: "
            f"{' + '.join(map(str, free)) or 'no'} GPUs on its machines"
        )
