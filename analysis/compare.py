"""Two sweeps side by side: cells that stand for each other, how their accuracy differs, and what else does.

Reads records and results; knows no way to show them but a terminal and JSON. Needs numpy for intervals.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from s1sweep.errors import UserError
from s1sweep.spec import CellSpec, Excluded
from s1sweep.spec.base import Spec
from s1sweep.store import Store, Sweep, same_result
from s1sweep.store.records import differences

from . import results, stats
from .labels import columns, shown
from .results import CellResult, record_of
from .tables import percent

MOST = 20  # cells of one sweep alone that a terminal lists
SUMMARIES = ("accuracy", "answers", "mean_thinking_tokens", "rows", "final_loss")  # what a reader knows a result by


@dataclass(frozen=True)
class Pair:
    """A cell of A and the one of B that stands for it. `label`: heading -> value of what tells pairs apart.

    `difference` is accuracy of B minus A, a share, with its paired 95 % interval over questions; `gained` and `lost`
    count questions that B does better or worse; `p` is McNemar's exact test where every question has one answer.
    `why` says what is in the way of a difference.
    """

    label: dict[str, str]
    a: str
    b: str
    accuracy_a: float | None
    accuracy_b: float | None
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    gained: int | None = None
    lost: int | None = None
    p: float | None = None
    why: str | None = None


@dataclass(frozen=True)
class Differing:
    """A field on which the sweeps differ: the values in A and in B, as text, and of how many pairs (None: of all)."""

    field: str
    a: str
    b: str
    pairs: int | None = None


@dataclass(frozen=True)
class Comparison:
    """`changed`: stages that have a record in both stores, with other results, and how these differ."""

    a: str
    b: str
    pairs: tuple[Pair, ...]
    only_a: tuple[dict[str, str], ...]
    only_b: tuple[dict[str, str], ...]
    config: tuple[Differing, ...]
    made: tuple[Differing, ...]
    changed: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def compare(a: Sweep, b: Sweep) -> Comparison:
    """Match the cells of two sweeps and compare them. Raises UserError if a sweep has no cells.

    Fields of the config that vary within either sweep tell its cells apart, so cells match that agree on all of them;
    what is one value throughout A and another throughout B is a difference of config. Where a sweep has a config
    twice, its last cell with a number counts.
    """
    ours, theirs = results.cells(a), results.cells(b)
    for sweep, cells in ((a, ours), (b, theirs)):
        if not cells:
            raise UserError(f"Sweep {sweep.name!r} under {sweep.store.url} has no cells to compare.")
    flat = {id(cell): dict(_flat(cell.spec)) for cell in (*ours, *theirs)}
    names = _telling([flat[id(cell)] for cell in ours]) | _telling([flat[id(cell)] for cell in theirs])
    notes = []
    keyed: list[dict[str, CellResult]] = []
    for sweep, cells in ((a, ours), (b, theirs)):
        by: dict[str, CellResult] = {}
        for cell in cells:
            key = json.dumps({name: flat[id(cell)].get(name) for name in sorted(names)})
            if key not in by or cell.missing is None or by[key].missing is not None:
                by[key] = cell
        if len(by) < len(cells):
            notes.append(f"{sweep.name}: {len(cells) - len(by)} cells repeat the config of another; the last counts.")
        keyed.append(by)
    left, right = keyed
    both = [key for key in left if key in right]
    alone = [[cell for key, cell in by.items() if key not in right or key not in left] for by in keyed]
    labels = _labels(ours, theirs)
    matched = [left[key] for key in both], [right[key] for key in both]
    if both:
        notes.append("Exploratory: claims are about cells of one sweep, so none declares these differences.")
    one, other = (a.name, b.name) if a.name != b.name else tuple(f"{s.name} in {s.store.url}" for s in (a, b))
    return Comparison(
        a=one,
        b=other,
        pairs=tuple(_pair(labels[id(x)], x, y) for x, y in zip(*matched, strict=True)),
        only_a=tuple(labels[id(cell)] for cell in alone[0]),
        only_b=tuple(labels[id(cell)] for cell in alone[1]),
        config=tuple(_config([(flat[id(x)], flat[id(y)]) for x, y in zip(*matched, strict=True)])),
        made=tuple(_made((a.store, matched[0] or ours), (b.store, matched[1] or theirs))),
        changed=tuple(_changed(a.store, ours, b.store, theirs)),
        notes=tuple(notes),
    )


# --- cells


def _flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, one in value.items():
        if isinstance(one, dict) and one:
            yield from _flat(one, f"{path}{key}.")
        else:
            yield path + key, one


def _places(spec: type[Spec] = CellSpec, path: str = "") -> Iterator[str]:
    """Fields that say where something is, not what: two stores may have it in two places."""
    for name, field in spec.model_fields.items():
        if any(isinstance(mark, Excluded) for mark in field.metadata) and name != "name":
            yield path + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Spec):
            yield from _places(field.annotation, f"{path}{name}.")


def _telling(specs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Fields on which a sweep's own cells differ."""
    values: dict[str, set[str]] = defaultdict(set)
    for name in {name for spec in specs for name in spec}:
        values[name] = {json.dumps(spec.get(name)) for spec in specs}
    return {name for name, found in values.items() if len(found) > 1} - set(_places())


def _labels(ours: Sequence[CellResult], theirs: Sequence[CellResult]) -> dict[int, dict[str, str]]:
    """What tells each sweep's own cells apart, as in the table of results; by the cell's `id`."""
    telling = {column.heading for cells in (ours, theirs) for column in columns(cells)}
    together = [*ours, *theirs]
    named = [column for column in columns(together) if column.heading in telling]
    return {id(cell): {column.heading: column.values[i] for column in named} for i, cell in enumerate(together)}


def _pair(label: dict[str, str], a: CellResult, b: CellResult) -> Pair:
    pair: dict[str, Any] = {"label": label, "a": a.key, "b": b.key}
    pair |= {"accuracy_a": a.accuracy, "accuracy_b": b.accuracy}
    missing = [f"{side}: {cell.missing}" for side, cell in (("A", a), ("B", b)) if cell.missing is not None]
    if missing:
        return Pair(**pair, why="; ".join(missing))
    ours, theirs = results.scores(a), results.scores(b)
    if ours.keys() != theirs.keys():
        shared = len(ours.keys() & theirs.keys())
        return Pair(**pair, why=f"other questions: {len(ours)} in A, {len(theirs)} in B, {shared} in both")
    before, after = list(ours.values()), [theirs[question] for question in ours]
    low, high = stats.paired_bootstrap(after, before)
    test = getattr(stats, "mcnemar_exact", None)
    single = a.n == a.readouts and b.n == b.readouts and {*before, *after} <= {0.0, 1.0}
    return Pair(
        **pair,
        n=len(before),
        difference=(sum(after) - sum(before)) / len(before),
        low=low,
        high=high,
        gained=sum(y > x for x, y in zip(before, after, strict=True)),
        lost=sum(y < x for x, y in zip(before, after, strict=True)),
        p=test(after, before) if test and single else None,
    )


# --- what else differs


def _config(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[Differing]:
    """Fields of the spec that differ between cells that stand for each other."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a, b in pairs:
        for name in {*a, *b}:
            if (name in a) != (name in b) or a[name] != b[name]:
                found[name].append(tuple(_said(x[name]) if name in x else "(no such field)" for x in (a, b)))  # type: ignore[arg-type]
    for name, values in sorted(found.items()):
        sides = [", ".join(dict.fromkeys(value[side] for value in values)) for side in (0, 1)]
        yield Differing(name, sides[0], sides[1], None if len(values) == len(pairs) else len(values))


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | list | dict | bool) else shown(value)


def _made(*sides: tuple[Store, Sequence[CellResult]]) -> Iterator[Differing]:
    """What made the records: code, libraries, engine, versions of components, contents of tasks, pools and models."""
    found = [_fingerprint(store, cells) for store, cells in sides]
    for name in sorted({*found[0], *found[1]}):
        a, b = (", ".join(sorted(side.get(name, ()))) or "–" for side in found)
        if a != b:
            yield Differing(name, a, b)


def _fingerprint(store: Store, cells: Sequence[CellResult]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    seen: set[str] = set()
    for cell in cells:
        for stage in cell.stages.values():
            if stage in seen or (record := record_of(store, stage)) is None:
                continue
            seen.add(stage)
            made = record.provenance
            for name, value in made.code.items():
                found[f"code {name}"].add(value[:12])
            for name, value in made.environment.items():
                if name != "executable":
                    found[f"library {name}"].add(value)
            for name, value in _flat(made.cost.get("engine") or {}):
                found[f"engine {name}"].add(_said(value))
            for name, version in record.versions.items():
                grader = f"grader {cell.spec['task'].get('grader')}" if name == "grader" else name
                found[f"version of {grader}"].add(str(version))
            for name, value in record.hashed.get("content", {}).items():
                which = cell.spec.get(name, {}).get("name", "") if isinstance(cell.spec.get(name), dict) else ""
                found[f"content of {name} {which}".rstrip()].add(str(value)[:12])
    return found


def _changed(a: Store, ours: Sequence[CellResult], b: Store, theirs: Sequence[CellResult]) -> Iterator[dict[str, Any]]:
    """Stages of one id whose two records differ in result: the same work came out otherwise."""
    if a.root == b.root:
        return
    shared = {stage for cell in ours for stage in cell.stages.values()}
    for stage in dict.fromkeys(stage for cell in theirs for stage in cell.stages.values()):
        if stage in shared and (one := record_of(a, stage)) and (other := record_of(b, stage)):
            if same_result(one, other):
                continue
            found = {name: (x, y) for name, x, y in differences(one, other)}
            summary = {name: found[f"summary.{name}"] for name in SUMMARIES if f"summary.{name}" in found}
            files = sorted({name[8:].rpartition(".")[0] for name in found if name.startswith("outputs.")})
            yield {"stage": stage, "files": files, "summary": summary}


# --- terminal


def show(found: Comparison, console: Console | None = None) -> None:
    """Print a comparison; accuracies in percent, differences in points."""
    console = console or Console(highlight=False)
    console.print(f"A: {found.a}\nB: {found.b}", style="bold", markup=False)
    if found.pairs:
        console.print(_pairs(found.pairs))
        for line in _notes(found):
            console.print(line, style="dim", markup=False)
    else:
        console.print("No cell of A stands for one of B: they agree on no combination of what varies in them.")
    for title, several, empty in (
        ("Config of cells that stand for each other", found.config, "The configs of matched cells are the same."),
        ("What made them", found.made, "Code, libraries, engine, versions and contents are the same."),
    ):
        console.print()
        console.print(f"{title}:" if several else empty, style="bold" if several else None, markup=False)
        if several:
            console.print(_fields(several))
    for change in found.changed:
        console.print()
        said = "; ".join(f"{name} {shown(x)} in A, {shown(y)} in B" for name, (x, y) in change["summary"].items())
        files = ", ".join(change["files"]) or "no file"
        console.print(
            f"WARNING {change['stage']} is the same work with other results: {files} differ. {said}", markup=False
        )
    for side, alone in (("A", found.only_a), ("B", found.only_b)):
        if alone:
            console.print(f"\nOnly in {side}: {len(alone)} cells", markup=False)
            for label in alone[:MOST]:
                console.print("  " + ", ".join(f"{k} {v}" for k, v in label.items()), style="dim", markup=False)
            if len(alone) > MOST:
                console.print(f"  and {len(alone) - MOST} more: --json has them", style="dim")


def _pairs(pairs: Sequence[Pair]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in pairs[0].label:
        table.add_column(heading, overflow="fold")
    tested = any(pair.p is not None for pair in pairs)
    for heading in ("A %", "B %", "B − A, points", "n", "better", "worse", *(("p",) if tested else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs:
        if pair.difference is None or pair.low is None or pair.high is None:
            rest = ["–", "–", "–", "–"]
        else:
            said = f"{100 * pair.difference:+.1f} [{100 * pair.low:+.1f}, {100 * pair.high:+.1f}]"
            rest = [said, str(pair.n), str(pair.gained), str(pair.lost)]
        rest += ["–" if pair.p is None else f"{pair.p:.3f}"] if tested else []
        sure = pair.low is not None and pair.high is not None and not pair.low <= 0 <= pair.high
        numbers = [percent(pair.accuracy_a), percent(pair.accuracy_b), *rest]
        table.add_row(*pair.label.values(), *numbers, style="bold" if sure else None)
    return table


def _notes(found: Comparison) -> list[str]:
    done = [pair for pair in found.pairs if pair.low is not None and pair.high is not None]
    lines = [f"{len(found.pairs)} cells matched; {len(found.only_a)} only in A, {len(found.only_b)} only in B."]
    if done:
        apart = sum(not (pair.low or 0) <= 0 <= (pair.high or 0) for pair in done)
        lines.append(
            f"95 % intervals: paired bootstrap over questions. {apart} of {len(done)} leave out 0 (bold); about "
            f"{0.05 * len(done):.1g} would if nothing differed. better, worse: questions that B does better or worse."
        )
    reasons: dict[str, int] = defaultdict(int)
    for pair in found.pairs:
        if pair.why:
            reasons[pair.why] += 1
    return [*lines, *(f"{count} not compared: {why}" for why, count in reasons.items()), *found.notes]


def _fields(several: Sequence[Differing]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("differs", "A", "B"):
        table.add_column(heading, overflow="fold")
    for one in several:
        of = f" ({one.pairs} pairs)" if one.pairs else ""
        table.add_row(one.field + of, one.a, one.b)
    return table
