"""vLLM 0.26 in this process: an engine over a copy of a local model's weights, driven token by token.

`EngineCore` is driven directly, without vLLM's own front: it needs no tokenizer and makes no object a token, and a
small model waits for the host. Weights and adapters come from the memory of the model that is trained, so whatever can
be loaded there can be sampled from, and an adapter's update is heard without a file. Only `open_vllm` imports this
module. What it uses of vLLM beside its public classes: `EngineCore`, the worker's `lora_manager`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
for _name, _value in {
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it is compiled for minutes
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}.items():
    os.environ.setdefault(_name, _value)

from vllm import SamplingParams  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.lora.lora_model import LoRAModel  # noqa: E402
from vllm.lora.peft_helper import PEFTHelper  # noqa: E402
from vllm.lora.request import LoRARequest  # noqa: E402
from vllm.model_executor.model_loader import register_model_loader  # noqa: E402
from vllm.model_executor.model_loader.base_loader import BaseModelLoader  # noqa: E402
from vllm.v1.engine import EngineCoreRequest  # noqa: E402
from vllm.v1.engine.core import EngineCore  # noqa: E402
from vllm.v1.executor import Executor  # noqa: E402

from zerosearch.episodes.generation import Sampling  # noqa: E402
from zerosearch.errors import ModelError, first_line  # noqa: E402
from zerosearch.files.jsonl import atomic_write  # noqa: E402
from zerosearch.models.continuous import Speaker  # noqa: E402
from zerosearch.models.embedded import cache_dir  # noqa: E402
from zerosearch.models.local import LocalModel  # noqa: E402
from zerosearch.models.vllm_weights import (  # noqa: E402
    Memory,
    adapter_rank,
    adapter_tensors,
    base_weights,
    cache_token_bytes,
    fitting_rank,
    memory_for,
    sampling_dtype,
)
from zerosearch.models.vllm_worker import Stepped, several_processes  # noqa: E402
from zerosearch.models.waiting import CACHE_SHARE  # noqa: E402
from zerosearch.process.runtime import memory  # noqa: E402

_LOADER = "zerosearch"
_SPEAKERS = 2  # adapters that decode side by side: policy and simulator; others wait their turn in the engine
_KEPT_ADAPTERS = 64  # on the GPU, ready to be switched to
_BATCHED_TOKENS = 16_384  # of prompts and rows in a step
_DRAIN_STEPS = 16

Weights = Callable[[], Iterator[tuple[str, torch.Tensor]]]
_sources: dict[str, Weights] = {}
"""Where the weights of a model folder come from while its engine is opened."""


@register_model_loader(_LOADER)
class _FromMemory(BaseModelLoader):  # type: ignore[misc]  # untyped where vLLM is not installed
    """Loads the weights that `_sources` has for the model's folder."""

    def download_model(self, model_config: Any) -> None:
        pass

    @torch.no_grad()
    def load_weights(self, model: Any, model_config: Any) -> None:
        model.load_weights(_sources[model_config.model]())


def sampling_params(sampling: Sampling, eos_ids: frozenset[int]) -> SamplingParams:
    """`sampling` for vLLM: log-probs of the sampled tokens alone, and no text, as stop strings are looked for here."""
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed % 2**63,
        stop_token_ids=sorted(eos_ids),
        logprobs=0,
        detokenize=False,
        skip_clone=True,
    )


class VllmEngine:
    """The engine of one `LocalModel`, to be used in one thread. See `vllm_worker.Engine`."""

    def __init__(self, model: LocalModel, core: Any, max_length: int, max_rank: int) -> None:
        self.max_length, self.max_rank = max_length, max_rank
        self._model, self._core = model, core
        self._adapters: dict[str, LoRARequest] = {}  # that are on the GPU, by speaker
        self._versions = 0

    @classmethod
    def open(
        cls,
        model: LocalModel,
        *,
        max_rows: int,
        max_tokens: int,
        cache_share: float = CACHE_SHARE,
        weights: Weights | None = None,
    ) -> VllmEngine:
        """`weights` are loaded instead of the model's own, which may then be on the meta device: made-up ones.

        Raises `ModelError` for what vLLM has no kernels for, and where the GPU has no room for it.
        """
        rank = fitting_rank(max((adapter_rank(model, name) for name in model.adapters), default=0), model.name)
        free, total = _free_memory(model.device)
        parameters = sum(p.numel() for name, p in model.base.named_parameters() if "lora_" not in name)
        room = memory_for(
            free=free,
            total=total,
            weights=2 * parameters,
            token_bytes=cache_token_bytes(model.base.config),
            max_tokens=max_tokens,
            cache_share=cache_share,
        )
        positions = getattr(model.base.config, "max_position_embeddings", None) or room.cache_tokens
        length = min(positions, room.cache_tokens - 16)
        folder = _config_folder(model)
        torch.cuda.empty_cache()  # nothing to do where no GPU is in use
        try:
            with _nothing_else_changes():
                _sources[folder] = weights or (lambda: base_weights(model))
                config = _engine_args(folder, model, room, max_rows, length, rank).create_engine_config()
                if model.device.type == "cuda" and not several_processes():
                    config.device_config.device = model.device  # else it would be the first GPU
                core = EngineCore(config, Executor.get_class(config), log_stats=False)
        except Exception as error:  # vLLM raises whatever its parts raise
            raise ModelError(
                f"model {model.name}: vLLM could not be started ({type(error).__name__}: {first_line(error)}); "
                "use model.sampler = 'native'"
            ) from error
        finally:
            _sources.pop(folder, None)
        return cls(model, core, length, rank)

    def add(
        self, request: str, speaker: Speaker, prompt: list[int], sampling: Sampling, eos_ids: frozenset[int]
    ) -> None:
        """Raises `ModelError` for an adapter that vLLM cannot take."""
        wanted = EngineCoreRequest(
            request_id=request,
            prompt_token_ids=prompt,
            mm_features=None,
            sampling_params=sampling_params(sampling, eos_ids),
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None if speaker is None else self._adapter(speaker),
            cache_salt=None,
            data_parallel_rank=None,
        )
        self._core.add_request(*self._core.preprocess_add_request(wanted))

    def step(self) -> Iterator[Stepped]:
        outputs, executed = self._core.step_fn()
        self._core.post_step(model_executed=executed)
        for output in outputs[0].outputs if outputs and 0 in outputs else ():
            logprobs = output.new_logprobs.logprobs[:, 0].tolist() if output.new_logprobs is not None else ()
            yield Stepped(output.request_id, output.new_token_ids, logprobs, output.finish_reason is not None)

    def abort(self, requests: list[str]) -> None:
        self._core.abort_requests(requests)

    def refresh(self, speakers: Iterable[Speaker]) -> None:
        """Raises `ModelError` where what was computed before cannot be forgotten."""
        self._drain()
        for speaker in speakers:
            if speaker is None:
                self._reload()
            elif (old := self._adapters.pop(speaker, None)) is not None:
                self._core.remove_lora(old.lora_int_id)
        if not self._core.reset_prefix_cache():
            raise ModelError(f"model {self._model.name}: vLLM would go on with what it computed from older weights")

    def close(self) -> None:
        """Free the GPU memory. With several processes the group of the trainer is left as it is."""
        if several_processes():
            self._core.model_executor.shutdown()
        else:
            self._core.shutdown()
        del self._core
        torch.cuda.empty_cache()

    def _drain(self) -> None:
        """Finish the step that was begun for requests that are gone."""
        for _ in range(_DRAIN_STEPS):
            if not self._core.batch_queue and not self._core.scheduler.has_requests():
                return
            for _ in self.step():
                pass

    def _reload(self) -> None:
        """The weights of now, in the places of the old ones: recorded steps read them there."""
        if self.max_rank:
            raise ModelError(f"model {self._model.name}: the weights below an adapter have changed")

        @torch.no_grad()
        def load(worker: Any) -> None:
            worker.get_model().load_weights(base_weights(self._model))

        self._core.collective_rpc(load)

    def _adapter(self, speaker: str) -> LoRARequest:
        """The adapter as it is now, on the GPU under a number and a name that no older one had."""
        if speaker not in self._adapters:
            self._versions += 1
            request = LoRARequest(f"{speaker} {self._versions}", self._versions, lora_path="in-memory")
            adapter = adapter_tensors(self._model, speaker)
            helper = PEFTHelper(r=adapter.rank, lora_alpha=adapter.rank, target_modules="all-linear")

            @torch.no_grad()
            def put(manager: Any) -> None:
                lora = LoRAModel.from_lora_tensors(
                    request.lora_int_id,
                    adapter.tensors,
                    helper,
                    device=str(self._model.device),
                    dtype=manager.lora_config.lora_dtype,
                    weights_mapper=_unstacked(manager._adapter_manager.model),
                )
                manager._adapter_manager.add_adapter(lora)
                manager._adapter_manager.activate_adapter(lora.id)

            self._core.collective_rpc(lambda worker: put(worker.model_runner.lora_manager))
            self._adapters[speaker] = request
        return self._adapters[speaker]


def _unstacked(model: Any) -> Any:
    """How vLLM renames a checkpoint's modules for this model, as its own reader of adapters asks for it."""
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    return None if mapper is None else mapper.get_unstacked_mapper()


def _engine_args(folder: str, model: LocalModel, room: Memory, rows: int, length: int, rank: int) -> EngineArgs:
    lora: dict[str, Any] = {}
    if rank:
        lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": _SPEAKERS, "max_cpu_loras": _KEPT_ADAPTERS}
    return EngineArgs(
        model=folder,
        skip_tokenizer_init=True,
        load_format=_LOADER,
        dtype=str(sampling_dtype(model)).removeprefix("torch."),
        seed=0,
        max_model_len=length,
        max_num_seqs=rows,
        max_num_batched_tokens=max(_BATCHED_TOKENS, rows),
        gpu_memory_utilization=room.share,
        kv_cache_memory_bytes=room.cache_bytes,
        enable_prefix_caching=True,
        logprobs_mode="processed_logprobs",  # of the distribution that was sampled from, temperature included
        generation_config="vllm",  # none: every request says all that matters
        disable_log_stats=True,
        distributed_executor_backend="external_launcher" if several_processes() else "uni",
        **lora,
    )


def _config_folder(model: LocalModel) -> str:
    """A folder with the model's `config.json`, always the same for a shape: vLLM keeps what it compiled by the name."""
    config = {
        **model.base.config.to_diff_dict(),
        "architectures": [type(model.base).__name__],
        "model_type": model.base.config.model_type,
        "dtype": str(sampling_dtype(model)).removeprefix("torch."),
    }
    text = json.dumps(config, indent=1, sort_keys=True, default=str)
    folder = cache_dir() / "vllm" / hashlib.sha256(text.encode()).hexdigest()[:16]
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / "config.json", text.encode())
    return str(folder)


def _free_memory(device: torch.device) -> tuple[int, int]:
    """Bytes that are free or that torch holds unused, and all that there are."""
    if device.type != "cuda":
        there = memory()[0] or 2**32
        return there // 2, there
    free, total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total


@contextmanager
def _nothing_else_changes() -> Iterator[None]:
    """vLLM seeds every generator of random numbers and sets how float32 is multiplied: undo it."""
    precision, state, drawn = torch.get_float32_matmul_precision(), random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            random.setstate(state)
            np.random.set_state(drawn)
