"""A toy that can learn: a random model of 30 thousand parameters, ten words, questions whose answer is their word.

The whole house is used: episodes over a real generator, the real trainer, a run folder. Only the engine is of the toy.
"""

from __future__ import annotations

import copy
import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.learning.critic import Critic
from zerosearch.learning.learner import Learner
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.learning.policy import Policy
from zerosearch.learning.trainer import Trainer, TrainerInputs
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker
from zerosearch.playing import rollout_settings

COLORS = ("red", "blue", "green", "gold")
WORDS = ("<eos>", "<unk>", "<answer>", "</answer>", "<search>", "</search>", *COLORS)


class ToyEngine:
    """Answers every query with the golden answer of its question."""

    name = identity = "toy"

    async def search(self, request: SearchRequest) -> SearchPage:
        assert request.question is not None
        return SearchPage((Document("", request.question.golden_answers[0]),), self.name)


def toy_model(seed: int = 0, *, name: str = "toy", **settings: Any) -> LocalModel:
    torch.manual_seed(seed)
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        **settings,
    )
    return LocalModel(LlamaForCausalLM(config).eval(), tokenizer, name, torch.device("cpu"))


def toy_questions(count: int = 64) -> list[Question]:
    return [Question(f"t{i}", COLORS[i % len(COLORS)], (COLORS[i % len(COLORS)],)) for i in range(count)]


def toy_config(folder: Path, algorithm: dict[str, Any], **training: Any) -> TrainConfig:
    return config_from_dict(
        {
            "folder": str(folder),
            "name": "toy",
            "model": {"name": "toy", "full": True, "lora": "none"},
            "protocol": {
                "chat": "never",
                "prompt": "{question}",
                "max_searches": 1,
                "max_turn_tokens": 6,
                "max_page_tokens": 16,
                "max_context_tokens": 100,
                "answer_reserve_tokens": 6,
            },
            "engine": {"kind": "bm25", "bm25": {"corpus": "none.jsonl"}, "top_k": 1},
            "algorithm": algorithm,
            "training": {
                "questions_per_step": 16,
                "rollouts": 8,
                "learning_rate": 3e-3,
                "checkpoint_every": 0,
                **training,
            },
            "logging": {"tensorboard": False, "trajectories_every": 0},
            "evaluation": {"limit": 8},
        },
        "toy",
    )


def changed(config: TrainConfig | dict[str, Any], **changes: Any) -> TrainConfig:
    """`config`, whole or as the values that are set, with some settings changed: training__steps=3."""
    values = copy.deepcopy(config) if isinstance(config, dict) else config.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split("__")
        table = values
        for part in path:
            table[part] = table.get(part) or {}
            table = table[part]
        table[last] = value
    return config_from_dict(values, "test")


def toy_trainer(config: TrainConfig, model: LocalModel | None = None, processes: Processes = ALONE) -> Trainer:
    model = model or toy_model(config.seed)
    policy = Policy.full_weights(model, toy_model(config.seed) if config.algorithm.kl != "none" else None)
    critic = Critic.full_weights(toy_model(config.seed)) if config.algorithm.name == "ppo" else None
    learner = Learner(policy, critic, config, processes)
    engine = ToyEngine()
    parts = TrainerInputs(
        questions=toy_questions(),
        evaluation_questions=toy_questions(8),
        generator=TransformersGenerator(Worker(model, continuous=config.model.sampler != "plain"), None),
        engine=engine,
        evaluation_engine=engine,
        learner=learner,
        training=rollout_settings(config, model, temperature=1.0, top_k=1),
        evaluation=rollout_settings(config, model, temperature=0.0, top_k=1),
    )
    return Trainer(config, parts, say=lambda text: None, processes=processes)


def by_two(target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Runs `target(rank, port, *arguments)` in two processes, for a group on that port; their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["learning.toy"])
    workers = [context.Process(target=target, args=(rank, port, *arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


def adapter_formats(model: LocalModel, adapter: str) -> set[torch.dtype]:
    """Fills up with the number formats that an adapter is given and gives as the model runs."""
    seen: set[torch.dtype] = set()
    for name, module in model.base.named_modules():
        if name.endswith(f"lora_A.{adapter}"):
            module.register_forward_hook(lambda _, given, out: seen.update({given[0].dtype, out.dtype}))
    return seen
