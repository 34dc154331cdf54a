"""The line that says how a training step went: on the terminal, and what `zerosearch.train` says from Python.

step 1/3  reward 0.300  searches 1.30  valid 100%  noise   0%  27 tok/s  78 s  left 2:36
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from zerosearch.spending.ledger import counted, dollars


class Lines:
    """A `Sink` that says one line a step, of `steps` in all.

    `say` gets the line, and what went wrong in that step: failed searches, alarms, queries without a recorded page.
    `width`: how many columns the line may have (None: any number); it is asked at each step.
    """

    def __init__(
        self,
        steps: int,
        say: Callable[[str, Sequence[str]], None],
        width: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._steps, self._say, self._width = steps, say, width
        self._first: int | None = None
        self._started = time.monotonic()

    def log(self, row: dict[str, Any]) -> None:
        """Say how the step of this row of `metrics.jsonl` went."""
        step = row["step"]
        if self._first is None:
            self._first = step
            self._started = time.monotonic() - row["timing"]["seconds"]
        done = step + 1 - self._first
        left = (time.monotonic() - self._started) / done * (self._steps - step - 1)
        timing = row["timing"]
        noise = "   -" if row["noise"] is None else f"{row['noise']:4.0%}"
        said = {
            "step": f"step {step + 1:>{len(str(self._steps))}}/{self._steps}",
            "reward": f"reward {row['reward']:.3f}",
            "searches": f"searches {row['searches']:.2f}",
            "valid": f"valid {row['valid_actions']:4.0%}",
            "noise": f"noise {noise}",
            "rate": f"{timing['policy_tokens_per_second']:.0f} tok/s",
            "seconds": f"{timing['seconds']:.0f} s",
            "left": f"left {clock(left)}",
        }
        spent = row["cost"]["usd"]
        line = fitted(said, self._width()) + (f"  {dollars(spent)} spent" if spent else "")
        self._say(line, wrong(row))

    def close(self) -> None:
        pass


def wrong(row: dict[str, Any]) -> list[str]:
    """What went wrong in a step, each in a few words."""
    failed, missed = row["search_errors"], row["misses"]
    found = [f"{counted(failed, 'search', 'searches')} failed"] if failed else []
    found += row["alarms"]
    return found + ([f"{counted(missed, 'query', 'queries')} without a recorded page"] if missed else [])


def fitted(said: dict[str, str], width: int | None) -> str:
    """The parts of a step's line, without those that matter least where the line would be broken."""
    kept = dict(said)
    for least in ("rate", "seconds", "noise", "searches"):
        if width is None or len("  ".join(kept.values())) <= width:
            break
        del kept[least]
    return "  ".join(kept.values())


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes: 0:07, 12:30, 1:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
