"""`zerosearch serve`: a configuration's search engine behind URLs, for trainers of any kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.errors import ConfigError, install
from zerosearch.models.client import key_from
from zerosearch.parts import Parts, Role
from zerosearch.process.runtime import prepare


def serve(
    config_file: Annotated[str, typer.Argument(metavar="CONFIG", help="A .toml file or the name of one that ships.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of serve.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of serve.port; 0: any free one.")] = None,
    judge: Annotated[bool, typer.Option("--judge", help="Serve evaluation.engine instead of engine.")] = False,
    open_: Annotated[
        bool, typer.Option("--open", help="Let other machines in without a key: whoever reaches it may search.")
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Serve a search engine: Search-R1's /retrieve, SerpAPI's /search.json.

    Any engine of a configuration is served, with its cache, its budget and its meter. POST /episodes opens an episode
    whose simulated pages know the question; without one the simulator is blind to it, and says so.

    A key is asked for where the environment variable ZEROSEARCH_API_KEY holds one. SIGTERM and Ctrl-C finish what is
    under way.
    """
    prepare()
    config = load_config(Path(config_file), [*(set_ or ()), *_settings(host, port)])
    try:
        from zerosearch.serving import app, logs, server
        from zerosearch.serving.config import check_reach
        from zerosearch.serving.searching import Searching
    except ImportError as error:
        raise ConfigError(f"zerosearch serve needs {error.name}: {install('serve')}") from None
    key = key_of(config)
    check_reach(config.serve.host, key=bool(key), open_=open_)
    role: Role = "judge" if judge else "train"
    with Parts(config, spending=None) as parts, logs.json_lines():
        engine_config = parts.engine_config(role)
        searching = Searching(
            parts.engine(role),
            simulated=engine_config.kind == "simulated",
            pages=config.curriculum.page_draw(),
            config=config.serve,
            seed=config.seed,
        )
        service = app.Service(searching, parts.meter, config.serve, engine_config.top_k, key)
        _, guarded = app.build_app(service)
        bound = server.listen(config.serve)
        parts.run(server.serve(guarded, bound, config.serve))


def key_of(config: TrainConfig) -> str:
    """The key that clients need; empty: none. Raises `ConfigError` for one that no client could send."""
    return key_from(config.serve.key_env) if os.environ.get(config.serve.key_env, "").strip() else ""


def _settings(host: str | None, port: int | None) -> list[str]:
    told = {"serve.host": host, "serve.port": port}
    return [f"{name}={value}" for name, value in told.items() if value is not None]
