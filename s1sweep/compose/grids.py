"""The sub-grids of an experiment file as lists of cells: axes, axes that move together, axes that only some cells have,
and cells that are left out.

    zip: [{data: s1k, data.size: 64}, {data: random, data.size: 128}]  # or {data: [s1k, random], data.size: [64, 128]}
    when: {method: {rejection: {method.max_tries: [8, 32]}}}             # axes of the cells with method=rejection
    exclude: [{extrapolation: none, task: [tiny_hard, tiny_dev]}]        # cells with both are left out

Keys and values are text. Knows nothing of configs, nor of how values are written: it is told (`Reader`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from s1sweep.errors import UserError, nearest

Cell = dict[str, str]  # key -> value
Axes = list[list[Cell]]  # of an axis its points; those of zipped axes have several keys
WORDS = ("zip", "when", "exclude")


@dataclass(frozen=True)
class Reader:
    """How values are written: `values` are those that an axis in YAML stands for, `same` is equal for equal values."""

    values: Callable[[str, Any], list[str]]
    same: Callable[[str], str] = str

    def listed(self, key: str, value: Any) -> list[str]:
        """A value or a list of values, each taken as it stands."""
        return self.values(key, list(value) if isinstance(value, list | tuple) else [value])


@dataclass(frozen=True)
class Grid:
    """One sub-grid as read; `when` is by axis and value, `exclude` a list of the values that a cell has to have."""

    name: str
    axes: Axes
    when: Mapping[str, Mapping[str, Mapping[str, list[str]]]]
    exclude: Sequence[Mapping[str, set[str]]]
    reader: Reader

    def cells(self, given: Mapping[str, Sequence[str]]) -> list[Cell]:
        """Every cell in the order of the axes, the last the fastest.

        `given` axes stand in place of those of the same name, in zipped and conditional axes too; the rest of them
        come last.
        """
        if not (self.when or self.exclude):
            return self._all(given)
        return [cell for cell in self._all(given) if not any(self._has(cell, wanted) for wanted in self.exclude)]

    def _all(self, given: Mapping[str, Sequence[str]]) -> list[Cell]:
        conditional = {key for cases in self.when.values() for axes in cases.values() for key in axes}
        axes = _replaced(self.axes, given, conditional)
        cells = [{key: value for point in points for key, value in point.items()} for points in product(*axes)]
        for axis, cases in self.when.items():
            cells = [more for cell in cells for more in self._conditional(cell, axis, cases, given)]
        return cells

    def _conditional(
        self, cell: Cell, axis: str, cases: Mapping[str, Mapping[str, list[str]]], given: Mapping[str, Sequence[str]]
    ) -> Iterator[Cell]:
        axes = cases.get(self.reader.same(cell[axis]), {}) if axis in cell else {}
        for values in product(*(given.get(key, values) for key, values in axes.items())):
            yield cell | dict(zip(axes, values, strict=True))

    def _has(self, cell: Cell, wanted: Mapping[str, set[str]]) -> bool:
        return all(key in cell and self.reader.same(cell[key]) in values for key, values in wanted.items())

    def check(self) -> None:
        """Raise UserError naming an exclusion or a condition that speaks of no cell of the grid as it is written."""
        if not (self.when or self.exclude):
            return
        cells = self._all({})
        found: dict[str, dict[str, str]] = {}  # key -> value that compares -> as written
        for cell in cells:
            for key, value in cell.items():
                found.setdefault(key, {})[self.reader.same(value)] = value
        for axis, cases in self.when.items():
            for value in cases:
                _known(f"grids.{self.name}.when", found, axis, value)
        for i, wanted in enumerate(self.exclude):
            where = f"grids.{self.name}.exclude[{i}]"
            for key, values in wanted.items():
                for value in values:
                    _known(where, found, key, value)
            if not any(self._has(cell, wanted) for cell in cells):
                said = ", ".join(f"{key}={' or '.join(sorted(values))}" for key, values in wanted.items())
                raise UserError(f"{where}: no cell of the grid has {said} together. Remove it, or mend a value.")


def read(name: str, axes: Any, reader: Reader) -> Grid:
    """A sub-grid from an experiment file. Raises UserError, naming the entry, if it is not one."""
    where = f"grids.{name}"
    found: Axes = []
    for key, value in _mapping(where, axes).items():
        if key == "zip":
            found.append(_zipped(f"{where}.zip", value, reader))
        elif key not in WORDS:
            found.append([{key: text} for text in reader.values(key, value)])
    names = [key for points in found for key in points[0]]
    if twice := sorted({key for key in names if names.count(key) > 1}):
        raise UserError(f"{where}.zip: {twice[0]} is an axis of {where} too. Give it in one of the two.")
    when = {
        axis: {
            reader.same(reader.listed(axis, value)[0]): {
                key: reader.values(key, values)
                for key, values in _mapping(f"{where}.when.{axis}.{value}", conditional).items()
            }
            for value, conditional in _mapping(f"{where}.when.{axis}", cases, text=False).items()
        }
        for axis, cases in _mapping(f"{where}.when", axes.get("when") or {}).items()
    }
    exclude = [
        {key: set(map(reader.same, reader.listed(key, v))) for key, v in _mapping(f"{where}.exclude[{i}]", one).items()}
        for i, one in enumerate(_list(f"{where}.exclude", axes.get("exclude") or []))
    ]
    if {} in exclude:
        raise UserError(f"{where}.exclude[{exclude.index({})}] is empty and would leave out every cell. Remove it.")
    grid = Grid(name, found, when, exclude, reader)
    grid.check()
    return grid


def _zipped(where: str, value: Any, reader: Reader) -> list[Cell]:
    """The points of axes that move together, given point by point or as lists of equal length."""
    if isinstance(value, Mapping):
        columns = {str(key): reader.values(str(key), values) for key, values in value.items()}
        lengths = {key: len(values) for key, values in columns.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise UserError(f"{where}: lists that move together are equally long, and {said} values.")
        points = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    else:
        rows = [_mapping(f"{where}[{i}]", row) for i, row in enumerate(_list(where, value))]
        for i, row in enumerate(rows):
            if different := sorted(set(row) ^ set(rows[0])):
                raise UserError(f"{where}[{i}]: every point names the same axes, and {different[0]} is not in all.")
        points = [{key: reader.values(key, [value])[0] for key, value in row.items()} for row in rows]
    if not points or not points[0]:
        raise UserError(f"{where} holds no points. Give a list of them, say [{{data: s1k, data.size: 64}}].")
    return points


def _replaced(axes: Axes, given: Mapping[str, Sequence[str]], conditional: set[str]) -> Axes:
    """The axes with given ones in place of theirs; others follow, but for those that only some cells have."""
    found: Axes = []
    placed: set[str] = set()
    for points in axes:
        replaced = [key for key in points[0] if key in given]
        if replaced:
            rest = [{key: value for key, value in point.items() if key not in given} for point in points]
            points = [dict(items) for items in dict.fromkeys(tuple(point.items()) for point in rest)]
        if points != [{}]:
            found.append(points)
        found += [[{key: value} for value in given[key]] for key in replaced]
        placed.update(replaced)
    rest_ = [key for key in given if key not in placed and key not in conditional]
    return found + [[{key: value} for value in given[key]] for key in rest_]


def _known(where: str, found: Mapping[str, Mapping[str, str]], key: str, value: str) -> None:
    if key not in found:
        raise UserError(f"{where}: {key} is no axis of this grid.{nearest(key, found)} Axes: {', '.join(found)}.")
    if value not in found[key]:
        values = found[key].values()
        raise UserError(
            f"{where}: no cell has {key}={value}.{nearest(value, values)} Values of {key}: {', '.join(values)}."
        )


def _mapping(where: str, value: Any, text: bool = True) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}={value!r} is not valid. Give a mapping of keys to values.")
    return {str(key) if text else key: v for key, v in value.items()}


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{where}={value!r} is not valid. Give a list of mappings of keys to values.")
    return value
