"""The simulator as servers that a run starts itself: what they serve, and a configuration that asks them. Without Ray.

served = serve(config, "4x2", "--max-model-len 4096")
asked_at(config, ["http://node7:40001/v1", ...])
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.errors import ConfigError, RunError
from zerosearch.models.embedded import resolve_model

SERVED = "served.toml"
"""In the run's folder of verl's things: the configuration with the addresses of this start's replicas."""


@dataclass(frozen=True)
class Served:
    """`count` replicas of `gpus` GPUs each serve `model`, a folder or hub id, under the name that requests have.

    `words` are further words for `vllm serve`.
    """

    model: str
    name: str
    count: int = 1
    gpus: int = 1
    words: tuple[str, ...] = ()

    def command(self, vllm: str, host: str, port: int) -> list[str]:
        """What one replica runs; `vllm` is the executable."""
        where = ["--host", host, "--port", str(port), "--tensor-parallel-size", str(self.gpus)]
        return [vllm, "serve", self.model, "--served-model-name", self.name, *where, *self.words]


def find_vllm() -> str:
    """vLLM's executable: of this environment, or of the PATH. Raises `RunError` where there is none."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    vllm = shutil.which("vllm", path=places)
    if vllm is None:
        raise RunError(f"--simulators: there is no command vllm on {socket.gethostname()}")
    return vllm


def serve(config: TrainConfig, replicas: str, words: str = "") -> Served:
    """What `--simulators 4x2 --serve WORDS` asks for: four replicas of two GPUs each; `4`: of one GPU.

    Raises `ConfigError` where the engine is not simulated, or its simulator is a server already or has an adapter.
    """
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", replicas)
    if found is None:
        raise ConfigError(f"--simulators {replicas}: write how many, or 4x2 for four of two GPUs each")
    simulated = config.engine.simulated
    if config.engine.kind != "simulated":
        raise ConfigError(f"--simulators: engine.kind is {config.engine.kind!r}, and only a simulated engine has any")
    if simulated.base_url is not None:
        raise ConfigError("--simulators starts servers, and engine.simulated.base_url names some: choose one")
    if simulated.adapter is not None:
        raise ConfigError(
            f"--simulators: engine.simulated.adapter = {simulated.adapter!r} is not served; merge it into its model "
            "(zerosearch export ADAPTER --form merged) and name that in engine.simulated.model"
        )
    try:
        further = tuple(shlex.split(words))
    except ValueError as error:
        raise ConfigError(f"--serve: {error}") from None
    return Served(resolve_model(simulated.model), simulated.model, int(found[1]), int(found[2] or 1), further)


def asked_at(config: TrainConfig, urls: Sequence[str]) -> TrainConfig:
    """`config` with its simulator at `urls`; also that which evaluates, where it is a simulator of the same model."""
    model = config.engine.simulated.model

    def moved(engine: EngineConfig) -> EngineConfig:
        simulated = engine.simulated
        if engine.kind != "simulated" or simulated.model != model or simulated.base_url or simulated.adapter:
            return engine
        return engine.model_copy(update={"simulated": simulated.model_copy(update={"base_url": list(urls)})})

    judge = config.evaluation.engine
    evaluation = config.evaluation.model_copy(update={"engine": None if judge is None else moved(judge)})
    return config.model_copy(update={"engine": moved(config.engine), "evaluation": evaluation})
