"""Several processes on one machine, one a GPU, started by `accelerate launch`: the same numbers, sooner.

Every process plays its share of the episodes, then all of them know all trajectories, agree on the advantages, run
their share of the micro-batches, and add up their gradients. Since a gradient is a sum over the batch (`losses.py`),
the step is that of one process, up to the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is. One process needs no communication."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Join the group that `accelerate launch` has described in the environment; a single process otherwise."""
        from accelerate import PartialState

        state = PartialState()
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """The one that writes files and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part: every `size`-th item."""
        return list(items[self.rank :: self.size])

    def gather(self, items: Sequence[T]) -> list[T]:
        """Everybody's items, in one order for all: those of process 0 first."""
        if self.size == 1:
            return list(items)
        everybody: list[Any] = [None] * self.size
        distributed.all_gather_object(everybody, list(items))
        return [item for part in everybody for item in part]

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of everybody's `tensor`, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """The sum of everybody's gradients; a process without one counts as 0."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Go on once everybody has come this far."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """Leave the group, at the very end: NCCL complains of a process that ends in it."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


ALONE = Processes()
