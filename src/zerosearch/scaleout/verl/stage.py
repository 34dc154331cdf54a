"""How a worker of verl plays episodes: our `Episode`, engines, curriculum, page memory and scores, without verl.

    stage = Stage(config, tokenizer)
    trajectory = await stage.play(Asked(question, step=0, rollout=2), ServedPolicy(server, sampling, codec, eos_ids))
    fields = output_fields(trajectory, filler=eos_id)

A worker has one stage. verl gives all rollouts of a question to one worker, so a stage's page memory is the step's.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from zerosearch.config import TrainConfig
from zerosearch.episodes.encoding import codec_of
from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Generation, GenerationStop, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, run_episode
from zerosearch.episodes.shared_pages import SharedPages
from zerosearch.episodes.trajectory import Trajectory, Try
from zerosearch.errors import RunError
from zerosearch.parts import Parts
from zerosearch.playing import rollout_settings

_STEPS_KEPT = 4  # whose pages are remembered: an asynchronous trainer plays several steps at once


@dataclass(frozen=True)
class Asked:
    """What verl asks for. `step` counts from 0; None: a validation, with the engine that evaluates."""

    question: Question
    step: int | None = None
    rollout: int = 0


class TokenServer(Protocol):
    """verl's `LLMServerClient`: ids in; `token_ids`, `log_probs` and `extra_fields` out."""

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any: ...


class ServedPolicy:
    """A `Generator` over verl's servers, for one episode: its turns go to one server, which has their prefix cached.

    `sampling_params` are those that verl gives the episode (temperature, top_p, ...). `weights` collects the steps of
    the weights that wrote: verl wants the lowest and the highest of them.
    """

    def __init__(
        self, server: TokenServer, sampling_params: Mapping[str, Any], codec: Codec, eos_ids: frozenset[int]
    ) -> None:
        self._server, self._params, self._codec, self._eos = server, dict(sampling_params), codec, eos_ids
        self._request = uuid.uuid4().hex
        self.weights: list[int] = []

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        """Raises `RunError` where the server returns no log-prob for each id."""
        params = {
            **self._params,
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop),
            "include_stop_str_in_output": True,
        }
        said = await self._server.generate(self._request, prompt_ids=prompt_ids, sampling_params=params)
        ids, logprobs = [int(i) for i in said.token_ids], said.log_probs
        if logprobs is None or len(logprobs) != len(ids):
            raise RunError(
                "verl's server gave no log-prob for each token: actor_rollout_ref.rollout.calculate_log_probs=True"
            )
        told = getattr(said, "extra_fields", None) or {}
        found = (told.get("min_global_steps"), told.get("max_global_steps"), told.get("global_steps"))
        self.weights += [step for step in found if step is not None]
        return Generation(ids, [float(x) for x in logprobs], self._stop(ids, sampling))

    def _stop(self, ids: Sequence[int], sampling: Sampling) -> GenerationStop:
        """What ended a turn. A server ends it at every end-of-text id of the generation config, and says not which."""
        if ids and ids[-1] in self._eos:
            return "eos"
        text = self._codec.decode(ids)
        if any(stop in text for stop in sampling.stop):
            return "stop"
        return "length" if len(ids) >= sampling.max_tokens else "eos"


class Stage:
    """Opens what `config` describes once, and plays whatever verl asks for. Use it within one event loop.

    Failed searches are counted a worker: past `engine.max_error_rate` its episodes raise `RunError`.
    """

    def __init__(self, config: TrainConfig, tokenizer: Any) -> None:
        self.config = config
        self.tokenizer, self.codec = tokenizer, codec_of(tokenizer)  # as `rollout_settings` wants them
        self.eos_ids = frozenset(i for i in (tokenizer.eos_token_id,) if i is not None)
        self._parts = Parts(config)
        self._errors = {training: ErrorRate(config.engine.max_error_rate) for training in (True, False)}
        self._pages: OrderedDict[int, SharedPages] = OrderedDict()
        self._curriculum = config.curriculum.build()

    @cached_property
    def _training(self) -> RolloutSettings:
        temperature, top_k = self.config.training.temperature, self.config.engine.top_k
        return rollout_settings(self.config, self, temperature=temperature, top_k=top_k)

    @cached_property
    def _validation(self) -> RolloutSettings:
        return rollout_settings(self.config, self, temperature=0.0, top_k=self._parts.engine_config("judge").top_k)

    def noise(self, step: int | None) -> float | None:
        """The noise probability of a step; None with a real engine. A validation asks a simulator for useful pages."""
        if self._parts.engine_config("judge" if step is None else "train").kind != "simulated":
            return None
        return 0.0 if step is None else self._curriculum.noise(step, self.config.training.steps)

    async def play(self, asked: Asked, policy: ServedPolicy) -> Trajectory:
        """One episode. Raises `RunError` where too many searches fail, or the server gives no log-probs."""
        training = asked.step is not None
        one = Try(asked.question, step=asked.step or 0, rollout=asked.rollout, noise=self.noise(asked.step))
        engine = self._parts.engine("train" if training else "judge", metered=False)
        pages = await self._known(asked.step) if asked.step is not None else None
        settings = self._training if training else self._validation
        return await run_episode(one, policy, engine, settings, self._errors[training], pages)

    async def _known(self, step: int) -> SharedPages:
        if step not in self._pages:
            self._pages[step] = SharedPages()
        while len(self._pages) > _STEPS_KEPT:
            _, old = self._pages.popitem(last=False)
            await old.__aexit__()
        return self._pages[step]

    async def aclose(self) -> None:
        """Close engines and their connections."""
        await self._parts.aclose()


def output_fields(trajectory: Trajectory, filler: int) -> dict[str, Any]:
    """A trajectory as the fields of verl's `AgentLoopOutput`.

    An episode whose engine failed has a mask of zeros: it is counted and takes no part in the loss. `filler` stands,
    with a mask of 0 too, for the answer of an episode whose prompt left no room for one.
    """
    start = trajectory.prompt_length
    response, mask, logprobs = (list(x[start:]) for x in (trajectory.ids, trajectory.mask, trajectory.logprobs))
    if not response:
        response, mask, logprobs = [filler], [0], [0.0]
    if not trajectory.valid:
        mask = [0] * len(mask)
    return {
        "prompt_ids": list(trajectory.ids[:start]),
        "response_ids": response,
        "response_mask": mask,
        "response_logprobs": logprobs,
        "reward_score": float(trajectory.reward),
        "num_turns": 1 + len(trajectory.turns) + len(trajectory.searches),
    }
