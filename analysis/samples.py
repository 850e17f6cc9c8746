"""What the page's sample browser holds: whole readouts, the same questions for all cells of a task.

Knows a budget in bytes; not how samples look.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s1sweep.store import Store

from .results import CellResult, questions, readouts

BUDGET = 2_500_000  # bytes of JSON on a page
LONGEST = 12_000  # characters of one thinking text; the middle of a longer one is left out
SHORTEST = 400
AHEAD = 4  # shares that one cell may read before its task's questions are chosen: bounds memory

Key = tuple[int, int]  # sample, place of the question in its task
Sized = tuple[Key, dict[str, Any], int]  # a row with its bytes


@dataclass(frozen=True)
class Samples:
    """`questions`: task -> question id -> text. `cells`: cell key -> group; `groups`: rows of a grade stage of `of`."""

    questions: dict[str, dict[str, str]]
    groups: dict[str, dict[str, Any]]
    cells: dict[str, str]

    @property
    def shortened(self) -> bool:
        """Whether some group shows fewer readouts than there are."""
        return any(len(group["rows"]) < group["of"] for group in self.groups.values())


def samples(store: Store, cells: Sequence[CellResult], budget: int = BUDGET) -> Samples:
    """Readouts of each cell, first samples first, then in question order.

    Each distinct grade stage has an equal part of `budget` bytes; the cells of a task pool theirs and show the same
    questions, so that any two can be compared. At least one question of each task is shown.
    """
    stages = {cell.stages["grade"]: cell for cell in cells if cell.missing is None}
    share = budget // max(1, len(stages))
    tasks: dict[str, list[str]] = {}
    for stage, cell in stages.items():
        tasks.setdefault(json.dumps(cell.spec["task"], sort_keys=True), []).append(stage)
    names = {stage: f"g{i}" for i, stage in enumerate(stages)}
    texts: dict[str, dict[str, str]] = {}
    groups: dict[str, dict[str, Any]] = {}
    for number, members in enumerate(tasks.values()):
        asked = questions(store, stages[members[0]])
        read = {stage: _first(readouts(store, stages[stage]), share) for stage in members}
        kept = _common(read.values(), share * len(members))
        for stage, (rows, of) in read.items():
            groups[names[stage]] = {"task": str(number), "rows": [r for k, r, _ in rows if k in kept], "of": of}
        shown = {row["id"] for stage in members for row in groups[names[stage]]["rows"]}
        texts[str(number)] = {q.id: _asked(q.question, q.choices) for q in asked.values() if q.id in shown}
    return Samples(texts, groups, {cell.key: names[cell.stages["grade"]] for cell in cells if cell.missing is None})


def script_json(value: Any) -> str:
    """JSON that may stand inside a <script> element: no character of it can end the element or a JavaScript line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _first(found: Sequence[Mapping[str, Any]], share: int) -> tuple[list[Sized], int]:
    """The first readouts, about `AHEAD` shares of them, and how many there are."""
    places = {question: i for i, question in enumerate(dict.fromkeys(one["question_id"] for one in found))}
    longest = max(SHORTEST, min(LONGEST, share // 2))
    order = sorted(found, key=lambda one: (one["sample"], places[one["question_id"]]))
    rows: list[Sized] = []
    used = 0
    for one in order:
        if used > AHEAD * share:
            break
        row = _row(one, longest)
        size = len(script_json(row).encode())
        rows.append(((one["sample"], places[one["question_id"]]), row, size))
        used += size
    return rows, len(found)


def _common(stages: Collection[tuple[list[Sized], int]], budget: int) -> set[Key]:
    """The first keys whose rows in all stages fit into `budget` together, and were read of all; at least one."""
    sizes: Counter[Key] = Counter()
    for rows, _ in stages:
        for key, _, size in rows:
            sizes[key] += size
    end = min((rows[-1][0] for rows, of in stages if len(rows) < of), default=None)
    kept: set[Key] = set()
    used = 0
    for key in sorted(sizes):
        used += sizes[key]
        if kept and (used > budget or (end is not None and key > end)):
            break
        kept.add(key)
    return kept


def _asked(question: str, choices: Sequence[str]) -> str:
    return "\n".join([question, *(f"({letter}) {text}" for letter, text in zip("ABCDEFGHIJ", choices, strict=False))])


def _row(readout: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """One readout with short names; what is zero or absent is left out."""
    spent = {name: readout.get(f"{name}_tokens") for name in ("probe", "verifier", "discarded", "scored")}
    row = {
        "id": readout["question_id"],
        "sample": readout["sample"],
        "verdict": readout["verdict"],
        "ended": readout["ended"],
        "ignored": readout["ignored"],
        "think": readout["thinking_tokens"],
        "added": readout["injected_tokens"],
        "tokens": readout["answer_tokens"],
        "spent": {name: n for name, n in spent.items() if n},
        "pieces": _fitted(_pieces(readout), longest),
        "stated": _cut(readout.get("stated", ""), longest),
        "extracted": readout["extracted"],
        "gold": readout["gold"],
        "score": None if readout.get("score") is None else f"{readout['score']:.3g}",
        "votes": readout.get("votes"),
        "loop": readout.get("loop_tokens"),
        "probes": [
            [p["kind"], p["at"], p.get("extracted"), p.get("verdict"), _cut(p.get("stated", ""), SHORTEST)]
            for p in readout.get("probes") or ()
        ],
    }
    return {name: value for name, value in row.items() if value not in (None, 0, [], {}, "")}


def _pieces(readout: Mapping[str, Any]) -> list[list[Any]]:
    """[text, appended?, thinking tokens up to its end] of each piece; no count where it cannot be told."""
    spans, at = [], 0
    for start, end in readout.get("injected", []):
        spans += [(at, start, False), (start, end, True)]
        at = end
    spans.append((at, len(readout.get("thinking_ids", [])), False))
    spans = [span for span in spans if span[0] < span[1]]
    pieces = readout.get("thinking", [])
    told = [injected for _, _, injected in spans] == [bool(injected) for _, injected in pieces]
    ends = [end for _, end, _ in spans] if told else [None] * len(pieces)
    return [[str(text), int(injected), end] for (text, injected), end in zip(pieces, ends, strict=True)]


def _fitted(pieces: list[list[Any]], longest: int) -> list[list[Any]]:
    """Decoded pieces cut so that they are about `longest` together; appended ones stay whole."""
    total = sum(len(text) for text, injected, _ in pieces if not injected)
    if total <= longest:
        return pieces
    return [
        [text if injected else _cut(text, longest * len(text) // total), injected, end]
        for text, injected, end in pieces
    ]


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest + 60:
        return text
    head = longest * 2 // 3
    return f"{text[:head]}\n[... {len(text) - longest:,} characters left out ...]\n{text[len(text) - longest + head :]}"
