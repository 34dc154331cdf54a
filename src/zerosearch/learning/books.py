"""Cost records of a run during training: every search of every process is counted, and none exceeds the budget.

    books = RunBooks(folder, Budget(usd=20.0), processes, models.simulator_seconds)
    books.open()
    played, used = await books.section("step 7", lambda: roll_out(..., books.metered(engine), ...))
    books.stands(used)

The books themselves are described in `spending/books.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import BudgetError
from zerosearch.learning.parallel import Processes
from zerosearch.spending.books import note_spending, read_books, write_cost
from zerosearch.spending.ledger import Ledger, counted, dollars
from zerosearch.spending.meter import Budget, Meter, Metered

T = TypeVar("T")


class RunBooks:
    """`standing()`: what the steps and evaluations that stand have used; `spent`: all that was (`spending/books.py`).

    `decoded` tells the seconds that a local simulator has decoded so far; None where there is none.
    """

    def __init__(
        self, folder: Path, budget: Budget, processes: Processes, decoded: Callable[[], float] | None = None
    ) -> None:
        self.spent = Ledger()
        self._standing: list[Ledger] = []
        self._folder, self._budget, self._processes, self._decoded = folder, budget, processes, decoded
        self._reason = "start"
        self._meter = Meter(note=self._note)

    def standing(self, *more: Ledger) -> Ledger:
        """The sum of what stands and of `more`: one sum, so a resumed run gives it to the last digit."""
        return Ledger.total([*self._standing, *more])

    @property
    def local(self) -> bool:
        """Whether the simulator's decoding can be timed here."""
        return self._decoded is not None

    def open(self) -> None:
        """Read the books, once all that is taken back is out of the folder."""
        books = read_books(self._folder)
        self._standing = [*books.steps, *books.evaluations]
        self.spent = books.spent
        self._write()

    def metered(self, engine: SearchEngine) -> SearchEngine:
        return Metered(engine, self._meter)

    def given_again(self, trajectories: Sequence[Trajectory]) -> None:
        """Count this section's searches that shared a page too: `trajectories` hold more than the engine was asked."""
        more = Ledger.of(trajectories).queries - self._meter.used.queries
        self._meter.count(Ledger(queries=more, cached=more))

    async def section(self, reason: str, work: Callable[[], Awaitable[Sequence[T]]]) -> tuple[list[T], Ledger]:
        """Everybody's `work` put together, in the order of the processes, and what all of it used.

        The searches must go through `metered` engines. What is left of the budget is shared out evenly among the
        processes; where one has used up its share all of them stop together. Raises `BudgetError`.
        """
        processes = self._processes
        if self._budget.reached_by(self.spent):
            raise BudgetError(self.sentence())
        self._reason = reason
        self._meter.budget = self._budget.left_after(self.spent, processes.rank, processes.size)
        decoded = self._decoded() if self._decoded else 0.0
        own: list[T] = []
        stopped = False
        try:
            own = list(await work())
        except BudgetError:
            stopped = True
        finally:
            used = self._meter.take()
            if self._decoded and (seconds := self._decoded() - decoded) > 0:
                decoding = Ledger(simulator_seconds=seconds)
                self._note(decoding)
                used += decoding
        everybody = Ledger.total(processes.gather([used]))
        self.spent += everybody
        if any(processes.gather([stopped])):
            self._write()
            raise BudgetError(self.sentence())
        return processes.gather(own), everybody

    def stands(self, ledger: Ledger) -> None:
        """A step or an evaluation is written and has used `ledger`."""
        self._standing.append(ledger)
        self._write()

    def sentence(self) -> str:
        """Which budget is reached and what was spent, in one line."""
        budget, used = self._budget, self.spent
        names = []
        if Budget(usd=budget.usd).reached_by(used):
            names.append(f"engine.budget_usd = {budget.usd:g}")
        if Budget(searches=budget.searches).reached_by(used):
            names.append(f"engine.budget_searches = {budget.searches}")
        said = f"{' and '.join(names)} is reached" if names else "this process's share of the budget is reached"
        if not names and budget.usd is not None:
            said = f"what is left of engine.budget_usd = {budget.usd:g} pays for no further search"
        return f"{said}: {dollars(used.usd)} and {counted(used.asked, 'search', 'searches')} are spent"

    def _note(self, ledger: Ledger) -> None:
        note_spending(self._folder, ledger, self._reason, self._processes.rank)

    def _write(self) -> None:
        if self._processes.first:
            write_cost(self._folder, self.standing(), self.spent, asdict(self._budget))
