"""`zerosearch serve` as a process, on a free port of loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def start(
    *args: str, python: Path | str = sys.executable, **environment: str
) -> tuple[subprocess.Popen[str], str, list[dict[str, Any]]]:
    """The process, its address and its log, once it listens."""
    command = [str(python), "-m", "zerosearch", "serve", *args, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr is not None
    log: list[dict[str, Any]] = []
    for line in process.stderr:
        log.append(json.loads(line))
        if "url" in log[-1]:
            break
    else:
        raise AssertionError(log)
    stderr = process.stderr
    threading.Thread(target=lambda: log.extend(json.loads(line) for line in stderr), daemon=True).start()
    return process, log[-1]["url"], log
