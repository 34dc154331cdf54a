"""verl on a CPU, for tests only: a platform without a GPU and a rollout server of plain transformers.

Loaded into every process of a run by VERL_USE_EXTERNAL_MODULES=verl_on_cpu, with VERL_PLATFORM=cpu and
VERL_ENGINE_DEVICE=cuda. It exercises verl's own trainer, workers, queue and FSDP2; it does not exercise vLLM, NCCL or
more than one device.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections import Counter
from typing import Any

import torch
from verl.plugin.platform.platform_cuda import PlatformCUDA
from verl.plugin.platform.platform_manager import PlatformRegistry


def _nothing(*args: Any, **kwargs: Any) -> int:
    return 0


class _Device(types.ModuleType):
    """`torch.cpu`, with what verl asks of `torch.cuda`."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(torch.cpu, name, None)
        return found if found is not None else _nothing

    def get_device_name(self, *args: Any) -> str:
        return "CPU"

    def mem_get_info(self, *args: Any) -> tuple[int, int]:
        return (1 << 33, 1 << 34)

    def get_rng_state(self, *args: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, *args: Any) -> None:
        torch.set_rng_state(state)


_DEVICE = _Device("cpu_device")


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformCUDA):
    device_name = property(lambda self: "cpu")
    vendor_name = property(lambda self: "cpu")
    device_module = property(lambda self: _DEVICE)

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return True

    def current_device(self) -> Any:
        return "cpu"

    def device_count(self) -> int:
        return 1

    def communication_backend_name(self) -> str:
        return "gloo"

    def is_ipc_supported(self) -> bool:
        return False

    def get_collective_module(self) -> Any:
        return None

    def nvtx_range(self, msg: str) -> Any:
        return contextlib.nullcontext()

    for _name in (
        "set_device",
        "synchronize",
        "manual_seed",
        "manual_seed_all",
        "set_allocator_settings",
        "empty_cache",
        "profiler_start",
        "profiler_stop",
    ):
        locals()[_name] = _nothing

    def cudart(self) -> Any:
        return None


_begin = torch.distributed.init_process_group


def _begin_with_gloo(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("device_id", None)
    return _begin("gloo", *args, **kwargs)


torch.distributed.init_process_group = _begin_with_gloo

from transformers import AutoModelForTokenClassification  # noqa: E402

_load = AutoModelForTokenClassification.from_pretrained.__func__


def _load_with_sdpa(cls: Any, *args: Any, **kwargs: Any) -> Any:
    return _load(cls, *args, **{**kwargs, "attn_implementation": "sdpa"})


AutoModelForTokenClassification.from_pretrained = classmethod(_load_with_sdpa)  # verl's critic wants flash-attention


class Server:
    """A Ray actor that samples from a transformers model, a request at a time.

    What it draws is a function of the weights' step, the prompt, and how often that prompt was asked before: so a step
    that is repeated has the same episodes.
    """

    def __init__(self, path: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.steps = 0
        self.asked: Counter[tuple[int, ...]] = Counter()
        self.lock = asyncio.Lock()

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> Any:
        async with self.lock:
            return await asyncio.to_thread(self._sample, list(prompt_ids), sampling_params)

    @torch.no_grad()
    def _sample(self, prompt_ids: list[int], params: dict[str, Any]) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        ids: list[int] = []
        logprobs: list[float] = []
        given, cache = torch.tensor([prompt_ids]), None
        greedy = params["temperature"] == 0
        self.asked[tuple(prompt_ids)] += not greedy
        draw = torch.Generator().manual_seed(hash((self.steps, self.asked[tuple(prompt_ids)], *prompt_ids)) % 2**63)
        while len(ids) < params["max_tokens"]:
            out = self.model(given, past_key_values=cache, use_cache=True)
            cache, logits = out.past_key_values, out.logits[0, -1].float()
            logp = (logits if greedy else logits / params["temperature"]).log_softmax(-1)
            token = int(logp.argmax()) if greedy else int(torch.multinomial(logp.exp(), 1, generator=draw))
            ids.append(token)
            logprobs.append(float(logp[token]))
            if token == self.tokenizer.eos_token_id:
                break
            if any(stop in self.tokenizer.decode(ids) for stop in params["stop"]):
                break
            given = torch.tensor([[token]])
        told = {"global_steps": self.steps}
        return TokenOutput(token_ids=ids, log_probs=logprobs, stop_reason="completed", extra_fields=told)

    async def load(self, state: dict[str, Any], steps: int | None) -> None:
        missing, unexpected = self.model.load_state_dict(
            {name: torch.from_numpy(value) for name, value in state.items()}, strict=False
        )
        assert not unexpected, unexpected
        assert set(missing) <= {"lm_head.weight"}, missing
        self.steps = steps or 0
        self.asked.clear()

    async def nothing(self, *args: Any, **kwargs: Any) -> None:
        return None

    wake_up = sleep = clear_kv_cache = abort_all_requests = resume_generation = nothing
    release_kv_cache = resume_kv_cache = start_profile = stop_profile = nothing


def _replica() -> Any:
    import ray
    from verl.workers.rollout.replica import RolloutReplica

    class Replica(RolloutReplica):
        async def launch_servers(self) -> None:
            path = self.model_config.get("path") if hasattr(self.model_config, "get") else self.model_config.path
            actor = ray.remote(num_cpus=0)(Server).options(
                name=f"hf_cpu_server_{self.replica_rank}", max_concurrency=64
            )
            server = actor.remote(path)
            self.servers, self._server_handle = [server], server
            self._server_address = f"cpu-{self.replica_rank}"

    return Replica


from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout  # noqa: E402
from verl.workers.rollout.replica import RolloutReplicaRegistry  # noqa: E402

RolloutReplicaRegistry.register("hf_cpu", _replica)
_ROLLOUT_REGISTRY[("hf_cpu", "async")] = "verl_on_cpu.Adapter"


class Adapter(BaseRollout):
    """Brings the trained weights to the server."""

    sleep_level = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("replica_rank", None)
        super().__init__(*args, **kwargs)

    async def resume(self, tags: list[str]) -> None:
        pass

    async def release(self) -> None:
        pass

    async def update_weights(self, weights: Any, global_steps: int | None = None, **kwargs: Any) -> None:
        import ray

        state = {name: tensor.detach().float().cpu().numpy() for name, tensor in weights}
        await ray.get_actor("hf_cpu_server_0").load.remote(state, global_steps)
