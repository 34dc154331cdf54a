"""`zerosearch doctor`: what this machine has, what the package needs, and what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import httpx
import typer
from rich.text import Text

from zerosearch.cleaning import clean, shown_address
from zerosearch.commands.screen import console
from zerosearch.engines.web import KEY_VARIABLES
from zerosearch.errors import EXTRAS, ConfigError, first_line, install
from zerosearch.models.adapters import shipped_adapters
from zerosearch.models.client import checked_url, key_from
from zerosearch.models.embedded import EMBEDDED_MODELS, cache_dir
from zerosearch.models.network import certificate_faults, client_options, proxy_faults
from zerosearch.process.runtime import memory, prepare, quiet_libraries, read_text
from zerosearch.spending.ledger import counted

Level = Literal["ok", "info", "warning", "missing"]
_STYLES = {"ok": "green", "info": "dim", "warning": "yellow", "missing": "red"}
Version = tuple[int, ...]

PYTHON: tuple[Version, Version] = ((3, 11), (3, 14))
PACKAGES: dict[str, tuple[Version, Version]] = {
    "numpy": ((1, 26), (3,)),
    "pydantic": ((2, 9), (3,)),
    "httpx": ((0, 27), (1,)),
    "bm25s": ((0, 2, 14), (0, 4)),
    "torch": ((2, 6), (3,)),
    "transformers": ((5, 17), (6,)),
    "accelerate": ((1, 10), (2,)),
    "peft": ((0, 18), (1,)),
    "safetensors": ((0, 5), (1,)),
    "gguf": ((0, 17), (1,)),
    "tensorboard": ((2, 18), (3,)),
}
"""What training needs: the lowest version that does, and the lowest that is not known to. A test compares this with
pyproject.toml."""
IMPORTED = ("torch", "transformers", "peft")  # a broken build shows only when it is imported
VARIABLES = (
    "ZEROSEARCH_CACHE", "XDG_CACHE_HOME", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
    "HF_DATASETS_OFFLINE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
SECRETS = ("HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY")  # said to be set, never shown
# Bytes. Memory: the model's .54 GB and a backward pass over 4,096 tokens (half of what 8,192 were seen to take, 6.7 GB
# in all). Disk: the model, once more while it is converted, the Factbook files and a run's checkpoints.
DEMO_MEMORY, DEMO_DISK = 4e9, 2e9


@dataclass(frozen=True)
class Finding:
    """One line of the report. `missing`: `make demo` will not work without it."""

    level: Level
    name: str
    said: str


def doctor(
    url: Annotated[
        str | None, typer.Option(help="Also check the server of a simulator or a policy: http://localhost:8000/v1.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="Name of the environment variable that contains the server's key.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the server.")] = 10.0,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Estimate a run of this model: a shape, a folder or a hub id.")
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="CONFIG", help="Estimate a run with these settings.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="Estimate for another GPU: H200, H100, A100, L40S, 4090.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
    on: Annotated[str | None, typer.Option(metavar="verl", help="Estimate for a cluster (docs/scale.md).")] = None,
    gpus: Annotated[int | None, typer.Option(min=2, metavar="N", help="With --on verl: number of GPUs.")] = None,
) -> None:
    """Check this machine: versions, memory, disk, GPUs, models and environment variables.

    The exit status is 1 if something is missing for training the embedded model, or if the server of --url cannot
    be used. Keys and tokens are never shown.

    With --model or --config: estimate what a run needs instead (memory by part, seconds a step, settings that would
    fit). No weights are loaded; only config.json is read from a hub. The exit status is 1 if the run does not fit.
    """
    environment = dict(os.environ)  # as the user has it, before prepare() adds to it
    prepare()
    on_cluster = on is not None or gpus is not None
    if on_cluster or model is not None or config_file is not None:
        quiet_libraries()
        from zerosearch.commands.doctor_estimate import settings, show_cluster, show_estimate

        config = settings(model, config_file, set_ or ())
        if not (show_cluster(config, on, gpus, gpu) if on_cluster else show_estimate(config, gpu)):
            raise typer.Exit(1)
        return
    if gpu is not None or set_:
        raise ConfigError("--gpu and --set belong to an estimate: name a --model or a --config")
    findings: list[Finding] = []
    for title, part in (
        ("machine", machine()),
        ("packages", packages()),
        ("accelerator", accelerators()),
        ("models", embedded()),
        ("environment", variables(environment)),
        ("search engines", search_keys(environment)),
        ("server", [server(url, key_env, timeout)] if url is not None else []),
    ):
        lines = list(part)
        findings += lines
        if lines:
            console.print(Text(title, style="bold"))
        for finding in lines:
            mark = "-" if finding.level == "info" else finding.level
            said = f"{finding.name:22} {finding.said}"
            console.print(Text.assemble((f"  {mark:8}", _STYLES[finding.level]), said))
    missing = [finding for finding in findings if finding.level == "missing"]
    warnings = sum(finding.level == "warning" for finding in findings)
    if missing:
        console.print(Text(f"missing: {', '.join(finding.name for finding in missing)}", style="red"))
        raise typer.Exit(1)
    console.print(f"nothing is missing, {counted(warnings, 'warning')}")


def machine() -> Iterator[Finding]:
    here = sys.version_info[:2]
    low, high = PYTHON
    fits = low <= here < high
    wanted = "" if fits else f"; needs {version_text(low)} or newer, below {version_text(high)}"
    yield Finding("ok" if fits else "missing", "python", f"{platform.python_version()} ({sys.executable}){wanted}")
    yield Finding("info", "platform", platform.platform())
    yield Finding("info", "cores", f"{usable_cores()} usable of {os.cpu_count()}")
    total, free = memory()
    if total is None:
        yield Finding("info", "memory", "cannot be read on this system")
    else:
        said = f"{total / 1e9:.1f} GB" + (f", {free / 1e9:.1f} GB free" if free is not None else "")
        short = (total if free is None else free) < DEMO_MEMORY
        hint = f"; the demo wants {DEMO_MEMORY / 1e9:.0f} GB free" if short else ""
        yield Finding("warning" if short else "ok", "memory", said + hint)
    yield from disk("disk for the cache", cache_dir())
    yield from disk("disk for runs", Path("runs").absolute())


def disk(name: str, folder: Path) -> Iterator[Finding]:
    """Whether `folder`, which need not exist, can be written to, and how much room there is."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield Finding("missing", name, f"{folder}: cannot be written to ({error.strerror})")
        return
    short = free < DEMO_DISK
    said = f"{free / 1e9:.1f} GB free at {folder}" + (f"; {DEMO_DISK / 1e9:.0f} GB are wanted" if short else "")
    yield Finding("warning" if short else "ok", name, said)


def packages() -> Iterator[Finding]:
    for package, (low, high) in PACKAGES.items():
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("missing", package, f"not installed: {install('train')}")
            continue
        if package in IMPORTED:
            try:
                importlib.import_module(package)
            except Exception as error:  # a broken build raises what it likes
                yield Finding("missing", package, f"{found} cannot be imported ({first_line(error)})")
                continue
        if low <= version_numbers(found) < high:
            yield Finding("ok", package, found)
        else:
            wanted = f"{version_text(low)} or newer, below {version_text(high)}"
            yield Finding("warning", package, f"{found} is outside of the supported range: {wanted}")
    for extra, members in EXTRAS.items():
        if extra == "train":
            continue
        lacking = [package for package in members if importlib.util.find_spec(package) is None]
        said = f"not installed (optional): {install(extra)}" if lacking else "installed"
        yield Finding("info", f"[{extra}]", said)


def accelerators() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    try:
        import torch
    except Exception:  # packages() has said so
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
            said = f"{torch.cuda.get_device_name(index)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free, {bf16}"
            yield Finding("ok", f"cuda:{index}", said)
    elif shutil.which("nvidia-smi"):
        build = torch.version.cuda
        old = f"(built for CUDA {build}) cannot use it; is the driver too old?"
        why = "is a build for CPUs" if build is None else old
        yield Finding("warning", "gpu", f"nvidia-smi is here, but torch {torch.__version__} {why}")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "mps", 'Apple GPU; model.device = "mps" uses it')
    else:
        yield Finding("info", "gpu", "none; the embedded model trains on the CPU")


def embedded() -> Iterator[Finding]:
    has_pip = importlib.util.find_spec("pip") is not None or shutil.which("pip3") or shutil.which("pip")
    for row in EMBEDDED_MODELS.values():
        if row.cached:
            yield Finding("ok", row.name, str(row.path))
        elif has_pip:
            size = f"{row.size_bytes / 1e6:.0f} MB"
            yield Finding("info", row.name, f"not in the cache; {size} are downloaded at first use")
        else:
            yield Finding("missing", row.name, f"not in the cache, and no pip to get it: {sys.executable} -m ensurepip")
    shipped = shipped_adapters()
    for adapter in ("embedded:policy", "embedded:simulator"):
        if adapter in shipped:
            yield Finding("ok", adapter, str(shipped[adapter]))
        else:
            said = "the package's adapters folder does not hold it; install the package again"
            yield Finding("missing", adapter, said)


def variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that matter and are set; of keys only that they are."""
    for name in VARIABLES:
        if (value := environment.get(name)) is not None:
            active = name == "OMP_WAIT_POLICY" and value.upper() != "PASSIVE"
            hint = "; PASSIVE decodes up to ten times faster on a busy CPU" if active else ""
            shown = shown_address(value) if name.lower().endswith(("proxy", "endpoint")) else clean(value)
            yield Finding("warning" if active else "info", name, shown + hint)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        if value := environment.get(name) or environment.get(name.upper()):
            yield Finding("info", name, shown_address(value))
    for fault in (*certificate_faults(), *proxy_faults()):
        yield Finding("warning", "network", fault)
    for name in SECRETS:
        if environment.get(name):
            yield Finding("info", name, "set (not shown)")


def search_keys(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The engines that take a key: whether it is set, never what it is."""
    for kind, variable in KEY_VARIABLES.items():
        is_set = bool(environment.get(variable, "").strip())
        said = f"{variable} is set (not shown)" if is_set else f'{variable} is not set; engine.kind = "{kind}" needs it'
        yield Finding("ok" if is_set else "info", kind, said)


def server(url: str, key_env: str | None, timeout: float) -> Finding:
    """Whether an OpenAI-compatible server answers GET /v1/models, and which models it names."""
    base = ""
    try:
        address = checked_url(url.rstrip("/"), "--url")
        base = str(address) if address.path.endswith("/v1") else f"{address}/v1"
        key = key_from(key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(timeout=timeout, headers=headers, **client_options(base)) as client:
            names = served(client.get(f"{base}/models"))
    except ConfigError as error:
        return Finding("missing", "url", str(error))
    except ValueError as error:
        return Finding("missing", "url", f"{base}/models {error}")
    except httpx.TimeoutException:
        return Finding("missing", "url", f"{base}/models does not answer within {timeout:g} s")
    except httpx.HTTPError as error:
        return Finding("missing", "url", f"{base}/models cannot be reached ({first_line(error)})")
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    said = f'{base} serves {", ".join(names[:5])}{more}: base_url = "{base}" and that as the model'
    return Finding("ok", "url", said)


def served(response: httpx.Response) -> list[str]:
    """The models that an answer to GET /v1/models names. Raises `ValueError` that says what is wrong with it."""
    if response.status_code != 200:
        hint = {401: ", it wants a key: --key-env", 403: ", it refuses the key: --key-env"}
        raise ValueError(f"answers HTTP {response.status_code}{hint.get(response.status_code, '')}")
    try:
        names = [" ".join(clean(str(row["id"])).split())[:200] for row in response.json()["data"]]
    except (ValueError, LookupError, TypeError):
        raise ValueError("answers, but not with a list of models: is it an OpenAI-compatible server?") from None
    if not names:
        raise ValueError("answers, but serves no model")
    return names


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = read_text("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def version_numbers(text: str) -> Version:
    """`2.13.0+cpu` -> (2, 13, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", text)[0].split(".") if part)  # type: ignore[index]


def version_text(numbers: Version) -> str:
    return ".".join(map(str, numbers))
