"""What a run's searches cost, beside what paid engines would have charged; and the paper's own comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zerosearch.errors import DataError
from zerosearch.files.jsonl import read_object
from zerosearch.spending.books import Books, read_books
from zerosearch.spending.ledger import PRICES, Ledger, Prices, counted, dollars

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class CostLine:
    """One way to have searched: `searches` of them, on `gpus` for `hours` (None where that is no GPU's work)."""

    engine: str
    searches: int
    usd: float
    basis: str
    gpus: int | None = None
    hours: float | None = None


PAPER_SEARCHES = 64_000  # "about": the searches of one training run (arXiv 2505.04588, the table of costs)
PAPER_HOURS = 12.0  # that the simulators' GPUs were rented for that run
PAPER_SIMULATORS = (("3B", 1), ("7B", 2), ("14B", 4))  # size and A100s


def paper_lines(searches: int = PAPER_SEARCHES, prices: Prices = PRICES) -> list[CostLine]:
    """The paper's comparison from its inputs; for another number of `searches` the hours go along in proportion."""
    hours = PAPER_HOURS * searches / PAPER_SEARCHES
    lines = engine_lines(searches, prices)
    for size, gpus in PAPER_SIMULATORS:
        how = f"{gpus} x {hours:,.4g} h x ${prices.gpu_hour:g}"
        lines.append(CostLine(f"simulator {size} (paper)", searches, prices.gpu(hours, gpus), how, gpus, hours))
    return lines


def engine_lines(searches: int, prices: Prices = PRICES) -> list[CostLine]:
    """What Google would charge for `searches`, by the two providers that research code uses."""
    return [
        CostLine(f"Google by {name}", searches, searches * price, f"{searches:,} x ${price * 1000:.3f} per 1,000")
        for name, price in (("SerpAPI", prices.serpapi_search), ("Serper", prices.serper_search))
    ]


@dataclass(frozen=True)
class CostReport:
    """A table: what is compared, its lines, what has to be said to them, and the decimal places of its amounts."""

    title: str
    lines: list[CostLine]
    notes: list[str]
    places: int = 2


@dataclass(frozen=True)
class Machine:
    """What a run's manifest says of where it ran. `cpu`: no GPU was there."""

    device: str
    threads: int | None
    engine: str

    @property
    def cpu(self) -> bool:
        return self.device == "cpu"

    def __str__(self) -> str:
        threads = f" ({counted(self.threads, 'thread')})" if self.threads else ""
        return f"a CPU{threads}" if self.cpu else self.device


def of_paper(searches: int | None, prices: Prices) -> CostReport:
    """The paper's table. It rounds amounts to ten cents, and so does this where the inputs are the paper's."""
    as_printed = searches is None and prices == PRICES
    notes = [
        "Inputs: about 64,000 searches; simulators on 1, 2 and 4 A100 for 12 hours. Serper is not in the paper.",
        f"SerpAPI: {dollars(prices.serpapi_search * 30_000)} buys 30,000 searches. Serper: "
        f"{dollars(prices.serper_search * 50_000)} buys 50,000. Sources and dates: docs/cost.md",
    ]
    if as_printed:
        notes.append("Amounts to ten cents, as the paper prints them.")
    if searches is not None:
        notes.append(f"GPU hours in proportion to the paper's 12 for {PAPER_SEARCHES:,} searches.")
    count = searches or PAPER_SEARCHES
    title = f"{counted(count, 'search', 'searches')}, as in ZeroSearch's table of costs (arXiv 2505.04588)"
    return CostReport(title, paper_lines(count, prices), notes, places=1 if as_printed else 2)


def of_run(name: str, books: Books, machine: Machine, searches: int | None, prices: Prices) -> CostReport:
    """The searches of a run's training, or `searches` of their kind, at the prices of paid engines and at its own.

    Evaluations often use another engine, so they are told of and not compared. Raises `DataError` where a run without
    searches is to be scaled.
    """
    used, notes = Ledger.total(books.steps), []
    if searches is not None and not used.asked:
        raise DataError(f"{name}: has made no search that could be scaled to {searches:,}")
    count = searches or used.asked
    scale = count / used.asked if used.asked else 0.0
    lines = engine_lines(count, prices)
    hours = used.simulator_seconds / SECONDS_PER_HOUR
    if hours:
        lines.append(_gpu_line(count, hours * scale, prices, f"decoding on {machine}"))
        if machine.cpu:
            notes.append(
                f"The simulator ran on {machine}: no GPU was used. Its time is priced as if it were a GPU's, which "
                "would have needed far less of it."
            )
    elif "simulated:" in machine.engine:
        hours = books.rollout_seconds / SECONDS_PER_HOUR
        lines.append(_gpu_line(count, hours * scale, prices, "one GPU while training played episodes"))
        notes.append(
            "The simulator is a server, or was not timed: how long it worked is not known here. It is priced as one "
            "GPU that was there for nothing else, and not while the policy learned."
        )
    tokens = (round(used.prompt_tokens * scale), round(used.completion_tokens * scale))
    if any(tokens):
        read, written = dollars(prices.million_prompt_tokens), dollars(prices.million_completion_tokens)
        how = f"{tokens[0]:,} read at {read} and {tokens[1]:,} written at {written} per million"
        lines.append(CostLine("its tokens, hosted", count, prices.tokens(*tokens), how))
    lines.append(CostLine("charged to this run", count, used.usd * scale, f"by {machine.engine}"))
    if used.failed or used.cached:
        known = f"{used.cached:,} cost nothing (from a cache, or asked before in their step)"
        notes.append(f"Of {counted(used.queries, 'search', 'searches')} {used.failed:,} failed, and {known}.")
    if books.evaluations:
        judged = Ledger.total(books.evaluations)
        notes.append(
            f"Not compared: {counted(judged.queries, 'search', 'searches')} of "
            f"{counted(len(books.evaluations), 'evaluation')}, {dollars(judged.usd)}."
        )
    if books.spent.queries > books.standing.queries:
        more = books.spent.queries - books.standing.queries
        told = f"{counted(more, 'further search', 'further searches')} {'belongs' if more == 1 else 'belong'}"
        notes.append(
            f"{told} to repeated, abandoned or unfinished steps: in all {dollars(books.spent.usd)} for "
            f"{counted(books.spent.asked, 'search', 'searches')} was spent."
        )
    if searches is not None:
        notes.append(f"In proportion to the {counted(used.asked, 'search', 'searches')} of the run's training.")
    return CostReport(f"{name}: {counted(len(books.steps), 'step')} of training, {machine.engine}", lines, notes)


def _gpu_line(searches: int, hours: float, prices: Prices, where: str) -> CostLine:
    how = f"{hours:.4g} h of {where} x ${prices.gpu_hour:g}"
    return CostLine("this run's simulator", searches, prices.gpu(hours), how, 1, hours)


def read_run(folder: Path) -> tuple[Books, Machine]:
    """Raises `DataError` for a folder that is no run's."""
    path = folder / "manifest.json"
    if not (folder / "metrics.jsonl").is_file():
        why = "no such folder" if not folder.exists() else "holds no metrics.jsonl: not a run, or one without a step"
        raise DataError(f"{folder}: {why}")
    try:
        manifest = read_object(path)
        machine = Machine(str(manifest["device"]), manifest.get("threads"), str(manifest["engine"]))
    except KeyError as error:
        raise DataError(f"{path}: not the manifest of a run (it has no {error})") from None
    return read_books(folder), machine
