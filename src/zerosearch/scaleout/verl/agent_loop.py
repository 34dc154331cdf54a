"""verl's agent loop over our episodes: a thin layer over `stage.py`. verl loads it by `agent_loop.yaml`."""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.utils.profiler import simple_timer

from zerosearch.config_file import load_config
from zerosearch.errors import ConfigError
from zerosearch.process.runtime import quiet_libraries
from zerosearch.scaleout.verl.dataset import question_of
from zerosearch.scaleout.verl.metrics import episode_metrics
from zerosearch.scaleout.verl.stage import Asked, ServedPolicy, Stage, output_fields

_stages: dict[str, Stage] = {}  # one a process and configuration: verl makes a loop object for every episode


class SearchAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Plays one episode of the configuration in the file `settings`."""

    def __init__(self, *args: Any, settings: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if settings not in _stages:
            quiet_libraries()
            _stages[settings] = Stage(load_config(settings), self.tokenizer)
        self._stage = _stages[settings]

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """`row` has the columns of the data set and, in verl's V1 trainers, `global_steps` and `session_id`."""
        if "session_id" not in row:
            raise ConfigError("zerosearch's agent loop needs verl's V1 trainer (trainer.use_v1=True)")
        stage = self._stage
        validating = row["extra_info"].get("split") == "validation"  # verl tells a loop by nothing else
        step = None if validating else int(row["global_steps"]) - 1  # verl counts from 1
        policy = ServedPolicy(self.server_manager, sampling_params, stage.codec, stage.eos_ids)
        timing: dict[str, float] = {}
        with simple_timer("generate_sequences", timing):
            asked = Asked(question_of(row["extra_info"]), step, int(row["session_id"]))
            trajectory = await stage.play(asked, policy)
        told: dict[str, Any] = {
            "turn_scores": [],
            "tool_rewards": [],
            "reward_extra_info": episode_metrics(trajectory, stage.noise(step)),
        }
        if policy.weights:
            told |= {"min_global_steps": min(policy.weights), "max_global_steps": max(policy.weights)}
        searching = sum(search.seconds for search in trajectory.searches)
        metrics = AgentLoopMetrics(
            generate_sequences=max(timing["generate_sequences"] - searching, 0.0), tool_calls=searching
        )
        fields = output_fields(trajectory, filler=self.tokenizer.eos_token_id)
        return AgentLoopOutput(**fields, metrics=metrics, extra_fields=told)
