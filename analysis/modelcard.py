"""The model card of a trained checkpoint: what it was made from and how, and what it scored. Reads only records.

The licence is left to whoever publishes: it depends on the base model's and the data's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1sweep import __version__
from s1sweep.data.card import CARD
from s1sweep.errors import UserError
from s1sweep.sources.hub import PATTERNS
from s1sweep.store import Record, Store, Sweep

from .labels import columns
from .results import CellResult, cells, record_of

TEMPLATES = Path(__file__).parent / "templates"
FOLDER = "checkpoint"  # of a train stage's outputs


@dataclass(frozen=True)
class Checkpoint:
    """A finished train stage, and the cells that it was evaluated in, with their sweeps' names."""

    store: Store
    stage: str
    record: Record
    cells: tuple[CellResult, ...]
    sweeps: tuple[str, ...]


def find(store: Store, what: str) -> Checkpoint:
    """The checkpoint of a stage's id, its beginning, or a sweep that trained one. Raises UserError if it is not one."""
    known = store.sweep_names()
    sweeps = [Sweep(store, name) for name in ([what] if what in known else known)]
    found = {sweep.name: cells(sweep) for sweep in sweeps}
    trained = sorted({cell.stages["train"] for own in found.values() for cell in own if "train" in cell.stages})
    stages = trained if what in known else [s for s in trained if s.startswith(what)]
    if len(stages) != 1:
        listed = ", ".join(stages or trained) or "none"
        raise UserError(f"{what}: {len(stages)} checkpoints match. Give the id of one train stage: {listed}.")
    (stage,) = stages
    record = record_of(store, stage)
    if record is None:
        raise UserError(f"{stage} is not trained yet. `s1sweep status` says why.")
    own = {cell.key: cell for some in found.values() for cell in some if cell.stages.get("train") == stage}
    where = [name for name, some in found.items() if any(cell.stages.get("train") == stage for cell in some)]
    return Checkpoint(store, stage, record, tuple(own.values()), tuple(where))


def files(checkpoint: Checkpoint) -> dict[str, Path]:
    """What is published, by name: weights as safetensors, configuration and tokenizer, and nothing of the training."""
    folder = checkpoint.store.outputs(checkpoint.stage) / FOLDER
    found = {p.name: p for pattern in PATTERNS["model"] for p in sorted(folder.glob(pattern)) if p.is_file()}
    if not any(name.endswith(".safetensors") for name in found):
        raise UserError(f"{folder} holds no weights (*.safetensors): removed, or the store was copied in part.")
    return {name: path for name, path in sorted(found.items()) if name != "trainer_state.json"}


def write(checkpoint: Checkpoint) -> str:
    """The card, Markdown with front matter."""
    import jinja2

    spec = checkpoint.cells[0].spec
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    done = [cell for cell in checkpoint.cells if cell.missing is None]
    model, pool = spec["model"], spec["pool"]
    return environment.get_template("modelcard.md.jinja").render(
        name=checkpoint.stage,
        base=model["source"],
        base_hub=_hub(model),
        revision=model["revision"],
        packaged_base=model["source"] == "testbed",
        pool=pool,
        synthetic=pool.get("hub") is None and pool.get("path") is None,
        data=spec["data"],
        subset=_subset(checkpoint),
        recipe=_recipe(spec["train"]),
        trained=checkpoint.record.summary,
        delimiters=model["delimiters"],
        headings=[column.heading for column in columns(done)] if done else [],
        rows=list(zip(zip(*(column.values for column in columns(done)), strict=True), done, strict=True)),
        open=len(checkpoint.cells) - len(done),
        sweeps=checkpoint.sweeps,
        stages={kind: stage for kind, stage in checkpoint.cells[0].stages.items() if kind not in ("decode", "grade")},
        code=checkpoint.record.provenance.code,
        environment=checkpoint.record.provenance.environment,
        version=__version__,
    )


def _hub(model: Mapping[str, Any]) -> str | None:
    """The base's name on the hub; None for what lies in a folder."""
    source = model["source"]
    return source if source.count("/") == 1 and source[0] not in "./~" and not Path(source).is_dir() else None


def _subset(checkpoint: Checkpoint) -> dict[str, Any]:
    """The data card of what it was trained on; empty where the stage is gone."""
    stage = checkpoint.record.inputs.get("data")
    if stage is None or record_of(checkpoint.store, stage) is None:
        return {}
    path = checkpoint.store.outputs(stage) / CARD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _recipe(train: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted field -> value, of what is set."""
    found: dict[str, Any] = {}
    for name, value in train.items():
        if isinstance(value, dict):
            found |= _recipe(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found
