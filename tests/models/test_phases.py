"""Phases: their times add up, threads do not mix, and a GPU's streams share its time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from zerosearch.models import phases
from zerosearch.models.phases import REST, Profile, phase, shared_out

CPU = torch.device("cpu")


def span(start: float, end: float, stream: int, name: str) -> Any:
    return phases._Span(start, end, stream, name)


def test_a_phase_inside_another_is_taken_off_and_all_add_up_to_the_whole() -> None:
    with Profile(CPU) as profile:
        started = time.perf_counter()
        with phase("outer"):
            time.sleep(0.02)
            for _ in range(2):
                with phase("inner", 8):
                    time.sleep(0.02)
        time.sleep(0.01)
        found = profile.take()
        whole = time.perf_counter() - started
    assert found["outer"].times == 1
    assert found["inner"].times == 16
    assert 0.02 <= found["outer"].host < 0.04 <= found["inner"].host
    assert found[REST].host >= 0.01
    assert sum(spent.host for spent in found.values()) == pytest.approx(whole, rel=0.05)
    assert all(spent.gpu is None for spent in found.values())


def test_a_phase_of_another_thread_is_heard_and_taken_off_nothing() -> None:
    def other() -> None:
        with phase("theirs"):
            time.sleep(0.02)

    with Profile(CPU) as profile, phase("ours"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    found = profile.take()
    assert found["theirs"].host >= 0.02
    assert found["ours"].host >= 0.02


def test_nothing_is_heard_before_and_after_and_an_error_goes_through() -> None:
    @phase("counted")
    def count() -> None:
        raise ValueError("counted")

    profile = Profile(CPU)
    with pytest.raises(ValueError, match="counted"):
        count()
    with profile:
        with pytest.raises(ValueError, match="counted"):
            count()
        assert profile.take()["counted"].times == 1
        assert "counted" not in profile.take()
    with pytest.raises(ValueError, match="counted"):
        count()
    assert "counted" not in profile.take()


def test_a_moment_of_a_gpu_is_counted_once() -> None:
    found = shared_out(
        [
            span(0.0, 4.0, 1, "decode, policy"),
            span(2.0, 6.0, 2, "decode, simulator"),
            span(5.0, 6.0, 2, "sync"),  # inside the one before
            span(8.0, 9.0, 1, "decode, policy"),
        ]
    )
    assert found == {"decode, policy": 2.0 + 1.0 + 1.0, "decode, simulator": 1.0 + 1.0, "sync": 1.0}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_work_is_its_own_time_and_the_rest_is_idle() -> None:
    device = torch.device("cuda", 0)
    matrix = torch.randn(4096, 4096, device=device)
    torch.mm(matrix, matrix)
    with Profile(device) as profile:
        with phase("product", gpu=True):
            for _ in range(20):
                torch.mm(matrix, matrix)
        torch.cuda.synchronize()
        time.sleep(0.05)
        found = profile.take()
    product = found["product"]
    assert product.gpu is not None
    assert product.gpu > 5 * product.host  # given to the GPU, not waited for
    assert found["idle"].gpu is not None
    assert found["idle"].gpu >= 0.05
