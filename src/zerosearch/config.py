"""The configuration of a training run. The docstring of a field is its help; `config_file.py` reads and writes TOML."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.curriculum import Curriculum, CurriculumKind
from zerosearch.episodes.episode import EpisodeLimits
from zerosearch.episodes.question_rows import Fields
from zerosearch.errors import ConfigError
from zerosearch.models.config import FREE, Address, Section, ServerConfig
from zerosearch.models.samplers import SamplerName
from zerosearch.serving.config import ServeConfig
from zerosearch.simulator.config import FidelityConfig, LabelConfig, TuneConfig
from zerosearch.training_config import AlgorithmConfig, RewardConfig, TrainingConfig, default_rates


def known_fields(value: str | None) -> str | None:
    """`value`, if `Fields` can read it. Raises `ValueError`."""
    try:
        Fields.parse(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


FieldNames = Annotated[str | None, AfterValidator(known_fields)]


class DataConfig(Section):
    train: str = "factbook:train"
    """Training questions: a file (.jsonl, .json, .csv, .tsv, .parquet, also .gz; relative to the folder in which the
    command is started), `hub:NAME:SPLIT`, or `factbook:SPLIT[:one-hop|two-hop]`. See data.md."""
    fields: FieldNames = None
    """Names of the fields, if a file does not use the usual ones:
    `question=NAME,answers=NAME,id=NAME,separator=MARK`."""
    limit: int | None = Field(None, ge=1)
    """Use only the first ones, this many."""


class LoraConfig(Section):
    rank: int = Field(8, ge=1)
    """Rank of the two factors."""
    alpha: float = Field(16.0, gt=0)
    """The update is scaled by alpha / rank."""


class ModelConfig(ServerConfig):
    served_only = (*ServerConfig.served_only, "endpoint", "deadline_seconds")

    name: str = "smollm2-135m"
    """The policy: `smollm2-135m` (embedded), a folder, or a hub id."""
    adapter: str | None = None
    """A LoRA adapter to start from: a folder, or `embedded:policy`. The reference of the KL uses it too."""
    lora: LoraConfig | None = LoraConfig()
    """Train a LoRA adapter of this size; `"none"` together with `full = true` for full fine-tuning."""
    full: bool = False
    """Train all weights, kept in float32. The reference is then one more copy of the model, loaded only if the KL needs
    it."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the base weights; with `full`, of the copy that samples. auto: bfloat16 on a GPU, float32 on a
    CPU. float16 is as small as bfloat16 and rounds eight times finer, but has no number above 65504: not every model
    runs in it, and it is refused with `full`."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """How float32 matrices are multiplied: high is TF32 on a GPU, medium also bfloat16 on CPUs with AMX. Below highest,
    sampler and trainer differ a little, and the trainer corrects for it."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1, mps."""
    sampler: SamplerName = "auto"
    """Sampler of the policy and of local simulators. native: this package's own, on any device. vllm: vLLM in this
    process, on a GPU (`zerosearch-rl[vllm]`, in its own environment). plain: static batches, each decoded to its end.
    auto: native; vLLM from 7B on, if it is installed and `full` is off."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    base_url: Address | None = Field(None, json_schema_extra=FREE)
    """An OpenAI-compatible server (http://host:port/v1) that serves `name`: for `collect` and `evaluate`, not for
    training."""
    endpoint: Literal["chat", "completions"] = Field("chat", json_schema_extra=FREE)
    """API of the server. `chat` works with every server. `completions` sends the bare text of the episode, so
    `protocol.prompt` must be in the model's own chat format."""
    deadline_seconds: float = Field(600.0, gt=0, json_schema_extra=FREE)
    """Time limit for one turn of a policy behind a URL, retries included."""

    def check_trainable(self) -> None:
        """Raises `ConfigError` for a policy behind a URL, and for all weights in float16."""
        if self.base_url is not None:
            raise ConfigError(
                f"model.base_url: a policy behind a URL ({self.base_url}) can be played with (zerosearch collect), not "
                'trained; to train, name local weights in model.name and set model.base_url = "none"'
            )
        if self.full and self.dtype == "float16":
            raise ConfigError(
                "model.full trains all weights and keeps them in float32, as float16 would lose small updates: choose "
                'model.dtype = "auto", or train an adapter (model.lora) beside weights in float16'
            )


class ProtocolConfig(Section):
    chat: Literal["auto", "always", "never"] = "auto"
    """Use the tokenizer's chat template. auto: if there is one."""
    prompt: str | None = None
    """Your own instructions, with {question} in them. none: the built-in ones."""
    max_searches: int = Field(5, ge=0)
    """Maximal number of searches in an episode. After the last one the policy can only answer. 0: no search at all."""
    max_turn_tokens: int = Field(500, ge=1)
    """Maximal tokens of one turn of the policy."""
    max_page_tokens: int = Field(500, ge=16)
    """Maximal tokens of a result page, without its tags. Longer pages lose documents from the end."""
    max_context_tokens: int = Field(4096, ge=64)
    """Maximal tokens of a whole episode, prompt included."""
    answer_reserve_tokens: int = Field(32, ge=1)
    """Tokens always kept free for the answer."""
    retry_invalid: bool = True
    """After a turn that is neither a search nor an answer, tell the policy so and let it try again. false: end the
    episode."""

    @property
    def max_policy_tokens(self) -> int:
        """The most that a policy can write in an episode."""
        return self.max_turn_tokens * (self.max_searches + 1)

    def limits(self) -> EpisodeLimits:
        return EpisodeLimits(**{field.name: getattr(self, field.name) for field in fields(EpisodeLimits)})


class EvaluationConfig(Section):
    questions: str = "factbook:dev"
    """Questions for the evaluations before, during and after training; written like `data.train`."""
    fields: FieldNames = None
    """Like `data.fields`, for `questions`."""
    limit: int | None = Field(200, ge=1)
    """Use only the first ones, this many."""
    every: int = Field(0, ge=0)
    """Steps between evaluations; 0: only before and after."""
    benchmarks: list[str] = Field([], json_schema_extra=FREE)
    """Benchmarks of `zerosearch evaluate` without --benchmarks: nq, triviaqa, popqa, hotpotqa, 2wikimultihopqa,
    musique, bamboogle, or files. The evaluations during training use `questions`."""
    benchmark_limit: int | None = Field(None, ge=1, json_schema_extra=FREE)
    """Number of questions that `zerosearch evaluate` draws by seed from each of `benchmarks`, or without any from
    `questions`. With --benchmarks only --limit counts. none: all."""
    engine: EngineConfig | None = None
    """The engine to evaluate with; none: the training engine."""
    transfer_limit: int = Field(0, ge=0)
    """If training is simulated and this engine is real: play this number of questions with the simulated engine too,
    and report the transfer gap and the leak rate (leak.md). 0: none."""


class CurriculumConfig(Section):
    kind: CurriculumKind = "exponential"
    """How noise grows: exponential (the paper's), linear, fixed (stays at `start`), or adaptive (depends on the
    reward). See curriculum.md."""
    start: float = Field(0.0, ge=0, le=1)
    """Noise probability at the first step (p_s)."""
    end: float = Field(0.5, ge=0, le=1)
    """Noise probability at the end (p_e)."""
    base: float = Field(4.0, gt=0, allow_inf_nan=False)
    """b of the exponential. 1 is linear."""
    target: float = Field(0.5, ge=0, le=1)
    """adaptive: noise rises after a step with at least this mean reward, and falls after any other."""
    rate: float = Field(0.02, gt=0, le=1)
    """adaptive: change of the noise probability a step."""

    def build(self) -> Curriculum:
        return Curriculum(self.kind, self.start, self.end, self.base, self.target, self.rate)


class LoggingConfig(Section):
    tensorboard: bool = True
    wandb: bool = False
    trackio: bool = False
    project: str = Field("zerosearch", min_length=1)
    """Project of the run in wandb and trackio."""
    group: str | None = Field(None, min_length=1)
    """Group of the run in wandb and trackio, such as all seeds of one experiment."""
    entity: str | None = Field(None, min_length=1)
    """User or team in wandb. none: that of the account."""
    run_id: str | None = Field(None, pattern=r"^[\w-]{1,128}$")
    """Run id in wandb. A resumed run with the same id continues it; without an id it becomes a new run."""
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field([])
    """Tags of the run in wandb."""
    trajectories_every: int = Field(1, ge=0)
    """Steps between trajectory files; 0: none."""


def plain_name(name: str) -> bool:
    """Whether `name` is the name of a folder, and no way out of the folder that it shall lie in.

    At most 200 bytes, as file systems take 255 and copies of a run have longer names (`NAME.old-1`).
    """
    return (
        name not in ("", ".", "..")
        and name.isprintable()
        and not any(c in name for c in "/\\")
        and len(name.encode("utf-8", "surrogatepass")) <= 200
    )


class TrainConfig(Section):
    """A whole run."""

    name: str = Field("run", json_schema_extra=FREE)
    """The run's folder is `folder/name`."""
    folder: str = Field("runs", json_schema_extra=FREE)
    """The folder that contains run folders."""
    seed: int = Field(0, ge=0, lt=1 << 63)
    """Seed of everything random in the run."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    protocol: ProtocolConfig = ProtocolConfig()
    engine: EngineConfig = EngineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    reward: RewardConfig = RewardConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    training: TrainingConfig = TrainingConfig()
    logging: LoggingConfig = Field(LoggingConfig(), json_schema_extra=FREE)
    label: LabelConfig = Field(LabelConfig(), json_schema_extra=FREE)
    tune: TuneConfig = Field(TuneConfig(), json_schema_extra=FREE)
    fidelity: FidelityConfig = Field(FidelityConfig(), json_schema_extra=FREE)
    serve: ServeConfig = Field(ServeConfig(), json_schema_extra=FREE)

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        algorithm, training = self.algorithm, self.training
        if not plain_name(self.name):
            raise ValueError(f"name is {self.name!r}: a run's name is a plain folder name of at most 200 bytes")
        grouped = (algorithm.name == "grpo" and algorithm.scale != "batch") or (
            algorithm.name == "reinforce" and algorithm.baseline == "group"
        )
        if grouped and training.rollouts < 2:
            raise ValueError(f"{algorithm.name} compares rollouts of one question: training.rollouts must be 2 or more")
        if algorithm.kl == "loss" and algorithm.kl_estimator == "k1" and algorithm.kl_coef > 0:
            raise ValueError("algorithm.kl = 'loss' with kl_estimator = 'k1' has no gradient on average; use k2 or k3")
        if algorithm.kl == "reward" and algorithm.kl_estimator != "k1" and algorithm.kl_coef > 0:
            raise ValueError(f"algorithm.kl = 'reward' with '{algorithm.kl_estimator}' hardly pulls at all; use k1")
        if self.model.full == (self.model.lora is not None):
            raise ValueError("choose one: model.full = true with model.lora = 'none', or model.lora without model.full")
        if self.model.full and self.model.adapter is not None:
            raise ValueError("model.adapter is a LoRA adapter and cannot be trained with model.full")
        if self.training.shard and not self.model.full:
            raise ValueError("training.shard divides full weights, and an adapter has few: use it with model.full")
        if self.training.shard and self.algorithm.name == "ppo":
            raise ValueError("training.shard: the critic of ppo is not divided; use reinforce or grpo, or leave it out")
        if algorithm.updates_per_batch > training.questions_per_step * training.rollouts:
            raise ValueError("algorithm.updates_per_batch is larger than the number of episodes a step")
        if self.model.base_url is not None:
            wrong = {"chat": "never", "completions": "always"}[self.model.endpoint]
            if self.protocol.chat == wrong:
                raise ValueError(f"protocol.chat = '{wrong}' contradicts model.endpoint = '{self.model.endpoint}'")
        if self.protocol.answer_reserve_tokens >= self.protocol.max_context_tokens:
            raise ValueError("protocol.answer_reserve_tokens leaves no room in protocol.max_context_tokens")
        self._choose_rates()
        judge = self.evaluation.engine
        if judge is not None and (judge.budget_usd is not None or judge.budget_searches is not None):
            raise ValueError("a run has one budget, its evaluations included: set engine.budget_usd or budget_searches")
        return self

    def _choose_rates(self) -> None:
        """A run's own config.toml holds the rates it was made with, whatever a later release chooses."""
        rate, critic_rate = default_rates(full=self.model.full)
        if self.training.learning_rate is None:
            object.__setattr__(self, "training", self.training.model_copy(update={"learning_rate": rate}))
        if self.algorithm.critic_learning_rate is None:
            update = {"critic_learning_rate": critic_rate}
            object.__setattr__(self, "algorithm", self.algorithm.model_copy(update=update))

    @property
    def run_folder(self) -> Path:
        return Path(self.folder).expanduser() / self.name
