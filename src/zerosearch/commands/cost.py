"""`zerosearch cost`: what a run's searches cost, and what they would have cost with a paid engine."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import console, json_text
from zerosearch.errors import ConfigError
from zerosearch.spending.ledger import PRICES, dollars
from zerosearch.spending.report import CostReport, of_paper, of_run, read_run


def cost(
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="A run's folder, such as runs/demo.")] = None,
    searches: Annotated[int | None, typer.Option(min=1, metavar="N", help="Scale to this number of searches.")] = None,
    gpu_usd_per_hour: Annotated[
        float, typer.Option(metavar="USD", help="Price of one GPU hour; the default is the paper's A100.")
    ] = PRICES.gpu_hour,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with exact amounts.")] = False,
) -> None:
    """Show what searching cost, and what Google would have charged.

    With --run: the searches of a training run at the prices of SerpAPI and Serper, beside the measured time of its
    simulator as GPU hours. Without: the table of costs of the ZeroSearch paper, computed from its inputs.
    """
    if not isfinite(gpu_usd_per_hour) or gpu_usd_per_hour < 0:
        raise ConfigError(f"--gpu-usd-per-hour {gpu_usd_per_hour}: must be 0 or more")
    prices = replace(PRICES, gpu_hour=gpu_usd_per_hour)
    facts: dict[str, Any] = {}
    if run is None:
        found = of_paper(searches, prices)
    else:
        books, machine = read_run(run)
        found = of_run(str(run), books, machine, searches, prices)
        facts = {"run": str(run), "device": machine.device, "engine": machine.engine}
        facts |= {"standing": books.standing.as_dict(), "spent": books.spent.as_dict()}
    if as_json:
        lines = [asdict(line) for line in found.lines]
        print(json_text({**facts, "prices": asdict(prices), "lines": lines, "notes": found.notes}, indent=2))
        return
    console.print(render(found))
    for note in found.notes:
        console.print(note)


def render(found: CostReport) -> Table:
    """The comparison as a table; the last column is what each line costs, in percent of the first."""
    table = Table(title=Text(found.title), title_justify="left")
    for column, justify in (("", "left"), ("searches", "right"), ("how", "left"), ("USD", "right"), ("%", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    dearest = found.lines[0].usd
    for line in found.lines:
        share = f"{line.usd / dearest:.1%}" if dearest else "-"
        table.add_row(line.engine, f"{line.searches:,}", line.basis, dollars(line.usd, places=found.places), share)
    return table
