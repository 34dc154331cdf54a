"""An adapter whose shards several devices saved, gathered as it was: `make test-verl`. The process group is torch's
fake one; that several devices save such shards is not shown here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from zerosearch.scaleout.verl.checkpoints import _gather

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.default.weight"


@pytest.fixture
def four_ranks() -> Iterator[None]:
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("shape", "names"), [((4,), ("fsdp",)), ((2, 2), ("ddp", "fsdp"))])
def test_shards_are_joined_in_float32(
    tmp_path: Path, four_ranks: None, shape: tuple[int, ...], names: tuple[str, ...]
) -> None:
    """Rows that the devices do not divide evenly, and numbers that bfloat16 has not."""
    whole = {NAME.format("A"): torch.randn(3, 8), NAME.format("B"): torch.randn(10, 3)}
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    placed = [Replicate()] * (len(shape) - 1) + [Shard(0)]
    for rank in range(4):
        state = {}
        for name, tensor in {**whole, "base_model.model.lm_head.weight": torch.zeros(8, 2)}.items():
            rows = tensor.split(-(-len(tensor) // shape[-1]))
            own = rows[rank % shape[-1]] if rank % shape[-1] < len(rows) else tensor[:0]
            state[name] = DTensor.from_local(
                own.clone(), mesh, placed, run_check=False, shape=tensor.shape, stride=tensor.stride()
            )  # fmt: skip
        (tmp_path / "actor").mkdir(exist_ok=True)
        torch.save(state, tmp_path / "actor" / f"model_world_size_4_rank_{rank}.pt")
    (tmp_path / "actor" / "fsdp_config.json").write_text(json.dumps({"world_size": 4}))
    (tmp_path / "actor" / "lora_train_meta.json").write_text(json.dumps({"r": 3, "lora_alpha": 6}))
    (tmp_path / "actor" / "huggingface").mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "actor" / "huggingface" / "config.json").write_text(json.dumps(config))
    (tmp_path / "partial").mkdir()
    _gather(tmp_path / "actor", tmp_path / "partial")
    made = load_file(tmp_path / "partial" / "policy" / "adapter_model.safetensors")
    assert {name.replace(".weight", ".default.weight") for name in made} == whole.keys()
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, whole[name.replace(".weight", ".default.weight")], rtol=0.0, atol=0.0)
    told = json.loads((tmp_path / "partial" / "policy" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["target_modules"]) == (3, 6, ["q_proj"])
