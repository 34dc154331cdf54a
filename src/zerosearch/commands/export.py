"""`zerosearch export`: a trained policy, as other programs load it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from zerosearch.commands.screen import console
from zerosearch.exporting import Form
from zerosearch.exporting import export as write_export


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="runs/NAME, an adapter's folder, or embedded:policy.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; none: exports/NAME-FORM.")] = None,
    form: Annotated[
        str | None,
        typer.Option(metavar="FORM", help=f"{', '.join(get_args(Form))}; none: adapter or merged, as loads anywhere."),
    ] = None,
    step: Annotated[int | None, typer.Option(min=1, help="The checkpoint after N steps; none: the newest.")] = None,
    push: Annotated[str | None, typer.Option(metavar="REPO", help="Upload it to this repository of a hub.")] = None,
) -> None:
    """Write a trained policy as other programs load it, with a model card.

    adapter is a PEFT folder, merged one model for transformers or vLLM, gguf (float16) and gguf-q8_0 one file for
    llama.cpp. Without --form it is an adapter where its base has a hub id, else merged weights.

    --push makes a private repository, or replaces an export that is there; the token is HF_TOKEN's, the hub
    HF_ENDPOINT's.
    """
    folder = write_export(
        run,
        out,
        form=form,
        step=step,
        push=push,
        say=lambda text: console.print(text, markup=False),
    )
    console.print(f"model card {folder}/README.md", markup=False)
