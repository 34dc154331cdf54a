"""`zerosearch check`: what a configuration means, and how the text of an episode is parsed and rewarded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from zerosearch.cleaning import clean
from zerosearch.commands.check_parts import Findings, check_folder, check_lengths, check_parts, read_questions
from zerosearch.commands.check_settings import print_searches, print_settings
from zerosearch.commands.screen import console, read_input
from zerosearch.config import TrainConfig
from zerosearch.config_file import config_toml, load_config
from zerosearch.episodes.answer_forms import read_answers
from zerosearch.episodes.episode import Episode
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.scoring import SCORES, with_format
from zerosearch.episodes.transcript import Transcript, explain, read_transcript, score_transcript, turn_fault
from zerosearch.errors import ConfigError, DataError, ModelError
from zerosearch.parts import NotFetched, Parts
from zerosearch.playing import rollout_settings
from zerosearch.process.runtime import prepare

if TYPE_CHECKING:
    from zerosearch.models.local import LocalModel


def check(
    config_file: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A TOML file, or the name of one that ships: demo.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: reward.name=em.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Show the prompt for this question.")] = None,
    answer: Annotated[list[str] | None, typer.Option(help="A golden answer; may be repeated.")] = None,
    text: Annotated[str | None, typer.Option(help="Text of an episode to parse and reward.")] = None,
    file: Annotated[Path | None, typer.Option(help="Like --text, from a file; - reads standard input.")] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print all settings, defaults included, and stop.")] = False,
) -> None:
    r"""Show what a configuration means, without loading a model, and why an episode gets its reward.

    The text of an episode contains the turns of the policy, and pages between <information> and </information>:

        zerosearch check --question "Capital of Nepal?" \
            --answer Kathmandu --text "<answer>Lima</answer>"

    Only the tokenizer is loaded. No server and no model hub is contacted.

    Exit status: 0 if the run would start, 2 if a setting is wrong, 1 if something it needs is missing.
    """
    prepare()
    config = load_config(config_file, set_ or ())
    if toml:
        print(config_toml(config), end="")
        return
    episode = _episode_text(text, file)
    _check_episode(config, answer, episode)
    found = Findings()
    where = str(config_file or "the defaults")
    whole = config_file is not None or episode is None  # the run is checked, not an episode alone
    with Parts(config) as parts:
        if whole:
            print_settings(config, where)
            check_parts(config, found)
            check_folder(config, found)
        read = read_questions(parts, found) if whole else {}
        if whole:
            held_out = read.get("evaluation.questions")
            print_searches(config, None if held_out is None else len(held_out))
        first = next(iter(read.get("data.train", ())), None)
        shown = question or (first.text if first else "")
        served = config.model.base_url is not None
        model = None if served else _tokenizer(parts, found, needed=episode is not None)
        if served or model is not None:
            temperature, top_k = config.training.temperature, config.engine.top_k
            playing = rollout_settings(config, model, temperature=temperature, top_k=top_k)
            if shown or episode is None:
                print_prompt(config, model, playing, shown or "{question}")
        if model is not None:
            check_lengths(read, playing, found)
            if episode is not None:
                golden = tuple(dict.fromkeys(text for given in answer or () for text in golden_answers(given)))
                print_episode(config, model, playing, Question("check", shown, golden), episode)
    if whole:
        found.print(where)
    if episode is None and found.status:
        raise typer.Exit(found.status)


def _check_episode(config: TrainConfig, answer: list[str] | None, episode: str | None) -> None:
    if answer and episode is None:
        said = "--answer says what an episode is scored against: give the episode too, with --text or --file"
        raise ConfigError(said)
    if episode is not None and config.model.base_url:
        raise ConfigError("an episode is read in a local model's tokens: take model.base_url out to read one")


def _tokenizer(parts: Parts, found: Findings, *, needed: bool) -> LocalModel | None:
    """The model's tokenizer. One that is not here is added to `found`, or where it is `needed` an error."""
    try:
        return parts.tokenizer()
    except ModelError as error:
        if needed:
            raise
        if isinstance(error, NotFetched):
            found.fetched(str(error))
        else:
            found.missing.append(str(error))
        return None


def golden_answers(text: str) -> tuple[str, ...]:
    """What a file with this answer would hold: a printed list is its items. Raises `DataError`."""
    try:
        return read_answers(text).texts
    except ValueError as error:
        raise DataError(f"--answer: {error}") from None


def print_prompt(config: TrainConfig, model: LocalModel | None, playing: RolloutSettings, question: str) -> None:
    """The prompt exactly as the model is shown it: the very ids, decoded. What a server's template makes of it is not
    known here."""
    ids = playing.prompt(question)
    if model is None:
        form = "as the user's message" if config.model.endpoint == "chat" else "as bare text"
        said = f"prompt, sent to {config.model.name} at {config.model.base_url} {form}"
    else:
        chat = "without a" if config.protocol.chat == "never" or not model.tokenizer.chat_template else "with the"
        said = f"prompt: {len(ids)} tokens of {model.name}, {chat} chat template"
    console.print(Text(f"\n{said}", style="bold"))
    if model is None:
        console.print("(zerosearch train refuses a policy behind a URL)", style="dim")
    typer.secho(clean(playing.codec.decode(ids)), fg="cyan")  # to the letter: rich would turn tabs into spaces


def print_episode(
    config: TrainConfig, model: LocalModel, playing: RolloutSettings, question: Question, text: str
) -> None:
    """Read an episode's text; print its segments with their masks, what each turn does, and the reward."""
    codec, prompt = playing.codec, playing.prompt(question.text)
    ends = [codec.decode([i]) for i in sorted(model.eos_ids)]
    written = text.strip().removeprefix(codec.decode(prompt).strip())
    transcript = read_transcript(written, Episode(question, prompt, codec, playing.limits), ends=ends)
    ids, mask = transcript.episode.ids, transcript.episode.mask
    console.print(
        Text.assemble(
            (f"\nepisode: {len(ids)} tokens", "bold"),
            ", ",
            (f"{sum(mask)} the policy's own (trained on, mask 1)", "green"),
            ", ",
            (f"{len(ids) - sum(mask)} masked", "dim"),
        )
    )
    for segment in transcript.segments:
        own = segment.kind == "turn"
        place = f"  tokens {segment.start}-{segment.end}, {'policy' if own else 'masked'}"
        console.print(Text.assemble((segment.name, "bold"), place))
        if segment.kind == "prompt":
            continue
        decoded = codec.decode(ids[segment.start : segment.end]).strip("\n")
        typer.secho(clean(decoded), fg="green" if own else None, dim=not own)
        if own:
            _print_turn(transcript, segment.number - 1)
    for remark in transcript.remarks:
        console.print(Text.assemble(("note: ", "yellow"), remark))
    _print_reward(config, transcript, question.golden_answers)


def _print_turn(transcript: Transcript, index: int) -> None:
    turn = transcript.episode.turns[index]
    fault = turn_fault(turn.text, opened=turn.opened)
    line = Text(f"  -> {turn.action.kind}", style="bold")
    if turn.action.kind != "invalid":
        line.append(f" {turn.action.text!r}")
    line.append(
        ", well formed" if fault is None else f", not well formed: {fault}", style="" if fault is None else "red"
    )
    console.print(line)


def _print_reward(config: TrainConfig, transcript: Transcript, golden: tuple[str, ...]) -> None:
    answer = transcript.episode.answer
    console.print(Text(f"\nanswer   {answer!r}" if answer is not None else "\nanswer   none", style="bold"))
    console.print(f"stopped  {transcript.stop_reason}")
    if not golden:
        console.print("reward   not known: give the golden answers, with --answer", style="yellow")
        return
    scores, reward = score_transcript(transcript, golden), config.reward
    named = {"EM": scores.em, "F1": scores.f1, "cover-EM": scores.cover_em, "format": scores.format}
    console.print("scores   " + "   ".join(f"{label} {value:.2f}" for label, value in named.items()))
    if reward.name not in SCORES:
        console.print(Text(f"reward   by {reward.name}, a function of whole trajectories: not computed here"))
        return
    value = with_format(getattr(scores, reward.name), scores, reward.format)
    style = "bold green" if value > 0 else "bold red"
    why = explain(transcript, golden, reward.name, reward.format)
    console.print(
        Text.assemble((f"reward   {value:.3f}", style), f" ({reward.name}, format {reward.format:g}): {why}"),
    )


def _episode_text(text: str | None, file: Path | None) -> str | None:
    if text is not None and file is not None:
        raise ConfigError("--text and --file both give an episode: choose one")
    if file is not None and str(file) == "-":
        text, where = read_input(), "standard input"
    elif file is not None:
        try:
            text, where = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    else:
        where = "--text"
    if text is not None and not text.strip():
        raise DataError(f"{where}: holds no episode, the text is empty")
    return text
