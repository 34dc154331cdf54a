"""The device of a model, and how a thread selects it.

CUDA's current device belongs to a thread, and a new thread begins on GPU 0. Streams, graphs and hand-written kernels go
to the current device and not to that of their tensors: every thread that computes for a model enters its device first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from zerosearch.errors import ConfigError

if TYPE_CHECKING:
    import torch


def pick_device(name: str = "auto") -> torch.device:
    """The device that a setting names. `auto` is this process's GPU if there is one, else the CPU.

    A GPU always has its number: `cuda` in the second process of `accelerate launch` is `cuda:1`. Raises `ConfigError`
    for a name that torch does not know, and for a GPU that is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r}: unknown; use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device mps: torch sees no Apple GPU here")
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise ConfigError(f"device {name}: torch sees no GPU here")
    if device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    if device.index >= count:
        raise ConfigError(f"device {name}: torch sees {count} GPU{'s' * (count > 1)} here, counted from cuda:0")
    return device


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make `device` this thread's current one for a while; nothing to do where it is no GPU."""
    if device.type != "cuda":
        return nullcontext()
    import torch

    return torch.cuda.device(device)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU gradients are added up in the same order each time, however many threads there are.

    Left alone, torch adds some of them as threads arrive, and two runs of one seed part in the last digit. On a GPU
    nothing changes: there it would cost time, and numbers vary with what is decoded together anyway.
    """
    import torch
    import torch.utils.deterministic as filling

    if device.type != "cpu" or torch.are_deterministic_algorithms_enabled():
        yield
        return
    filled, filling.fill_uninitialized_memory = filling.fill_uninitialized_memory, False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        filling.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def multiplying(precision: str) -> Iterator[None]:
    """float32 matrices are multiplied with `highest`, `high` or `medium` precision, and then as before."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
