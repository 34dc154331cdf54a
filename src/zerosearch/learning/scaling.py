"""An optimizer step from losses: sum gradients, scale them for float16, check that they are finite, clip.

float16 holds nothing between 0 and 6e-8, and a token's share of a batch's loss is often less: its gradient would be 0.
So the loss is multiplied before the backward pass, and the gradients, which add up in float32, are divided after it
(Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740). Scales are powers of two: neither way rounds anything.
Beyond 65504 float16 overflows; then the scale is halved and the backward pass is done again, so no step is lost.
bfloat16 and float32 have the range for every gradient, and their scale is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from zerosearch.errors import RunError
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.models.phases import phase

FIRST, LARGEST = 2.0**16, 2.0**24
GROWS_AFTER = 100  # steps without an overflow, after which the scale is doubled


class NotFinite(RunError):
    """A loss or a gradient is not a number. The trainer saves the batch before it stops."""


class LossScale:
    """What a loss is multiplied with; `state` and `load_state` make a resumed run go on with the same numbers."""

    def __init__(self, dtype: torch.dtype) -> None:
        """`dtype` is that of the model's weights, in which it computes."""
        self.used = dtype == torch.float16
        self.value = FIRST if self.used else 1.0
        self._steps = 0  # since it last changed

    def lower(self) -> bool:
        """After an overflow. False where the scale is 1 already: then it was no overflow of its making."""
        if self.value <= 1:
            return False
        self.value, self._steps = self.value / 2, 0
        return True

    def stepped(self) -> None:
        """After a step whose gradients were finite."""
        self._steps += 1
        if self.used and self._steps >= GROWS_AFTER and self.value < LARGEST:
            self.value, self._steps = self.value * 2, 0

    def state(self) -> dict[str, float]:
        return {"value": self.value, "steps": self._steps}

    def load_state(self, state: dict[str, float]) -> None:
        self.value, self._steps = state["value"], int(state["steps"])


def descend(
    optimizer: torch.optim.Optimizer,
    losses: Callable[[], Iterable[Tensor]],
    scale: LossScale,
    *,
    max_norm: float,
    what: str,
    processes: Processes = ALONE,
) -> tuple[float, float]:
    """One step down the sum of `losses()`: scalars, one a micro-batch, each differentiated before the next is made.

    They are made again after an overflow. Gradients are added up over processes and clipped to `max_norm`. Returns
    the loss, and the gradient's norm before clipping. Raises `NotFinite`, that begins with `what`, with the weights as
    they were.
    """
    parameters: list[torch.nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
    while True:
        total = 0.0
        for part in losses():
            with phase("backward", gpu=True):
                (part * scale.value).backward()  # type: ignore[no-untyped-call]
                total += float(part.detach())
        for parameter in parameters:
            if scale.value > 1 and parameter.grad is not None:
                parameter.grad.div_(scale.value)
        if not isinstance(parameters[0], DTensor):  # those of sharded weights are sums already
            processes.add_up_gradients(parameters)
        if all(parameter.grad is None for parameter in parameters):
            # every row was skipped: a gradient of 0, which the optimizer's momentum outlives; None would stop it
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
        total = float(processes.add_up(torch.tensor(total, device=parameters[0].device)))
        with phase("optimizer", gpu=True):
            clipped = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        norm = float(clipped.full_tensor() if isinstance(clipped, DTensor) else clipped)
        if math.isfinite(total) and math.isfinite(norm):
            break
        optimizer.zero_grad(set_to_none=True)
        if math.isfinite(total) and scale.lower():
            continue
        beyond = "; float16 holds no number beyond 65504, bfloat16 and float32 do (model.dtype)" * scale.used
        raise NotFinite(f"{what}: the loss is {total} and its gradient's norm {norm}{beyond}")
    with phase("optimizer", gpu=True):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    scale.stepped()
    return total, norm
