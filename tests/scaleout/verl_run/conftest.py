"""Runs that several tests look at are made once a session. What needs torch is imported where it is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.conftest import zerosearch
from engines.conftest import PAGE, Endpoint

__all__ = ["zerosearch"]  # a fixture of the commands' tests: a command run in this process


@pytest.fixture(scope="session")
def simulator() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    endpoint.says(PAGE, usage={"prompt_tokens": 9, "completion_tokens": 5})
    try:
        yield endpoint
    finally:
        endpoint.stop()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, simulator: Endpoint) -> Any:
    from scaleout.verl_run.verl_bench import Trained

    return Trained(tmp_path_factory.mktemp("trained"), simulator)


@pytest.fixture
def bench(tmp_path: Path, simulator: Endpoint) -> Any:
    from scaleout.verl_run.verl_bench import Bench

    return Bench(tmp_path, simulator)
