"""The process itself: threads, memory and noise, set before torch is imported."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import sys
import warnings
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 * 2**20  # the most that glibc accepts as a threshold


def prepare() -> None:
    """Make this process a fast and quiet one. Call it first; what the user has set in the environment stands.

    - OpenMP threads sleep at barriers: spinning ones slow decoding tenfold as soon as another job wants a core.
    - glibc keeps freed buffers of up to 32 MB: handing those of every layer back to the system and faulting them in
      again costs a CPU step up to half of its time.
    - The GPU's memory is handed out in segments that grow: micro-batches of ever new sizes leave no gaps behind.
    - torch compiles in this process: for the few kernels of `fused.py` it would start up to 32 others, each of which
      imports torch, and the process would wait for them at its end.
    - Tokenizers do not fork, model hubs are not asked for what is on disk, progress bars of libraries stay off.
    """
    for name, value in {
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }.items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux" and not any(k.startswith(("MALLOC_", "GLIBC_TUNABLES")) for k in os.environ):
        with contextlib.suppress(OSError, AttributeError):  # not glibc: nothing to tune
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    # peft and we ask by these names: transformers 5.17 has no others, 5.23 deprecates them; nothing a user could mend
    names = "`(is_gradient_checkpointing|gradient_checkpointing_enable)` is deprecated"
    warnings.filterwarnings("ignore", names, FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)


def release_memory() -> None:
    """Hand freed memory back to the system; call it between steps.

    `prepare` makes glibc keep what is freed, and buffers of many sizes would slowly break it into pieces.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def memory() -> tuple[int | None, int | None]:
    """Bytes in all and bytes free, those of the control group where that is smaller; None where it cannot be told."""
    rows = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", read_text("/proc/meminfo"), re.M)}
    total, free = rows.get("MemTotal"), rows.get("MemAvailable")
    if total is None:
        try:
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return None, None
    limit, used = (read_text(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        if used.isdigit() and free is not None:
            # Cached files count as used there, although the kernel drops them as soon as memory is wanted.
            cached = re.search(r"^inactive_file (\d+)$", read_text("/sys/fs/cgroup/memory.stat"), re.M)
            free = min(free, total - int(used) + (int(cached[1]) if cached else 0))
    return total, free


def read_text(path: str) -> str:
    """The text of a small file of the system's, empty where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def quiet_libraries() -> None:
    """Turn off the progress bars that transformers prints while it loads; call it once it is imported."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
