"""A model computes on its own device, in whichever thread: CUDA's current device belongs to the thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch
from tiny import give_adapter, tiny_local_model

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ConfigError
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import Policy
from zerosearch.models.devices import on_device, pick_device
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker

TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")


def generate(worker: Worker, adapter: str | None, prompts: list[list[int]], tokens: int) -> list[Generation]:
    async def main() -> list[Generation]:
        generator = TransformersGenerator(worker, adapter)
        wanted = (Sampling(temperature=1.0, max_tokens=tokens + n, seed=n) for n in range(len(prompts)))
        return await asyncio.gather(*map(generator.generate, prompts, wanted))

    try:
        return asyncio.run(main())
    finally:
        worker.close()


def test_a_setting_names_a_device() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:99", "cuda:-1", ""])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^device .+") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)


def test_a_device_without_a_number_of_its_own_is_nothing_to_enter() -> None:
    with on_device(torch.device("cpu")), on_device(torch.device("meta")):
        assert torch.zeros(1).device.type == "cpu"


def test_the_decoding_thread_enters_the_models_device(tiny_model: LocalModel) -> None:
    """Told by the only means without a second GPU: a device that no machine has cannot be entered."""
    tiny_model.device = torch.device("cuda", 99)
    with pytest.raises((RuntimeError, AssertionError), match=r"(?i)cuda|device"):
        generate(Worker(tiny_model), None, [[5, 6]], 2)


@TWO_GPUS
def test_a_gpu_is_the_process_own_and_has_its_number() -> None:
    with torch.cuda.device(1):
        assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 1)
    assert pick_device("cuda:0") == torch.device("cuda", 0)


@TWO_GPUS
@pytest.mark.parametrize("merge", [False, True])
def test_recorded_steps_on_the_second_gpu_are_the_models_own(
    tiny_tokenizer: Any, merge: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Sampled on cuda:1 by a thread that began on cuda:0, with CUDA graphs; the trainer's log-probs are the truth."""
    caplog.set_level("WARNING")
    model = tiny_local_model(tiny_tokenizer)
    model.device = torch.device("cuda", 1)
    model.base.to(model.device)
    give_adapter(model, "policy")
    prompts = [model.codec.encode("Nepal " * n) for n in range(1, 14)]
    sampled = generate(Worker(model, merge=merge, continuous=True), "policy", prompts, 30)
    ids = [prompt + generation.token_ids for prompt, generation in zip(prompts, sampled, strict=True)]
    mask = [[0] * len(prompt) + [1] * len(g.token_ids) for prompt, g in zip(prompts, sampled, strict=True)]
    policy = Policy(model)
    policy.train_mode()
    for micro in micro_batches(Sequences(ids, mask), 400, model.device):
        theirs = torch.tensor([x for row in micro.rows for x in sampled[row].logprobs])
        ours = policy.logprobs(micro, Sampled()).logprobs_N.detach().cpu()
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    assert not caplog.messages


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: only there are steps recorded")
def test_two_models_on_one_gpu_sample_side_by_side_with_recorded_steps(
    tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    workers = []
    for _ in range(2):
        model = tiny_local_model(tiny_tokenizer)
        model.device = torch.device("cuda", 0)
        model.base.to(model.device)
        workers.append(Worker(model, continuous=True))

    async def main() -> list[Generation]:
        generators = [TransformersGenerator(worker, None) for worker in workers]
        wanted = [Sampling(temperature=1.0, max_tokens=20 + n, seed=n) for n in range(40)]
        asked = (generators[n % 2].generate([5] * (n + 1), sampling) for n, sampling in enumerate(wanted))
        return await asyncio.gather(*asked)

    try:
        assert len(asyncio.run(main())) == 40
    finally:
        for worker in workers:
            worker.close()
    assert not caplog.messages
