"""A cache of fixed size, so that a decoding step can be recorded once as a CUDA graph and replayed.

A small model waits for Python: a step of SmolLM2 is some 700 kernels, 25 ms to launch and a few to run. A graph needs
every tensor at one address and of one shape, so keys and values lie in buffers cut for one of a few numbers of rows and
lengths (`rows_for`, `length_for`), and the step's position is a tensor too. Without CUDA the same steps run unrecorded;
tests compare them with the growing cache.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from zerosearch.models.devices import on_device

log = logging.getLogger(__name__)

ATTENTION = "zerosearch_grouped"
_LENGTH_STEP, _RECORDED_LENGTH_STEP = 64, 256  # each length that is recorded takes its time and memory


def rows_for(count: int) -> int:
    """The number of rows of the buffers for `count` rows: 4, 8, then two sizes an octave."""
    size = 4
    while size < count:
        size = size * 2 if size < 8 else (size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3)
    return size


def length_for(columns: int, step: int = _LENGTH_STEP) -> int:
    """The length of the buffers for `columns` tokens. The last place is never used: recording writes there."""
    return -(-(columns + 1) // step) * step


def grouped_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention of one new token a row, without copying keys and values for every query head that shares them.

    query (B, H, 1, D), key and value (B, G, L, D) with G dividing H, attention_mask additive (B, 1, 1, L) or None.
    Returns (B, 1, H, D). Several tokens a row go to the library's own attention.
    """
    rows, heads, new, width = query.shape
    if new != 1 or attention_mask is None or kwargs.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scaling = kwargs.get("scaling")
    groups = key.shape[1]
    query = query.reshape(rows, groups, heads // groups, width) * (scaling if scaling is not None else width**-0.5)
    scores = torch.matmul(query, key.transpose(2, 3)) + attention_mask
    exact = None if scores.dtype.itemsize >= 4 else torch.float32
    out = torch.matmul(torch.softmax(scores, dim=-1, dtype=exact).to(value.dtype), value)
    return out.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(ATTENTION, grouped_attention)


@dataclass(frozen=True)
class Layout:
    """Heads and width of each tensor of a cache: keys and values of the first layer, then of the next."""

    tensors: tuple[tuple[int, int], ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, cache: Any) -> Layout:
        tensors = [x for layer in cache.layers for x in (layer.keys, layer.values)]
        return cls(tuple((x.shape[1], x.shape[3]) for x in tensors), tensors[0].dtype, tensors[0].device)


@dataclass
class Storage:
    """The memory of keys and values, lent to one batch at a time. It grows, and never shrinks.

    `epoch` counts the growths: what was recorded before points to memory that is gone.
    """

    memory: list[Tensor] = field(default_factory=list)
    epoch: int = 0
    pool: Any = None  # shared by all graphs: one is replayed at a time, and what it leaves is read at once

    def views(self, layout: Layout, rows: int, length: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer as (rows, heads, length, width), at the start of the memory."""
        need = [rows * heads * length * width for heads, width in layout.tensors]
        room = [x.numel() if x.dtype == layout.dtype else 0 for x in self.memory] or [0] * len(need)
        if len(room) != len(need) or any(have < n for have, n in zip(room, need, strict=True)):
            room = [max(pair) for pair in zip(need, room, strict=True)] if len(room) == len(need) else need
            self.memory, self.pool = [], None  # before the new memory is asked for; its graphs go with the old one
            self.memory = [torch.zeros(n, dtype=layout.dtype, device=layout.device) for n in room]
            self.epoch += 1
        cut = [
            flat[:n].view(rows, heads, length, width)
            for flat, n, (heads, width) in zip(self.memory, need, layout.tensors, strict=True)
        ]
        return list(zip(cut[::2], cut[1::2], strict=True))


class _Slots:
    """What a model takes for its cache: new keys and values go to the one place that `index` names."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]], index: Tensor) -> None:
        self.layers, self.index = layers, index

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = self.layers[layer_idx]
        keys.index_copy_(2, self.index, key)
        values.index_copy_(2, self.index, value)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.layers[layer_idx][0].shape[2]


class _Step:
    """One decoding step for `rows` rows and buffers of one length: static inputs, and the graph once recorded."""

    def __init__(self, model: Any, layers: list[tuple[Tensor, Tensor]]) -> None:
        rows, _, length, _ = layers[0][0].shape
        device, self._model = layers[0][0].device, model
        self.layers = layers
        self.ids = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.positions = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.index = torch.full((1,), length - 1, dtype=torch.long, device=device)
        self.bias = torch.zeros(rows, 1, 1, length, dtype=layers[0][0].dtype, device=device)
        self._slots = _Slots(layers, self.index)
        self._graph: torch.cuda.CUDAGraph | None = None

    def record(self, storage: Storage) -> None:
        """Run the step for what it leaves in memory, record it, and compare the two.

        Raises `RuntimeError` where it cannot be recorded, or what was recorded gives other logits.
        """
        device = self.ids.device
        with on_device(device):
            # a stream of this device: the one that torch.cuda.graph keeps for all lies on the first device it saw
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(2):
                    wanted = self._forward()
            torch.cuda.current_stream(device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=storage.pool, stream=stream, capture_error_mode="thread_local"):
                logits = self._forward()
            graph.replay()
            if not same_logits(logits, wanted):
                raise RuntimeError("what was recorded gives other logits than the step itself")
            storage.pool = graph.pool()
            self._graph, self._logits = graph, logits

    def run(self) -> Tensor:
        """Logits (rows, V); on a GPU they are overwritten by the next step of any size."""
        if self._graph is None:
            return self._forward()
        self._graph.replay()
        return self._logits

    def _forward(self) -> Tensor:
        with _attention(self._model):
            logits: Tensor = self._model(
                input_ids=self.ids,
                attention_mask=self.bias,
                position_ids=self.positions,
                past_key_values=self._slots,
                use_cache=True,
            ).logits[:, -1]
        return logits


def same_logits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two runs of one step differ by no more than rounding: a hundredth of the largest logit."""
    largest = theirs.float().abs().nan_to_num(0.0).max()
    return torch.allclose(ours.float(), theirs.float(), rtol=0, atol=float(largest) / 100, equal_nan=True)


@contextmanager
def _attention(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = before


class FixedDecoder:
    """Decoding steps of one model (its weights may change, their addresses may not) over a `storage`."""

    def __init__(self, model: Any, storage: Storage, *, record: bool) -> None:
        self._model, self._storage, self._record = model, storage, record
        self._steps: dict[tuple[int, int], _Step] = {}
        self._epoch = storage.epoch

    @staticmethod
    def suits(model: Any, cache: Any) -> bool:
        """Whether the model's attention is the plain one that `grouped_attention` stands in for."""
        plain = all(type(layer) is DynamicLayer for layer in cache.layers)
        return plain and getattr(model.config, "_attn_implementation", None) == "sdpa"

    def begin(self, cache: Any, attention_BT: Tensor, new_tokens: int) -> FixedBatch:
        """Go on from a filled `cache` with its attention mask (1: seen), for at most `new_tokens` more."""
        rows, columns = attention_BT.shape
        length = length_for(columns + new_tokens, _RECORDED_LENGTH_STEP if self._record else _LENGTH_STEP)
        batch = FixedBatch(self, Layout.of(cache), rows, columns, length)
        bias = batch.step.bias
        bias.fill_(torch.finfo(bias.dtype).min)
        bias[:rows, 0, 0, :columns].masked_fill_(attention_BT.bool(), 0.0)
        for (keys, values), layer in zip(batch.step.layers, cache.layers, strict=True):
            keys[:rows, :, :columns] = layer.keys
            values[:rows, :, :columns] = layer.values
        return batch

    def step(self, layout: Layout, rows: int, length: int) -> _Step:
        layers = self._storage.views(layout, rows, length)
        if self._epoch != self._storage.epoch:
            self._steps.clear()
            self._epoch = self._storage.epoch
        if (rows, length) not in self._steps:
            self._steps[rows, length] = step = _Step(self._model, layers)
            if self._record:
                try:
                    step.record(self._storage)
                except RuntimeError as error:  # such as a model whose forward pass waits for the GPU
                    self._record = False
                    log.warning("decoding without CUDA graphs, which is slow: %s", str(error).splitlines()[0])
        return self._steps[rows, length]


class FixedBatch:
    """A batch being decoded: the counterpart of `GrowingBatch`."""

    def __init__(self, decoder: FixedDecoder, layout: Layout, rows: int, column: int, length: int) -> None:
        self._decoder, self._layout, self._rows = decoder, layout, rows
        self._column = column  # of the next token
        self.step = decoder.step(layout, rows_for(rows), length)

    def keep(self, places: Tensor) -> None:
        """Go on with the rows `places` only."""
        old, rows = self.step, len(places)
        kept = [(keys.index_select(0, places), values.index_select(0, places)) for keys, values in old.layers]
        bias = old.bias.index_select(0, places)
        self.step = self._decoder.step(self._layout, rows_for(rows), old.bias.shape[-1])
        self.step.bias[:rows] = bias
        for (keys, values), (kept_keys, kept_values) in zip(self.step.layers, kept, strict=True):
            keys[:rows], values[:rows] = kept_keys, kept_values
        self._rows = rows

    def forward(self, ids_B: Tensor, positions_B: Tensor) -> Tensor:
        """Logits (B, V) after one more token a row."""
        step = self.step
        step.ids[: self._rows, 0] = ids_B
        step.positions[: self._rows, 0] = positions_B
        step.bias[:, :, :, self._column] = 0
        step.index.fill_(self._column)
        self._column += 1
        return step.run()[: self._rows]
