"""Several processes on one machine, one for each GPU, started by `accelerate launch`: the same numbers, faster.

Every process plays its share of the episodes, then all of them know all trajectories, agree on the advantages, run
their share of the micro-batches, and add up their gradients. Since a gradient is a sum over the batch (`losses.py`),
the step is that of one process, up to the order of additions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")
_PIECE = 32 * 2**20


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is. One process needs no communication."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Join the group that `accelerate launch` or `torchrun` has described; a single process otherwise.

        GPUs talk through NCCL. On a machine without one the processes talk through gloo.
        """
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def missed(self) -> str | None:
        """What to say where this process is alone and `accelerate launch` was asked for several.

        Without several GPUs it starts one, tells nobody, and leaves only a port for them to meet at.
        """
        launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ
        if self.size > 1 or not launched:
            return None
        return (
            "accelerate launch was asked for several processes and started one, as it does without a GPU for each; "
            "torchrun --nproc_per_node N -m zerosearch ... starts N"
        )

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
        """The sum of everybody's gradients; a process without one counts as 0.

        An adapter has hundreds of small tensors: they are sent end to end, in pieces of some `_PIECE` numbers.
        """
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        for piece in _pieces(gradients):
            sent = torch.cat([gradient.flatten() for gradient in piece])
            distributed.all_reduce(sent)
            for gradient, summed in zip(piece, torch.split(sent, [g.numel() for g in piece]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def wait(self) -> None:
        """Go on once everybody has come this far."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """Leave the group, at the very end: NCCL complains of a process that ends in it."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


def _pieces(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one number format, until they hold `_PIECE` numbers."""
    piece: list[Tensor] = []
    for tensor in tensors:
        if piece and (piece[0].dtype != tensor.dtype or sum(t.numel() for t in piece) >= _PIECE):
            yield piece
            piece = []
        piece.append(tensor)
    if piece:
        yield piece


ALONE = Processes()
