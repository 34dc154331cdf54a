"""A folder with a model, questions and a simulator, in which `zerosearch train --on verl` is run as a process.

Ray, TransferQueue, FSDP2 and verl's workers are real; the model is a random Llama that searches in most episodes, the
simulator a server on loopback. vLLM, NCCL and several devices are not exercised.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from engines.conftest import Endpoint
from safetensors.torch import load_file, save_file
from scaleout.verl_run.processes import wait_until
from scaleout.verl_run.standin_vllm import install
from tiny import save_chain, tiny_tokenizer

from zerosearch.files.jsonl import read_rows, write_jsonl

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
    "+ray_kwargs.ray_init.num_gpus=3",  # one of the policy, two for simulators
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
MERGE = "actor_rollout_ref.model.lora.merge=True"
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
            "PATH": f"{install(folder / 'bin')}:{os.environ['PATH']}",
            "STANDIN_DIES": str(folder / "died"),
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

    def train(self, config: Path, *changes: str, options: tuple[str, ...] = ()) -> str:
        """What the command says, which must succeed."""
        command = [*self.command(config, *changes), *options]
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=1800)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-6000:]
        return said

    def start(self, config: Path) -> subprocess.Popen[str]:
        """Train, to be killed: its standard output and error go into `killed.log`."""
        with (self.folder / "killed.log").open("w") as log:
            return subprocess.Popen(
                self.command(config), env=self.env, cwd=self.folder, stdout=log, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name

    def policy(self, name: str, step: int) -> Path:
        return self.run(name) / "checkpoints" / f"step-{step:06d}" / "policy"

    def metrics(self, name: str) -> dict[int, dict[str, float]]:
        """By step. A resumed run evaluates the step where it resumes, which is added to what is known of the step."""
        made: dict[int, dict[str, float]] = {}
        for file in sorted((self.run(name) / "verl").glob("metrics-*.jsonl")):
            for row in read_rows(file):
                made.setdefault(row["step"], {}).update(row["data"])
        return made

    def steps(self, metrics: Path) -> set[int]:
        """The steps in a file of metrics, which is perhaps not there yet."""
        return {row["step"] for row in read_rows(metrics)}

    def evaluated(self, name: str) -> list[str]:
        """The words that evaluate the newest checkpoint of a run."""
        words = ["evaluate", str(self.folder / f"{name}.toml"), "--methods", f"trained={self.run(name)}"]
        words += ["--engine", "bm25", "--corpus", str(self.folder / "corpus.jsonl")]
        return [*words, "--benchmarks", str(self.folder / "questions.jsonl"), "--out", str(self.folder / f"of-{name}")]


def weights(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


RUNS = {
    "grpo": (FULL, 'name = "grpo", scale = "batch", kl = "none"'),
    "ppo": (FULL, 'name = "ppo", kl = "none"'),
    "rloo-lora-kl": (LORA, 'name = "reinforce"'),
}


class Trained:
    """Whole runs, each made when it is first asked for."""

    def __init__(self, folder: Path, simulator: Endpoint) -> None:
        self.bench = Bench(folder, simulator)
        self.said: dict[str, str] = {}
        self._failed: dict[str, AssertionError] = {}

    def run(self, name: str) -> Bench:
        """Raises what its training failed with, each time it is asked for."""
        if name in self._failed:
            raise self._failed[name]
        if name not in self.said:
            try:
                self.said[name] = self._train(self.bench.config(name, *RUNS[name]), name)
            except AssertionError as error:
                self._failed[name] = error
                raise
        return self.bench

    def _train(self, config: Path, name: str) -> str:
        if name == "ppo":
            self._kill_driver(config, name)
        if name != "rloo-lora-kl":
            return self.bench.train(config)
        server = f'base_url = "{self.bench.simulator.url}", model = "sim"'
        config.write_text(config.read_text().replace(server, f'model = "{self.bench.folder}/model"'))
        return self.bench.train(config, MERGE, options=("--simulators", "2", "--serve", "--max-model-len 4096"))

    def _kill_driver(self, config: Path, name: str) -> None:
        """The command and its group are killed after the first checkpoint."""
        started = self.bench.start(config)
        mark = self.bench.run(name) / "verl" / "checkpoints" / "latest_checkpointed_iteration.txt"
        wait_until(lambda: mark.is_file() and self.bench.policy(name, 1).is_dir(), of=started)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
