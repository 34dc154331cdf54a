"""TRL's GRPO on this package's own episodes: `rollout_func`, for base models that search between raw tags.

pip install 'trl==1.16.*' 'zerosearch-rl[train]', then: python trl_rollout.py CONFIG, a TOML file of zerosearch
"""

import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from zerosearch import Parts, load_config, play


def rollouts(config, questions, engine):
    by_text = {question.text: question for question in questions}

    def rollout_func(prompts, trainer):
        asked = [by_text[prompt] for prompt in prompts]
        model = trainer.accelerator.unwrap_model(trainer.model)
        played = play(asked, model, trainer.processing_class, engine, config, step=trainer.state.global_step)
        return {
            "prompt_ids": [list(t.ids[: t.prompt_length]) for t in played],
            "completion_ids": [list(t.ids[t.prompt_length :]) for t in played],
            "logprobs": [list(t.logprobs[t.prompt_length :]) for t in played],
            "env_mask": [list(t.mask[t.prompt_length :]) for t in played],  # 0: a page, which is never learned
            "reward": [t.reward for t in played],
        }

    return rollout_func


def reward(completions, reward, **columns):
    return reward


if __name__ == "__main__":
    config = load_config(sys.argv[1])
    with Parts(config) as parts:
        questions = parts.questions()
        GRPOTrainer(
            config.model.name, reward, args=GRPOConfig("runs/trl", max_steps=config.training.steps),
            train_dataset=Dataset.from_list([{"prompt": question.text} for question in questions]),
            rollout_func=rollouts(config, questions, parts.engine("train")),
        ).train()  # fmt: skip
