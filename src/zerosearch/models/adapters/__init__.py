"""The LoRA adapters that ship with the package, for the embedded model: a warm-started policy and a tuned simulator.

Each folder holds a standard PEFT adapter and `card.json`: what it was trained on, with what command, and its scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zerosearch.errors import ModelError
from zerosearch.files.folders import restore
from zerosearch.files.jsonl import read_object

_FOLDER = Path(__file__).parent
_PREFIX = "embedded:"


def shipped_adapters() -> dict[str, Path]:
    """`embedded:policy` and its like, with the folders they stand for."""
    return {_PREFIX + folder.name: folder for folder in sorted(_FOLDER.iterdir()) if (folder / "card.json").is_file()}


def resolve_adapter(name: str) -> Path:
    """The folder of a shipped adapter, or `name` itself. Raises `ModelError` where there is none."""
    shipped = shipped_adapters()
    if name in shipped:
        return shipped[name]
    if name.startswith(_PREFIX):
        raise ModelError(f"adapter {name}: this release ships {', '.join(shipped) or 'none'}")
    folder = Path(name).expanduser()
    restore(folder)  # a kill may have come while it was being replaced
    if not folder.is_dir():
        raise ModelError(f"adapter {name}: no such folder")
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """The card of an adapter; empty where it has none. Raises `DataError` for one that cannot be read."""
    path = folder / "card.json"
    return read_object(path) if path.exists() else {}


def tuned_otherwise(adapter: str, **asked: Any) -> dict[str, str]:
    """A line for each setting of `asked` for which the adapter's card has another value than it was tuned with.

    Raises `ModelError`, `DataError`.
    """
    card = read_card(resolve_adapter(adapter))
    return {
        key: f"{adapter} was tuned with {key} = {card[key]}, this run asks for {ours}"
        for key, ours in asked.items()
        if card.get(key) not in (None, ours)
    }
