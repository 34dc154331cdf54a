"""Choose the sampler of a local model: the native one, vLLM, or static batches."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal

from zerosearch.errors import ConfigError, install

if TYPE_CHECKING:  # they need torch
    from zerosearch.models.local import LocalModel
    from zerosearch.models.waiting import Waiting

SamplerName = Literal["auto", "native", "vllm", "plain"]
VLLM_PARAMETERS = 6.5e9
"""From so many weights on, `auto` takes vLLM where it is installed (docs/performance.md, *Samplers*)."""


def choose_sampler(
    setting: SamplerName, *, parameters: int, cuda: bool, exact: bool, installed: bool
) -> Literal["native", "vllm", "plain"]:
    """The sampler for a model of so many weights, by the setting `model.sampler`.

    `cuda`: it computes on an NVIDIA GPU. `exact`: it samples in float32, which vLLM does not, or all of its weights are
    trained, and vLLM's would be one copy more. `installed`: vLLM is.
    Raises `ConfigError` where vLLM is asked for and cannot be had.
    """
    if setting == "auto":
        return "vllm" if installed and cuda and not exact and parameters >= VLLM_PARAMETERS else "native"
    if setting == "vllm" and not cuda:
        raise ConfigError("model.sampler = 'vllm' needs an NVIDIA GPU (model.device); 'native' decodes anywhere")
    if setting == "vllm" and not installed:
        raise ConfigError(
            f"model.sampler = 'vllm', but vLLM is not installed: {install('vllm')}, in an environment of its own, as "
            "it brings the torch that it was built for; or use 'native'"
        )
    return setting


def vllm_is_installed() -> bool:
    return importlib.util.find_spec("vllm") is not None


def open_worker(
    model: LocalModel,
    setting: SamplerName,
    *,
    max_batch_rows: int,
    max_batch_tokens: int,
    merge: bool | None,
    trained_whole: bool = False,
) -> Waiting:
    """What decodes for every generator over `model`. `merge` None: on a GPU. Raises `ConfigError`."""
    chosen = choose_sampler(
        setting,
        parameters=sum(p.numel() for p in model.base.parameters()),
        cuda=model.device.type == "cuda",
        exact=model.dtype.itemsize > 2 or trained_whole,
        installed=vllm_is_installed(),
    )
    if chosen == "vllm":
        from zerosearch.models.vllm_worker import VllmWorker

        return VllmWorker(model, max_batch_rows, max_batch_tokens)
    from zerosearch.models.worker import Worker

    merged = model.device.type != "cpu" if merge is None else merge
    return Worker(model, max_batch_rows, max_batch_tokens, merged, continuous=chosen == "native")
