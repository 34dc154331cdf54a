"""Where metrics and evaluations go besides the run folder: TensorBoard, wandb, trackio."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerosearch.config import LoggingConfig, TrainConfig
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

    def evaluated(self, record: dict[str, Any]) -> None:
        for name, value in evaluation_scalars(record):
            self._writer.add_scalar(name, value, record["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _TrackerSink:
    """wandb, or trackio, which speaks its language."""

    def __init__(self, package: str, config: TrainConfig, folder: Path) -> None:
        self._tracker: Any = importlib.import_module(package)
        settings = config.model_dump(mode="json")
        self._tracker.init(name=config.name, config=settings, **tracker_options(package, config.logging, folder))

    def log(self, row: dict[str, Any]) -> None:
        self._tracker.log(dict(scalars(row)), step=row["step"])

    def evaluated(self, record: dict[str, Any]) -> None:
        self._tracker.log(dict(evaluation_scalars(record)), step=record["step"])

    def close(self) -> None:
        self._tracker.finish()


def tracker_options(package: str, logging: LoggingConfig, folder: Path) -> dict[str, Any]:
    """What `init` of wandb or trackio is told besides name and configuration; trackio knows a project and a group."""
    options: dict[str, Any] = {"project": logging.project}
    options |= {"group": logging.group} if logging.group is not None else {}
    if package == "trackio":
        return options
    options |= {"dir": str(folder), "tags": logging.tags or None, "entity": logging.entity}
    return options | ({"id": logging.run_id, "resume": "allow"} if logging.run_id is not None else {})


def evaluation_scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of an evaluation (`evaluations/step-N.json`), as `evaluation/f1`; of a transfer, `transfer/...`.

    Its step is the number of steps behind it: 0 is before training.
    """
    yield from scalars(record.get("summary") or {}, "evaluation/")
    yield from scalars(record.get("transfer") or {}, "transfer/")


def scalars(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a row, nested ones as `timing/seconds`."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            yield prefix + key, float(value)
