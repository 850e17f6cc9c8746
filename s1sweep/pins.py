"""Which hub names a cell uses, and the commits that stand for them: `<root>/pins.json`, which `prefetch` writes.

A name without a commit means something else tomorrow. It may be planned; it is never run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from s1sweep.errors import UserError
from s1sweep.hub import Kind
from s1sweep.sources import model_path
from s1sweep.spec import CellSpec, SftSpec, Spec

FILE = "pins.json"
Pins = Mapping[str, Mapping[str, str]]  # kind -> hub id -> commit


@dataclass(frozen=True)
class Use:
    """A hub repository that a cell reads, and the group of the cell that names it."""

    group: str
    kind: Kind
    name: str
    revision: str | None

    def __str__(self) -> str:
        return f"{self.group}.revision=null for the {self.kind} {self.name!r}"


def uses(cell: CellSpec) -> list[Use]:
    """The hub repositories that a cell reads: of the groups that make a difference to it."""
    found = [_use("model", cell.model, "model"), _use("task", cell.task, "dataset")]
    if isinstance(cell.train, SftSpec):
        found.append(_use("pool", cell.pool, "dataset"))
    if cell.method.kind == "rebase" or cell.parallel.scored:
        found.append(_use("scorer", cell.scorer, "model"))
    return [use for use in found if use is not None]


def _use(group: str, spec: Spec, kind: Kind) -> Use | None:
    if kind == "model":
        source = model_path(spec)  # type: ignore[arg-type]
        name = None if Path(source).is_dir() else source
    else:
        name = getattr(spec, "hub", None)
    return Use(group, kind, name, getattr(spec, "revision", None)) if name else None


def unpinned(cell: CellSpec) -> list[Use]:
    """What a cell reads from the hub at no fixed commit."""
    return [use for use in uses(cell) if use.revision is None]


def pinned(cell: CellSpec, pins: Pins) -> CellSpec:
    """The cell with missing revisions taken from the pins. A revision that is given stands."""
    groups: dict[str, Spec] = {}
    for use in unpinned(cell):
        commit = pins.get(use.kind, {}).get(use.name)
        if commit is not None:
            groups[use.group] = getattr(cell, use.group).model_copy(update={"revision": commit})
    return cell.model_copy(update=groups) if groups else cell


def refuse_unpinned(cells: Iterable[CellSpec]) -> None:
    """Raise UserError naming every hub repository that the cells read at no fixed commit."""
    open_ = list(dict.fromkeys(use for cell in cells for use in unpinned(cell)))
    if open_:
        groups = dict.fromkeys(use.group for use in open_)
        raise UserError(
            f"Not pinned, so results would change when it does: {'; '.join(map(str, open_))}. "
            f"Run `s1sweep prefetch` with the same overrides, which pins and fetches, or give "
            f"{', '.join(f'{group}.revision=<commit>' for group in groups)}."
        )


def read(root: Path) -> Pins:
    """The pins of a store; none if it has none. Raises UserError if the file is damaged."""
    path = root / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {kind: {str(k): str(v) for k, v in found.get(kind, {}).items()} for kind in ("model", "dataset")}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Mend it, or remove it and run `s1sweep prefetch`."
        ) from error


def add(root: Path, kind: Kind, name: str, commit: str) -> None:
    """Write one pin; the file is whole at any moment. A pin that is there is replaced."""
    pins = {k: dict(v) for k, v in read(root).items()}
    pins.setdefault(kind, {})[name] = commit
    root.mkdir(parents=True, exist_ok=True)
    new = root / f"{FILE}.{os.getpid()}"
    new.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new.replace(root / FILE)
