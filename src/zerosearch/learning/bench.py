"""Measure a training step on this machine, with random weights and synthetic episodes.

What a step costs does not depend on which weights and which tokens they are, only on how many. Policy and simulator
share the weights, as they do where a prompted simulator plays the engine.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from zerosearch.config import TrainConfig
from zerosearch.episodes.generation import Generator, Sampling, TrainedGenerator
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import ConfigError
from zerosearch.learning.estimate import Work, memory, plan_of
from zerosearch.learning.opening import open_learner
from zerosearch.learning.parallel import Processes
from zerosearch.learning.sharding import CopiedGenerator
from zerosearch.models.cards import GIB, Card, card_named
from zerosearch.models.devices import multiplying, pick_device
from zerosearch.models.fused import fuse_norms
from zerosearch.models.loaded import LocalModels
from zerosearch.models.local import DtypeName, LocalModel, number_format
from zerosearch.models.phases import Profile, Spent, longest_first
from zerosearch.models.shapes import SHAPES, config_named, shape_of
from zerosearch.models.worker import TransformersGenerator
from zerosearch.parts import local_models


@dataclass
class Measured:
    """Seconds of each repeat; the first holds what is compiled and recorded once."""

    device: str
    dtype: str
    shape: str
    sampler: str
    trained: str
    parameters: int
    read_bytes: int
    """Weights that a decoding step reads."""
    work: Work
    processes: int = 1
    rollout_seconds: list[float] = field(default_factory=list)
    policy_tokens: list[int] = field(default_factory=list)
    simulator_tokens: list[int] = field(default_factory=list)
    update_seconds: list[float] = field(default_factory=list)
    update_tokens: list[int] = field(default_factory=list)
    sampler_gaps: list[float] = field(default_factory=list)
    """Nats a token, between sampler and trainer: it grows where the sampler does not hear of the updates."""
    chains: list[int] = field(default_factory=list)
    """Tokens of each step's longest episode, sampled one after the other: its turns and its pages."""
    rollout_phases: list[dict[str, Spent]] = field(default_factory=list)
    update_phases: list[dict[str, Spent]] = field(default_factory=list)
    peak_gib: float | None = None
    """The most that tensors had at once, on a GPU."""
    held_gib: float | None = None
    """The most that was kept from others: with what recorded steps and the allocator hold."""
    estimated_gib: float | None = None
    """What `zerosearch doctor` says of such a run."""

    def middle(self, what: list[float] | list[int]) -> float:
        """The median without the first, or the first where there is no other."""
        return float(statistics.median(what[1:] or what))

    def phases(self, steps: list[dict[str, Spent]]) -> dict[str, Spent]:
        """The median of each phase over `steps` without the first, the longest first."""
        counted = steps[1:] or steps
        found = {}
        for name in {name for step in counted for name in step}:
            spent = [step.get(name, Spent(0, 0.0, None)) for step in counted]
            on_gpu = [s.gpu or 0.0 for s in spent] if any(s.gpu is not None for s in spent) else None
            gpu = None if on_gpu is None else statistics.median(on_gpu)
            times = round(statistics.median(s.times for s in spent))
            found[name] = Spent(times, statistics.median(s.host for s in spent), gpu)
        return longest_first(found)

    @property
    def card(self) -> Card | None:
        return card_named(self.device)

    @property
    def rollout_limit(self) -> float | None:
        """Seconds: the weights read from the GPU's memory once for each token of the longest episode."""
        return self.middle(self.chains) * self.read_bytes / self.card.bandwidth if self.card else None

    @property
    def update_limit(self) -> float | None:
        """Seconds: 6 operations a weight and token, at the rate of all GPUs."""
        done = 6 * self.parameters * self.middle(self.update_tokens)
        return done / (self.card.rate * self.processes) if self.card else None

    @property
    def peak_share(self) -> float | None:
        """The update's share of the chip's rate, by 6 operations a weight and token; None for a chip unknown here."""
        return self.update_limit / self.middle(self.update_seconds) if self.update_limit else None


class _NoTokenizer:
    """Made-up texts are numbers, and end by their length."""

    eos_token_id = None


def random_model(shape: str, device: torch.device, dtype: torch.dtype) -> LocalModel:
    """Raises `ConfigError` for a shape that is not in `SHAPES`."""
    if shape not in SHAPES:
        raise ConfigError(f"shape {shape!r}: known are {', '.join(SHAPES)}")
    torch.manual_seed(0)
    make: Any = AutoModelForCausalLM
    with torch.device(device):
        model = make.from_config(config_named(shape), dtype=dtype)
    model.generation_config.eos_token_id = None
    model.eval().requires_grad_(False)
    if device.type == "cuda":
        fuse_norms(model)
    return LocalModel(model, _NoTokenizer(), shape, device)


class RandomModels(LocalModels):
    """The models of a run, each of random weights; a name is a shape."""

    def load(self, name: str, dtype: DtypeName | None = None) -> LocalModel:
        device = pick_device(self.device)
        return random_model(name, device, number_format(dtype or self.dtype, device))


def measure(
    shape: str,
    config: TrainConfig,
    work: Work,
    *,
    repeats: int,
    profile: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Play and learn `repeats` times, with the models, sampler and sizes of `config`; `profile`: say in what phases.

    Processes that are started together share the work, as those of a run do. Raises `ConfigError`.
    """
    processes = Processes.current()
    config.model.check_trainable()
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": shape, "adapter": None})})
    device = pick_device(config.model.device)
    if device.type == "cuda":
        gc.collect()  # what was measured before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    say(f"making {shape} with random weights ...")
    models = local_models(config, RandomModels)
    learner, policy = open_learner(config, models, processes)
    simulator = TransformersGenerator(models.get(shape)[1])
    sampled = policy.generator if isinstance(policy, CopiedGenerator) else policy
    measured = _nothing_yet(learner.policy.model, sampled.worker.model.dtype, config, work)
    measured.processes = processes.size
    words, watch = config_named(shape).vocab_size, Profile(device)
    with multiplying(config.model.matmul_precision), watch if profile else nullcontext():
        for repeat in range(repeats):
            say(f"step {repeat + 1} of {repeats} ...")
            processes.wait()
            started = time.perf_counter()
            own = asyncio.run(_rollouts(policy, simulator, work, words, repeat, processes))
            batch = sorted(processes.gather(own), key=lambda t: (t.group, t.rollout))
            measured.rollout_seconds.append(time.perf_counter() - started)
            measured.rollout_phases += [_phases(watch, full=config.model.full)] if profile else []
            started = time.perf_counter()
            measured.sampler_gaps.append(float(learner.update(batch, repeat)["sampler_gap"]))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
                measured.peak_gib = torch.cuda.max_memory_allocated(device) / GIB
                measured.held_gib = torch.cuda.max_memory_reserved(device) / GIB
            measured.update_seconds.append(time.perf_counter() - started)
            measured.update_phases += [_phases(watch, full=config.model.full)] if profile else []
            _count(measured, batch, (sampled, simulator), processes)
    models.close()
    return measured


def _nothing_yet(model: LocalModel, sampled: torch.dtype, config: TrainConfig, work: Work) -> Measured:
    """What is known before a step: the model's size, and the memory of such a run as `zerosearch doctor` counts it."""
    shape, gpu = shape_of(model.base.config, model.name), model.device.type == "cuda"
    plan = plan_of(config, gpu=gpu, parameters=shape.parameters)
    plan = replace(plan, simulated=True, simulator=shape if plan.full else None)
    room = torch.cuda.mem_get_info(model.device)[1] if gpu else None
    return Measured(
        device=torch.cuda.get_device_name(model.device) if gpu else "CPU",
        dtype=str(model.dtype).removeprefix("torch."),
        shape=model.name,
        sampler=config.model.sampler,
        trained=_trained(config),
        parameters=shape.parameters,
        read_bytes=(shape.parameters - shape.looked_up) * sampled.itemsize,
        work=work,
        estimated_gib=None if config.training.shard else sum(memory(shape, plan, room).values()) / GIB,
    )


def _trained(config: TrainConfig) -> str:
    lora, critic = config.model.lora, ", with a critic" if config.algorithm.name == "ppo" else ""
    what = f"LoRA of rank {lora.rank}" if lora else "all weights"
    return f"{what}{', divided' if config.training.shard else ''}{critic}"


def _phases(watch: Profile, *, full: bool) -> dict[str, Spent]:
    """Who speaks with a bare base is the simulator here, and with `full` the policy too."""
    speaker = "policy and simulator" if full else "simulator"
    return {name.replace(", base", f", {speaker}"): spent for name, spent in watch.take().items()}


def _count(
    measured: Measured, batch: list[Trajectory], speakers: tuple[TransformersGenerator, ...], processes: Processes
) -> None:
    """The tokens of a step, by all processes. `speakers` are policy and simulator."""
    measured.update_tokens.append(sum(len(t.ids) for t in batch))
    measured.chains.append(max(len(t.ids) - t.prompt_length for t in batch))
    for counts, speaker in zip((measured.policy_tokens, measured.simulator_tokens), speakers, strict=True):
        total = speaker.worker.totals.get(speaker.adapter)
        counts.append(sum(processes.gather([total.tokens if total else 0])) - sum(counts))


async def _rollouts(
    policy: TrainedGenerator, simulator: Generator, work: Work, words: int, step: int, processes: Processes
) -> list[Trajectory]:
    """This process's episodes as of a run: prompts of shared instructions, turns, pages that the same weights write."""
    rng = random.Random(step)
    policy.sync()

    def text(length: int, of: random.Random) -> list[int]:
        return [of.randrange(words) for _ in range(length)]

    def length(mean: int, of: random.Random) -> int:
        return max(4, int(of.gauss(mean, mean / 3)))

    instructions, style = text(work.instructions, random.Random("policy")), text(work.style, random.Random("simulator"))

    async def episode(question: list[int], group: int, rollout: int) -> Trajectory:
        own = random.Random(f"{step} {group} {rollout}")
        ids, seed = instructions + question, own.randrange(2**40)
        prompt, mask, logprobs = len(ids), [0] * len(ids), [0.0] * len(ids)
        searches = next(n for n in range(work.max_searches + 1) if n == work.max_searches or own.random() < 0.5)
        for turn in range(searches + 1):
            said = await policy.generate(ids, Sampling(max_tokens=length(work.turn, own), seed=seed + turn))
            page: list[int] = []
            if turn < searches:
                asked = style + question + text(30, own)
                page = (
                    await simulator.generate(asked, Sampling(max_tokens=length(work.page, own), seed=seed + turn))
                ).token_ids
            ids = ids + said.token_ids + page
            mask += [1] * len(said.token_ids) + [0] * len(page)
            logprobs += said.logprobs + [0.0] * len(page)
        reward = own.random()
        return Trajectory(
            question=Question(f"q{group}", "made up", ("made up",)),
            ids=tuple(ids),
            mask=tuple(mask),
            logprobs=tuple(logprobs),
            prompt_length=prompt,
            turns=(),
            searches=(),
            answer=None,
            scores=Scores(em=0.0, f1=reward, cover_em=0.0, format=1.0),
            reward=reward,
            stop_reason="answer",
            group=group,
            rollout=rollout,
        )

    questions = [text(rng.randrange(12, 40), rng) for _ in range(work.questions)]
    return await asyncio.gather(
        *(
            episode(question, group, rollout)
            for group, question in processes.share(list(enumerate(questions)))
            for rollout in range(work.rollouts)
        )
    )
