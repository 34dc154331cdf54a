"""What verl trained, exported for other programs and asked a question: the weights of verl's own checkpoint, not more
and not less. `make test-verl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

import torch
from peft import PeftModel
from scaleout.verl_run.verl_bench import Bench, Trained, weights
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from zerosearch.episodes.protocol import render_prompt

TEXT = "What is the capital of Nepal? <think> x </think>\n<search> capital </search>"
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def exported(zerosearch: Any, bench: Bench, name: str, form: str) -> Path:
    folder = bench.folder / f"{name}-{form}"
    done = zerosearch("export", str(bench.run(name)), "--form", form, "--out", str(folder))
    assert done.code == 0, done.err
    return folder


def of_verl(bench: Bench, name: str) -> dict[str, Tensor]:
    """The weights as verl saved them after step 2."""
    saved = bench.run(name) / "verl" / "checkpoints" / "global_step_2" / "actor" / "model_world_size_1_rank_0.pt"
    state = torch.load(saved, weights_only=False)
    return {key: getattr(value, "_local_tensor", value).float() for key, value in state.items()}


@torch.no_grad()
def logprobs(model: Any, tokenizer: Path) -> Tensor:
    ids = torch.tensor([AutoTokenizer.from_pretrained(tokenizer).encode(TEXT)])
    return model.eval()(ids).logits.float().log_softmax(-1)


def test_all_weights_are_exported_as_verl_saved_them(trained: Trained, zerosearch: Any) -> None:
    bench = trained.run("grpo")
    merged = exported(zerosearch, bench, "grpo", "merged")
    theirs, ours = of_verl(bench, "grpo"), weights(merged)
    assert ours.keys() == theirs.keys()
    for key in theirs:
        torch.testing.assert_close(ours[key].float(), theirs[key], **CLOSE)
    start = AutoModelForCausalLM.from_pretrained(bench.folder / "model")
    was = logprobs(start, merged)
    start.load_state_dict(theirs)
    now = logprobs(AutoModelForCausalLM.from_pretrained(merged), merged)
    torch.testing.assert_close(now, logprobs(start, merged), **CLOSE)
    assert (now - was).abs().max() > 1e-3  # it was trained


def test_an_adapter_is_exported_as_it_is_and_merged(trained: Trained, zerosearch: Any) -> None:
    """Against the sum of verl's own tensors: W + alpha / rank * B A."""
    bench = trained.run("rloo-lora-kl")
    start = AutoModelForCausalLM.from_pretrained(bench.folder / "model")
    was = logprobs(start, bench.folder / "model")
    saved, plain = of_verl(bench, "rloo-lora-kl"), start.state_dict()
    for down in [key for key in saved if "lora_A" in key]:
        up = saved[down.replace("lora_A", "lora_B")]
        name = down.removeprefix("base_model.model.").partition(".lora_A")[0] + ".weight"
        plain[name] += 8 / 4 * up @ saved[down]
    now = logprobs(start, bench.folder / "model")
    assert (now - was).abs().max() > 1e-4  # it was trained

    merged = exported(zerosearch, bench, "rloo-lora-kl", "merged")
    torch.testing.assert_close(logprobs(AutoModelForCausalLM.from_pretrained(merged), merged), now, **CLOSE)
    adapter = exported(zerosearch, bench, "rloo-lora-kl", "adapter")
    base = AutoModelForCausalLM.from_pretrained(bench.folder / "model")
    torch.testing.assert_close(logprobs(PeftModel.from_pretrained(base, adapter), merged), now, **CLOSE)


def test_ask_answers_with_what_verl_trained(trained: Trained, zerosearch: Any) -> None:
    """Its first turn is the greedy reply of verl's own weights, read by plain transformers."""
    bench = trained.run("grpo")
    question = "What is the capital of Nepal?"
    done = zerosearch("ask", "--run", str(bench.run("grpo")), "--json", question)
    assert done.code == 0, done.err
    asked = json.loads(done.out)
    assert [search["query"] for search in asked["searches"]] == ["capital"]
    model = AutoModelForCausalLM.from_pretrained(bench.folder / "model")
    model.load_state_dict(of_verl(bench, "grpo"))
    tokenizer = AutoTokenizer.from_pretrained(bench.folder / "model")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": render_prompt(question)}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )  # fmt: skip
    reply = model.generate(**prompt, do_sample=False, max_new_tokens=24)[0, prompt["input_ids"].shape[1] :]
    theirs, ours = (text.partition("</search>")[0].strip() for text in (tokenizer.decode(reply), asked["text"]))
    assert ours == theirs
