"""The fault harness: what may go wrong is done on purpose, many times, and counted: tried, survived, lost.

`make test` runs a short part of each fault; `make test-faults` (pytest `--faults`) runs all of it, within an hour on
two cores, and prints one table. A fault counts as survived where what the documents promise still held.

    def test_kills(tally, tries):
        for n in range(tries(full=50, short=2)):
            with tally("SIGKILL, train", f"kill {n}"):
                ...  # asserts what must hold
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

_ROWS: dict[str, list[int]] = {}  # fault -> [tried, lost]; filled in the process that prints


@pytest.fixture
def tries(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`tries(full, short)`: how often to try a fault, by whether the whole harness runs."""
    whole = bool(request.config.getoption("--faults"))
    return lambda full, short: full if whole else short


class Tally:
    """Counts what one test tried; a try that fails is lost, the others go on, and the test fails at its end."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        self.losses: list[str] = []

    @contextmanager
    def __call__(self, fault: str, what: str = "", tried: int = 1) -> Iterator[None]:
        """Count `tried` tries of `fault`; an exception in the block counts them as lost. `what` names them there."""
        count = self.counts.setdefault(fault, [0, 0])
        count[0] += tried
        try:
            yield
        except Exception as error:
            count[1] += tried
            self.losses.append(f"{fault}: {what}: {type(error).__name__}: {error}")


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """A `Tally` of this test's own; its counts reach the table also from a worker of pytest-xdist."""
    counter = Tally()
    yield counter
    record_property("faults", json.dumps(counter.counts))
    assert not counter.losses, "\n\n".join(counter.losses[:20])


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == "faults":
                for fault, (tried, lost) in json.loads(value).items():
                    row = _ROWS.setdefault(fault, [0, 0])
                    row[0] += tried
                    row[1] += lost


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _ROWS and terminalreporter.config.getoption("--faults"):
        terminalreporter.section("faults")
        width = max(map(len, _ROWS))
        terminalreporter.write_line(f"{'fault':<{width}}  {'tried':>9}  {'survived':>9}  {'lost':>5}")
        for fault, (tried, lost) in sorted(_ROWS.items()):
            terminalreporter.write_line(f"{fault:<{width}}  {tried:>9,}  {tried - lost:>9,}  {lost:>5,}")
