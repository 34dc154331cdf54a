"""Write a trained policy for other programs: as an adapter, merged weights, or a GGUF file.

    export("runs/demo")                                  # into exports/demo-merged, with a model card
    export("runs/mine", form="gguf-q8_0", push="me/my-search-model")
    export(["runs/mine-seed0", "runs/mine-seed1"])       # the mean of their weights

An export is a folder of its own. What another program made, or what was edited since, is never overwritten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from zerosearch.config_file import config_toml, load_config
from zerosearch.errors import CheckpointError, ConfigError, DataError, FolderError, ModelError, install
from zerosearch.export_card import CONFIG, Trained, model_card
from zerosearch.files.folders import ADAPTER_FILES, MODEL_FILES, check_folder, owned, replacing
from zerosearch.files.jsonl import read_object, write_json
from zerosearch.models.adapters import read_card, resolve_adapter, shipped_adapters
from zerosearch.models.embedded import resolve_model
from zerosearch.models.gguf_writing import GGUFKind, write_gguf
from zerosearch.models.hub import check_repository, push_folder
from zerosearch.process.runtime import prepare
from zerosearch.run_folder import newest_policy, policy_config, step_folders
from zerosearch.spending.ledger import counted
from zerosearch.version import __version__

if TYPE_CHECKING:  # it needs torch
    from zerosearch.models.local import LocalModel

Form = Literal["adapter", "merged", "gguf", "gguf-q8_0"]
CARD, MADE_BY = "card.json", "zerosearch export"
EXPORT_FILES = (*ADAPTER_FILES, *MODEL_FILES, "README.md", CONFIG, "*.gguf")
_GGUF: dict[str, GGUFKind] = {"gguf": "f16", "gguf-q8_0": "q8_0"}


def export(
    run: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    form: str | None = None,
    step: int | None = None,
    push: str | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Write the policy of a run for other programs, with a model card. Returns the folder.

    `run` is a run's folder, a LoRA adapter's, or `embedded:policy`; several, such as seeds: the mean of their weights.
    `out` None: `exports/NAME-FORM`. `form` None: an adapter where its base has a hub id, else merged weights. `step`:
    that checkpoint of the run; None: the newest. `push` uploads the folder to this repository of the hub.

    Raises `CheckpointError` for a run without such a checkpoint, `ModelError` for what cannot be loaded or has no such
    form, `FolderError` where other things lie in `out` or in the repository, and `RunError` where the upload failed.
    """
    prepare()
    if find_spec("huggingface_hub") is None:
        raise ModelError(f"exporting needs huggingface_hub: {install('train')}")
    if push is not None:
        check_repository(push)
    sources = [run] if isinstance(run, str | Path) else list(run)
    found = [find_trained(source, step) for source in sources]
    with TemporaryDirectory() as place:
        trained = found[0] if len(found) == 1 else mean_of(found, Path(place))
        return _export(trained, check_form(trained, form, push), out, push, say)


def _export(
    trained: Trained, chosen: Form, out: str | Path | None, push: str | None, say: Callable[[str], None]
) -> Path:
    folder = Path(out) if out is not None else Path("exports") / f"{trained.name}-{chosen}"
    with owned(folder, "export"):
        check_ours(folder)
        what = f"an adapter for {trained.base}"
        if trained.step is not None:
            what = f"the policy after {counted(trained.step, 'step')}"
        if trained.parts:
            what = f"the mean of {counted(len(trained.parts), 'adapter')} for {trained.base}"
        say(f"{trained.name}: {what}, as {chosen}, into {folder}")
        with replacing(folder, EXPORT_FILES) as work:
            _write(trained, chosen, work)
            gguf = next((path.name for path in work.glob("*.gguf")), None)
            card = model_card(trained, chosen, say, gguf=gguf, push=push)
            (work / "README.md").write_text(card, encoding="utf-8")
            if trained.config is not None:
                (work / CONFIG).write_text(config_toml(trained.config), encoding="utf-8")
            write_json(work / CARD, _marker(trained, chosen, card))
        if push is not None:
            message = f"{trained.name} by {MADE_BY} {__version__}"
            say(f"pushed to {push_folder(folder, push, marker=CARD, made_by=MADE_BY, message=message)}")
    return folder


def find_trained(source: str | Path, step: int | None = None) -> Trained:
    """What `source` names: a run's folder, an adapter's folder, or a shipped adapter."""
    folder = Path(source)
    if str(source) in shipped_adapters() or (folder / "adapter_config.json").is_file():
        if step is not None:
            raise ConfigError(f"--step {step}: {source} is an adapter and has no steps")
        return _of_adapter(str(source))
    if not (folder / "config.toml").is_file():
        shipped = ", ".join(shipped_adapters())
        raise ConfigError(f"{source}: neither the folder of a run (runs/NAME) or of an adapter, nor one of {shipped}")
    config = load_config(folder / "config.toml")
    policy = newest_policy(folder) if step is None else folder / "checkpoints" / f"step-{step:06d}" / "policy"
    if policy is None or not any(policy.glob("*.safetensors")):
        known = [checkpoint.step for checkpoint in step_folders(folder / "checkpoints") if checkpoint.whole]
        has = f"it has those of steps {', '.join(map(str, known))}" if known else "it has none yet"
        raise CheckpointError(f"{folder}: no checkpoint{'' if step is None else f' of step {step}'} to export; {has}")
    full = config.model.full
    return Trained(
        config.name,
        config.model.name,
        None if full else policy,
        str(policy) if full else config.model.name,
        config,
        folder,
        int(policy.parent.name.removeprefix("step-")),
    )


def mean_of(found: Sequence[Trained], folder: Path) -> Trained:
    """The mean of several policies, as an adapter in `folder`. Raises `ConfigError`, `ModelError`."""
    for one in found:
        if one.adapter is None:
            raise ConfigError(f"{one.name} trained all weights: only the mean of adapters is made")
        if one.base != found[0].base:
            raise ConfigError(f"the base of {found[0].name} is {found[0].base}, of {one.name} {one.base}")
        if one.simulator != found[0].simulator:
            raise ConfigError(f"of {found[0].name} and {one.name} one searches and one writes pages")
    if len({one.adapter for one in found}) < len(found):
        raise ConfigError(f"{', '.join(one.name for one in found)}: one of them is named twice")
    try:
        from zerosearch.models.mean import write_mean
    except ImportError as error:
        raise ModelError(f"the mean of adapters needs {error.name or 'more packages'}: {install('train')}") from None
    write_mean([(one.name, cast(Path, one.adapter)) for one in found], folder)
    configs = [one.config for one in found]
    asked = {config.protocol.model_dump_json() if config else None for config in configs}
    name = "mean-of-" + "-".join(one.name for one in found)
    base = found[0].base
    return Trained(name, base, folder, base, configs[0] if len(asked) == 1 else None, parts=tuple(found))


def _of_adapter(source: str) -> Trained:
    folder = resolve_adapter(source)
    base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"adapter {source}: adapter_config.json does not name its base model")
    config = policy_config() if source == "embedded:policy" else None
    if (folder / CONFIG).is_file():  # of an earlier export
        config = load_config(folder / CONFIG)
    return Trained(folder.resolve().name, base, folder, base, config)


def check_form(trained: Trained, asked: str | None, push: str | None) -> Form:
    """The form that is written. Raises `ConfigError` for one that does not exist, or that nobody could load."""
    if asked is None:
        return "merged" if trained.adapter is None or trained.hub_base is None else "adapter"
    form = next((known for known in get_args(Form) if known == asked), None)
    if form is None:
        raise ConfigError(f"--form {asked}: is none of {', '.join(get_args(Form))}")
    if form == "adapter" and trained.adapter is None:
        raise ConfigError(f"--form adapter: {trained.name} trained all weights and has no adapter; use --form merged")
    if form == "adapter" and trained.hub_base is None and push is not None:
        raise ConfigError(
            f"--form adapter --push: the base {trained.base} is on no hub, and peft would not find it; "
            "use --form merged"
        )
    return cast(Form, form)


def check_ours(folder: Path) -> None:
    """Raises `FolderError` unless `folder` is missing, empty, or an export that nobody has edited since."""
    check_folder(folder, EXPORT_FILES)
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        card = read_object(folder / CARD)
    except DataError:
        card = {}
    if card.get("made_by") != MADE_BY:
        raise FolderError(f"--out {folder}: holds files that this command did not make; name another folder")
    text = folder / "README.md"
    if text.is_file() and _sha256(text.read_bytes()) != card.get("readme_sha256"):
        raise FolderError(f"--out {folder}: its README.md was edited since the export; name another folder")


def _write(trained: Trained, form: Form, work: Path) -> None:
    if form == "adapter":
        assert trained.adapter is not None
        _write_adapter(trained, trained.adapter, work)
        return
    model = merged_model(trained)
    if form == "merged":
        model.base.save_pretrained(work)
        model.tokenizer.save_pretrained(work)
        return
    kind = _GGUF[form]
    write_gguf(model.base, model.tokenizer, work / f"{trained.name}-{kind}.gguf", kind, name=trained.name)


def _write_adapter(trained: Trained, adapter: Path, work: Path) -> None:
    """The adapter's own files. Its base is named so that peft finds it, by its hub id or its folder; an embedded one by
    its name, which zerosearch knows on every machine."""
    config = read_object(adapter / "adapter_config.json")
    known = trained.hub_base or trained.embedded_base
    config["base_model_name_or_path"] = known or str(Path(resolve_model(trained.base)).resolve())
    (work / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (work / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())


def merged_model(trained: Trained) -> LocalModel:
    """The policy as one model on the CPU: merged in float32, then in the number format of the base's own files.

    All weights that were trained stay as they were trained, in float32. A narrower format is rounded to by chance, as
    the nearest number would lose small updates (`models/merged.py`). Raises `ModelError`.
    """
    try:
        import torch
        from transformers import AutoConfig

        from zerosearch.models.local import LocalModel
        from zerosearch.models.merged import rounded
    except ImportError as error:
        raise ModelError(f"exporting weights needs {error.name or 'more packages'}: {install('train')}") from None
    model = LocalModel.load(trained.weights, dtype="float32", device="cpu")
    if trained.adapter is None:
        return model
    model.add_adapter("policy", trained.adapter)
    merged = model.merge("policy")
    found = AutoConfig.from_pretrained(resolve_model(trained.weights), local_files_only=True).dtype
    dtype = getattr(torch, found) if isinstance(found, str) else found
    if dtype is not None and dtype != torch.float32:
        for name, weight in merged.named_parameters():
            weight.data = rounded(weight.data, dtype, name)
        merged.to(dtype)
    return LocalModel(merged, model.tokenizer, trained.name, model.device)


def _marker(trained: Trained, form: Form, card: str) -> dict[str, Any]:
    """`card.json`: what the package itself reads of an adapter, and by what an export is known again."""
    cards = [read_card(part.adapter) for part in trained.parts or (trained,) if part.adapter is not None]
    made = (
        {key: value for key, value in cards[0].items() if all(card.get(key) == value for card in cards)}
        if cards
        else {}
    )
    known = {"made_by": MADE_BY, "version": __version__, "form": form, "step": trained.step, "name": trained.name}
    return {**made, "base": trained.base, **known, "readme_sha256": _sha256(card.encode())}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
