"""Public search traces as rows for `zerosearch label --recorded`: clean_traces.py OUT.jsonl TRACE.jsonl.gz ..."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from script import arguments, run

WORDS, TOP = 110, 3
ONE_HOP = ("nq", "triviaqa", "popqa")


def main() -> None:
    out, *files = map(Path, arguments(__doc__, 2, more=True))
    ids: dict[str, int] = {}
    policies: dict[str, int] = {}
    with out.open("w", encoding="utf-8") as lines:
        for file in files:
            with gzip.open(file, "rt", encoding="utf-8") as rows:
                for line in rows:
                    row = json.loads(line)
                    documents = []
                    for result in row["results"]:
                        title, text = result.get("title") or "", (result.get("snippet") or "").strip()
                        inside = re.match(r'^"?Title: (.*?) Text: +(.*)$', text, re.DOTALL)
                        if not title and inside:
                            title, text = inside[1], inside[2].replace('""', '"').strip().rstrip('"')
                        text = " ".join(text.removeprefix(f"{title} ").split()[:WORDS])
                        if title and text:
                            documents.append({"title": title, "text": text})
                    if len(documents) < TOP:
                        continue
                    number = ids.setdefault(row["question"], len(ids))
                    kept = {key: row[key] for key in ("query", "engine", "question", "golden_answers")}
                    hops = 1 if row.get("dataset") in ONE_HOP else 2
                    turn = max((row.get("turn") or 1) - 1, 0)
                    rollout = policies.setdefault(f"{file.name} {row.get('dataset')}", len(policies))
                    shape = kept | {"id": f"trace/{number}", "hops": hops, "turn": turn, "rollout": rollout}
                    lines.write(json.dumps(shape | {"results": documents}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run(main)
