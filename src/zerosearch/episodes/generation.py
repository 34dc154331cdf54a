"""What passes between an episode and a generator: how to sample, and what was sampled: ids in, the sampled ids and
their log-probs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from zerosearch.usage import Usage

GenerationStop = Literal["stop", "eos", "length"]


@dataclass(frozen=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy.

    `seed` makes a request's tokens a function of the request alone, whatever it is batched with (up to rounding).
    Truncation (`top_p` < 1, `top_k` > 0) changes the distribution: the log-probs returned are those of the truncated
    one, and the trainer is told.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 500
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Generation:
    """`token_ids` as sampled and, for each, the log-prob under the distribution that it was sampled from.

    `stop_reason`: `stop` (a stop string was completed), `eos`, or `length`. The ids are never cut back to the text
    of the stop string: a last token that reaches past it stays whole. `usage` is what a server counted and charges;
    None where the ids are all that there is to count.
    """

    token_ids: list[int]
    logprobs: list[float]
    stop_reason: GenerationStop
    usage: Usage | None = None


class Generator(Protocol):
    """Samples from the policy. Many calls wait at once; the generator batches whatever waits."""

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation: ...


class TrainedGenerator(Generator, Protocol):
    """A generator whose model is being trained: `sync` is called before each batch of episodes.

    It samples from the weights of now, and from nothing that it kept before: a resumed run then samples as one that was
    never interrupted.
    """

    def sync(self) -> None: ...
