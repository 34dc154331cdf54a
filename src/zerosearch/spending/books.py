"""The cost records of a run, read from and written to its folder.

    metrics.jsonl, evaluations/*.json    what each step and each evaluation used; they may be taken back and made again
    spending.jsonl                       what was used, as it came in; only ever appended to, so nothing paid is lost
    cost.json                            the sums of both, rewritten after each step

A run that is killed resumes from its last checkpoint and searches again: `standing` is what the steps and evaluations
that stand have used, the same as in a run that was not killed; `spent` is what was really used, and what a budget is
compared with. A kill loses at most the searches of the step in progress; where they cost money or are bounded by a
budget, no more than the last 16 and those in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.errors import DataError
from zerosearch.files.jsonl import append_jsonl, read_metrics, read_object, read_rows, write_json
from zerosearch.spending.ledger import Ledger
from zerosearch.spending.meter import Budget, Meter

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Books:
    """What a run has used; `rollout_seconds` is wall-clock time in which episodes of training were played."""

    steps: tuple[Ledger, ...]
    evaluations: tuple[Ledger, ...]
    spent: Ledger
    rollout_seconds: float

    @property
    def standing(self) -> Ledger:
        return Ledger.total([*self.steps, *self.evaluations])


def read_books(folder: Path) -> Books:
    """The books of the run in `folder`. Raises `DataError` for files that are no run's, or of an older release."""
    metrics = folder / "metrics.jsonl"
    rows = [(row, f"{metrics}:{number}") for number, row in enumerate(read_metrics(metrics), start=1)]
    paths = sorted((folder / "evaluations").glob("step-[0-9]*.json"))
    return Books(
        tuple(ledger_of(row, where) for row, where in rows),
        tuple(ledger_of(read_object(path), str(path)) for path in paths),
        spent(folder),
        sum(_timing(row, where, "rollout_seconds") for row, where in rows),
    )


def ledger_of(row: dict[str, Any], where: str = "row") -> Ledger:
    """What the step of a metrics row used, or an evaluation, its transfer included. Raises `DataError`."""
    if not isinstance(row.get("ledger"), dict):
        raise DataError(f"{where}: has no ledger, which this release writes")
    decoding = _timing(row, where, "simulator_decode_seconds", 0.0)
    seconds = {"engine_seconds": _timing(row, where, "search_seconds"), "simulator_seconds": decoding}
    return Ledger.from_dict(row["ledger"] | seconds, where)


def _timing(row: dict[str, Any], where: str, name: str, default: float | None = None) -> float:
    try:
        return float(row["timing"][name] if default is None else row["timing"].get(name, default))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: has no timing ({error})") from None


def numbers(ledger: Ledger) -> dict[str, Any]:
    """A ledger without its times: what is the same in every run of the same settings."""
    return {k: v for k, v in ledger.as_dict().items() if k not in ("engine_seconds", "simulator_seconds")}


def times(ledger: Ledger, *, local: bool) -> dict[str, float]:
    """Its times, as `timing` keeps them; `local`: the simulator is decoded by this process."""
    decoding = {"simulator_decode_seconds": ledger.simulator_seconds} if local else {}
    return {"search_seconds": ledger.engine_seconds, **decoding}


def standing_meter(budget: Budget, folder: Path, reason: str) -> Meter:
    """A meter for what is left of `budget` after all that was noted in `folder`, and that notes there what comes in."""
    return Meter(budget.left_after(spent(folder)), note=lambda used: note_spending(folder, used, reason))


def note_spending(folder: Path, ledger: Ledger, reason: str, rank: int = 0) -> None:
    """Append to what was used. Each process has a file of its own: lines of two must not be mixed."""
    name = f"spending-{rank}.jsonl" if rank else "spending.jsonl"
    append_jsonl(folder / name, {"reason": reason, "ledger": ledger.as_dict()})


def spent(folder: Path) -> Ledger:
    """All that was ever noted."""
    return Ledger.total(
        Ledger.from_dict(row.get("ledger"), f"{path}:{number}")
        for path in sorted(folder.glob("spending*.jsonl"))
        for number, row in enumerate(read_rows(path), start=1)
    )


def write_cost(folder: Path, standing: Ledger, used: Ledger, budget: dict[str, Any]) -> None:
    write_json(
        folder / "cost.json",
        {"schema": SCHEMA_VERSION, "standing": standing.as_dict(), "spent": used.as_dict(), "budget": budget},
    )
