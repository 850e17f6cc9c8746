"""What W&B should show of a sweep, as plain data from records and results. Does not know wandb."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from s1sweep.analysis import results
from s1sweep.analysis.labels import method_label
from s1sweep.analysis.results import CellResult
from s1sweep.data.card import CARD
from s1sweep.identity import slug_of
from s1sweep.sources.raw import read_jsonl
from s1sweep.spec import COMPUTE, Tracking
from s1sweep.stages.rows import ROWS
from s1sweep.store import TIMING, Record, Store, Sweep, SweepInfo
from s1sweep.training.sft import CHECKPOINT, HISTORY

FORMAT = 2  # of what is shown; another format publishes every run anew
Row = dict[str, Any]


@dataclass(frozen=True)
class Asset:
    """Files that a run used or made. Published files never change, so W&B is never given a copy of them."""

    name: str
    type: str
    files: Mapping[str, Path]
    upload: bool
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """One W&B run as it should look. A block is rows of history that are published together or not at all."""

    name: str
    tags: Sequence[str]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    blocks: Sequence[Sequence[Row]]
    step_metric: str | None = None
    kept: Mapping[str, str] = field(default_factory=dict)  # metric -> what its summary keeps instead of the last value
    hidden: Collection[str] = ()  # metrics that get no panel of their own
    notes: str = ""
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default_factory=dict)
    used: Sequence[Asset] = ()
    made: Sequence[Asset] = ()


@dataclass(frozen=True)
class WandbRun:
    """A run that should exist. `fingerprint` is cheap and changes with what is shown; `view` reads files."""

    id: str
    job_type: str
    fingerprint: str
    view: Callable[[], View]


def runs(sweep: Sweep, tracking: Tracking) -> Iterator[WandbRun]:
    """The runs of a sweep: trainings, series, and the sweep itself last."""
    cells, info = results.cells(sweep), sweep.info()
    label, tags = Label(cells), list(info.tags)

    def run(job_type: str, key: str, shown: Any, view: Callable[[], View]) -> WandbRun:
        run_id = f"{job_type}-{digest([sweep.name, info.created, job_type, key])}"
        return WandbRun(run_id, job_type, digest([FORMAT, tags, shown]), view)

    series: dict[str, list[CellResult]] = defaultdict(list)
    trainings: dict[str, CellResult] = {}
    for cell in cells:
        series[cell.series].append(cell)
        if "train" in cell.stages:
            trainings.setdefault(cell.stages["train"], cell)
    for stage, cell in trainings.items():
        if (record := sweep.store.record(stage)) is not None:
            yield run(
                "train",
                stage,
                [record.result.model_dump(mode="json"), tracking.upload_checkpoints],
                partial(_train_view, sweep, tracking, cell, record, label, tags),
            )
    for key, several in series.items():
        if done := [cell for cell in several if cell.missing is None]:
            yield run(
                "eval",
                key,
                [[_shown(cell) for cell in done], len(several), tracking.samples_per_series],
                partial(_series_view, sweep, tracking, several, label, tags),
            )
    rows = [_shown(cell) for cell in cells]
    yield run("sweep", "", [rows, info.notes], partial(_sweep_view, sweep, cells, info, digest(rows)))


def _shown(cell: CellResult) -> list[Any]:
    return [cell.as_json(), cell.grades and cell.grades.parent.name]


class Label:
    """Short names that still tell the runs of one sweep apart: the arm, and each other axis that varies."""

    _SAID = ("data", "data.rule", "data.size", "data.seed", "extrapolation", "task", *map(".".join, COMPUTE))

    def __init__(self, cells: Sequence[CellResult]) -> None:
        axes = sorted({axis for cell in cells for axis in cell.axes} - {*self._SAID})
        values = {axis: {json.dumps(v) for c in cells if (v := self._value(c, axis)) is not None} for axis in axes}
        self.varying = [axis for axis in axes if len(values[axis]) > 1]

    def __call__(self, cell: CellResult, *words: str, groups: Sequence[str] = ()) -> str:
        shown = [axis for axis in self.varying if not groups or axis.split(".")[0] in groups]
        extra = [f"{axis}={value}" for axis in shown if (value := self._value(cell, axis)) is not None]
        return " ".join([_arm(cell), *words, *extra])[:128]

    def _value(self, cell: CellResult, axis: str) -> Any:
        untrained = axis.split(".")[0] == "train" and cell.spec["train"]["kind"] == "none"
        return None if untrained else _axis(cell, axis)  # `base` has said it


def _axis(cell: CellResult, axis: str) -> Any:
    """A cell's value on an axis, also where only another command of the sweep named that axis."""
    group, *path = axis.split(".")
    value: Any = cell.spec[group] if path else None
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return cell.axes.get(axis, value)


def _arm(cell: CellResult) -> str:
    """`s1k-256`, from the subset's id, which leaves out what its rule does not use."""
    return slug_of(cell.stages["select"]) if "select" in cell.stages else "base"


def _train_view(
    sweep: Sweep, tracking: Tracking, cell: CellResult, record: Record, label: Label, tags: Sequence[str]
) -> View:
    store, stage, data = sweep.store, cell.stages["train"], record.inputs["data"]
    out, made = _outputs(store, stage, tracking, HISTORY), record.provenance
    selected = store.record(data)
    return View(
        name=label(cell, "train", groups=("pool", "curation", "model", "train")),
        tags=[*tags, _arm(cell)],
        config={
            **{group: cell.spec[group] for group in ("pool", "curation", "data", "model", "train")},
            "arm": _arm(cell),
            "sweep": sweep.name,
            "stages": {"select": data, "train": stage},
            "content": record.hashed["content"],
            "versions": dict(record.versions),
            "code": made.code,
            "environment": {k: v for k, v in made.environment.items() if k != "executable"},
        },
        summary={**record.summary, "cost": made.cost},
        blocks=[_history(out)] if (out / HISTORY).exists() else [],
        step_metric="step",
        kept={"tokens_per_second": "mean", "memory_gb": "max"},
        used=[_asset(selected, "dataset", store.outputs(data), (ROWS, CARD), True)] if selected else [],
        made=[_asset(record, "model", out, f"{CHECKPOINT}/", tracking.upload_checkpoints)],
    )


def _outputs(store: Store, stage: str, tracking: Tracking, *names: str) -> Path:
    """A training's outputs; only those named, or none, where its checkpoint is not uploaded from here."""
    return store.outputs(stage, *(() if tracking.upload_checkpoints else names or ("",)))


def _history(out: Path) -> list[Row]:
    """The logged steps, with the pace and memory of this attempt beside them."""
    pace = {row["step"]: row for row in (read_jsonl(out / TIMING) if (out / TIMING).exists() else [])}
    return [{**row, **pace.get(row["step"], {})} for row in read_jsonl(out / HISTORY)]


def _asset(record: Record, kind: str, out: Path, prefix: str | tuple[str, ...], upload: bool) -> Asset:
    """The outputs under `prefix` that are still there: a checkpoint may be deleted to save space, its record not."""
    names = [name for name in record.outputs if name.startswith(prefix) and (out / name).exists()]
    files = {name.removeprefix(f"{CHECKPOINT}/"): out / name for name in names}
    return Asset(
        record.id,
        kind,
        files,
        upload,
        {
            "stage": record.id,
            "inputs": dict(record.inputs),
            "summary": dict(record.summary),
            "sha256": {name: record.outputs[name].sha256 for name in names},
        },
    )


POINT = ("accuracy", "ci_low", "ci_high", "n", "readouts", "mean_answer_tokens", "mean_total_tokens", "forced_share")


def _series_view(
    sweep: Sweep, tracking: Tracking, cells: Sequence[CellResult], label: Label, tags: Sequence[str]
) -> View:
    done = sorted(
        (cell for cell in cells if cell.missing is None), key=lambda cell: (cell.mean_thinking_tokens or 0, cell.key)
    )
    points = [_point(cell) for cell in done]
    best = max(points, key=lambda point: point["accuracy"])
    first, config = cells[0], _common([cell.spec for cell in cells])
    for group, name in COMPUTE:
        config.get(group, {}).pop(name, None)
    choices = {axis: first.axes[axis] for axis in first.axes if "." not in axis}  # the others stand in the spec
    task, how = first.spec["task"]["name"], first.axes.get("extrapolation", "")
    arm = {kind: first.stages[kind] for kind in ("select", "train") if kind in first.stages}
    trained = sweep.store.record(arm["train"]) if "train" in arm else None
    checkpoint = trained and _asset(
        trained, "model", _outputs(sweep.store, arm["train"], tracking), f"{CHECKPOINT}/", tracking.upload_checkpoints
    )
    name = label(first, *filter(None, (str(how), task)))
    return View(
        name=name,
        tags=[*tags, _arm(first), *filter(None, (str(how), task))],
        config={
            **config,
            "arm": _arm(first),
            "control": _control(first),
            "axes": {axis: value for axis, value in choices.items() if all(c.axes.get(axis) == value for c in cells)},
            "sweep": sweep.name,
            "series": first.series,
            "stages": arm,
        },
        summary={
            **points[-1],
            "best_accuracy": best["accuracy"],
            "best_thinking_tokens": best["thinking_tokens"],
            "interval": done[-1].interval,
            "total_tokens": round(sum((c.mean_total_tokens or 0) * (c.readouts or 0) for c in done)),
            "planned": len(cells),
            "missing": len(cells) - len(done),
        },
        blocks=[[point] for point in points],
        step_metric="thinking_tokens",
        hidden=("n", "readouts", *dict.fromkeys(name for cell in done for name in _compute(cell))),
        tables={"points": _points(name, done)}
        | ({"samples": _samples(sweep, done, tracking.samples_per_series)} if tracking.samples_per_series else {}),
        used=[checkpoint] if checkpoint else [],
    )


def _point(cell: CellResult) -> Row:
    row = {"thinking_tokens": cell.mean_thinking_tokens, **{name: getattr(cell, name) for name in POINT}}
    return {**row, **_compute(cell)}


def _compute(cell: CellResult) -> Row:
    """What the user turned to set the compute, as far as the cell's method has it."""
    found = {(group, name): cell.spec[group][name] for group, name in COMPUTE if name in cell.spec.get(group, {})}
    samples = found.pop(("parallel", "n"), 1)  # `n` is the number of questions
    return {**{name: value for (_, name), value in found.items()}, **({"parallel_n": samples} if samples > 1 else {})}


def _control(cell: CellResult) -> str:
    """How the compute of an answer is controlled, whatever its amount: `none`, `wait`, `rejection sampling, none`."""
    return ", ".join(filter(None, (method_label(cell), str(cell.axes.get("extrapolation", "")))))


INTERVALS = ("series", "arm", "control", "task", "thinking_tokens", *POINT, "interval")


def _points(name: str, cells: Sequence[CellResult]) -> tuple[list[str], list[list[Any]]]:
    """A curve with its intervals as a table: what charts with error bars are drawn from."""
    turned = list(dict.fromkeys(name for cell in cells for name in _compute(cell)))
    rows = [
        [*(name, _arm(cell), _control(cell), cell.spec["task"]["name"], cell.mean_thinking_tokens)]
        + [getattr(cell, number) for number in (*POINT, "interval")]
        + [_compute(cell).get(number) for number in turned]
        for cell in cells
    ]
    return [*INTERVALS, *turned], rows


def _common(specs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all have in common, group by group."""
    first, found = specs[0], {}
    for key, value in first.items():
        if all(isinstance(spec.get(key), dict) for spec in specs):
            found[key] = _common([spec[key] for spec in specs])
        elif all(spec.get(key) == value for spec in specs):
            found[key] = value
    return found


SAMPLE = ("question_id", "question", "thinking", "answer", "gold", "verdict", "ending", "sample")
TOKENS = ("thinking_tokens", "answer_tokens")


def _samples(sweep: Sweep, cells: Sequence[CellResult], most: int) -> tuple[list[str], list[list[Any]]]:
    """The same few questions at every point of the curve, side by side; drawn by hash, so always the same."""
    texts = results.questions(sweep.store, cells[0])
    turned = list(dict.fromkeys(name for cell in cells for name in _compute(cell)))
    ranked = []
    for order, cell in enumerate(cells):
        readouts = results.readouts(sweep.store, cell)
        drawn = sorted(readouts, key=lambda r: digest([r["question_id"], r["sample"]]))
        # Long traces of many cells would not fit in memory: keep what can still be chosen.
        for rank, readout in enumerate(islice(drawn, -(-most // len(cells)))):
            question = texts.get(readout["question_id"])
            thinking = (
                "".join(f"«{text}»" if injected else text for text, injected in readout.get("thinking", [])) or None
            )
            said = (readout["question_id"], question.question if question else None, thinking, readout.get("answer"))
            graded = (readout["gold"], readout["verdict"], readout["ended"], readout["sample"])
            tokens = [readout[name] for name in TOKENS]
            compute = [_compute(cell).get(name) for name in turned]
            ranked.append(((rank, order), [*said, *graded, *tokens, *compute]))
    columns = [*SAMPLE, *TOKENS, *turned]
    return columns, [row for _, row in sorted(ranked, key=lambda pair: pair[0])][:most]


def _sweep_view(sweep: Sweep, cells: Sequence[CellResult], info: SweepInfo, version: str) -> View:
    axes = sorted({axis for cell in cells for axis in cell.axes})
    means = tuple(f"mean_{name}_tokens" for name in ("thinking", "answer", "total"))
    numbers = ("accuracy", "ci_low", "ci_high", "n", *means, "forced_share")
    said = ("missing", "interval", "series", "key")
    rows = [
        [*(_axis(cell, axis) for axis in axes), *(getattr(cell, name) for name in (*numbers, *said))] for cell in cells
    ]
    missing = sum(cell.missing is not None for cell in cells)
    # Not `cells`: a number of that name would take the place of the table in the run's summary.
    counts = {"planned": len(cells), "finished": len(cells) - missing, "missing": missing}
    return View(
        name=f"{sweep.name} cells"[:128],
        tags=list(info.tags),
        config={"sweep": sweep.name, "created": info.created},
        notes=info.notes,
        summary=counts,
        blocks=[[counts]],
        tables={"cells": ([*axes, *numbers, *said], rows)},
        made=[_results(sweep, version)],
    )


def _results(sweep: Sweep, version: str) -> Asset:
    """Every cell and every readout, as `results.load` gives them. Needs pandas.

    W&B reads the file where it lies, so other content has another name; the run that named an older one is superseded.
    """
    from s1sweep.analysis import frame

    folder = sweep.dir / "wandb" / "results"
    path = frame.write(frame.frame(sweep, mixed=True), folder / f"{version}.parquet")
    for old in set(folder.glob("*.parquet")) - {path}:
        old.unlink()
    # Artifacts are named in a whole project, where another store may have a sweep of this name.
    name = f"results-{sweep.name}-{digest([sweep.name, sweep.info().created])[:6]}"
    return Asset(name[-128:], "results", {"results.parquet": path}, True, {"sweep": sweep.name})


def digest(value: Any) -> str:
    """16 hex digits over plain JSON values. Unlike an identity it may hold a NaN: a loss can be one."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
