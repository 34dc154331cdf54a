"""Estimate how a cluster's GPUs are divided between policy and simulator, and the time of a step.

    best(Ask(policy, simulator, work_of(config), card, gpus=32, full=True))

The rates are those measured on one GPU with this package's own sampler (`estimate.py`). What only a cluster has is not
in them: vLLM's own speed, NCCL, weights on their way to vLLM, its sleep and wake.
"""

from __future__ import annotations

from dataclasses import dataclass

from zerosearch.learning.estimate import RATES, Work, decode_seconds, text_seconds
from zerosearch.models.cards import GIB, Card
from zerosearch.models.shapes import Shape

MACHINE = 8  # GPUs of one machine: verl wants the same number of each
LONGEST = 1.3  # the longest episode of a step, times the mean one of most searches
VLLM_SHARE = 0.5  # of a GPU that vLLM takes beside FSDP: verl's gpu_memory_utilization
CACHE_LEAST = 0.3  # of vLLM's share that must be left for its cache
_PASSES = 8  # forward, backward, and the old log-probs that verl computes anew
_ITEM = 2
_HEAD_TOKENS = 512  # of which verl's fused head makes logits at a time


@dataclass(frozen=True)
class Ask:
    """What shall run on `gpus` cards. `simulator` None: pages come from elsewhere, and cost no GPU and no time.

    `full`: all weights are trained; else an adapter of `rank`. `reference`: one more pass, for the KL. `tokens` are
    those of a micro-batch. `checkpointing`: layers are recomputed.
    """

    policy: Shape
    simulator: Shape | None
    work: Work
    card: Card
    gpus: int
    full: bool = False
    rank: int = 8
    reference: bool = True
    tokens: int = 16384
    checkpointing: bool = False


@dataclass(frozen=True)
class Division:
    """`policy` and `simulator` count GPUs; `tensor_parallel` those of one vLLM engine. Seconds are of a step, `gib` of
    one policy GPU while it updates."""

    policy: int
    simulator: int
    tensor_parallel: int
    simulator_parallel: int
    rollouts: float
    pages: float
    update: float
    gib: float

    @property
    def seconds(self) -> float:
        return self.rollouts + self.pages + self.update


def tensor_parallel(shape: Shape, card: Card, share: float = VLLM_SHARE) -> int:
    """The least power of two of GPUs whose `share` holds the weights in bfloat16, with room for the cache."""
    parallel = 1
    while shape.parameters * _ITEM / parallel > (1 - CACHE_LEAST) * share * card.gib * GIB:
        parallel *= 2
    return parallel


def division(ask: Ask, simulator: int) -> Division:
    """What a step takes with so many GPUs for the simulator; both kinds in whole engines.

    An episode waits for its turns and its pages one after the other (that time no GPU shortens); beside it the GPUs
    work through all texts: the slower kind of GPU sets the pace.
    """
    shape, work, card = ask.policy, ask.work, ask.card
    policy = ask.gpus - simulator
    episodes, turns, pages, tokens = work.totals
    own = turns * text_seconds(shape, _ITEM, work, card)
    own += 2 * shape.parameters * (episodes * (30 + work.instructions) + pages) / (RATES.prefill * card.rate)
    chain = LONGEST * (work.max_searches + 1) * work.turn * decode_seconds(shape, _ITEM, card)
    theirs = waiting = 0.0
    parallel = 1
    if ask.simulator is not None:
        writer, parallel = ask.simulator, tensor_parallel(ask.simulator, card, share=0.9)
        theirs = pages * text_seconds(writer, _ITEM, work, card)
        theirs += 2 * writer.parameters * episodes * work.searches * 60 / (RATES.prefill * card.rate)
        theirs /= simulator
        waiting = LONGEST * work.max_searches * work.page * decode_seconds(writer, _ITEM, card) / parallel
    own /= policy
    passes = _PASSES + (2 if ask.reference else 0)
    return Division(
        policy=policy,
        simulator=simulator,
        tensor_parallel=tensor_parallel(shape, card),
        simulator_parallel=parallel,
        rollouts=chain / tensor_parallel(shape, card) + own,
        pages=waiting + max(0.0, theirs - own),
        update=passes * shape.parameters * tokens / (RATES.update * card.rate) / policy,
        gib=policy_gib(ask, policy),
    )


def policy_gib(ask: Ask, policy: int) -> float:
    """Of one policy GPU while it updates: FSDP's share of weights, gradients and optimizer, one layer whole, what the
    forward pass keeps, and the logits of a micro-batch. vLLM sleeps meanwhile."""
    shape = ask.policy
    held = shape.parameters * (16 if ask.full else 4) / policy  # verl keeps weights in float32
    held += 0 if ask.full else ask.rank * shape.edges * 16 / policy
    held += shape.linear / shape.layers * (4 + _ITEM)
    layer = kept_of_layer(shape)
    kept = shape.layers * shape.hidden * _ITEM + layer if ask.checkpointing else shape.layers * layer
    tied = shape.looked_up == 0  # verl's fused head makes logits of few tokens at a time
    logits = _HEAD_TOKENS * shape.vocabulary * 20 if tied else ask.tokens * shape.vocabulary * (_ITEM + 4)
    return (held + kept * ask.tokens + logits) / GIB


def kept_of_layer(shape: Shape) -> int:
    """Bytes, of a token, that a layer in bfloat16 keeps for its backward pass. Two norms: what enters, in float32 too,
    and what comes out; queries and what attention gives, keys and values, four times the MLP's width."""
    norms = 2 * shape.hidden * (_ITEM + 4 + _ITEM)
    return norms + _ITEM * (2 * shape.queries + 2 * shape.keys + 4 * shape.intermediate)


def best(ask: Ask) -> Division | None:
    """The quickest division whose policy fits into its GPUs; None where there is none."""
    room = ask.card.gib
    if ask.simulator is None:
        choices = [0]
    else:
        parallel = tensor_parallel(ask.simulator, ask.card, share=0.9)
        choices = list(range(parallel, ask.gpus, parallel))
    made = [division(ask, simulator) for simulator in choices if ask.gpus > simulator]
    whole = [one for one in made if one.policy <= MACHINE or one.policy % MACHINE == 0]
    fits = [one for one in whole if one.gib <= room and one.policy % one.tensor_parallel == 0]
    return min(fits, key=lambda one: one.seconds, default=None)
