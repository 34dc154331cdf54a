"""Full weights divided among the processes of a run, for models that one GPU cannot train (FSDP2, `fully_shard`).

Each process holds a part of every weight, of its gradient and of the optimizer's state. A layer's weights are gathered
when it computes, and let go after it. The sampler needs whole weights: a second copy, which `CopiedGenerator` brings
up to date. Checkpoints hold whole tensors, so that any number of processes, or one, can go on from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ConfigError
from zerosearch.learning.logprobs import token_logprobs
from zerosearch.learning.parallel import Processes
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import as_multiplied
from zerosearch.models.worker import TransformersGenerator


def shard(model: LocalModel, processes: Processes) -> None:
    """Divide the weights of `model` in place, layer by layer; call `sharded_logprobs` on its base from then on.

    Gradients are summed over the processes, not averaged. On a GPU products are computed in bfloat16, and gradients
    added up in float32. Every process must run as many forward and backward passes as the others. Raises `ConfigError`
    for a model whose layers are not known.
    """
    base, device = model.base, model.device
    kinds = set(base._no_split_modules or ())
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise ConfigError(f"model {model.name}: its layers are not known, it cannot be divided (training.shard)")
    for module in base.modules():
        vars(module).pop("forward", None)  # compiled norms, for weights that stay where they are
    half = device.type == "cuda"
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    mesh = init_device_mesh(device.type, (processes.size,))
    for module in (*layers, base):
        fully_shard(module, mesh=mesh, mp_policy=precision, reshard_after_forward=True)
    for module in base.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    base.sharded_logprobs = MethodType(token_logprobs, base)
    register_fsdp_forward_method(base, "sharded_logprobs")


def whole(value: Any, *, keep: bool) -> Any:
    """`value` with every divided tensor whole and on the CPU, or None without `keep`. All processes must call it."""
    if isinstance(value, DTensor):
        gathered = value.full_tensor()
        return gathered.to("cpu", copy=True) if keep else None
    if isinstance(value, dict):
        return {key: whole(part, keep=keep) for key, part in value.items()}
    if isinstance(value, list):
        return [whole(part, keep=keep) for part in value]
    return value


def part_of(tensor: Tensor, like: DTensor) -> DTensor:
    """This process's part of a whole `tensor`, divided as `like` is. Nothing is sent."""
    placed = tensor.to(like.device, like.dtype)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def load_parts(parameters: dict[str, torch.nn.Parameter], state: dict[str, Tensor]) -> None:
    """Put this process's parts of whole weights in place."""
    for name, parameter in parameters.items():
        assert isinstance(parameter, DTensor)
        parameter.copy_(part_of(state[name], parameter))


def divided_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state of whole tensors, divided as its parameters are: for `load_state_dict`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    divided: dict[int, dict[str, Any]] = {}
    for place, held in state["state"].items():
        like = parameters[place]
        divided[place] = {
            key: part_of(value, like)
            if isinstance(value, Tensor) and value.shape == like.shape and value.ndim
            else value
            for key, value in held.items()
        }
    return {**state, "state": divided}


@dataclass(frozen=True)
class CopiedGenerator:
    """A generator over `copy`, a model of its own whole weights, which are brought up to date from the trained ones.

    The trained ones are float32, and may be divided.
    """

    generator: TransformersGenerator
    copy: LocalModel
    trained: LocalModel

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        return await self.generator.generate(prompt_ids, sampling)

    @torch.no_grad()
    def sync(self) -> None:
        """Sample from the weights of now; all processes must call it. In place: recorded CUDA graphs stay valid.

        Where the copy is of fewer bits, weights are rounded by chance, as merged adapters are.
        """
        targets = dict(self.copy.base.named_parameters())
        for name, parameter in self.trained.base.named_parameters():
            target = targets[name]
            values = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            target.copy_(as_multiplied(values, target, name))
        self.generator.sync()
