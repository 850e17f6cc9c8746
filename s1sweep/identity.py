"""Identity: a readable slug and 12 hex digits of the sha256 of everything that defines a stage's output.

The hashed JSON holds the whole spec (see `spec.Excluded` and `spec.Neutral` for the two exceptions), the ids of the
input stages, the digests of the files read, and the version of each component the spec selects. Anything the encoder
does not know raises; nothing is ever hashed by its `repr`. Placement cannot be hashed at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from s1sweep.spec import Excluded, Neutral, Spec, Where

T = TypeVar("T")
FORMAT = 1  # of the hashed JSON; a new format makes every id new


def encode(value: Any, part: Callable[[Any], Any] | None = None) -> Any:
    """A spec as plain JSON values, without excluded fields and neutral values. Raises TypeError on unknown types.

    `part` encodes the fields of a spec in its place.
    """
    if isinstance(value, Where):
        raise TypeError(f"{type(value).__name__} says where something runs and cannot be part of an identity")
    if isinstance(value, Spec):
        fields = _hashed(type(value))
        found = {name: getattr(value, name) for name, _ in fields}
        kept = [name for name, neutral in fields if not any(n.value == found[name] for n in neutral)]
        return {name: (part or encode)(found[name]) for name in kept}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no identity")
        return value
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if isinstance(value, dict):
        if not all(isinstance(k, str) for k in value):
            raise TypeError("only string keys have an identity")
        return {k: encode(value[k]) for k in sorted(value)}
    raise TypeError(f"{type(value).__name__} has no identity")


class Once:
    """Calls functions of specs once for each object among their arguments: equal parts of cells are one object.

    What they return is shared, and not to be changed. Files are taken not to change meanwhile.
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, Any]] = {}  # by id, with the arguments, so that their ids stay theirs

    def __call__(self, function: Callable[..., T], *given: Any) -> T:
        key = (function, *[id(value) if isinstance(value, Spec) else value for value in given])
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = function(*given), given
        return found[0]


@cache
def _hashed(cls: type[Spec]) -> list[tuple[str, list[Neutral]]]:
    """The fields that are not excluded, each with its neutral value if it has one."""
    return [
        (name, [m for m in field.metadata if isinstance(m, Neutral)])
        for name, field in cls.model_fields.items()
        if not any(isinstance(m, Excluded) for m in field.metadata)
    ]


def hashed_fields(cls: type[Spec], prefix: str = "") -> dict[str, str]:
    """Each field of a spec class -> `hashed`, `excluded` or `neutral`, for the test that holds the list."""
    kinds = {}
    for name, field in cls.model_fields.items():
        marks = [m for m in field.metadata if isinstance(m, Excluded | Neutral)]
        kinds[prefix + name] = "hashed" if not marks else type(marks[0]).__name__.lower()
    return kinds


def payload(
    kind: str,
    spec: Spec,
    inputs: Mapping[str, str],
    content: Mapping[str, str],
    versions: Mapping[str, int],
    part: Callable[[Any], Any] = encode,
) -> dict[str, Any]:
    """The JSON that is hashed, kept in the record, and compared on reuse. `part` encodes the fields of `spec`."""
    return {
        "format": FORMAT,
        "kind": kind,
        "spec": encode(spec, part),
        "inputs": dict(sorted(inputs.items())),
        "content": dict(sorted(content.items())),
        "versions": dict(sorted(versions.items())),
    }


def digest(value: Any) -> str:
    """sha256 of canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def digests_with(hashed: Mapping[str, Any], versions: Iterable[bytes]) -> Iterator[str]:
    """The digests that the JSON of a stage would have with other versions of its components, given as canonical JSON:
    each at little cost, since they are what it ends with.
    """
    begun = hashlib.sha256(canonical({**hashed, "versions": {}}).removesuffix(b"{}}"))
    for each in versions:
        whole = begun.copy()
        whole.update(each + b"}")
        yield whole.hexdigest()


def canonical(value: Any) -> bytes:
    """JSON of which equal values have the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def stage_id(slug: str, hashed: Mapping[str, Any]) -> str:
    """`train-s1k-256-3fa9c1d2e4b5`: kind, readable slug, 12 hex digits."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", slug).strip("-")[:48]
    return f"{hashed['kind']}-{readable}-{digest(hashed)[:12]}"


def kind_of(stage_id: str) -> str:
    """The kind of stage that an id names: the one place that reads it there, for where only the id is at hand."""
    return stage_id.partition("-")[0]


def slug_of(stage_id: str) -> str:
    """The readable part of an id: `s1k-256` of `train-s1k-256-3fa9c1d2e4b5`."""
    return stage_id.partition("-")[2].rpartition("-")[0]


def digest_of(stage_id: str) -> str:
    """The hex digits of an id, the same for equal work of one kind: `3fa9c1d2e4b5` of `train-s1k-256-3fa9c1d2e4b5`."""
    return stage_id.rpartition("-")[2]


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes. Cached by path, size and modification time."""
    stat = path.stat()
    return _file_sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_sha256(path: str, size: int, mtime_ns: int) -> str:
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def tree_sha256(root: Path, patterns: tuple[str, ...]) -> str:
    """sha256 over the names and digests of the files under `root` that match any of the patterns."""
    names = sorted({p.relative_to(root).as_posix() for pattern in patterns for p in root.glob(pattern) if p.is_file()})
    return digest([[name, file_sha256(root / name)] for name in names])
