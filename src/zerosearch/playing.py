"""How a configuration's episodes are played: prompt, limits, sampling and reward, as `RolloutSettings`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zerosearch.config import TrainConfig
from zerosearch.episodes.encoding import encode_prompt
from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import PROMPT, PROMPT_WITHOUT_SEARCH, render_prompt
from zerosearch.episodes.rewards import find_reward
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.models.endpoint import byte_codec, byte_limits

if TYPE_CHECKING:  # it needs torch, and an endpoint does not
    from zerosearch.models.local import LocalModel


def rollout_settings(config: TrainConfig, model: LocalModel, *, temperature: float, top_k: int) -> RolloutSettings:
    """For a local model: ids are its tokens. `temperature` 0 is greedy; pages have `top_k` documents.

    Raises `ConfigError` or `ModelError` where the instructions or the chat template cannot be used.
    """

    def encode(prompt: str) -> list[int]:
        return encode_prompt(prompt, model.tokenizer, chat=config.protocol.chat)

    prompt = _prompt(config, model.codec, encode)
    return _settings(config, model.codec, prompt, config.protocol.limits(), temperature, top_k)


def endpoint_settings(config: TrainConfig, *, temperature: float, top_k: int) -> RolloutSettings:
    """For a model behind a URL: ids are the bytes of the text. Raises `ConfigError` for unusable instructions."""
    codec = byte_codec()
    prompt = _prompt(config, codec, codec.encode)
    return _settings(config, codec, prompt, byte_limits(config.protocol.limits()), temperature, top_k)


def _prompt(config: TrainConfig, codec: Codec, encode: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    protocol = config.protocol
    template = protocol.prompt or (PROMPT if protocol.max_searches else PROMPT_WITHOUT_SEARCH)

    def prompt(question: str) -> list[int]:
        return encode(render_prompt(codec.clean(question), template=template))

    prompt("")  # instructions or a chat template that cannot be used are an error now, not after the first search
    return prompt


def _settings(
    config: TrainConfig,
    codec: Codec,
    prompt: Callable[[str], list[int]],
    limits: EpisodeLimits,
    temperature: float,
    top_k: int,
) -> RolloutSettings:
    training, greedy = config.training, temperature == 0
    return RolloutSettings(
        codec=codec,
        prompt=prompt,
        limits=limits,
        sampling=Sampling(
            temperature=temperature,
            top_p=1.0 if greedy else training.top_p,
            top_k=0 if greedy else training.top_k,
        ),
        top_k=top_k,
        reward=find_reward(config.reward.name),
        format_reward=config.reward.format,
        seed=config.seed,
        pages=config.curriculum.page_draw(),
        remembers=config.engine.simulated.remembers,
    )
