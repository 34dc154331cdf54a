"""Compiled norms and rotary embeddings: the same numbers, the model's own functions afterwards, and a plain way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import tiny_llama
from transformers.models.llama import modeling_llama

from zerosearch.models import fused
from zerosearch.models.fused import fuse_norms, fused_rotary

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled: by a compiler that only writes down what it is asked to run."""
    called: list[str] = []

    def compiler(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            called.append(function.__qualname__)
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(fused, "_compiled", {})
    return called


def test_every_norm_and_rotary_embedding_is_compiled_and_nothing_changes(calls: list[str]) -> None:
    model, plain = tiny_llama(50), tiny_llama(50)
    fuse_norms(model)
    own = modeling_llama.apply_rotary_pos_emb
    with fused_rotary(model):
        assert torch.equal(model(IDS).logits, plain.to(model.device)(IDS).logits)
    assert calls.count("LlamaRMSNorm.forward") == 2 * len(model.model.layers) + 1
    assert calls.count("apply_rotary_pos_emb") == 2 * len(model.model.layers)  # both models are of one kind
    assert modeling_llama.apply_rotary_pos_emb is own


def test_a_machine_without_a_compiler_computes_plainly_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compiler(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("Failed to find a working C compiler.\nmore")

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(fused, "_compiled", {})
    model = tiny_llama(50)
    wanted = model(IDS).logits
    fuse_norms(model)
    assert torch.equal(model(IDS).logits, wanted)
    assert caplog.messages == [
        "LlamaRMSNorm.forward is not compiled, which is slower: Failed to find a working C compiler."
    ]


def test_memory_that_runs_out_is_no_failed_compilation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compiler(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(fused, "_compiled", {})
    model = tiny_llama(50)
    fuse_norms(model)
    with pytest.raises(torch.OutOfMemoryError):
        model(IDS)
    assert not caplog.messages


@pytest.mark.slow
def test_what_is_compiled_gives_the_models_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real compiler, in both directions and for other shapes."""
    monkeypatch.setattr(fused, "_compiled", {})
    model, plain = (tiny_llama(50).requires_grad_(True) for _ in range(2))
    fuse_norms(model)
    for rows in (2, 1):
        with fused_rotary(model):
            ours = model(IDS[:rows]).logits
            ours.sum().backward()
        theirs = plain(IDS[:rows]).logits
        theirs.sum().backward()
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-4, rtol=1e-4)
