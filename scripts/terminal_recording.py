"""Record a command in a terminal, and draw the recording as an animated SVG that plays once.

    python scripts/terminal_recording.py record ask.cast 'zerosearch ask "What is the capital of Nepal?"'
    python scripts/terminal_recording.py draw ask.cast ask.svg --longest-wait 1 --title "zerosearch ask"

The recording is an asciicast (version 2: a JSON header, then a line `[seconds, "o", text]` for each piece of output):
other players read it too. The picture needs no script and no font from elsewhere, and its ground is dark on any page.
Where the reader's system asks for less motion, it shows its end at once. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path

CELL, LINE, PAD, BAR = 7.8, 18, 14, 30  # pixels: width of a character, height of a row, margin, title bar
COLOURS = ("#6e7681", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#e6edf3")
CSS = """\
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3;white-space:pre}
.b{font-weight:700}.d{opacity:.65}
g{visibility:hidden}
@keyframes on{from,to{visibility:visible}}
@media(prefers-reduced-motion:reduce){g{animation:none!important}.s{visibility:visible}}
"""
SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


@dataclass(frozen=True)
class Style:
    """How a character looks. `colour` is an index into COLOURS; None: the terminal's own."""

    colour: int | None = None
    bold: bool = False
    dim: bool = False


Row = tuple[tuple[str, Style], ...]


@dataclass
class Screen:
    """What a terminal shows: text, new lines, returns, colours, and the cursor moves that progress bars use.

    It never scrolls: a row that was written stays where it is. Raises ValueError for a sequence that it does not know.
    """

    columns: int
    rows: list[list[tuple[str, Style]]] = field(default_factory=lambda: [[]])
    x: int = 0
    y: int = 0
    style: Style = Style()

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            if found := SEQUENCE.match(text, at):
                self._control(*found.groups())
                at = found.end()
                continue
            char, at = text[at], at + 1
            if char == "\r":
                self.x = 0
            elif char == "\n":
                self._down()
            elif char < " ":
                raise ValueError(f"the control character {char!r} is not known here")
            else:
                self._put(char)

    def _down(self) -> None:
        self.y += 1
        while len(self.rows) <= self.y:
            self.rows.append([])

    def _put(self, char: str) -> None:
        if self.x >= self.columns:
            self.x = 0
            self._down()
        row = self.rows[self.y]
        row.extend([(" ", Style())] * (self.x + 1 - len(row)))
        row[self.x] = (char, self.style)
        self.x += 1

    def _control(self, numbers: str, letter: str) -> None:
        many = int(numbers) if numbers.isdigit() else 1
        if letter == "m":
            for code in numbers.split(";"):
                self.style = restyled(self.style, int(code or 0))
        elif letter == "A":
            self.y = max(0, self.y - many)
        elif letter == "K":
            del self.rows[self.y][0 if numbers == "2" else self.x :]
        elif not (letter in "hl" and numbers.startswith("?")):  # the cursor shown or hidden
            raise ValueError(f"the sequence ESC[{numbers}{letter} is not known here")

    def shown(self) -> tuple[Row, ...]:
        """The rows without the blanks at their ends."""
        return tuple(tuple(row[: len("".join(c for c, _ in row).rstrip())]) for row in self.rows)


def restyled(style: Style, code: int) -> Style:
    """A style after one number of `ESC[...m`."""
    if code == 0:
        return Style()
    if code in (1, 2, 22):
        return Style(style.colour, code == 1 or (style.bold and code != 22), code == 2 or (style.dim and code != 22))
    if 30 <= code <= 37 or 90 <= code <= 97 or code == 39:
        return Style(None if code == 39 else code % 10, style.bold, style.dim)
    if code in (3, 4, 23, 24):  # italic and underlined are drawn plain
        return style
    raise ValueError(f"the style {code} is not known here")


def record(command: str, columns: int, lines: int) -> Iterator[str]:
    """The lines of an asciicast of `command`, run by the shell in a terminal of its own. Ends with its exit."""
    header = {"version": 2, "width": columns, "height": lines, "timestamp": int(time.time()), "command": command}
    yield json.dumps(header)
    start = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("/bin/sh", ["/bin/sh", "-c", command], {**os.environ, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    pending = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux tells that the other end was closed
            piece = b""
        if not piece:
            break
        text = (pending + piece).decode("utf-8", "ignore")
        pending = (pending + piece)[len(text.encode()) :]  # a character, of which the rest is still to come
        yield json.dumps([round(time.monotonic() - start, 3), "o", text], ensure_ascii=False)
    os.close(terminal)
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"the command ended with {status}")


def frames(cast: str, longest_wait: float, typed: str, interval: float = 0.1) -> list[tuple[float, tuple[Row, ...]]]:
    """(seconds, rows) for each state of the screen: `typed` letter by letter, then the output.

    A pause longer than `longest_wait` is shortened to it. What is written over in its place, as a counter is, plays a
    hundred times as fast. States less than `interval` apart are taken together.
    """
    header, *events = [json.loads(line) for line in cast.splitlines()]
    screen, now, before = Screen(header["width"]), 0.0, 0.0
    found = []
    screen.feed("\x1b[1;32m$\x1b[0m ")
    for char in typed:
        screen.feed(char)
        now += 0.03
        found.append((now, screen.shown()))
    screen.feed("\r\n")
    now += 0.3
    for seconds, _, text in events:
        counter = text.startswith("\r") and "\n" not in text
        now += min(seconds - before, longest_wait) / (100 if counter else 1)
        before = seconds
        screen.feed(text)
        found.append((now, screen.shown()))
    last = [group[-1] for group in (list(g) for _, g in groupby(found, lambda frame: frame[0] // interval))]
    return [*last[:-1], found[-1]]


def draw(states: list[tuple[float, tuple[Row, ...]]], columns: int, title: str) -> str:
    """The SVG: each row's text is drawn once for as long as it stands, from its first state to its last."""
    height = max(len(rows) for _, rows in states)
    while height and not any(len(rows) >= height and rows[height - 1] for _, rows in states):
        height -= 1
    body = []
    for y in range(height):
        history = [(seconds, rows[y] if y < len(rows) else ()) for seconds, rows in states]
        stands = [(next(iter(group))[0], row) for row, group in groupby(history, lambda state: state[1])]
        for (since, row), until in zip(stands, [s for s, _ in stands[1:]] + [None], strict=True):
            if row:
                play = f"1ms {since:.2f}s forwards" if until is None else f"{until - since:.2f}s {since:.2f}s"
                stays = ' class="s"' if until is None else ""
                body.append(f'<g{stays} style="animation:on {play}">{_row(row, y)}</g>')
    width, tall = columns * CELL + 2 * PAD, height * LINE + BAR + PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {tall:g}" width="{width:g}" height="{tall:g}" '
        f'role="img" aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n<style>{CSS}</style>\n'
        f'<rect x=".5" y=".5" width="{width - 1:g}" height="{tall - 1:g}" rx="8" fill="#0d1117" stroke="#6e7681"/>\n'
        f'<text x="{width / 2:g}" y="20" text-anchor="middle" class="d">{escape(title)}</text>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _row(row: Row, y: int) -> str:
    """The runs of one style in a row, each as wide as its characters, whatever the reader's font."""
    parts, x = [], 0
    for style, run in groupby(row, lambda cell: cell[1]):
        text = "".join(char for char, _ in run)
        start, x = x + len(text) - len(text.lstrip()), x + len(text)
        if text := text.strip():
            look = "".join(letter for letter, on in (("b", style.bold), ("d", style.dim)) if on)
            colour = "" if style.colour is None else f' style="fill:{COLOURS[style.colour]}"'
            look = f' class="{" ".join(look)}"' if look else ""
            parts.append(
                f'<text x="{PAD + start * CELL:g}" y="{BAR + y * LINE + 13:g}" textLength="{len(text) * CELL:g}"'
                f"{look}{colour}>{escape(text, quote=False)}</text>"
            )
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record")
    recording.add_argument("cast", type=Path)
    recording.add_argument("command")
    recording.add_argument("--columns", type=int, default=80)
    recording.add_argument("--lines", type=int, default=40)
    drawing = actions.add_parser("draw")
    drawing.add_argument("cast", type=Path)
    drawing.add_argument("svg", type=Path)
    drawing.add_argument("--title", required=True)
    drawing.add_argument("--typed", help="the command as it is shown; else that of the recording")
    drawing.add_argument("--longest-wait", type=float, default=1.0, help="seconds")
    options = parser.parse_args()
    if options.action == "record":
        with options.cast.open("w", encoding="utf-8") as out:
            for line in record(options.command, options.columns, options.lines):
                print(line, file=out, flush=True)
        return
    cast = options.cast.read_text(encoding="utf-8")
    header = json.loads(cast.splitlines()[0])
    states = frames(cast, options.longest_wait, options.typed or header["command"])
    options.svg.write_text(draw(states, header["width"], options.title), encoding="utf-8")


if __name__ == "__main__":
    main()
