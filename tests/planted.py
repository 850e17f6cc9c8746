"""What is planted: records with given times and costs, and sweeps whose grades are known under every cap and after
every ignored end.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1sweep.identity import kind_of
from s1sweep.planning import Plan, Stage
from s1sweep.planning.axes import axes_of
from s1sweep.planning.normal import parallel_of
from s1sweep.sources.tasks import questions
from s1sweep.spec import CellSpec
from s1sweep.store import SCHEMA, Record, Store, Sweep
from s1sweep.store.records import Provenance, Result, as_file
from tests.helpers import compose


def record(
    stage: str,
    started: float,
    seconds: float,
    cost: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    torch: str = "2.13.0",
) -> Record:
    """A record of a stage that began at `started`, in seconds since the epoch, and took so many `seconds`."""
    hashed = {"kind": kind_of(stage), "spec": {}, "inputs": dict(inputs or {}), "content": {}, "versions": {}}
    return Record(
        schema=SCHEMA,
        id=stage,
        result=Result(hashed=hashed, outputs={}, summary=dict(summary or {})),
        provenance=Provenance(
            attempt="a",
            started=started,
            seconds=seconds,
            cost=dict(cost or {}),
            host="vm",
            code={"s1sweep": "1"},
            environment={"torch": torch},
        ),
    )


def keep(store: Store, *records: Record) -> None:
    """Put records into a store as if their stages had published them, without outputs."""
    for one in records:
        store.files.create(f"stages/{one.id}/record.json", as_file(one.as_json()))


ROUND = 20  # tokens that each ignored end adds


@dataclass(frozen=True)
class World:
    """Chances: of a right natural answer, of a right forced one, and that an ignored end changes right into wrong or
    back. Natural stops are even over 20 ... 120 tokens. `skill` adds to the first by cell.
    """

    natural: float = 0.6
    forced: float = 0.2
    flip: float = 0.25
    skill: Callable[[CellSpec], float] = lambda cell: 0.0


def plant(root: Path, *overrides: str, world: World = World()) -> Sweep:
    """A sweep of the overrides' cells, each graded."""
    store, plan = Store(root), Plan()
    configs = compose(*overrides)
    cells = [plan.add(config.cell, axes_of(config)) for config in configs]
    for cell in cells:
        stage = plan.stages[cell.stages["grade"]]
        if store.record(stage.id) is None:
            _publish(store, stage, cell.spec, world)
    sweep = Sweep(store, "planted")
    sweep.open("", [], [claim.model_dump(mode="json") for claim in configs[0].claims])
    sweep.add(cell.as_json() for cell in cells)
    return sweep


def _publish(store: Store, stage: Stage, cell: CellSpec, world: World) -> None:
    rows = []
    votes = parallel_of(cell.parallel)
    for question in questions(cell.task):
        for sample in range(cell.sampling.samples):
            rows.append(_row(cell, question.id, question.answer, sample, world) | {"votes": [] if votes else None})
    out = store.attempt_dir(stage.id)
    (out / "grades.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    share = {name: sum(row[name] for row in rows) / len(rows) for name in ("credit", "thinking_tokens", "total_tokens")}
    endings = {end: sum(row["ended"] == end for row in rows) for end in ("natural", "forced")}
    summary = {
        "questions": len({row["question_id"] for row in rows}),
        "answers": len(rows),
        "readouts": len(rows),
        "accuracy": share["credit"],
        "verdicts": {"correct": sum(row["verdict"] == "correct" for row in rows)},
        "endings": {end: n for end, n in endings.items() if n},
        "mean_thinking_tokens": share["thinking_tokens"],
        "mean_answer_tokens": 3.0,
        "mean_total_tokens": share["total_tokens"],
    }
    assert store.publish(stage.id, stage.hashed, out, summary, time.time(), {})


def _row(cell: CellSpec, question: str, gold: str, sample: int, world: World) -> dict[str, Any]:
    arm = (cell.model.name, cell.train.kind, cell.data.rule, cell.data.seed, cell.sampling.temperature)
    method, ignores = cell.method, cell.extrapolation.num_ignore
    given = method.max_thinking_tokens  # type: ignore[union-attr]
    cap = given if isinstance(given, int) else cell.model.max_model_len
    dice = random.Random(repr((arm, question, sample)))
    length = dice.randint(19, 119)  # the stop itself is one more
    right = [dice.random() < world.natural + world.skill(cell)]
    for _ in range(16):
        right.append(right[-1] != (dice.random() < world.flip))
    ends = [length + ROUND * j for j in range(ignores + 1)]
    reached = sum(end < cap for end in ends[:-1]) if cap > ends[0] else 0
    done = ends[-1] < cap
    ended = random.Random(repr((arm, question, sample, cap))).random() < world.forced
    hit = right[ignores] if done else ended
    thinking = ends[-1] if done else cap
    probed = [{"kind": "end", "at": ends[j], **_said(right[j], gold)} for j in range(reached)]
    return {
        "question_id": question,
        "sample": sample,
        "readout": sample,
        "ended": "natural" if done else "forced",
        "ignored": reached,
        "thinking_tokens": thinking,
        "injected_tokens": reached,
        "answer_tokens": 3,
        "scored_tokens": 0,
        "total_tokens": thinking + 3,
        "loop_tokens": 30 if reached > 2 else 0,
        "backtracks": reached,
        "score": 1.0 if hit else 0.5,
        "gold": gold,
        "credit": float(hit),
        **_said(hit, gold),
        "probes": probed if getattr(method, "probe_ends", False) else [],
    }


def _said(right: bool, gold: str) -> dict[str, Any]:
    return {"verdict": "correct" if right else "wrong", "extracted": gold if right else "999"}
