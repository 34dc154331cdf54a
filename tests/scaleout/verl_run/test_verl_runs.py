"""Real runs of verl's `main_ppo` on a CPU, by our launcher: `make test-verl`. Skipped where verl is not installed.

Ray, TransferQueue, FSDP2 and verl's workers are real; the model is a random Llama that searches in most episodes, the
simulator a server on loopback. vLLM, NCCL and several devices are not exercised.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

from engines.conftest import PAGE, Reply, completion, endpoint  # noqa: F401
from safetensors.torch import load_file, save_file
from tiny import chain_model, save_chain, tiny_llama, tiny_tokenizer  # noqa: F401

from zerosearch.episodes.predictions import read_predictions  # noqa: F401
from zerosearch.files.jsonl import write_jsonl

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ON_CPU = [
    "actor_rollout_ref.rollout.name=hf_cpu",
    "actor_rollout_ref.rollout.agent.num_workers=1",
    "actor_rollout_ref.actor.use_torch_compile=False",
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
    "reward.num_workers=1",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "ray_kwargs.ray_init.num_cpus=10",
    "+ray_kwargs.ray_init.num_gpus=1",
    "+ray_kwargs.ray_init.include_dashboard=False",
    "+ray_kwargs.ray_init.object_store_memory=300000000",
]
QUESTIONS = [
    {"id": f"q{n}", "question": f"What is the capital of {place}?", "golden_answers": [city]}
    for n, (place, city) in enumerate([("Nepal", "Kathmandu"), ("Peru", "Lima"), ("Ghana", "Accra"), ("Fiji", "Suva")])
]
CONFIG = """
name = "{name}"
folder = "{folder}/runs"
data.train = "{folder}/questions.jsonl"
model = {{ name = "{folder}/model", {weights}, dtype = "float32" }}
protocol = {{ max_searches = 1, max_turn_tokens = 24, max_page_tokens = 64, max_context_tokens = 640 }}
engine = {{ kind = "simulated", top_k = 2, simulated = {{ base_url = "{url}", model = "sim" }} }}
curriculum = {{ kind = "linear", start = 0.0, end = 1.0 }}
evaluation = {{ questions = "{folder}/questions.jsonl", limit = 2 }}
reward.name = "paid_reward:even"
algorithm = {{ {algorithm} }}
training = {{ steps = 2, questions_per_step = 2, rollouts = 8, learning_rate = 1e-3, temperature = 2.0, \
checkpoint_every = 1, micro_batch_tokens = 2048 }}
logging.tensorboard = false
"""
FULL, LORA = 'full = true, lora = "none"', "lora = { rank = 4, alpha = 8 }"


class Bench:
    """A folder with a model, questions and a simulator; runs and what they leave."""

    def __init__(self, folder: Path, simulator: Any) -> None:
        self.folder, self.simulator = folder, simulator
        text = "\n<think> x </think>\n<search> capital </search>"
        save_chain(tiny_tokenizer(), text, folder / "model")
        certain = weights(folder / "model")
        certain["lm_head.weight"] *= 2 / 7  # less certain: vLLM takes no temperature above 2
        save_file(certain, folder / "model" / "model.safetensors", {"format": "pt"})
        write_jsonl(folder / "questions.jsonl", QUESTIONS)
        write_jsonl(folder / "corpus.jsonl", [{"id": "np", "title": "Nepal", "text": "Kathmandu is its capital."}])
        self.env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)]),
            "VERL_USE_EXTERNAL_MODULES": "verl_on_cpu",
            "VERL_PLATFORM": "cpu",
            "VERL_ENGINE_DEVICE": "cuda",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "disabled",
        }

    def config(self, name: str, weights: str, algorithm: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(
            CONFIG.format(name=name, folder=self.folder, url=self.simulator.url, weights=weights, algorithm=algorithm)
        )
        return path

    def command(self, config: Path, *changes: str) -> list[str]:
        told = [word for change in [*ON_CPU, *changes] for word in ("--verl", change)]
        return [sys.executable, "-m", "zerosearch", "train", str(config), "--on", "verl", *told]

    def train(self, config: Path, *changes: str) -> str:
        done = subprocess.run(
            self.command(config, *changes), env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=900
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-6000:]
        return said

    def metrics(self, name: str) -> dict[int, dict[str, float]]:
        """By step; later starts have the last word."""
        files = sorted((self.folder / "runs" / name / "verl").glob("metrics-*.jsonl"))
        rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return {row["step"]: row["data"] for row in rows}

    def evaluate(self, config: Path, name: str) -> str:
        run, corpus = self.folder / "runs" / name, self.folder / "corpus.jsonl"
        command = [sys.executable, "-m", "zerosearch", "evaluate", str(config), "--methods", f"trained={run}"]
        command += ["--engine", "bm25", "--corpus", str(corpus), "--out", str(self.folder / f"evaluated-{name}")]
        command += ["--benchmarks", str(self.folder / "questions.jsonl")]
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr


@pytest.fixture
def bench(tmp_path: Path, endpoint: Any) -> Bench:  # noqa: F811
    endpoint.answer = lambda request: Reply(body=completion(PAGE, usage={"prompt_tokens": 9, "completion_tokens": 5}))
    return Bench(tmp_path, endpoint)


def weights(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


RUNS = {
    "grpo": (FULL, 'name = "grpo", scale = "batch", kl = "none"'),
    "reinforce-plus-plus": (FULL, 'name = "reinforce", baseline = "none", whiten = true, kl = "none"'),
    "ppo": (FULL, 'name = "ppo", kl = "none"'),
    "rloo-lora-kl": (LORA, 'name = "reinforce"'),
}


@pytest.mark.parametrize("name", RUNS)
def test_two_steps_train_and_are_read_by_evaluate(name: str, bench: Bench) -> None:
    config = bench.config(name, *RUNS[name])
    changes = ["actor_rollout_ref.model.lora.merge=True"] if "lora" in name else []
    bench.train(config, *changes)
    first, second = (bench.metrics(name)[step] for step in (1, 2))
    assert max(step["search/searches"] for step in (first, second)) > 0.2  # they did search, and saw pages
    for step in (first, second):
        assert step["search/search_errors"] == 0
        assert step["actor/grad_norm"] > 0
        assert step["training/rollout_actor_probs_pearson_corr"] > 0.99  # mask and ids are those that were sampled
    assert (first["search/noise"], second["search/noise"]) == (0.0, 0.5)  # the curriculum's step 0 and step 1 of 2
    assert first["search/cache_hits"] > 0  # rollouts of a question share its pages
    assert ("critic/vf_loss" in first) == (name == "ppo")
    _weights_changed(bench, name)
    bench.evaluate(config, name)


def test_packed_episodes_and_the_fused_head_give_the_samplers_probabilities(bench: Bench) -> None:
    """A model with attention and a tied head. Did episodes of a micro-batch see one another, the difference were 9e-4
    and the correlation .53 (four episodes as one row)."""
    tiny_llama(len(tiny_tokenizer())).save_pretrained(bench.folder / "model")
    said = bench.train(bench.config("lora-tied", LORA, RUNS["grpo"][1]), "actor_rollout_ref.model.lora.merge=True")
    assert "Using Torch backend for fused kernels" in said
    for step in (1, 2):
        measured = bench.metrics("lora-tied")[step]
        assert measured["training/rollout_probs_diff_mean"] < 1e-4
        assert measured["training/rollout_actor_probs_pearson_corr"] > 0.999
        assert measured["actor/grad_norm"] > 0
    _weights_changed(bench, "lora-tied")


def _weights_changed(bench: Bench, name: str) -> None:
    root = bench.folder / "runs" / name / "checkpoints"
    one, two = (weights(root / f"step-{step:06d}" / "policy") for step in (1, 2))
    assert one.keys() == two.keys()
    assert any(not one[key].equal(two[key]) for key in one)
    if "lora" not in name:
        start = weights(bench.folder / "model")
        assert any(not start[key].float().equal(one[key].float().to(start[key].dtype)) for key in start)


def test_a_killed_run_goes_on_from_its_last_checkpoint(bench: Bench) -> None:
    config = bench.config("killed", *RUNS["grpo"])
    config.write_text(config.read_text().replace("steps = 2", "steps = 6"))
    started = subprocess.Popen(
        bench.command(config), env=bench.env, cwd=bench.folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    mark = bench.folder / "runs" / "killed" / "verl" / "checkpoints" / "latest_checkpointed_iteration.txt"
    deadline = time.monotonic() + 600
    while not mark.exists():
        assert started.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint in ten minutes"
        time.sleep(0.5)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    reached = int(mark.read_text())
    said = bench.train(config)
    again = json.loads((bench.folder / "runs/killed/verl/metrics-2.jsonl").read_text().splitlines()[0])["step"]
    assert again in (reached, reached + 1)  # verl evaluates where it goes on
    assert 6 in bench.metrics("killed")
    assert re.search(r"complete: ", said)
