"""The report that a run ends with, and how reports read the tokens of a run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from zerosearch.config_file import load_config
from zerosearch.errors import ZeroSearchError, first_line
from zerosearch.models.endpoint import byte_codec
from zerosearch.parts import Parts
from zerosearch.reports.page import html, write_report
from zerosearch.reports.report import Decoders, Report
from zerosearch.reports.rows import Decode

AT_THE_END = 2000  # episodes of the report that a run ends with: it takes a few seconds


def write_run_report(folder: Path) -> str:
    """Write the report of a run that has ended, as `report.html` of its folder. Returns a line: where it is, or why
    there is none, as the run is whole without it."""
    problems: list[str] = []
    path = folder / "report.html"
    try:
        shown = Report([str(folder)], decoders(problems.append), AT_THE_END)
        summary = shown.summary()
        write_report(path, html(summary | {"problems": [*summary["problems"], *problems]}, shown.episodes()))
    except Exception as error:  # of whatever it is made: the run itself is whole
        again = shlex.join(["zerosearch", "report", str(folder)])
        return f"could not be written ({first_line(error)}); {again} tries again"
    return f"{path} (open it in a browser; zerosearch report overlays several runs)"


def decoders(say: Callable[[str], None]) -> Decoders:
    """How ids become text: by the tokenizer of the run's model, read once a model. `say` is told why there is none."""
    known: dict[tuple[str, bool], Decode | None] = {}

    def of(folder: Path) -> Decode | None:
        try:
            config = load_config(folder / "config.toml")
            key = (config.model.name, config.model.base_url is not None)
            if key not in known and config.model.base_url is not None:
                known[key] = byte_codec().decode
            elif key not in known:
                with Parts(config) as parts:
                    known[key] = parts.tokenizer().codec.decode
            return known[key]
        except ZeroSearchError as error:
            say(f"{folder}: the episodes are shown without probabilities: {error}")
            return None

    return of
