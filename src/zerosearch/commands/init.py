"""`zerosearch init`: write your own configuration, starting from one that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import console, typed
from zerosearch.config_file import copy, names, summary


def init(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write. Without it, list the configurations that ship.")
    ] = None,
    from_: Annotated[str, typer.Option("--from", metavar="NAME", help="demo, preset:search-r1, ...")] = "demo",
) -> None:
    """Write your own configuration, starting from one that ships.

    Every command with a CONFIG takes such a file, or the name of a configuration that ships.
    """
    if file is None:
        for name in names():
            console.print(f"{name:<18}  {summary(name)}")
        return
    copy(from_, file)
    console.print(f"{file} is a copy of {from_}; its runs lie in runs/{file.stem}")
    console.next(f"{typed('check', file)}, {typed('train', file)}")
