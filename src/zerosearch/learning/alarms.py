"""Alarms: numbers of a step that show that learning has gone wrong, and limits at which a run stops.

    alarms = Alarms(max_gap=0.5, collapses=True)
    for alarm in alarms.look(row): ...       # Alarm("sampler_gap", "the sampler ...", stops=True)

After a resume it looks at the rows of the steps before first.

A word on the step's line is a hint; a run stops only where going on would train on nonsense. Limits are far from what
sound runs show: a mean sampler gap is below .001 in float32 and .001 to .030 with LoRA in bfloat16; with a broken
sampler (a graph recorded on the wrong GPU) it was 2.6, and 38 % of actions were valid instead of 93. The largest gap
of a single token says nothing: 14.6 was seen in a sound run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GAP_WARNS = 0.1  # nats a token, the mean over a step; training.max_sampler_gap stops
FIRST = 5  # steps that tell what is usual in this run
VALID_WARNS, VALID_STOPS = 0.75, 0.5  # of what the first steps had
FEW_ANSWERS = 0.05  # share of episodes with an answer
MANY_OVERLONG = 0.5  # share of episodes that ended as `context`
FLAT = 0.02  # entropy in nats a token: one token has nearly all the weight
PATIENCE = 3  # steps in a row that a collapse must last before it stops the run


@dataclass(frozen=True)
class Alarm:
    """`text` is a few words for the screen; with `stops` the run ends, and `advice` says what to look at."""

    name: str
    text: str
    stops: bool = False
    advice: str = ""


class Alarms:
    """Judges the metrics of each step by limits, and by the run's own first steps where limits cannot be general."""

    def __init__(self, max_gap: float | None, collapses: bool) -> None:
        """`max_gap` and `collapses` say whether a gap, and a collapse, stops the run; both are always said."""
        self._max_gap, self._collapse_stops = max_gap, collapses
        self._valid: list[float] = []
        self._answered = 0.0
        self._lasting: dict[str, int] = {}

    def look(self, row: dict[str, Any]) -> list[Alarm]:
        """The alarms of this step, worst first. Steps come in order, each once."""
        found = [*self._gap(row), *self._collapses(row), *_hints(row)]
        self._remember(row)
        return sorted(found, key=lambda alarm: not alarm.stops)

    def _gap(self, row: dict[str, Any]) -> list[Alarm]:
        gap, limit = row.get("sampler_gap", 0.0), self._max_gap
        beyond = limit is not None and gap > limit
        if gap <= GAP_WARNS and not beyond:
            return []
        advice = (
            "what is sampled is not what is trained. Try model.sampler=plain, training.merge_adapters=false, "
            "model.dtype=float32; the episodes of this step are in trajectories/"
        )
        return [Alarm("sampler_gap", f"sampler gap {gap:.2f} nats a token", beyond, advice)]

    def _collapses(self, row: dict[str, Any]) -> list[Alarm]:
        found = []
        advice = "a smaller learning rate or a KL term (algorithm.kl) usually helps; the episodes are in trajectories/"
        usual = sum(self._valid) / len(self._valid) if self._valid else 0.0
        valid = row.get("valid_actions", 1.0)
        if self._valid and valid < VALID_WARNS * usual:
            text = f"valid actions {valid:.0%}, at first {usual:.0%}"
            found.append(
                Alarm("valid_actions", text, self._lasts("valid_actions", valid < VALID_STOPS * usual), advice)
            )
        else:
            self._lasting.pop("valid_actions", None)
        answered = row.get("answered", 1.0)
        if answered < FEW_ANSWERS:
            # a policy that has never answered may still learn to; one that has unlearned it is lost
            lost = self._answered >= 4 * FEW_ANSWERS
            found.append(Alarm("answered", f"answered {answered:.0%}", self._lasts("answered", lost), advice))
        else:
            self._lasting.pop("answered", None)
        return found

    def _lasts(self, name: str, beyond: bool) -> bool:
        self._lasting[name] = self._lasting.get(name, 0) + 1 if beyond else 0
        return self._collapse_stops and self._lasting[name] >= PATIENCE

    def _remember(self, row: dict[str, Any]) -> None:
        if len(self._valid) < FIRST and "valid_actions" not in self._lasting:  # a collapsed step is not usual
            self._valid.append(row.get("valid_actions", 1.0))
        self._answered = max(self._answered, row.get("answered", 0.0))


def _hints(row: dict[str, Any]) -> list[Alarm]:
    found = []
    entropy, episodes = row.get("entropy"), row.get("episodes", 0)
    if entropy is not None and row.get("trained_rows") and entropy < FLAT:
        found.append(Alarm("entropy", f"entropy {entropy:.3f}: all rollouts are alike"))
    overlong = row.get("stops", {}).get("context", 0)
    if episodes and overlong >= MANY_OVERLONG * episodes:
        found.append(Alarm("context", f"{overlong} of {episodes} episodes outgrew protocol.max_context_tokens"))
    if row.get("trained_rows") == 0.0:
        found.append(Alarm("trained_rows", "no episode to learn from"))
    return found
