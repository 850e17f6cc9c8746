"""Which hub names a cell uses, and the commits that stand for them: `<root>/pins.json`, which `prefetch` writes.

A name without a commit means something else tomorrow. It may be planned; it is never run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from s1sweep.data.rules import rule_of
from s1sweep.errors import UserError
from s1sweep.identity import Once
from s1sweep.sources import hub_name, model_path, tokenizer_path
from s1sweep.sources.hub import Kind
from s1sweep.spec import CellSpec, CurationSpec, ModelSpec, NoTraining, PoolSpec, ScorerSpec, TaskSpec
from s1sweep.spec.data import asks
from s1sweep.store import Store

FILE = "pins.json"
Pins = Mapping[str, Mapping[str, str]]  # kind -> hub id -> commit


AGAINST = "curation.decontaminate.against"


@dataclass(frozen=True)
class Use:
    """A hub repository that a cell reads, and the dotted name of the part of the cell that names it."""

    group: str
    kind: Kind
    name: str
    revision: str | None

    def __str__(self) -> str:
        return f"{self.field} of the {self.kind} {self.name!r}"

    @property
    def field(self) -> str:
        """The override that it could be pinned with."""
        return self.remedy.partition("=")[0]

    @property
    def remedy(self) -> str:
        """The override that pins it."""
        return f"{AGAINST}=[...,hub:...@<commit>]" if self.group == AGAINST else f"{self.group}.revision=<commit>"


def uses(cell: CellSpec, once: Once | None = None) -> list[Use]:
    """The hub repositories that a cell reads: of the groups that make a difference to it."""
    once = once or Once()
    found = [once(_model, "model", cell.model), once(_dataset, "task", cell.task)]
    if not isinstance(cell.train, NoTraining):
        # A rule that draws before the difficulty filter has no use for its models.
        hard = once(rule_of, cell.data).draws_from == "difficulty"
        found += [once(_dataset, "pool", cell.pool), *once(_curation, cell.curation, hard)]
    if cell.method.kind == "rebase" or cell.parallel.scored:
        found.append(once(_model, "scorer", cell.scorer))
    return [use for use in found if use is not None]


def _model(group: str, spec: ModelSpec | ScorerSpec) -> Use | None:
    source = model_path(spec, group)
    return None if Path(source).is_dir() else Use(group, "model", source, spec.revision)


def _dataset(group: str, spec: PoolSpec | TaskSpec) -> Use | None:
    return Use(group, "dataset", spec.hub, spec.revision) if spec.hub else None


def _curation(spec: CurationSpec, hard: bool) -> list[Use]:
    return list(_curation_uses(spec if hard else spec.model_copy(update={"difficulty": None})))


def _curation_uses(spec: CurationSpec) -> Iterator[Use]:
    for name in spec.decontaminate.against if spec.decontaminate else ():
        if held := hub_name(name):
            yield Use(AGAINST, "dataset", held[0], held[3])
    if spec.length is not None and not Path(source := tokenizer_path(spec.length)).is_dir():
        yield Use("curation.length", "tokenizer", source, spec.length.revision)
    for name in type(spec).model_fields:
        step = getattr(spec, name)
        for who, ask in asks(step).items() if step is not None else ():
            if use := _model(f"curation.{name}.{who}.model", ask.model):
                yield use


def unpinned(cell: CellSpec, once: Once | None = None) -> list[Use]:
    """What a cell reads from the hub at no fixed commit."""
    return [use for use in uses(cell, once) if use.revision is None]


def unpinned_of(cells: Iterable[CellSpec], once: Once | None = None) -> list[Use]:
    """The same of several cells, each use once."""
    return list(dict.fromkeys(use for cell in cells for use in unpinned(cell, once)))


def pinned(cell: CellSpec, pins: Pins, once: Once | None = None) -> CellSpec:
    """The cell with missing revisions taken from the pins. A revision that is given stands."""
    once = once or Once()
    changed: dict[str, Any] = {}
    for use in unpinned(cell, once):
        commit = pins.get(use.kind, {}).get(use.name)
        if commit is not None:
            group = use.group.split(".")[0]
            changed[group] = once(_pinned, changed.get(group, getattr(cell, group)), use, commit)
    return cell.model_copy(update=changed) if changed else cell


def _pinned(part: Any, use: Use, commit: str) -> Any:
    """One group of a cell with the commit of one use of it."""
    path = use.group.split(".")[1:]
    if use.group == AGAINST:
        return _with(part, path, partial(_held, use, commit))
    return _with(part, [*path, "revision"], partial(_given, commit))


def _with(spec: Any, path: Sequence[str], change: Callable[[Any], Any]) -> Any:
    """The spec with one field, found by its path, changed."""
    inner = getattr(spec, path[0])
    return spec.model_copy(update={path[0]: _with(inner, path[1:], change) if path[1:] else change(inner)})


def _given(commit: str, _: str | None) -> str:
    return commit


def _held(use: Use, commit: str, names: Sequence[str]) -> tuple[str, ...]:
    held = [hub_name(name) for name in names]
    return tuple(
        f"{name}@{commit}" if found and found[0] == use.name and found[3] is None else name
        for name, found in zip(names, held, strict=True)
    )


def refuse_unpinned(cells: Iterable[CellSpec], once: Once | None = None) -> None:
    """Raise UserError naming every hub repository that the cells read at no fixed commit."""
    if open_ := unpinned_of(cells, once):
        remedies = dict.fromkeys(use.remedy for use in open_)
        raise UserError(
            f"Not pinned, so results would change when it does: {'; '.join(map(str, open_))}. "
            f"Run `s1sweep prefetch` with the same overrides, which pins and fetches, or give {', '.join(remedies)}."
        )


def read(store: Store) -> Pins:
    """The pins of a store; none if it has none. Raises UserError if the file is damaged."""
    data = store.files.read(FILE)
    try:
        found = json.loads(data) if data is not None else {}
        return {kind: {str(k): str(v) for k, v in found[kind].items()} for kind in get_args(Kind) if kind in found}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{store.where(FILE)} cannot be read ({error}). Mend it, or remove it and run `s1sweep prefetch`."
        ) from error


def add(store: Store, kind: Kind, name: str, commit: str) -> None:
    """Write one pin; the file is whole at any moment. A pin that is there is replaced."""
    pins = {k: dict(v) for k, v in read(store).items()}
    pins.setdefault(kind, {})[name] = commit
    store.files.replace(FILE, (json.dumps(pins, indent=1, sort_keys=True) + "\n").encode())
