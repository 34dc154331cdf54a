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

if TYPE_CHECKING:  # `as` tells type checkers that these names are the package's own
    from zerosearch.api import Engine as Engine
    from zerosearch.api import ask as ask
    from zerosearch.api import load_questions as load_questions
    from zerosearch.api import open_engine as open_engine
    from zerosearch.api import train as train
    from zerosearch.asking import Answered as Answered
    from zerosearch.collecting import Collecting as Collecting
    from zerosearch.collecting import collect as collect
    from zerosearch.config import TrainConfig as TrainConfig
    from zerosearch.config_file import load_config as load_config
    from zerosearch.engines.bm25 import BM25Engine as BM25Engine
    from zerosearch.environments import play as play
    from zerosearch.episodes.predictions import read_predictions as read_predictions
    from zerosearch.episodes.questions import Question as Question
    from zerosearch.episodes.scoring import Scores as Scores
    from zerosearch.episodes.scoring import score_answer as score_answer
    from zerosearch.episodes.search import Document as Document
    from zerosearch.episodes.search import Quality as Quality
    from zerosearch.episodes.search import SearchEngine as SearchEngine
    from zerosearch.episodes.search import SearchPage as SearchPage
    from zerosearch.episodes.search import SearchRequest as SearchRequest
    from zerosearch.episodes.trajectory import Trajectory as Trajectory
    from zerosearch.episodes.trajectory import read_trajectories as read_trajectories
    from zerosearch.errors import EngineError as EngineError
    from zerosearch.errors import ZeroSearchError as ZeroSearchError
    from zerosearch.evaluation.entrants import Trials as Trials
    from zerosearch.evaluation.evaluate import evaluate as evaluate
    from zerosearch.evaluation.tables import ResultsTable as ResultsTable
    from zerosearch.exporting import export as export
    from zerosearch.labelling import label as label
    from zerosearch.learning.tuning import tune as tune
    from zerosearch.parts import Parts as Parts
    from zerosearch.simulator.engine import SimulatedEngine as SimulatedEngine
    from zerosearch.tool_episode import ToolEpisode as ToolEpisode

_NAMES = {
    "api": ("Engine", "ask", "load_questions", "open_engine", "train"),
    "asking": ("Answered",),
    "collecting": ("Collecting", "collect"),
    "config": ("TrainConfig",),
    "config_file": ("load_config",),
    "engines.bm25": ("BM25Engine",),
    "environments": ("play",),
    "episodes.predictions": ("read_predictions",),
    "episodes.questions": ("Question",),
    "episodes.scoring": ("Scores", "score_answer"),
    "episodes.search": ("Document", "Quality", "SearchEngine", "SearchPage", "SearchRequest"),
    "episodes.trajectory": ("Trajectory", "read_trajectories"),
    "errors": ("EngineError", "ZeroSearchError"),
    "evaluation.entrants": ("Trials",),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.tables": ("ResultsTable",),
    "exporting": ("export",),
    "labelling": ("label",),
    "learning.tuning": ("tune",),
    "parts": ("Parts",),
    "simulator.engine": ("SimulatedEngine",),
    "tool_episode": ("ToolEpisode",),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'zerosearch' has no attribute {name!r}")
    if name in ("train", "tune"):  # they import torch, whose threads go by what is set before
        import_module("zerosearch.process.runtime").prepare()
    found = getattr(import_module(f"zerosearch.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
