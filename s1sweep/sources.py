"""Where the files named by specs are, and the digests that stand for them in identities.

Knows pools, tasks and models as files; not what is done with them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s1sweep import testbed
from s1sweep.data.pool import Row, read_lines, read_pool
from s1sweep.errors import UserError, invalid
from s1sweep.identity import file_sha256, tree_sha256
from s1sweep.spec import ModelSpec, PoolSpec, ScorerSpec, TaskSpec

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


def pool_rows(pool: PoolSpec) -> list[Row]:
    """The checked rows of a pool; read once per process and file."""
    path = pool_file(pool)
    return _pool_rows(path, file_sha256(path))


@lru_cache(maxsize=4)
def _pool_rows(path: Path, sha256: str) -> list[Row]:
    return list(read_pool(path))


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


def model_digest(model: ModelSpec | ScorerSpec) -> str:
    """What stands for the base weights: their sha256, or the pinned hub revision."""
    path = Path(model_path(model))
    if path.is_dir():
        return tree_sha256(path, WEIGHTS)
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
