"""The command line for Python: `plan`, `run` and `results` do what the commands of these names do, and print nothing.

A thin layer: overrides become cells, a session plans and runs them, results are read. Knows no terminal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from s1sweep.errors import SweepFailed

if TYPE_CHECKING:
    import pandas as pd

    from s1sweep.estimating.estimate import PlanEstimate
    from s1sweep.planning.upgrades import Upgrade
    from s1sweep.search import SearchOutcome
    from s1sweep.session import Session
    from s1sweep.store import Sweep

Rows = Literal["cells", "readouts"]


def default_root() -> str:
    """The store where none is named: $S1SWEEP_ROOT, or `s1sweep-out` here."""
    return os.environ.get("S1SWEEP_ROOT", "s1sweep-out")


@dataclass(frozen=True)
class PlanSummary:
    """What a run would do. `stages` and `reused` count by kind; `remarks` are on memory, truncation and published cost;
    `unpinned` are the hub's repositories, by field, for which `run` will ask for a commit; `upgrades` say what is to be
    done again because a component has another version than in the store.
    """

    cells: int
    stages: dict[str, int]
    reused: dict[str, int]
    engine_sessions: int
    estimate: PlanEstimate
    remarks: list[str]
    unpinned: dict[str, list[str]]
    upgrades: list[Upgrade]

    def as_json(self) -> dict[str, Any]:
        """What `s1sweep plan --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class Finished:
    """A run whose stages are all done. `links` says where its W&B runs are, or how to sync them; `search` is what a
    searching sweeper found, as docs/search.md has it.
    """

    sweep: str
    root: Path
    cells: int
    executed: int
    reused: int
    links: tuple[str, ...]
    search: dict[str, Any] | None = None

    def results(self, rows: Rows | None = "cells") -> pd.DataFrame:
        """The sweep's tidy frame, of cells or of readouts; None gives both."""
        return results(self.sweep, self.root, rows)

    def report(self, out: str | None = None) -> Path:
        """Write the sweep's page, one HTML file; by default into its folder."""
        from s1sweep.analysis import report

        return Path(report.write(sweep_of(self.sweep, self.root), out))


def plan(*overrides: str, **fields: Any) -> PlanSummary:
    """What `run` with the same arguments would do, reuse and cost. Runs and writes nothing.

    `overrides` are Hydra's, as on the command line after `-m`: `plan("experiment=quickstart", "train.seed=0,1")`.
    `fields` are the same by name: a list is an axis, a tuple one list, None null; a dotted name goes in by
    `**{"method.max_thinking_tokens": [64, 128]}`. Raises UserError for what cannot be planned.
    """
    from s1sweep.session import Session

    command = arguments(overrides, fields)
    with Session(command=command, run=False) as session:
        _compose(command, session)
        return summary(session)


def run(*overrides: str, retry_failed: bool = False, force: str | None = None, **fields: Any) -> Finished:
    """Run a grid of cells, as `s1sweep run -m` does; what is finished already is not done again.

    Raises UserError before any work, and SweepFailed, with what failed in `failed`, when all else is done.
    """
    from s1sweep import tracking
    from s1sweep.session import Session

    command = arguments(overrides, fields)
    with Session(command=command, run=True, retry_failed=retry_failed, force=force) as session:
        outcome = _compose(command, session)
        assert session.config is not None
        found = outcome.keep(session.sweep) if is_search(outcome) else None
        links = tuple(tracking.publish(session.sweep, session.config.tracking))
        refuse_failed(session, "run(..., retry_failed=True)")
        return Finished(
            *(session.sweep.name, session.store.root, len(session.plan.cells), session.executed, reused(session)),
            links,
            found,
        )


def results(sweep: str | None = None, root: str | Path | None = None, rows: Rows | None = "cells") -> pd.DataFrame:
    """A sweep's tidy frame (docs/results.md), by default the newest's: a row per cell, per readout, or (None) both."""
    from s1sweep.analysis.results import load

    return load(sweep_of(sweep, root), rows)


def sweep_of(name: str | None, root: str | Path | None) -> Sweep:
    """A sweep by name, by default the newest. Raises UserError if there is none."""
    from s1sweep.store import Store

    return Store(root or default_root()).sweep(name)


def arguments(overrides: Sequence[str], fields: dict[str, Any]) -> list[str]:
    """What to write after `s1sweep run` for the same."""
    from s1sweep.compose import override_text

    given = [*overrides, *(override_text(name, value) for name, value in fields.items())]
    return given if {"-m", "--multirun"} & set(given) else ["-m", *given]


def summary(session: Session) -> PlanSummary:
    """What a session has planned."""
    from s1sweep.planning.upgrades import upgrades

    missing, planned = session.missing(), session.plan
    unpinned: dict[str, list[str]] = {}
    for use in session.unpinned():
        unpinned.setdefault(use.field, []).append(use.name)
    return PlanSummary(
        cells=len(planned.cells),
        stages=planned.counts(planned.stages),
        reused=planned.counts(planned.reused(session.store)),
        engine_sessions=len({s.session for s in missing.values() if s.session}),
        estimate=session.estimate(),
        remarks=session.remarks(),
        unpinned=unpinned,
        upgrades=upgrades(planned, missing, session.store),
    )


def reused(session: Session) -> int:
    """How many of a run's stages were there before."""
    return len(session.plan.stages) - session.executed - len(session.failed) - len(session.blocked)


def refuse_failed(session: Session, again: str) -> None:
    """Raise SweepFailed, naming each failed stage and its log, if any did; `again` is how to take them up."""
    if not session.failed:
        return
    lines = [f"{len(session.failed)} stages failed, {len(session.blocked)} could not run because of them:"]
    for name, outcome in session.failed.items():
        assert outcome.failure is not None
        said = "\n    ".join(str(outcome.failure).splitlines())
        log = session.store.where(outcome.failure.log) if outcome.failure.log else "no log"
        lines += [f"  {name}: {said}", f"    log: {log}"]
    lines.append(f"Everything else is done. When it is mended: {again}")
    raise SweepFailed("\n".join(lines), {name: str(one.failure) for name, one in session.failed.items()})


def is_search(outcome: Any) -> TypeGuard[SearchOutcome]:
    """Whether what a sweeper returned is a search's outcome."""
    from s1sweep.search import SearchOutcome

    return isinstance(outcome, SearchOutcome)


def _compose(command: Sequence[str], session: Session) -> Any:
    from s1sweep.compose import multirun
    from s1sweep.errors import UserError

    outcome = multirun(command, session)
    if session.config is None:
        raise UserError(f"{' '.join(command)} plans no cell: --cfg and --info are for the command line.")
    return outcome
