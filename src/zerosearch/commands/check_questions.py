"""The questions of a configuration, for `zerosearch check`: read as training reads them, and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zerosearch.commands.check_settings import Findings
from zerosearch.commands.screen import console
from zerosearch.config import TrainConfig
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.errors import DataError
from zerosearch.factbook.known import embedded_warning
from zerosearch.parts import Parts


def read_questions(parts: Parts, found: Findings) -> dict[str, list[Question]]:
    """The questions by the setting that names them; what is not here is added to `found`.

    Raises `DataError` for a malformed file.
    """
    config = parts.config
    read: dict[str, list[Question]] = {}
    for name, source, open_them in (
        ("data.train", config.data.train, parts.questions),
        ("evaluation.questions", config.evaluation.questions, parts.evaluation_questions),
    ):
        if source.startswith("hub:"):
            found.fetched(f"{name}: {source} is read from the model hub when the run starts, not by this check")
            _warn_of_unknown(config, name, source, (), found)
            continue
        if not source.startswith("factbook:") and not Path(source).expanduser().exists():
            found.missing.append(f"{name}: {source}: no such file")
            continue
        try:
            read[name] = open_them()
        except DataError as error:
            if not source.startswith("factbook:"):
                raise
            found.missing.append(f"{name}: {error}")  # it could not be fetched
            continue
        console.print(f"{name}: {len(read[name]):,} questions of {source}", markup=False)
        _warn_of_unknown(config, name, source, read[name], found)
    return read


def _warn_of_unknown(
    config: TrainConfig, name: str, source: str, questions: Sequence[Question], found: Findings
) -> None:
    """A warning where the simulator that ships is trained with on questions that it knows nothing of."""
    if name == "data.train" and config.engine.kind == "simulated":
        unknown = embedded_warning(config.engine.simulated.adapter, source, questions)
        found.warnings += [unknown] if unknown else []


def check_lengths(read: dict[str, list[Question]], playing: RolloutSettings, found: Findings) -> None:
    """Add to `found` how many questions leave the policy no room to write: their episodes end before they begin."""
    limits = playing.limits
    room = limits.max_context_tokens - max(limits.answer_reserve_tokens, 1)
    for name, questions in read.items():
        count = len(too_long(questions, playing, room))
        said = (
            f"{name}: {count:,} of {len(questions):,} questions are too long: with the instructions they leave less "
            f"than protocol.answer_reserve_tokens of the {limits.max_context_tokens} in protocol.max_context_tokens"
        )
        if count == len(questions):
            found.wrong.append(said)
        elif count:
            found.warnings.append(f"{said}; their episodes end at once, with reward 0")


def too_long(questions: Sequence[Question], playing: RolloutSettings, room: int) -> list[Question]:
    """Those whose prompt has more than `room` tokens. Few are tokenised: no token is shorter than a byte."""
    instructions = len(playing.prompt(""))
    suspects = (question for question in questions if instructions + len(question.text.encode()) > room)
    return [question for question in suspects if len(playing.prompt(question.text)) > room]
