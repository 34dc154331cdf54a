"""`zerosearch export`: write a trained policy for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from zerosearch.commands.screen import console
from zerosearch.exporting import Form
from zerosearch.exporting import export as write_export


def export(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="runs/NAME, an adapter's folder, or embedded:policy; of several, such as seeds, the mean.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write. Default: exports/NAME-FORM.")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            metavar="FORM", help=f"{', '.join(get_args(Form))}. Default: adapter if its base has a hub id, else merged."
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(min=1, help="The checkpoint after N steps. Default: the newest.")] = None,
    push: Annotated[
        str | None, typer.Option(metavar="REPO", help="Upload the result to this repository of the hub.")
    ] = None,
) -> None:
    """Write a trained policy in a form that other programs load, with a model card.

    Of several policies, such as seeds of one configuration, the mean of their weights is written, as one policy.

    adapter is a PEFT folder, merged is one model for transformers or vLLM, gguf (float16) and gguf-q8_0 are one
    file for llama.cpp.

    --push creates a private repository, or replaces an earlier export in it. The token is read from HF_TOKEN, the
    address of the hub from HF_ENDPOINT.
    """
    folder = write_export(run, out, form=form, step=step, push=push, say=console.print)
    console.print(f"model card {folder}/README.md")
