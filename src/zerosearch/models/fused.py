"""Norms and rotary embeddings compiled: transformers writes each as some ten operations, and a GPU then runs one.

They are most of a small model's kernels, and a decoding step of a small model is as long as its kernels are many. Only
these two are compiled, once for all layers: it takes seconds, where a whole model takes minutes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch

from zerosearch.errors import first_line

log = logging.getLogger(__name__)

_ROTARY = "apply_rotary_pos_emb"  # transformers' name for it, in the module of every model that has one
_compiled: dict[Any, Callable[..., Any]] = {}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled for any shapes; where that fails, it is said once and the function stays as it is."""
    if function not in _compiled:
        fast = torch.compile(function, dynamic=True)

        def call(*args: Any, **kwargs: Any) -> Any:
            if _compiled[function] is function:
                return function(*args, **kwargs)
            try:
                return fast(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # no compiler on this machine, or an operation that it does not know
                log.warning("%s is not compiled, which is slower: %s", function.__qualname__, first_line(error))
                _compiled[function] = function
                return function(*args, **kwargs)

        _compiled[function] = call
    return _compiled[function]


def fuse_norms(model: Any) -> None:
    """Compile the RMS norms of `model`, which is nobody else's."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = MethodType(compiled(type(module).forward), module)


@contextmanager
def fused_rotary(model: Any) -> Iterator[None]:
    """Compile the rotary embedding of `model`'s kind for a while."""
    home = sys.modules[type(model).__module__]
    plain = getattr(home, _ROTARY, None)
    if plain is None:
        yield
        return
    setattr(home, _ROTARY, compiled(plain))
    try:
        yield
    finally:
        setattr(home, _ROTARY, plain)
