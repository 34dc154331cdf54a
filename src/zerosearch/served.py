"""What `zerosearch serve` serves, made from a configuration: for the command, and for `uvicorn zerosearch.served:app`.

`app` takes the configuration that the environment variable ZEROSEARCH_CONFIG names; without it, BM25 over the Factbook
(`demo` with its `evaluation.engine`). Who runs it decides where it listens; the key is asked for all the same.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.episodes.questions import Question
from zerosearch.errors import ConfigError, DataError, install
from zerosearch.models.client import key_from
from zerosearch.parts import Parts, Role
from zerosearch.playing import rollout_settings

try:
    from zerosearch.serving.app import Service
    from zerosearch.serving.play import Table
    from zerosearch.serving.searching import Searching
    from zerosearch.serving.whole import whole_app
except ImportError as error:
    raise ConfigError(f"zerosearch serve needs {error.name}: {install('serve')}") from None

log = logging.getLogger(__name__)


def key_of(config: TrainConfig) -> str:
    """The key that clients need; empty: none. Raises `ConfigError` for one that no client could send."""
    return key_from(config.serve.key_env) if os.environ.get(config.serve.key_env, "").strip() else ""


def open_service(parts: Parts, role: Role) -> Service:
    """The engine of `role`, metered, behind a service. Raises what opening the engine raises."""
    config, engine = parts.config, parts.engine_config(role)
    searching = Searching(
        parts.engine(role),
        simulated=engine.kind == "simulated",
        config=config.serve,
        seed=config.seed,
    )
    return Service(searching, parts.meter, config.serve, engine.top_k, key_of(config))


def open_table(parts: Parts, service: Service) -> Table:
    """What OpenEnv's episodes are played with: prompt, limits, reward and curriculum of the configuration."""
    config = parts.config
    return Table(
        service.searching,
        rollout_settings(config, None, temperature=1.0, top_k=service.top_k),
        _questions(parts),
        config.curriculum.build(),
        config.training.steps,
        config.serve.timeout_seconds,
    )


def _questions(parts: Parts) -> list[Question]:
    """Those of `data.train`; none, with a word, where they cannot be read."""
    try:
        return parts.questions()
    except DataError as error:
        log.warning("OpenEnv: /reset needs a question of the client's own, as data.train cannot be used: %s", error)
        return []


def __getattr__(name: str) -> Any:
    """`app`, made when it is asked for."""
    if name != "app":
        raise AttributeError(name)
    given = os.environ.get("ZEROSEARCH_CONFIG")
    parts = Parts(load_config(Path(given or "demo")))
    service = open_service(parts, "train" if given else "judge")
    return whole_app(service, open_table(parts, service), parts.aclose)
