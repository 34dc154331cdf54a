"""What every generator of policy tokens offers: ids in, the sampled ids and their log-probs out."""

from __future__ import annotations

from typing import Protocol

from zerosearch.generation import Generation, Sampling


class Generator(Protocol):
    """Samples from the policy. Many calls wait at once; the generator batches whatever waits."""

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation: ...


class TrainedGenerator(Generator, Protocol):
    """A generator whose model is being trained: `sync` is called whenever its weights have changed."""

    def sync(self) -> None: ...
