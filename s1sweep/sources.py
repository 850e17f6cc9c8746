"""Where the files named by specs are, and the digests that stand for them in identities.

Knows pools, tasks and models as files; not what is done with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s1sweep import testbed
from s1sweep.data.pool import ROWS
from s1sweep.data.raw import read_hub, read_lines, read_raw
from s1sweep.data.rules import rule_of
from s1sweep.errors import UserError, invalid
from s1sweep.grading.graders import gold
from s1sweep.identity import digest, file_sha256, tree_sha256
from s1sweep.spec import (
    CellSpec,
    DecontaminateSpec,
    LengthSpec,
    ModelSpec,
    NoTraining,
    PoolSpec,
    RowsSpec,
    ScorerSpec,
    TaskSpec,
)
from s1sweep.spec.data import asks

TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model")
WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


class Question(BaseModel):
    """One held-out question. `answer` is the gold answer, a letter where there are `choices`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    choices: tuple[str, ...] = ()
    domain: str | None = None


def pool_file(pool: PoolSpec) -> Path:
    return testbed.POOL if pool.path is None else _existing(pool.path, "pool.path")


def pool_digest(pool: PoolSpec) -> str:
    """What stands for a pool's source: its sha256, or the hub's name of it."""
    if pool.hub is not None:
        return _hub_content(pool.hub, pool.revision, pool.subset, pool.split)
    return file_sha256(pool_file(pool))


def _hub_content(hub: str, revision: str | None, subset: str | None, split: str | None) -> str:
    return f"{hub}@{revision or UNPINNED}/{subset}/{split}"


UNPINNED = "unpinned"
_HUB = re.compile(r"hub:([^/:@]+/[^/:@]+)(?:/([^:@]+))?:([^:@]+)(?:@(.+))?")
_QUESTION = ("question", "problem")  # columns of held-out questions, whatever their case


def held_out(name: str) -> Iterator[str]:
    """The question texts of one of `curation.decontaminate.against`. Raises UserError if it cannot be read."""
    field = "curation.decontaminate.against"
    hub = _hub_name(name)
    raws = read_hub(*hub, field) if hub else read_raw(_held_out_file(name), field)
    for number, raw in raws:
        columns = {key.lower(): value for key, value in raw.items()} if isinstance(raw, dict) else {}
        text = next((columns[key] for key in _QUESTION if isinstance(columns.get(key), str)), None)
        if text is None:
            raise UserError(f"{field}={name!r}: row {number} has no text under {' or '.join(_QUESTION)}.")
        yield text


def held_out_digest(spec: DecontaminateSpec) -> str:
    """What stands for all that a pool is held against; how often and in what order it is named does not matter."""
    found = set()
    for name in spec.against:
        hub = _hub_name(name)
        found.add(_hub_content(hub[0], hub[3], hub[1], hub[2]) if hub else file_sha256(_held_out_file(name)))
    return digest(sorted(found))


def _hub_name(name: str) -> tuple[str, str | None, str, str | None] | None:
    """Hub id, subset, split and revision; None for what is not on the hub."""
    if not name.startswith("hub:"):
        return None
    found = _HUB.fullmatch(name)
    if found is None:
        raise UserError(
            f"curation.decontaminate.against={name!r} is not valid. Give hub:OWNER/NAME[/SUBSET]:SPLIT@COMMIT."
        )
    hub, subset, split, revision = found.groups()
    return hub, subset, split, revision


def _held_out_file(name: str) -> Path:
    if name in testbed.TASKS:
        return testbed.task_path(name)
    return _existing(name, "curation.decontaminate.against")


def tokenizer_path(spec: LengthSpec) -> str:
    """A local directory, or the hub id."""
    if spec.tokenizer == "testbed":
        return str(testbed.BASE)
    path = Path(spec.tokenizer).expanduser()
    if path.is_dir():
        return str(path.absolute())
    if spec.tokenizer.startswith((".", "/", "~")) or spec.tokenizer.count("/") != 1:
        raise UserError(
            f"curation.length.tokenizer={spec.tokenizer!r} is neither `testbed`, a directory, nor a hub id "
            "like owner/name."
        )
    return spec.tokenizer


def tokenizer_digest(spec: LengthSpec) -> str:
    """What stands for a tokenizer: the sha256 of its files, or the hub's name of it."""
    path = Path(tokenizer_path(spec))
    return tree_sha256(path, TOKENIZER) if path.is_dir() else f"{spec.tokenizer}@{spec.revision or UNPINNED}"


def unpinned(cell: CellSpec) -> list[str]:
    """The fields whose hub source could change under a cell's results, each with what to give."""
    if isinstance(cell.train, NoTraining):
        return []
    found = []
    if cell.pool.hub is not None and cell.pool.revision is None:
        found.append(f"pool.hub={cell.pool.hub!r}: give pool.revision=<commit>")
    against = cell.curation.decontaminate.against if cell.curation.decontaminate else ()
    for name in against:
        if (hub := _hub_name(name)) and hub[3] is None:
            found.append(f"curation.decontaminate.against={name!r}: give {name}@<commit>")
    length = cell.curation.length
    if length is not None and length.revision is None and not Path(tokenizer_path(length)).is_dir():
        found.append(f"curation.length.tokenizer={length.tokenizer!r}: give curation.length.revision=<commit>")
    for name in type(cell.curation).model_fields:
        if name == "difficulty" and rule_of(cell.data).draws_from != "difficulty":
            continue  # the rule draws before it
        step = getattr(cell.curation, name)
        for who, ask in asks(step).items() if step is not None else ():
            if ask.model.revision is None and not Path(model_path(ask.model)).is_dir():
                field = f"curation.{name}.{who}.model"
                found.append(f"{field}.source={ask.model.source!r}: give {field}.revision=<commit>")
    return found


def task_file(task: TaskSpec) -> Path:
    if task.path is not None:
        return _existing(task.path, "task.path")
    if task.name not in testbed.TASKS:
        raise invalid("task.name", task.name, testbed.TASKS, "Or give your own questions: task.path=FILE.jsonl.")
    return testbed.task_path(task.name)


def questions(task: TaskSpec) -> list[Question]:
    """The task's questions in file order, cut to `task.limit`. Raises UserError on a malformed row."""
    path = task_file(task)
    rows = list(_questions(path, file_sha256(path)))
    return rows[: task.limit]


def asked(task: TaskSpec | RowsSpec, inputs: Mapping[str, Path]) -> list[Question]:
    """What a stage asks: the task's questions, or those of the `rows` input, where `answer` is empty without a gold
    answer.
    """
    if isinstance(task, TaskSpec):
        return questions(task)
    found = []
    with (inputs["rows"] / ROWS).open("rb") as f:
        for row in map(json.loads, f):
            answer = gold(row["solution"] or "")
            if (task.rows == "untraced" and row["thinking"].strip()) or (task.rows == "gradable" and not answer):
                continue
            found.append(Question.model_construct(id=row["id"], question=row["question"], answer=answer or ""))
    return found


@lru_cache(maxsize=64)
def _questions(path: Path, sha256: str) -> tuple[Question, ...]:
    rows = []
    for number, line in read_lines(path, "task.path"):
        try:
            rows.append(Question.model_validate_json(line))
        except ValidationError as e:
            first = e.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the row"
            raise UserError(f"task.path={str(path)!r}: row {number} is malformed: {field}: {first['msg']}.") from e
    if not rows:
        raise UserError(f"task.path={str(path)!r} holds no questions.")
    return tuple(rows)


def model_path(model: ModelSpec | ScorerSpec) -> str:
    """A local directory, or the hub id. Raises UserError if it is neither."""
    group = _group(model)
    if model.source == "testbed":
        return str(testbed.PRM if isinstance(model, ScorerSpec) else testbed.BASE)
    if Path(model.source).expanduser().is_dir():
        return str(Path(model.source).expanduser().absolute())
    if model.source.startswith((".", "/", "~")) or model.source.count("/") != 1:
        raise UserError(
            f"{group}.source={model.source!r} is neither `testbed`, a directory, nor a hub id like owner/name."
        )
    return model.source


def model_digest(model: ModelSpec | ScorerSpec, pinned: bool = True) -> str:
    """What stands for the base weights: their sha256, or the hub's revision, which must be `pinned` if so wanted."""
    path = Path(model_path(model))
    if path.is_dir():
        return tree_sha256(path, WEIGHTS)
    if model.revision is None and not pinned:
        return f"{model.source}@{UNPINNED}"
    if model.revision is None:
        raise UserError(
            f"{_group(model)}.revision=null is not valid for the hub model {model.source!r}: results would change "
            f"when it does. Give {_group(model)}.revision=<commit>."
        )
    return f"{model.source}@{model.revision}"


def _group(model: ModelSpec | ScorerSpec) -> str:
    return "scorer" if isinstance(model, ScorerSpec) else "model"


def _existing(path: str, field: str) -> Path:
    found = Path(path).expanduser().absolute()
    if not found.is_file():
        raise UserError(f"{field}={path!r} is not a file. Give an existing JSONL file.")
    return found
