"""One language model in memory with any number of LoRA adapters: policy, reference and simulator share its weights."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from zerosearch.episodes.encoding import codec_of
from zerosearch.episodes.episode import Codec
from zerosearch.errors import DataError, ModelError, first_line
from zerosearch.files.folders import ADAPTER_FILES, replacing
from zerosearch.files.jsonl import read_object
from zerosearch.models.devices import pick_device
from zerosearch.models.embedded import resolve_model
from zerosearch.models.fused import fuse_norms
from zerosearch.models.hub import only_here

log = logging.getLogger(__name__)

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
LORA_TARGETS = "all-linear"


def number_format(dtype: DtypeName, device: torch.device) -> torch.dtype:
    """Of a model's weights: auto is bfloat16 on a GPU and float32 on a CPU, where bfloat16 is slower."""
    auto = "bfloat16" if device.type == "cuda" else "float32"
    found: torch.dtype = getattr(torch, auto if dtype == "auto" else dtype)
    return found


class LocalModel:
    """A causal language model, its tokenizer, and the LoRA adapters on it.

    `device` is a torch device; `dtype` that of the base weights. Adapters are float32 wherever the base is not, so
    that small updates are not lost to rounding.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, device: torch.device) -> None:
        self.base = model
        self.tokenizer = tokenizer
        self.name = name
        self.device = device
        self.adapters: list[str] = []
        self._peft: Any = None  # a PeftModel from the first adapter on
        self._active: str | None = None
        self._trainable = False

    @classmethod
    def load(cls, name: str, *, dtype: DtypeName = "auto", device: str = "auto") -> LocalModel:
        """Load an embedded model, a folder or a hub id.

        `dtype`: see `number_format`. Its GPU becomes this thread's current one. Raises `ConfigError` for a device that
        is not there, and `ModelError` for what cannot be loaded whole (a weight that is in no file would be random),
        within seconds where a hub id cannot be fetched.
        """
        path = resolve_model(name)
        place = pick_device(device)
        here = only_here(path)
        numbers = number_format(dtype, place)
        try:
            if (settings := Path(path) / "generation_config.json").exists():
                read_object(
                    settings
                )  # transformers would do without a damaged one, and without the ids that end a text
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=here)
            tokenizer.encode("a")  # a damaged setting shows here, and not in the first prompt
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=numbers,
                local_files_only=here,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
            model = loaded[0]
            _check_whole(loaded[1])
            if place.type == "cuda":
                torch.cuda.set_device(place)  # this thread trains it
                fuse_norms(model)
            model.to(place).eval()
            if numbers == torch.float16:
                _check_range(model)
        except Exception as error:  # for a damaged file its reader raises whatever it stumbles over
            raise ModelError(f"model {name}: could not be loaded ({first_line(error)})") from None
        model.requires_grad_(False)
        return cls(model, tokenizer, name, place)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.base.parameters()).dtype
        return dtype

    @property
    def steady_context(self) -> int | None:
        """The tokens up to which a position looks the same whatever comes later; None: any number.

        Beyond, dynamic and longrope models turn all positions by the text's length: what a cache holds was turned as it
        was then, and sampler and trainer are nats apart.
        """
        config = self.base.config
        rope = getattr(config, "rope_parameters", None) or {}
        kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
        longest = getattr(config, "max_position_embeddings", None)
        limits = [
            part.get("original_max_position_embeddings")
            or getattr(config, "original_max_position_embeddings", None)
            or longest
            for part in kinds
            if part.get("rope_type") in ("dynamic", "longrope")
        ]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text: those of the generation config and the tokenizer's own."""
        ids: set[int] = set()
        config = getattr(self.base, "generation_config", None)
        for source in (getattr(config, "eos_token_id", None), self.tokenizer.eos_token_id):
            if source is not None:
                ids.update(source if isinstance(source, (list, tuple)) else [source])
        return frozenset(ids)

    @property
    def codec(self) -> Codec:
        return codec_of(self.tokenizer)

    def add_adapter(
        self, name: str, source: Path | None = None, *, rank: int = 8, alpha: float = 16.0, trainable: bool = False
    ) -> None:
        """Put an adapter on the model: from a folder, or a new one that changes nothing yet (B = 0).

        Raises `ModelError` where the folder holds no adapter, or one made for another model, or where the name is
        taken; the model is then as it was before.
        """
        if name in self.adapters:
            raise ModelError(f"model {self.name}: already has an adapter {name!r}")
        settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": LORA_TARGETS}
        lora, state = LoraConfig(**settings, task_type="CAUSAL_LM"), None
        if source is not None:
            lora, state = _read_adapter(source)
        before, was_trainable = self._active, self._trainable
        try:
            if self._peft is None:
                self._peft = PeftModel(self.base, lora, adapter_name=name)
            else:
                self._peft.add_adapter(name, lora)
            self.adapters.append(name)
            for parameter in self.adapter_parameters(name).values():
                parameter.data = parameter.data.float()  # peft 0.18 does so for the first adapter only
            if state is not None:
                self.load_adapter_state(name, state)
        except Exception as error:  # peft: target modules that the model does not have, or values of odd types
            self._forget(name)
            self.activate(before, trainable=was_trainable)  # peft 0.18 leaves the others otherwise than they were
            raise ModelError(
                f"adapter {source or name}: does not fit the model {self.name} ({first_line(error)})"
            ) from None
        self._peft.eval()
        self._active = None
        self.activate(name, trainable=trainable)

    def activate(self, name: str | None, *, trainable: bool = False) -> None:
        """Make one adapter speak; None is the bare base model."""
        if self._peft is None:
            if name is not None:
                raise ModelError(f"model {self.name}: has no adapter {name!r}")
            return
        if name is not None and name not in self.adapters:
            raise ModelError(f"model {self.name}: has no adapter {name!r} (it has {', '.join(self.adapters)})")
        if name is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            if self._active is None:
                self._peft.base_model.enable_adapter_layers()
            # not PeftModel.set_adapter, which knows no inference_mode in peft 0.18
            self._peft.base_model.set_adapter(name, inference_mode=not trainable)
        self._active, self._trainable = name, trainable

    @contextmanager
    def speaking_as(self, name: str | None) -> Iterator[None]:
        """Activate an adapter for a while, without gradients; then the one before, trainable again if it was."""
        before, trainable = self._active, self._trainable
        self.activate(name)
        try:
            yield
        finally:
            self.activate(before, trainable=trainable)

    def adapter_parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by name, in the model's order."""
        return {key: p for key, p in self.base.named_parameters() if "lora_" in key and f".{name}." in key}

    def adapter_state(self, name: str) -> dict[str, Tensor]:
        """Copies of the adapter's weights on the CPU, without the adapter's name in the keys."""
        return {
            key.replace(f".{name}.", "."): p.detach().to("cpu", copy=True)
            for key, p in self.adapter_parameters(name).items()
        }

    def load_adapter_state(self, name: str, state: dict[str, Tensor]) -> None:
        """Raises `ModelError` where names or shapes differ."""
        own = {key.replace(f".{name}.", "."): p for key, p in self.adapter_parameters(name).items()}
        if own.keys() != state.keys() or any(own[key].shape != state[key].shape for key in own):
            raise ModelError(
                f"model {self.name}: the adapter's weights have other names or shapes; was it made for it?"
            )
        with torch.no_grad():
            for key, parameter in own.items():
                parameter.copy_(state[key].to(parameter))

    def save_adapter(self, name: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write a PEFT adapter folder, whole or not at all, in place of an older one.

        Raises `FolderError` where other things lie in `folder`, `RunError` on a full disk.
        """
        with replacing(folder, ADAPTER_FILES) as work:
            self.write_adapter(name, work, dtype=dtype)

    def write_adapter(self, name: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors` into `folder`, which is there and empty."""
        from safetensors.torch import save_file

        if self._peft is None or name not in self.adapters:
            raise ModelError(f"model {self.name}: has no adapter {name!r}")
        prefix = "base_model.model."
        state = {prefix + key: value.to(dtype).contiguous() for key, value in self.adapter_state(name).items()}
        config = self._peft.peft_config[name].to_dict()
        config["base_model_name_or_path"] = self.name
        config["inference_mode"] = True
        plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
        text = json.dumps(plain, indent=2, default=str, sort_keys=True) + "\n"
        save_file(state, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(text)

    def merge(self, name: str) -> Any:
        """The base with an adapter merged into its weights, as a plain transformers model; this one is used up.

        Sums are made in the number format of the base: load it in float32 where they shall be exact.
        """
        self.activate(name)
        merged = self._peft.merge_and_unload(safe_merge=True, adapter_names=[name])
        self._peft, self.adapters, self._active = None, [], None
        return merged.eval()

    def _forget(self, name: str) -> None:
        """Take an adapter off again that could not be put on whole."""
        if name in self.adapters:
            self.adapters.remove(name)
        if self._peft is not None and not self.adapters:
            self._peft.base_model.unload()
            self._peft = None
        elif self._peft is not None and name in self._peft.peft_config:
            self._peft.delete_adapter(name)


def _check_whole(report: dict[str, Any]) -> None:
    """Raises `ModelError` for weights that the model's files lack or hold in another shape, by transformers' report."""
    if mismatched := sorted(report["mismatched_keys"]):
        key, *shapes = mismatched[0]
        held, wanted = (" x ".join(map(str, shape)) for shape in shapes)
        raise ModelError(
            f"{key} is {held} in its weights and {wanted} by its config.json"
            + f"; {len(mismatched) - 1} more do not fit" * (len(mismatched) > 1)
        )
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{len(missing)} of its weights are in no file and would be random: {', '.join(missing[:3])}")
    if unused := sorted(report["unexpected_keys"]):
        log.warning("%d weights of the model's files have no place in it: %s", len(unused), ", ".join(unused[:3]))


def _check_range(model: Any) -> None:
    """Raises `ModelError` for weights that became infinite in float16."""
    for name, weight in model.named_parameters():
        if not all(map(math.isfinite, map(float, weight.detach().aminmax()))):  # no copy of the weight is made
            raise ModelError(
                f"{name} holds numbers beyond 65504, the largest of float16; take bfloat16 or float32 (model.dtype)"
            )


def _read_adapter(source: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Configuration and weights of a PEFT folder. Raises `ModelError`."""
    from safetensors.torch import load_file

    start = read_adapter_config(source).get("init_lora_weights")
    if isinstance(start, str) and start not in ("gaussian", "eva", "orthogonal"):
        raise ModelError(f"adapter {source}: init_lora_weights {start!r} changes the base; save it as plain LoRA first")
    try:
        state = load_file(str(source / "adapter_model.safetensors"))
    except Exception as error:  # safetensors has errors of its own for cut files
        raise ModelError(f"adapter {source}: cannot be read ({error})") from None
    prefix = "base_model.model."
    # peft's own reader: an adapter may have a rank, a scale or a choice of layers of its own for some modules
    try:
        lora: LoraConfig = LoraConfig.from_pretrained(str(source), inference_mode=False)
    except Exception as error:  # peft reads whatever types it finds
        raise ModelError(f"adapter {source}: adapter_config.json is no LoRA's ({first_line(error)})") from None
    lora.lora_dropout = 0.0  # dropout would part the trainer's log-probs from the generator's
    return lora, {key.removeprefix(prefix): value for key, value in state.items()}


def read_adapter_config(source: Path) -> dict[str, Any]:
    """The `adapter_config.json` of a PEFT folder. Raises `ModelError` where there is none or it is no LoRA."""
    path = source / "adapter_config.json"
    if not path.exists():
        raise ModelError(f"adapter {source}: no adapter_config.json there")
    try:
        config = read_object(path)
    except DataError as error:
        raise ModelError(f"adapter {error}") from None
    if config.get("peft_type") != "LORA":
        raise ModelError(f"adapter {source}: is {config.get('peft_type')}, not LORA")
    return config
