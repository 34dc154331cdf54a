"""The critic of PPO: the value of the state before each policy token, from a body of its own and one linear head."""

from __future__ import annotations

import torch
from torch import Tensor

from zerosearch.learning.batches import MicroBatch
from zerosearch.learning.policy import train_without_dropout, training_precision
from zerosearch.models.local import LocalModel

CRITIC = "critic"


class Critic:
    """V(s_t) for each policy token t, read at the position before it: what was known when the token was sampled.

    The body is the policy's base with an adapter of its own (LoRA), or a second model trained whole, starting from the
    policy's weights. The head starts at 0, so the first values are 0.
    """

    def __init__(self, model: LocalModel, *, full: bool) -> None:
        self.model = model
        self.full = full
        hidden = model.base.get_output_embeddings().weight.shape[1]
        self.head = torch.nn.Linear(hidden, 1, dtype=torch.float32).to(model.device)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    @classmethod
    def lora(cls, model: LocalModel, *, rank: int, alpha: float) -> Critic:
        model.add_adapter(CRITIC, rank=rank, alpha=alpha, trainable=True)
        return cls(model, full=False)

    @classmethod
    def full_weights(cls, model: LocalModel) -> Critic:
        model.base.requires_grad_(True)
        return cls(model, full=True)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        body = dict(self.model.base.named_parameters()) if self.full else self.model.adapter_parameters(CRITIC)
        return body | {f"head.{key}": value for key, value in self.head.named_parameters()}

    def train_mode(self) -> None:
        self.model.activate(None if self.full else CRITIC, trainable=True)
        train_without_dropout(self.model)

    def values(self, micro: MicroBatch) -> Tensor:
        """(N,) values of the policy tokens of a micro-batch, row by row; call `train_mode` before."""
        with training_precision(self.model, full=self.full):
            hidden_BTH = self.model.base.get_decoder()(input_ids=micro.ids_BT, use_cache=False).last_hidden_state
        hidden_NH = hidden_BTH[:, :-1][micro.mask_BT[:, 1:].bool()]
        values: Tensor = self.head(hidden_NH.float()).squeeze(1)
        return values

    def state(self) -> dict[str, Tensor]:
        return {key: value.detach().to("cpu", copy=True) for key, value in self.parameters().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for key, parameter in self.parameters().items():
                parameter.copy_(state[key].to(parameter))


def explained_variance(returns_N: Tensor, values_N: Tensor) -> float | None:
    """1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for a constant one.

    None where the returns hardly differ: there is nothing to explain, and the quotient would be any number.
    """
    variance = float(returns_N.var(correction=0))
    if variance < 1e-6:
        return None
    return 1 - float((returns_N - values_N).var(correction=0)) / variance
