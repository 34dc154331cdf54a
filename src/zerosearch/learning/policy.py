"""The model in training (a policy, or in SFT a simulator), and the frozen reference of the KL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor

from zerosearch.files.folders import ADAPTER_FILES, MODEL_FILES, replacing
from zerosearch.files.jsonl import write_json
from zerosearch.learning.batches import MicroBatch
from zerosearch.learning.logprobs import EntropyUse, Sampled, TokenLogprobs, head_is_plain, token_logprobs
from zerosearch.learning.packing import can_pack
from zerosearch.learning.parallel import Processes
from zerosearch.learning.sharding import load_parts, shard, whole
from zerosearch.models.fused import fused_rotary
from zerosearch.models.local import LocalModel

POLICY, REFERENCE = "policy", "reference"


class Policy:
    """A trainable view of a `LocalModel`.

    With LoRA the reference is the same weights with the adapter off or, where training started from an adapter, with a
    frozen copy of it: no second model. With full fine-tuning it is `reference`, a second model, or none.
    """

    def __init__(
        self, model: LocalModel, *, full: bool = False, reference: LocalModel | None = None, adapter: str = POLICY
    ) -> None:
        self.model = model
        self.full = full
        self.adapter = None if full else adapter
        self._reference_model = reference
        self.plain_head = head_is_plain(model.base)
        self.packs = self.plain_head and can_pack(model.base)
        self.sharded = False

    @classmethod
    def lora(cls, model: LocalModel, source: Path | None, *, rank: int, alpha: float) -> Policy:
        """Put a trainable adapter on `model`: a new one, or a copy of `source`, which is then the reference too."""
        if source is not None:
            model.add_adapter(REFERENCE, source)
        model.add_adapter(POLICY, source, rank=rank, alpha=alpha, trainable=True)
        return cls(model)

    @classmethod
    def full_weights(cls, model: LocalModel, reference: LocalModel | None) -> Policy:
        model.base.requires_grad_(True)
        return cls(model, full=True, reference=reference)

    def shard(self, processes: Processes) -> None:
        """Divide the weights among `processes`; before an optimizer is made of them."""
        shard(self.model, processes)
        self.sharded = True

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters by name, always in one order."""
        if self.adapter is None:
            return dict(self.model.base.named_parameters())
        return self.model.adapter_parameters(self.adapter)

    def train_mode(self) -> None:
        """Make the policy speak, with gradients."""
        self.model.activate(self.adapter, trainable=True)
        train_without_dropout(self.model)

    def eval_mode(self) -> None:
        self.model.base.eval()

    def logprobs(self, micro: MicroBatch, sampled: Sampled, *, entropy: EntropyUse = "metric") -> TokenLogprobs:
        """Log-probs of the policy tokens of a micro-batch; call `train_mode` before."""
        base = self.model.base
        found = base.sharded_logprobs if self.sharded else partial(token_logprobs, base)
        with training_precision(self.model, full=self.full):
            logprobs: TokenLogprobs = found(micro, sampled, entropy=entropy, plain_head=self.plain_head)
        return logprobs

    @torch.no_grad()
    def reference_logprobs(self, micro: MicroBatch, temperature: float) -> Tensor:
        """(N,) log-probs under the reference."""
        if self.full:
            if self._reference_model is None:
                raise RuntimeError("full fine-tuning without a reference model has no KL")
            model, speaker = self._reference_model, None
        else:
            model, speaker = self.model, REFERENCE if REFERENCE in self.model.adapters else None
        with model.speaking_as(speaker), training_precision(model, full=self.full):
            return token_logprobs(model.base, micro, Sampled(temperature), plain_head=self.plain_head).logprobs_N

    def state(self, *, keep: bool = True) -> dict[str, Tensor]:
        """Copies of the trained weights on the CPU. All processes must ask for sharded ones; `keep` none: None."""
        if self.sharded:
            found: dict[str, Tensor] = whole(self.parameters(), keep=keep)
            return found
        if self.adapter is None:
            return {key: value.detach().to("cpu", copy=True) for key, value in self.parameters().items()}
        return self.model.adapter_state(self.adapter)

    def load_state(self, state: dict[str, Tensor]) -> None:
        if self.sharded:
            load_parts(self.parameters(), state)
        elif self.adapter is None:
            self.model.base.load_state_dict(state, strict=False)  # tied weights are stored once
        else:
            self.model.load_adapter_state(self.adapter, state)

    def save(self, folder: Path, *, dtype: torch.dtype = torch.float32, card: dict[str, Any] | None = None) -> None:
        """Write what a user loads: an adapter folder (in `dtype`), or a whole model with its tokenizer; and its card.

        Whole or not at all. Raises `FolderError` where other things lie in `folder`, `RunError` on a full disk.
        """
        with replacing(folder, MODEL_FILES if self.adapter is None else ADAPTER_FILES) as work:
            self.write(work, dtype=dtype)
            if card is not None:
                write_json(work / "card.json", card)

    def write(
        self, folder: Path, *, dtype: torch.dtype = torch.float32, state: dict[str, Tensor] | None = None
    ) -> None:
        """The same into a new folder, without care for a kill. Sharded weights come in whole, as `state`."""
        folder.mkdir(exist_ok=True)
        if self.adapter is None:
            self.model.base.save_pretrained(folder, state_dict=state if self.sharded else None)
            self.model.tokenizer.save_pretrained(folder)
        else:
            self.model.write_adapter(self.adapter, folder, dtype=dtype)


def train_without_dropout(model: LocalModel) -> None:
    """Training mode only where gradient checkpointing needs it: dropout would part the log-probs from the sampler's."""
    model.base.eval()
    for module in model.base.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True  # this module alone, and not the dropout in it
            for name, value in vars(module).items():
                if "drop" in name and isinstance(value, float):
                    setattr(module, name, 0.0)  # some layers call dropout themselves


@contextmanager
def training_precision(model: LocalModel, *, full: bool) -> Iterator[None]:
    """Weights that are trained stay in float32, as small updates would round away; here is where less computes.

    Full fine-tuning computes in bfloat16 on a GPU, an adapter in the format of its base wherever that is half as wide:
    beside it products in float32 cost more time and memory than the base model's own. float16 needs a loss that is
    scaled (`scaling.py`).
    """
    if full:
        half = torch.bfloat16 if model.device.type == "cuda" and model.dtype == torch.float32 else None
    else:
        half = model.dtype if model.dtype in (torch.bfloat16, torch.float16) else None
    with (
        torch.autocast(model.device.type, dtype=half or torch.bfloat16, enabled=half is not None),
        disable_input_dtype_casting(model.base, active=half is not None),  # peft would write inputs in float32 first
        fused_rotary(model.base) if model.device.type == "cuda" else nullcontext(),
    ):
        yield


def recompute_layers(model: LocalModel, *, full: bool) -> None:
    """Checkpoint the layers of `model`. `full`: all of its weights are trained.

    How a layer computes (packed attention, compiled rotary embeddings, the precision of adapters) is set for the time
    of a forward pass alone. A backward pass comes later, so it is set once more for each layer that is recomputed.
    """

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _as_before(model, full, model.base.config._attn_implementation)

    model.base.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
    )


@contextmanager
def _as_before(model: LocalModel, full: bool, attention: str) -> Iterator[None]:
    config = model.base.config
    now, config._attn_implementation = config._attn_implementation, attention
    try:
        with training_precision(model, full=full):
            yield
    finally:
        config._attn_implementation = now
