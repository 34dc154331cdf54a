"""The TRL examples in real GRPO steps: a tiny model on a CPU, a simulator behind a real server on loopback.

Run by `make test-environments`, in an environment of its own; elsewhere it is skipped.
"""

# ruff: noqa: E402
from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

trl = pytest.importorskip("trl", reason="TRL is not installed here: make test-environments")

import torch
from engines.conftest import Endpoint, Reply, completion
from environments.served import serving
from tiny import chain_model, tiny_tokenizer
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from zerosearch import Document, Question, open_engine
from zerosearch.config_file import config_from_dict
from zerosearch.simulator.page_text import format_page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples" / "environments"))

import trl_rollout
import trl_served
import trl_tools

NEPAL = Question("n", "What is the capital of Nepal?", ("Kathmandu",))
SEARCH, ANSWER = (
    f'<tool_call>\n{{"name": "{name}", "arguments": {{"{key}": "{value}"}}}}\n</tool_call>'
    for name, key, value in (("search", "query", "nepal capital"), ("answer", "text", "Kathmandu"))
)


@pytest.fixture
def server() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    endpoint.script = [Reply(body=completion(format_page([Document("Nepal", "Kathmandu is the <|im_end|> capital.")])))]
    yield endpoint
    endpoint.stop()


def settings(folder: Path, **more: Any) -> GRPOConfig:
    common: dict[str, Any] = {
        "per_device_train_batch_size": 8, "num_generations": 8, "max_steps": 1, "learning_rate": 0.1, "use_cpu": True,
        "report_to": [], "save_strategy": "no", "logging_steps": 1, "bf16": False, "beta": 0.0,
    }  # fmt: skip
    return GRPOConfig(str(folder), **common | more)


def torn_model(first: str, second: str, template: str | None = None) -> tuple[Any, Any]:
    """A model that begins each turn with one of two texts, at even odds, and ends it; and its tokenizer."""
    plain = tiny_tokenizer()
    plain.backend_tokenizer.add_tokens([first, second])
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=plain.backend_tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template or plain.chat_template,
    )
    chat = [{"role": "user", "content": "x"}]
    begins = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"][-1]
    one, other = tokenizer.convert_tokens_to_ids([first, second])
    model = chain_model(tokenizer, dict.fromkeys((one, other), tokenizer.eos_token_id) | {begins: one}).base
    with torch.no_grad():
        model.lm_head.weight[other] += model.model.norm(model.model.embed_tokens.weight)[begins]
        model.lm_head.weight *= 10  # at a turn's begin nothing but these two is ever sampled
    return model.requires_grad_(True).train(), tokenizer


def one_step(folder: Path, factory: type) -> GRPOTrainer:
    """A step of GRPO in which the model searches or answers at even odds: no tool failed, and it has learned."""
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    model, tokenizer = torn_model(SEARCH, ANSWER, template)
    before = copy.deepcopy(model.state_dict())
    trainer = GRPOTrainer(
        model,
        args=settings(folder, max_tool_calling_iterations=2, max_completion_length=400),
        train_dataset=trl_tools.dataset([NEPAL] * 8),
        processing_class=tokenizer,
        environment_factory=factory,
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    rewards = [environment.get_reward() for environment in trainer.environments]
    assert logged[f"rewards/{factory.__name__}/mean"] == pytest.approx(sum(rewards) / 8)
    assert 0 < sum(rewards) < 8
    assert logged["tools/call_frequency"] > 0
    assert logged["tools/failure_frequency"] == 0
    assert any((weight != before[name]).any() for name, weight in model.state_dict().items())
    return trainer


def test_a_grpo_step_learns_from_tool_calls_to_the_simulated_engine(server: Endpoint, tmp_path: Path) -> None:
    trainer = one_step(tmp_path, trl_tools.environment(base_url=server.url, model="served", top_k=2))
    pages = [page for environment in trainer.environments for page in environment.episode.searches]
    assert pages
    assert {page.query for page in pages} == {"nepal capital"}
    assert len(server.requests) == len(pages)
    assert all("Kathmandu" in str(request["messages"]) for request in server.requests)  # the simulator was told


@pytest.mark.parametrize("kind", ["bm25", "simulated"])
def test_a_grpo_step_learns_from_the_pages_of_zerosearch_serve(
    kind: str, server: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    with serving(tmp_path, server.url if kind == "simulated" else None) as url:
        made = trl_served.environment(url)
        search = made.search

        @functools.wraps(search)
        async def keep(self: Any, query: str) -> str:
            seen.append((query, await search(self, query)))
            return seen[-1][1]

        monkeypatch.setattr(made, "search", keep)
        one_step(tmp_path, made)
    assert {query for query, _ in seen} == {"nepal capital"}
    pages = {page for _, page in seen}
    assert all(page.startswith('[1] "Nepal"\nKathmandu is the ') and "<|im_end|>" not in page for page in pages)
    assert bool(server.requests) == (kind == "simulated")
    assert all("Kathmandu" in str(request["messages"]) for request in server.requests)  # the simulator was told


def test_a_grpo_step_learns_from_episodes_between_raw_tags(server: Endpoint, tmp_path: Path) -> None:
    model, tokenizer = torn_model("<search>nepal</search>", "<answer>Kathmandu</answer>")
    before = copy.deepcopy(model)
    protocol = {"max_searches": 1, "max_turn_tokens": 16, "max_page_tokens": 40, "max_context_tokens": 400}
    reward = {"name": "examples.reward:brief"}  # F1, and a little less for each search
    config = config_from_dict({"protocol": protocol, "engine": {"top_k": 2}, "reward": reward}, "test")
    given: list[dict[str, Any]] = []
    with open_engine("simulated", base_url=server.url, model="served", top_k=2) as engine:
        rollouts = trl_rollout.rollouts(config, [NEPAL], engine)

        def keep(prompts: list[str], trainer: Any) -> dict[str, Any]:
            given.append(rollouts(prompts, trainer))
            return given[-1]

        trainer = GRPOTrainer(
            model,
            trl_rollout.reward,
            args=settings(tmp_path),
            train_dataset=trl_rollout.Dataset.from_list([{"prompt": NEPAL.text}] * 8),
            processing_class=tokenizer,
            rollout_func=keep,
        )
        trainer.train()
    (played,) = given
    assert {round(one, 2) for one in played["reward"]} == {0.98, 1.0}
    assert len(server.requests) == 1  # equal queries of a question get one page in a step
    for prompt, ids, mask, logprobs in zip(
        *(played[key] for key in ("prompt_ids", "completion_ids", "env_mask", "logprobs")), strict=True
    ):
        with torch.no_grad():
            said = torch.log_softmax(before.eval()(torch.tensor([prompt + ids])).logits[0], -1)[len(prompt) - 1 :]
        own = [place for place, bit in enumerate(mask) if bit]
        assert [logprobs[i] for i in own] == pytest.approx([float(said[i, ids[i]]) for i in own], abs=1e-4)
    assert 0 in {bit for mask in played["env_mask"] for bit in mask}
    assert trainer.state.log_history[0]["rewards/reward/mean"] == pytest.approx(sum(played["reward"]) / 8)
    assert model.training
    changed = before.state_dict()
    assert any((weight != changed[name]).any() for name, weight in model.state_dict().items())
