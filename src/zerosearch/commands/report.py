"""`zerosearch report`: runs and evaluations as one HTML file, or served during a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import console
from zerosearch.errors import ConfigError
from zerosearch.process import interrupts
from zerosearch.process.runtime import prepare
from zerosearch.reporting import decoders
from zerosearch.reports.page import html, write_report
from zerosearch.reports.report import LIMIT, Report
from zerosearch.reports.runs import is_run


def report(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN", help="Folders of runs; of `evaluate` (FOLDER:METHOD for one method); of `fidelity`."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="File to write. Default: RUN/report.html; for several runs report.html here."
        ),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Serve the page on this machine and follow the runs.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --live; 0: any free one.")] = 0,
    episodes: Annotated[int, typer.Option(min=0, metavar="N", help="Maximal number of episodes in the page.")] = LIMIT,
) -> None:
    """Write curves, evaluations, cost and episodes of runs as one page that needs no network and no server.

    Several runs share each chart; runs that differ only by their seed become a band. --live serves the page on this
    machine and follows the runs until Ctrl-C. If there are more episodes than --episodes, whole steps are kept,
    spread evenly.
    """
    prepare()
    if live and out is not None:
        raise ConfigError("--live serves the report and writes no file: leave --out away")
    if port and not live:
        raise ConfigError("--port goes with --live")
    if live:
        _wait_for(targets)
    shown = Report(targets, decoders(lambda line: console.print(line, style="yellow")), episodes)
    if live:
        _serve(shown, port)
        return
    only = Path(targets[0])
    path = out or (only / "report.html" if len(targets) == 1 and only.is_dir() else Path("report.html"))
    summary, browsed = shown.summary(), shown.episodes()
    for problem in dict.fromkeys([*summary["problems"], *browsed["problems"]]):
        console.print(problem, style="yellow")
    page = html(summary, browsed)
    write_report(path, page)
    console.print(f"{path}  ({len(page) / 1e6:.1f} MB; open it in a browser)")


def _wait_for(targets: list[str]) -> None:
    """Wait for runs that are to be followed and have not begun: a run loads its models before it makes its folder."""
    late = [
        Path(target) for target in targets if not Path(target).exists() and not Path(target.partition(":")[0]).exists()
    ]
    if late:
        console.print(f"waiting for {', '.join(map(str, late))}: no such folder yet (Ctrl-C ends it)")
    while not all(is_run(folder) for folder in late):
        time.sleep(0.5)


def _serve(shown: Report, port: int) -> None:
    """Serve until a signal comes."""
    from zerosearch.reports.serving import ReportServer

    server = ReportServer(shown, port)
    with server, interrupts.giving_up():
        console.print(f"{server.address}  (Ctrl-C ends it)")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            console.print("ended", style="dim")
