"""`zerosearch serve`: serve a configuration's search engine by URL, for any trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.config_file import load_config
from zerosearch.errors import ConfigError
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare
from zerosearch.serving.config import check_reach


def serve(
    config_file: Annotated[str, typer.Argument(metavar="CONFIG", help="A .toml file or the name of one that ships.")],
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to use instead of serve.port; 0: any free one.")
    ] = None,
    judge: Annotated[bool, typer.Option("--judge", help="Serve evaluation.engine instead of engine.")] = False,
    open_: Annotated[
        bool,
        typer.Option("--open", help="Allow other machines without a key: everybody who reaches the server can search."),
    ] = False,
    stdio: Annotated[
        bool,
        typer.Option(
            "--stdio", help="MCP on standard input and output instead of HTTP, for clients that start the server."
        ),
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Serve a search engine: Search-R1's /retrieve, SerpAPI's /search.json, MCP, OpenEnv.

    Any engine of a configuration can be served, with its cache, budget and cost counting. POST /episodes opens an
    episode whose simulated pages know the question. Without an episode the simulator does not know it, and says so.

    Clients need a key if the environment variable ZEROSEARCH_API_KEY contains one. SIGTERM and Ctrl-C finish open
    requests first.
    """
    prepare()
    if stdio and (port is not None or open_):
        raise ConfigError("--stdio listens on no port: leave --port and --open away")
    config = load_config(Path(config_file), [*(set_ or ()), *([f"serve.port={port}"] if port is not None else [])])
    from zerosearch.served import key_of, open_service, open_table
    from zerosearch.serving import logs, server, whole

    if not stdio:
        check_reach(config.serve.host, key=bool(key_of(config)), open_=open_)
    with Parts(config) as parts, logs.json_lines():
        service = open_service(parts, "judge" if judge else "train")
        if stdio:
            parts.run(whole.serve_stdio(service))
            return
        app = whole.whole_app(service, open_table(parts, service))
        bound = server.listen(config.serve)
        parts.run(server.serve(app, bound, config.serve))
