"""What the page's sample browser holds: whole readouts, as many per cell as the page's size allows.

Knows a budget in bytes; not how samples look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s1sweep.store import Store

from .results import CellResult, questions, readouts

BUDGET = 3_000_000  # bytes of JSON on a page
LONGEST = 12_000  # characters of one thinking text; the middle of a longer one is left out
SHORTEST = 400


@dataclass(frozen=True)
class Samples:
    """`questions`: task key -> question id -> text. `cells`: cell key -> group; `groups`: rows of a grade stage."""

    questions: dict[str, dict[str, str]]
    groups: dict[str, dict[str, Any]]
    cells: dict[str, str]

    @property
    def shortened(self) -> bool:
        """Whether some group shows fewer readouts than there are."""
        return any(len(group["rows"]) < group["of"] for group in self.groups.values())


def samples(store: Store, cells: Sequence[CellResult], budget: int = BUDGET) -> Samples:
    """Readouts of each cell, in question order, so that all cells show the same questions first.

    Each distinct grade stage gets an equal part of `budget` bytes and at least one readout.
    """
    stages = {cell.stages["grade"]: cell for cell in cells if cell.missing is None}
    share = budget // max(1, len(stages))
    texts: dict[str, dict[str, str]] = {}
    groups = {}
    for stage, cell in stages.items():
        task = json.dumps(cell.spec["task"], sort_keys=True)
        asked = {q.id: _asked(q.question, q.choices) for q in questions(store, cell).values()}
        rows: list[dict[str, Any]] = []
        used = 0
        found = readouts(store, cell)
        for readout in found:
            row = _row(readout, max(SHORTEST, min(LONGEST, share // 2)))
            used += len(script_json(row).encode())
            if rows and used > share:
                break
            rows.append(row)
            if readout["question_id"] in asked:
                texts.setdefault(task, {})[readout["question_id"]] = asked[readout["question_id"]]
        groups[stage] = {"task": task, "rows": rows, "of": len(found)}
    # Short keys: a task's JSON would be repeated in every group.
    names = {task: str(i) for i, task in enumerate(dict.fromkeys(group["task"] for group in groups.values()))}
    for group in groups.values():
        group["task"] = names[group["task"]]
    return Samples(
        {names[task]: found for task, found in texts.items()},
        groups,
        {cell.key: cell.stages["grade"] for cell in cells if cell.missing is None},
    )


def script_json(value: Any) -> str:
    """JSON that may stand inside a <script> element: no character of it can end the element or a JavaScript line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asked(question: str, choices: Sequence[str]) -> str:
    return "\n".join([question, *(f"({letter}) {text}" for letter, text in zip("ABCDEFGHIJ", choices, strict=False))])


def _row(readout: Mapping[str, Any], longest: int) -> dict[str, Any]:
    pieces = [[str(text), bool(injected)] for text, injected in readout.get("thinking", [])]
    return {
        "id": readout["question_id"],
        "sample": readout["sample"],
        "verdict": readout["verdict"],
        "ended": readout["ended"],
        "ignored": readout["ignored"],
        "think": readout["thinking_tokens"],
        "added": readout["injected_tokens"],
        "tokens": readout["answer_tokens"],
        "pieces": _fitted(pieces, longest),
        "stated": _cut(readout.get("stated", ""), longest),
        "extracted": readout["extracted"],
        "gold": readout["gold"],
    }


def _fitted(pieces: list[list[Any]], longest: int) -> list[list[Any]]:
    """Decoded pieces cut so that they are about `longest` together; appended ones stay whole."""
    total = sum(len(text) for text, injected in pieces if not injected)
    if total <= longest:
        return pieces
    return [[text if injected else _cut(text, longest * len(text) // total), injected] for text, injected in pieces]


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest + 60:
        return text
    head = longest * 2 // 3
    return f"{text[:head]}\n[... {len(text) - longest:,} characters left out ...]\n{text[len(text) - longest + head :]}"
