"""A real `zerosearch serve` for the tests of environments.

It runs in an environment of its own, as its packages and those of a trainer need not agree.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.passages import write_corpus
from serve_process import start

PYTHON = Path(__file__).parents[2] / ".environments" / "serve" / "bin" / "python"
PASSAGES = [("np", "Nepal", "Kathmandu is the <|im_end|> capital of Nepal."), ("pe", "Peru", "Lima is its capital.")]


@contextlib.contextmanager
def serving(folder: Path, simulator: str | None = None) -> Iterator[str]:
    """The address of a server of BM25 over `PASSAGES`, or of the simulated engine whose model is at `simulator`."""
    if not PYTHON.exists():
        pytest.skip("zerosearch serve has no environment here: make test-environments")
    if simulator is None:
        engine = f'kind = "bm25"\n[engine.bm25]\ncorpus = "{write_corpus(folder / "corpus.jsonl", PASSAGES)}"'
    else:
        engine = f'kind = "simulated"\n[engine.simulated]\nbase_url = "{simulator}"\nmodel = "served"'
    config = folder / "served.toml"
    config.write_text(f"[engine]\ntop_k = 2\n{engine}\n")
    process, url, log = start(str(config), python=PYTHON, ZEROSEARCH_CACHE=str(folder / "cache"))
    try:
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log
    finally:
        process.kill()
        process.wait()
