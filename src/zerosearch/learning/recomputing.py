"""Gradient checkpointing: a layer keeps only its input and is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from zerosearch.learning.policy import training_precision
from zerosearch.models.local import LocalModel


def recompute_layers(model: LocalModel, *, full: bool) -> None:
    """Checkpoint the layers of `model`. `full`: all of its weights are trained.

    How a layer computes (packed attention, compiled rotary embeddings, the precision of adapters) is set for the time
    of a forward pass alone. A backward pass comes later, so it is set once more for each layer that is recomputed.
    """

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _as_before(model, full, model.base.config._attn_implementation)

    model.base.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
    )


@contextmanager
def _as_before(model: LocalModel, full: bool, attention: str) -> Iterator[None]:
    config = model.base.config
    now, config._attn_implementation = config._attn_implementation, attention
    try:
        with training_precision(model, full=full):
            yield
    finally:
        config._attn_implementation = now
