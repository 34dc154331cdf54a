"""Where metrics go besides `metrics.jsonl`: TensorBoard, wandb, trackio."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerosearch.config import TrainConfig
from zerosearch.errors import ConfigError, extra_of, install

if TYPE_CHECKING:  # it needs torch
    from zerosearch.learning.trainer import Sink

_PACKAGES = ("tensorboard", "wandb", "trackio")


def check_sinks(config: TrainConfig) -> None:
    """Raises `ConfigError`, before anything is loaded or written, naming the extra that is missing."""
    for package in _PACKAGES:
        if getattr(config.logging, package) and importlib.util.find_spec(package) is None:
            raise ConfigError(f"logging.{package} is on, but {package} is missing: {install(extra_of(package))}")


def open_sinks(config: TrainConfig, folder: Path, start: int) -> list[Sink]:
    """The sinks that `config.logging` asks for, whose packages are here (`check_sinks`)."""
    sinks: list[Sink] = []
    if config.logging.tensorboard:
        sinks.append(TensorBoardSink(folder / "tensorboard", start))
    trackers = [package for package in ("wandb", "trackio") if getattr(config.logging, package)]
    return [*sinks, *(_TrackerSink(package, config, folder) for package in trackers)]


class TensorBoardSink:
    """Scalars for TensorBoard; what a resumed run writes again replaces what it wrote before."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start)

    def log(self, row: dict[str, Any]) -> None:
        for name, value in scalars(row):
            self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _TrackerSink:
    """wandb, or trackio, which speaks its language."""

    def __init__(self, package: str, config: TrainConfig, folder: Path) -> None:
        self._tracker: Any = importlib.import_module(package)
        options = {"dir": str(folder)} if package == "wandb" else {}
        self._tracker.init(project="zerosearch", name=config.name, config=config.model_dump(mode="json"), **options)

    def log(self, row: dict[str, Any]) -> None:
        self._tracker.log(dict(scalars(row)), step=row["step"])

    def close(self) -> None:
        self._tracker.finish()


def scalars(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a row, nested ones as `timing/seconds`."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            yield prefix + key, float(value)
