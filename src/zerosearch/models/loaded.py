"""The local models of a command: each model and each adapter is loaded once, and one worker decodes for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zerosearch.models.adapters import resolve_adapter
from zerosearch.models.samplers import SamplerName, open_worker
from zerosearch.process.runtime import quiet_libraries

if TYPE_CHECKING:  # they need torch: where all models are behind URLs, none is needed
    import torch

    from zerosearch.models.local import DtypeName, LocalModel
    from zerosearch.models.waiting import Waiting


@dataclass
class LocalModels:
    """Loads models when they are first asked for. The fields are settings of a run: see `model` and `training`.

    `merge` None: merge adapters for sampling wherever there is a GPU.
    """

    device: str = "auto"
    dtype: DtypeName = "auto"
    max_batch_rows: int = 256
    max_batch_tokens: int = 262_144
    merge: bool | None = None
    sampler: SamplerName = "auto"
    loaded: dict[tuple[str, bool], tuple[LocalModel, Waiting]] = field(default_factory=dict)
    adapters: dict[tuple[str, str, Path], str] = field(default_factory=dict)  # by role, model and folder: its name
    simulating: set[tuple[str, str | None]] = field(default_factory=set)  # model and adapter of every simulator

    def load(self, name: str, dtype: DtypeName | None = None) -> LocalModel:
        """A copy of its own, such as a reference or a critic. Raises `ConfigError`, `ModelError`."""
        from zerosearch.models.local import LocalModel

        quiet_libraries()
        return LocalModel.load(name, dtype=dtype or self.dtype, device=self.device)

    def number_format(self) -> torch.dtype:
        """Of the weights of every model that is not asked for in another one. Raises `ConfigError`."""
        from zerosearch.models.devices import pick_device
        from zerosearch.models.local import number_format

        return number_format(self.dtype, pick_device(self.device))

    def get(self, name: str, *, dtype: DtypeName | None = None, alone: bool = False) -> tuple[LocalModel, Waiting]:
        """The model and its worker. `alone`: weights that nobody else uses, as they are about to change."""
        if (name, alone) not in self.loaded:
            model = self.load(name, dtype)
            worker = open_worker(
                model,
                self.sampler,
                max_batch_rows=self.max_batch_rows,
                max_batch_tokens=self.max_batch_tokens,
                merge=self.merge,
                trained_whole=alone,
            )
            self.loaded[name, alone] = model, worker
        return self.loaded[name, alone]

    def adapter(self, role: str, model: str, source: str | None) -> str | None:
        """The name of the adapter `source` on `model`: `role`, or `role2` for the second one. None for no adapter.

        Two roles never share an adapter, as one of them may be trained. Raises `ModelError`.
        """
        if source is None:
            return None
        key = (role, model, resolve_adapter(source))
        if key not in self.adapters:
            others = sum(known[:2] == key[:2] for known in self.adapters)
            name = f"{role}{others + 1}" if others else role
            self.get(model)[0].add_adapter(name, key[2])
            self.adapters[key] = name
        return self.adapters[key]

    def simulator_seconds(self) -> float:
        """Wall-clock time that local simulators have been decoding, inside their models."""
        totals = [self.loaded[name, False][1].totals.get(adapter) for name, adapter in self.simulating]
        return sum(total.seconds for total in totals if total is not None)

    def close(self) -> None:
        for _, worker in self.loaded.values():
            worker.close()
