"""A verifiers 0.4 taskset: questions, a search tool that knows them, F1 as reward."""

from zerosearch_questions.taskset import QuestionsTaskset

__all__ = ["QuestionsTaskset"]
