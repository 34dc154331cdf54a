"""Ask the embedded policy and keep what the terminal showed as an SVG picture (docs/results/ask.svg).

python scripts/capture_ask.py docs/results/ask.svg "What is the capital of Nepal?"
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from zerosearch.commands import ask


def main() -> None:
    target, question = sys.argv[1:]
    screen = Console(record=True, force_terminal=True, width=100, file=io.StringIO(), highlight=False, emoji=False)
    screen.print(f'[bold]$ zerosearch ask "{question}"[/bold]')
    ask.Console = lambda **_: screen  # type: ignore[assignment, misc]
    ask.ask(question, None, None, None, 0.0, False)
    picture = screen.export_svg(title="zerosearch ask", theme=MONOKAI)
    Path(target).write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))  # no font from elsewhere


if __name__ == "__main__":
    main()
