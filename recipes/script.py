"""How the scripts of these folders take numbers and options of a tuning, and how they end where something is wrong."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zerosearch.errors import ZeroSearchError

if TYPE_CHECKING:
    from zerosearch.learning.sft import SFTSettings
    from zerosearch.models.local import LocalModel

N = TypeVar("N", int, float)


def at_least(least: N, what: str = "") -> Callable[[str], N]:
    """A `type` for argparse, which says of `what` itself: a number of at least `least`, and whole where that is."""
    kind, name = type(least), "a whole number" if isinstance(least, int) else "a number"

    def number(word: str) -> N:
        try:
            if least <= (value := kind(word)) < inf:
                return value
        except ValueError:
            pass
        raise ArgumentTypeError(f"{what}{word!r} is not {name} of at least {least:g}")

    return number


def add_tuning(parser: ArgumentParser) -> None:
    """The options of a script that tunes an adapter: for `adapted` and `sft_settings`."""
    from zerosearch.learning.tuning import default_rate

    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder to write the adapter to")
    add("--start", help="go on from this adapter")
    add("--examples", type=at_least(1), default=6000, help="at most this many texts")
    add("--rank", type=at_least(1), default=8, help="LoRA rank; alpha is twice as much")
    add("--epochs", type=at_least(0.01), default=2.0)
    add("--batch-size", type=at_least(1), default=16)
    add("--learning-rate", type=at_least(1e-9), default=default_rate(full=False))
    add("--micro-batch-tokens", type=at_least(64), default=4096)
    add("--seed", type=int, default=0)


def adapted(asked: Namespace, role: str, dtype: Any = "float32") -> tuple[LocalModel, dict[str, Any]]:
    """The model that was `asked` for with an adapter called `role` to train, and what its card begins with."""
    from zerosearch.models.adapters import read_card, resolve_adapter
    from zerosearch.models.local import LocalModel

    source = resolve_adapter(asked.start) if asked.start else None
    local = LocalModel.load(asked.model, dtype=dtype)
    local.add_adapter(role, source, rank=asked.rank, alpha=2.0 * asked.rank, trainable=True)
    return local, {"role": role, "base": asked.model, "start": read_card(source) if source else None}


def sft_settings(asked: Namespace, **more: Any) -> SFTSettings:
    """What was `asked` for, and `more` settings."""
    from zerosearch.learning.sft import SFTSettings

    names = ("epochs", "batch_size", "learning_rate", "micro_batch_tokens", "seed")
    return SFTSettings(**{name: getattr(asked, name) for name in names}, **more)


def run(main: Callable[[], object]) -> None:
    """Run `main`; a file that is not there or is no data, or a refusal of zerosearch, is one line and status 1."""
    try:
        main()
    except (ArgumentTypeError, ZeroSearchError, OSError) as error:
        sys.exit(f"error: {error}")
