"""verl's checkpoints as a run's: `checkpoints/step-000050/policy`, with the settings it was made with.

    keep_policy(Path("runs/mine/verl/checkpoints/global_step_50"), Path("runs/mine"), keep=2)

Full weights are verl's `huggingface` folder; an adapter is gathered from its shards, on the CPU.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from zerosearch.config_file import load_config
from zerosearch.errors import CheckpointError, DataError
from zerosearch.files.folders import settle
from zerosearch.files.jsonl import read_metrics, write_json
from zerosearch.run_folder import STATE, known_settings, step_folders

_MARK = "global_step_"


def run_of(checkpoints: Path) -> Path:
    """The run's folder, given `RUN/verl/checkpoints`."""
    return checkpoints.parent.parent


def what_was_lost(verl: Path, metrics: Path) -> str:
    """What a run loses that ends now, and where the same command goes on. `verl` is the run's folder of verl's own
    things, `metrics` the file of this start."""
    mark = verl / "checkpoints" / "latest_checkpointed_iteration.txt"
    saved = int(mark.read_text()) if mark.is_file() else 0
    try:
        done = max([saved, *(row["step"] for row in read_metrics(metrics))])
    except DataError:  # nothing is known of the steps
        done = saved
    lost = f"what step {done + 1} had begun"
    if done > saved:
        steps = " to ".join(map(str, sorted({saved + 1, done})))
        lost = f"step{'s' * (done > saved + 1)} {steps} and {lost}"
    if not saved:
        return f"Lost: {lost}. There is no checkpoint yet: the same command begins anew"
    return f"Lost: {lost}. The same command resumes from the checkpoint after step {saved}"


def keep_policy(saved: Path, run: Path, *, keep: int = 0) -> Path:
    """Put the policy of verl's checkpoint `saved` into `run`, whole or not at all, and drop all but the newest `keep`
    (0: none is dropped) of those that this function made. Returns its folder.

    Raises `CheckpointError` where `saved` holds no policy.
    """
    step = int(saved.name.removeprefix(_MARK))
    config = load_config(run / "config.toml")
    root = run / "checkpoints"
    folder, partial = root / f"step-{step:06d}", root / f".step-{step:06d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if config.model.full:
            _link(_weights(saved / "actor" / "huggingface"), partial / "policy")
        else:
            _gather(saved / "actor", partial)
        write_json(partial / STATE, {"step": step, "settings": known_settings(config), "made_by": "verl"})
        settle(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in [c.folder for c in step_folders(root) if c.whole][: -keep or None if keep else 0]:
        shutil.rmtree(old, ignore_errors=True)
    return folder / "policy"


def _weights(folder: Path) -> Path:
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{folder}: holds no weights; add hf_model to actor_rollout_ref.actor.checkpoint.save_contents"
        )
    return folder


def _link(source: Path, target: Path) -> None:
    """The files of a folder once more: as further names of the same bytes, or where a disk cannot, as copies."""
    target.mkdir()
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy2(file, target / file.name)


def _gather(actor: Path, partial: Path) -> None:
    from verl.model_merger.base_model_merger import ModelMergerConfig
    from verl.model_merger.fsdp_model_merger import FSDPModelMerger

    config = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=str(actor),
        target_dir=str(partial),
        hf_model_config_path=str(actor / "huggingface"),
    )
    merger = FSDPModelMerger(config)
    made = merger.save_lora_adapter(_adapter_of(actor, merger))
    if made is None:
        raise CheckpointError(f"{actor}: holds no adapter")
    os.replace(made, partial / "policy")


def _adapter_of(actor: Path, merger: Any) -> dict[str, Any]:
    """The adapter's tensors as they were trained. verl's own merger rounds all weights to bfloat16, which loses small
    updates, and holds the shards of the whole model in memory."""
    import torch
    from torch.distributed.tensor import DTensor

    world = merger._get_world_size()
    parts: list[dict[str, Any]] = []
    shards = 1
    while len(parts) < shards:
        file = actor / f"model_world_size_{world}_rank_{len(parts)}.pt"
        state = torch.load(file, map_location="cpu", weights_only=False, mmap=True)
        if not parts:
            mesh, names = merger._extract_device_mesh_info(state, world)
            shards, _ = merger._calculate_shard_configuration(mesh, names)
        parts.append({name: tensor for name, tensor in state.items() if "lora_" in name})
    merged = {}
    for name, tensor in parts[0].items():
        merged[name] = tensor
        if isinstance(tensor, DTensor):  # the last dimension of the mesh is that which divides weights
            locals_ = [part[name]._local_tensor for part in parts]
            merged[name] = merger._merge_by_placement(locals_, tensor.placements[-1])
    return {name: tensor.float().contiguous() for name, tensor in merged.items()}
