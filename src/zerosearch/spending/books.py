"""The books of a run, read from and written to its folder.

    metrics.jsonl, evaluations/*.json    what each step and each evaluation used; they may be taken back and made again
    spending.jsonl                       what was used, as it came in; only ever appended to, so nothing paid is lost
    cost.json                            the sums of both, rewritten after each step

A run that is killed goes on from its last checkpoint and searches again: `standing` is what the steps and evaluations
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
_ODD = (KeyError, TypeError, AttributeError, ValueError, OverflowError)  # what values of other shapes raise


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
    """The books of the run in `folder`. Raises `DataError` for files that are no run's."""
    rows = read_metrics(folder / "metrics.jsonl")
    steps = tuple(step_ledger(row, f"{folder / 'metrics.jsonl'}:{n}") for n, row in enumerate(rows, start=1))
    paths = sorted((folder / "evaluations").glob("step-[0-9]*.json"))
    evaluations = tuple(evaluation_ledger(read_object(path), str(path)) for path in paths)
    used = spent(folder)
    return Books(
        steps,
        evaluations,
        Ledger.total([*steps, *evaluations]) if used is None else used,
        sum(_rollout_seconds(row, f"{folder / 'metrics.jsonl'}:{n}") for n, row in enumerate(rows, start=1)),
    )


def _rollout_seconds(row: dict[str, Any], where: str) -> float:
    try:
        return float(row["timing"]["rollout_seconds"])
    except _ODD as error:
        raise DataError(f"{where}: not a row of metrics ({error})") from None


def step_ledger(row: dict[str, Any], where: str = "metrics row") -> Ledger:
    """What the step of a metrics row used. Rows of a release without ledgers tell searches, failures and dollars."""
    try:
        if "ledger" in row:
            timing = row["timing"]
            times = (timing["search_seconds"], timing.get("simulator_decode_seconds", 0.0))
            return _with_times(row["ledger"], times, where)
        return Ledger(
            round(row["searches"] * row["episodes"]), row["search_errors"],
            engine_seconds=row["timing"]["search_seconds"], usd=row["cost_usd"],
        )  # fmt: skip
    except _ODD as error:
        raise DataError(f"{where}: not a row of metrics ({error})") from None


def evaluation_ledger(record: dict[str, Any], where: str = "evaluation") -> Ledger:
    """What an evaluation used, its transfer included. Those of a release without ledgers tell searches only."""
    try:
        if "ledger" in record:
            timing = record["timing"]
            times = (timing["search_seconds"], timing.get("simulator_decode_seconds", 0.0))
            return _with_times(record["ledger"], times, where)
        transfer = record.get("transfer") or {}
        asked = round(record["summary"]["searches"] * record["summary"]["questions"])
        return Ledger(asked + round(transfer.get("simulated_searches", 0) * transfer.get("questions", 0)))
    except _ODD as error:
        raise DataError(f"{where}: not an evaluation ({error})") from None


def numbers(ledger: Ledger) -> dict[str, Any]:
    """A ledger without its times: what is the same in every run of the same settings."""
    return {k: v for k, v in ledger.as_dict().items() if k not in ("engine_seconds", "simulator_seconds")}


def times(ledger: Ledger, *, local: bool) -> dict[str, float]:
    """Its times, as `timing` keeps them; `local`: the simulator is decoded by this process."""
    decoding = {"simulator_decode_seconds": ledger.simulator_seconds} if local else {}
    return {"search_seconds": ledger.engine_seconds, **decoding}


def standing_meter(budget: Budget, folder: Path, reason: str) -> Meter:
    """A meter for what is left of `budget` after all that was noted in `folder`, and that notes there what comes in."""
    return Meter(budget.left_after(spent(folder) or Ledger()), note=lambda used: note_spending(folder, used, reason))


def note_spending(folder: Path, ledger: Ledger, reason: str, rank: int = 0) -> None:
    """Append to what was used. Each process has a file of its own: lines of two must not be mixed."""
    append_jsonl(folder / _spending_name(rank), {"reason": reason, "ledger": ledger.as_dict()})


def spent(folder: Path) -> Ledger | None:
    """All that was ever noted; None where nothing was, as in a run of an older release."""
    paths = sorted(folder.glob("spending*.jsonl"))
    notes = [
        Ledger.from_dict(row.get("ledger"), f"{path}:{number}")
        for path in paths
        for number, row in enumerate(read_rows(path), start=1)
    ]
    return Ledger.total(notes) if notes else None


def write_cost(folder: Path, standing: Ledger, used: Ledger, budget: dict[str, Any]) -> None:
    write_json(
        folder / "cost.json",
        {"schema": SCHEMA_VERSION, "standing": standing.as_dict(), "spent": used.as_dict(), "budget": budget},
    )


def _spending_name(rank: int) -> str:
    return f"spending-{rank}.jsonl" if rank else "spending.jsonl"


def _with_times(row: Any, seconds: tuple[float, float], where: str) -> Ledger:
    return Ledger.from_dict({**row, "engine_seconds": seconds[0], "simulator_seconds": seconds[1]}, where)
