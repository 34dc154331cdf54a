"""`zerosearch models`: the models and adapters that come without an account or a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from zerosearch.commands.screen import console
from zerosearch.models.adapters import read_card, shipped_adapters
from zerosearch.models.embedded import EMBEDDED_MODELS, ensure
from zerosearch.process.runtime import prepare


def models(
    fetch: Annotated[bool, typer.Option("--fetch", help="Download and convert what is not in the cache yet.")] = False,
) -> None:
    """List the embedded models and the adapters that ship with them."""
    prepare()
    rows = EMBEDDED_MODELS.values()
    for row in rows if fetch else ():
        console.print(f"{row.name}: {ensure(row.name)}")
    table = Table("model", "download", "licence", "in the cache", title="embedded models", title_justify="left")
    for row in rows:
        table.add_row(row.name, megabytes(row.size_bytes), row.licence, "yes" if row.cached else "no (--fetch)")
    console.print(table)
    for row in rows:
        console.print(f"{row.name}: {row.note}")
        console.print(f"  {row.path}" + ("" if row.cached else " (not there yet)"))
    adapters = shipped_adapters()
    if not adapters:
        console.print("\nno adapters ship with this release")
        return
    table = Table("adapter", "size", "base", "made from", title="\nadapters that ship with them", title_justify="left")
    for name, folder in adapters.items():
        card = read_card(folder)
        table.add_row(name, megabytes(folder_bytes(folder)), str(card.get("base", "unknown")), summary(card))
    console.print(table)
    console.print("any other model: a folder or a hub id, in model.name and engine.simulated.model")


def summary(card: dict[str, Any]) -> str:
    """A card in a few words: what an adapter was trained on and how well it fits."""
    result = card.get("result")
    loss = result.get("best_validation_loss") if isinstance(result, dict) else None
    engines = card.get("engine")  # of a simulator: whose pages it was shown; its data is a file of its maker's
    said = [
        f"{card['texts']} texts" if "texts" in card else "",
        f"pages of {' and '.join(map(str, engines))}"
        if isinstance(engines, list) and engines
        else str(card.get("data", "")).split(" ")[0],
        f"validation loss {loss:.3f}" if isinstance(loss, float) else "",
    ]
    return ", ".join(part for part in said if part) or "no card"


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"
