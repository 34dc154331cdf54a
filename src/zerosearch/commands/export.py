"""`zerosearch export`: write a trained policy for other programs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer

from zerosearch.commands.screen import console
from zerosearch.exporting import Form
from zerosearch.exporting import export as write_export


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="runs/NAME, an adapter's folder, or embedded:policy.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write. Default: exports/NAME-FORM.")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            metavar="FORM", help=f"{', '.join(get_args(Form))}. Default: adapter if its base has a hub id, else merged."
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(min=1, help="The checkpoint after N steps. Default: the newest.")] = None,
) -> None:
    """Write a trained policy in a form that other programs load, with a model card.

    adapter is a PEFT folder, merged is one model for transformers or vLLM, gguf (float16) and gguf-q8_0 are one
    file for llama.cpp.
    """
    say = partial(console.print, markup=False)
    folder = write_export(run, out, form=form, step=step, say=say)
    console.print(f"model card {folder}/README.md", markup=False)
