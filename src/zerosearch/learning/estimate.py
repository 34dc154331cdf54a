"""Estimate what a run needs before anything is loaded: memory by part, and seconds a step.

The counts are exact for weights, optimizer and cache. What a forward pass keeps follows from the layers of a plain
decoder (two norms, attention, a gated MLP) under LoRA. What is not counted was measured, with Qwen2.5's 1.5 billion
weights on one H200: see `GRAPH_BYTES`, `RATES` and docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from zerosearch.config import TrainConfig
from zerosearch.learning.logprobs import CHUNK
from zerosearch.models.cards import Card
from zerosearch.models.samplers import choose_sampler, vllm_is_installed
from zerosearch.models.shapes import Shape
from zerosearch.models.waiting import CACHE_SHARE

GRAPH_BYTES = 120
"""A row and word of the vocabulary, each speaker: what recorded steps and their buffers hold. Measured once: a sampler
of 256 rows had 21 GiB, of which weights and cache explain 12.3."""


class Rates(NamedTuple):
    """How far a step stays behind the card's own rates."""

    update: float = 0.6
    prefill: float = 0.4
    layer_seconds: float = 73e-6
    """Of a decoding step, whatever it reads: the kernels of a layer."""
    reading: float = 2.75
    """Times the bytes of a text's keys, values and logits that a decoding step takes for it."""


RATES = Rates()


@dataclass(frozen=True)
class Work:
    """The episodes of a step: how many, and how many tokens their parts have.

    A turn searches with a chance of one half, up to `max_searches`. 320 episodes of at most 3 searches have some 23,000
    tokens of the policy, 52,000 of the simulator and 170,000 in all, about what an untrained Qwen2.5-Coder-1.5B makes.
    """

    questions: int
    rollouts: int
    max_searches: int
    instructions: int = 280
    style: int = 330
    turn: int = 38
    page: int = 185

    @property
    def searches(self) -> float:
        """Of an episode, on average."""
        return 1 - 0.5**self.max_searches

    @property
    def totals(self) -> tuple[int, float, float, float]:
        """Episodes of a step, the tokens of their turns, of their pages, and all of their tokens."""
        episodes = self.questions * self.rollouts
        turns, pages = episodes * (self.searches + 1) * self.turn, episodes * self.searches * self.page
        return episodes, turns, pages, episodes * (self.instructions + 30) + turns + pages


@dataclass(frozen=True)
class Plan:
    """What is trained, and how: the settings that memory and time depend on.

    `item` is the bytes of a weight that samples: 2 or 4. `simulator` is a second model on the same GPU; None where the
    simulator shares the policy's weights, is behind a URL, or where a real engine searches.
    """

    full: bool
    rank: int
    item: int
    merged: bool
    recorded: bool
    vllm: bool
    checkpointing: bool
    reference: bool
    """A pass of the reference over every episode."""
    critic: bool
    micro_batch_tokens: int
    cache_tokens: int
    rows: int
    simulated: bool
    simulator: Shape | None = None


def plan_of(config: TrainConfig, *, gpu: bool, parameters: int = 0, simulator: Shape | None = None) -> Plan:
    """The plan of a configuration on a GPU or a CPU, for a model of so many weights; `simulator`: `simulates_with`.

    Raises `ConfigError` where vLLM is asked for and cannot be had.
    """
    model, training, algorithm = config.model, config.training, config.algorithm
    wide = model.dtype == "float32" or (model.dtype == "auto" and not gpu)
    sampler = choose_sampler(
        model.sampler,
        parameters=parameters,
        cuda=gpu,
        exact=wide or model.full,
        installed=vllm_is_installed(),
    )
    local = config.engine.kind == "simulated" and config.engine.simulated.base_url is None
    merge = gpu if training.merge_adapters is None else training.merge_adapters
    return Plan(
        full=model.full,
        rank=model.lora.rank if model.lora else 0,
        item=4 if wide else 2,
        merged=merge and not model.full and sampler != "vllm",
        recorded=gpu and sampler == "native",
        vllm=sampler == "vllm",
        checkpointing=model.gradient_checkpointing,
        reference=algorithm.kl != "none" and algorithm.kl_coef > 0,
        critic=algorithm.name == "ppo",
        micro_batch_tokens=training.micro_batch_tokens,
        cache_tokens=training.max_batch_tokens,
        rows=training.max_batch_rows,
        simulated=local,
        simulator=simulator,
    )


def work_of(config: TrainConfig, page: int = 185) -> Work:
    """A step's episodes, their turns as long as a policy without thoughts has them, pages of `page` tokens."""
    training = config.training
    return Work(training.questions_per_step, training.rollouts, config.protocol.max_searches, page=page)


def simulates_with(config: TrainConfig) -> str | None:
    """The name of the second model that a run loads to simulate with; None where it needs none."""
    engine = config.engine
    if engine.kind != "simulated" or engine.simulated.base_url is not None:
        return None
    same = engine.simulated.model == config.model.name and not config.model.full
    return None if same else engine.simulated.model


def memory(shape: Shape, plan: Plan, room: float | None = None) -> dict[str, int]:
    """Bytes by part: what is there all the time, then `activations` and `logits` of the largest micro-batch.

    `room` is the bytes of the card. A cache takes no more than a share of what is free when it is made; None: as many
    tokens as the settings allow.
    """
    compute = 2 if plan.full else plan.item  # all weights are kept in float32 and computed in bfloat16
    parts = {"weights": shape.parameters * (4 if plan.full else plan.item)}
    if plan.full:
        parts["gradients and optimizer"] = shape.parameters * 12
        parts["weights as they compute"] = shape.linear * compute
        if plan.item == 2 and not plan.vllm:
            parts["copy for the sampler"] = shape.parameters * 2
    else:
        parts["adapter, gradients and optimizer"] = plan.rank * shape.edges * 16 * (2 if plan.critic else 1)
    if plan.merged:
        parts["merged copy for the sampler"] = shape.linear * plan.item
    if plan.vllm:
        parts["vLLM's weights"] = shape.parameters * 2
    if plan.full and plan.reference:
        parts["reference"] = shape.parameters * 2
    if plan.full and plan.critic:
        parts["critic, gradients and optimizer"] = shape.parameters * 16
    if plan.simulator is not None:
        parts["simulator's weights"] = plan.simulator.parameters * (2 if plan.recorded else 4)
    free = None if room is None else room - sum(parts.values())
    parts["cache of the sampler"] = _cache(shape, plan.item, plan.cache_tokens, free)
    if plan.simulator is not None:
        free = None if free is None else free - parts["cache of the sampler"]
        parts["cache of the simulator"] = _cache(plan.simulator, compute, plan.cache_tokens, free)
    if plan.recorded:
        parts["recorded steps"] = GRAPH_BYTES * plan.rows * shape.vocabulary * (1 + plan.simulated)
    parts["activations"] = activations(shape, plan)
    parts["logits"] = min(plan.micro_batch_tokens, CHUNK) * shape.vocabulary * (compute + 16)
    return parts


def activations(shape: Shape, plan: Plan) -> int:
    """Bytes that the forward pass of a micro-batch keeps for its backward pass.

    A layer keeps, a token: what enters each norm and comes out of it, queries and what attention gives, keys and
    values, and four times the MLP's width (gate, its activation, up, their product). With checkpointing every layer
    keeps what enters it, and one at a time all of it.
    """
    item = 2 if plan.full else plan.item
    stream = 4 if plan.full else item  # beside weights in float32 the sum of all layers is in float32
    entering = shape.hidden * stream
    norms = 2 * (entering + shape.hidden * item) + (2 * shape.hidden * stream if plan.full else 0)
    layer = norms + item * (2 * shape.queries + 2 * shape.keys + 4 * shape.intermediate)
    kept = shape.layers * entering + layer if plan.checkpointing else shape.layers * layer
    return kept * plan.micro_batch_tokens


def step_seconds(shape: Shape, plan: Plan, work: Work, card: Card) -> tuple[float, float]:
    """Seconds of rollouts and update on `card`, where turns and pages are as long as `work` says.

    Pages of a server or a real engine count as no time.
    """
    episodes, turns, pages, tokens = work.totals
    longest = 1.3  # the longest episode of a step, times the mean one of most searches
    writer = plan.simulator or shape
    rollouts = longest * (work.max_searches + 1) * work.turn * decode_seconds(shape, plan.item, card)
    rollouts += turns * text_seconds(shape, plan.item, work, card)
    prompts = episodes * 30 + work.instructions + pages
    rollouts += 2 * shape.parameters * prompts / (RATES.prefill * card.rate)
    if plan.simulated:
        item = plan.item if plan.simulator is None else 2
        rollouts += longest * work.max_searches * work.page * decode_seconds(writer, item, card)
        rollouts += pages * text_seconds(writer, item, work, card)
        rollouts += 2 * writer.parameters * episodes * work.searches * 60 / (RATES.prefill * card.rate)
    passes = 6 + (2 if plan.checkpointing else 0) + (2 if plan.reference else 0)
    return rollouts, passes * shape.parameters * tokens / (RATES.update * card.rate)


def _cache(shape: Shape, item: int, tokens: int, free: float | None) -> int:
    token = 2 * shape.layers * shape.keys * item
    return tokens * token if free is None else int(min(tokens * token, max(0.0, CACHE_SHARE * free)))


def decode_seconds(shape: Shape, item: int, card: Card) -> float:
    """Seconds of a decoding step, but for what its texts add."""
    return (shape.parameters - shape.looked_up) * item / card.bandwidth + shape.layers * RATES.layer_seconds


def text_seconds(shape: Shape, item: int, work: Work, card: Card) -> float:
    """Seconds that one text adds to a decoding step."""
    context = work.instructions + work.max_searches * work.page / 2
    cached = 2 * shape.layers * shape.keys * item * context
    return RATES.reading * (cached + shape.vocabulary * (item + 32)) / card.bandwidth
