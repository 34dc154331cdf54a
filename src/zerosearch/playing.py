"""How a configuration's episodes are played: prompt, limits, sampling and reward, as `RolloutSettings`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from zerosearch.config import TrainConfig
from zerosearch.episodes.encoding import encode_prompt
from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import PROMPT, PROMPT_WITHOUT_SEARCH, render_prompt
from zerosearch.episodes.rewards import find_reward
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.models.endpoint import byte_codec, byte_limits


class Tokenized(Protocol):
    """What speaks in tokens: a local model, or a tokenizer alone where somebody else has the weights."""

    @property
    def tokenizer(self) -> Any: ...
    @property
    def codec(self) -> Codec: ...


def rollout_settings(
    config: TrainConfig, model: Tokenized | None, *, temperature: float, top_k: int
) -> RolloutSettings:
    """For a local model ids are its tokens; for one behind a URL (`model` None) they are the bytes of the text.

    `temperature` 0 is greedy; pages have `top_k` documents. Raises `ConfigError` or `ModelError` where the instructions
    or the chat template cannot be used.
    """
    protocol, training, greedy = config.protocol, config.training, temperature == 0
    codec, limits = byte_codec(), byte_limits(protocol.limits())
    encode: Callable[[str], list[int]] = codec.encode
    if model is not None:
        codec, limits = model.codec, protocol.limits()
        encode = partial(encode_prompt, tokenizer=model.tokenizer, chat=protocol.chat)
    template = protocol.prompt or (PROMPT if protocol.max_searches else PROMPT_WITHOUT_SEARCH)

    def prompt(question: str) -> list[int]:
        return encode(render_prompt(codec.clean(question), template=template))

    prompt("")  # instructions or a chat template that cannot be used are an error now, not after the first search
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
        remembers=config.engine.simulated.remembers,
    )
