"""zerosearch teaches a language model to search, with a second language model playing the search engine.

Method: ZeroSearch, arXiv 2505.04588. The names below are what a program needs; each is loaded when it is first used.

    from zerosearch import load_config, train, ask

    train(load_config("demo", ["name=mine"]))
    print(ask("What is the capital of Nepal?", run="runs/mine").answer)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zerosearch.version import __version__

if TYPE_CHECKING:
    from zerosearch.api import Engine, ask, open_engine
    from zerosearch.collecting import Collecting, collect
    from zerosearch.config import TrainConfig
    from zerosearch.config_file import load_config
    from zerosearch.engines.bm25 import BM25Engine
    from zerosearch.environments import play
    from zerosearch.episodes.questions import Question, load_questions
    from zerosearch.episodes.scoring import score_answer
    from zerosearch.episodes.search import Document, SearchEngine, SearchPage, SearchRequest
    from zerosearch.errors import EngineError, ZeroSearchError
    from zerosearch.evaluation.entrants import Trials
    from zerosearch.evaluation.evaluate import evaluate
    from zerosearch.exporting import export
    from zerosearch.learning.run import train
    from zerosearch.learning.tuning import tune
    from zerosearch.parts import Parts
    from zerosearch.simulator.engine import SimulatedEngine
    from zerosearch.tool_episode import ToolEpisode

_NAMES = {
    "api": ("Engine", "ask", "open_engine"),
    "collecting": ("Collecting", "collect"),
    "config": ("TrainConfig",),
    "config_file": ("load_config",),
    "engines.bm25": ("BM25Engine",),
    "environments": ("play",),
    "episodes.questions": ("Question", "load_questions"),
    "episodes.scoring": ("score_answer",),
    "episodes.search": ("Document", "SearchEngine", "SearchPage", "SearchRequest"),
    "errors": ("EngineError", "ZeroSearchError"),
    "evaluation.entrants": ("Trials",),
    "evaluation.evaluate": ("evaluate",),
    "exporting": ("export",),
    "learning.run": ("train",),
    "learning.tuning": ("tune",),
    "parts": ("Parts",),
    "simulator.engine": ("SimulatedEngine",),
    "tool_episode": ("ToolEpisode",),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "BM25Engine",
    "Collecting",
    "Document",
    "Engine",
    "EngineError",
    "Parts",
    "Question",
    "SearchEngine",
    "SearchPage",
    "SearchRequest",
    "SimulatedEngine",
    "ToolEpisode",
    "TrainConfig",
    "Trials",
    "ZeroSearchError",
    "__version__",
    "ask",
    "collect",
    "evaluate",
    "export",
    "load_config",
    "load_questions",
    "open_engine",
    "play",
    "score_answer",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'zerosearch' has no attribute {name!r}")
    if _PLACES[name].startswith("learning."):  # it imports torch, whose threads go by what is set before
        import_module("zerosearch.process.runtime").prepare()
    found = getattr(import_module(f"zerosearch.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
