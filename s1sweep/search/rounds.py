"""A search over a grid: rounds of more questions for the arms of which too little is known, within a token budget.

Each round's cells are cells of the sweep like any others; what they scored and cost is read from their records, and so
are decisions: the same records give the same search, whoever made them. Knows neither Hydra nor the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s1sweep.analysis import costs, grades, searched
from s1sweep.compose import CellReturn
from s1sweep.errors import UserError
from s1sweep.estimating.estimate import estimate
from s1sweep.planning import Cell, Plan, pins
from s1sweep.search.policy import Options, SearchArm, judge, next_round, statements
from s1sweep.sources.tasks import questions, questions_digest
from s1sweep.spec import CellConfig
from s1sweep.store import Store, Sweep


@dataclass(frozen=True)
class Round:
    """Places `start` to before `end` of the random order were asked of `arms`, at `tokens` distinct decoded tokens."""

    start: int
    end: int
    arms: tuple[str, ...]
    tokens: int


@dataclass(frozen=True)
class SearchOutcome:
    """A search as it ended; one that was only planned has no rounds. `answer_tokens` are of each arm alone."""

    options: Options
    arms: tuple[SearchArm, ...]
    rounds: tuple[Round, ...] = ()
    answer_tokens: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.rounds)

    def as_json(self) -> dict[str, Any]:
        """What is kept in the sweep's folder; shares in [0, 1]."""
        arms = [
            {"arm": arm.name, "questions": len(arm.scores), "population": arm.population, "accuracy": arm.mean}
            | {"low": arm.low, "high": arm.high, "answer_tokens": tokens, "why": arm.why}
            for arm, tokens in zip(self.arms, self.answer_tokens, strict=True)
        ]
        said = {"statements": statements(self.arms, self.options), "decoded_tokens": self.tokens}
        return {"options": asdict(self.options), **said, "arms": arms, "rounds": [asdict(one) for one in self.rounds]}

    def keep(self, sweep: Sweep) -> dict[str, Any]:
        """Write the outcome into the sweep's folder, and give it as it is written."""
        found = self.as_json()
        searched.write(sweep, found)
        return found


def search(
    batch: Sequence[Sequence[str]],
    compose: Callable[[Sequence[str]], CellConfig],
    run: Callable[[Sequence[CellConfig]], Sequence[CellReturn]],
    options: Options,
) -> SearchOutcome:
    """Ask the cells of a grid, given by their overrides, round by round. Only the first round is planned where `run`
    only plans. Raises UserError on what cannot be searched, or has no room for one round.
    """
    configs = [compose(overrides) for overrides in batch]
    arms = [SearchArm(name, "", 0) for name in _names(batch)]
    for config in configs:
        _refuse(config)
    store = Store(configs[0].placement.root)
    tokens = [0] * len(arms)
    rounds: list[Round] = []
    asked, last = 0, None
    while live := [i for i, arm in enumerate(arms) if arm.why is None]:
        most = max(arms[i].population for i in live) if rounds else options.first
        count = next_round(asked, most, options, last, sum(one.tokens for one in rounds))
        if not count:
            for i in live:
                arms[i].why = "token budget"
            break
        part = [f"task.draw=[{asked},{asked + count}]", *([f"task.draw_seed={options.seed}"] if options.seed else [])]
        drawn = [compose([*batch[i], *part]) for i in live]
        if not rounds and options.token_budget is not None:
            _refuse_first(drawn, store, options)
        found = run(drawn)
        cells = [one.cell for one in found if one.cell is not None]
        if all(one.objective is None and one.error is None for one in found):
            return SearchOutcome(options, tuple(arms), (), tuple(tokens))
        for i, one in zip(live, found, strict=True):
            if one.error is not None or one.cell is None:
                arms[i].why = f"failed: {one.error}"
                continue
            tokens[i] += _read(arms[i], one.cell, store)
        judge(arms, options)
        spent = costs.decoded_by(store, {cell.stages["decode"] for cell in cells})
        rounds.append(Round(asked, asked + count, tuple(arms[i].name for i in live), spent))
        asked, last = asked + count, (count, spent)
    return SearchOutcome(options, tuple(arms), tuple(rounds), tuple(tokens))


def _read(arm: SearchArm, cell: Cell, store: Store) -> int:
    """Add the scores of a round's cell to its arm; how many tokens its answers took, as if alone."""
    stage = cell.stages["grade"]
    record = store.record(stage)
    assert record is not None, "a cell with an objective has its record"
    summary = record.summary
    tallies = grades.tallies(grades.located(store, stage, record), summary["answers"])
    if not arm.population:
        whole = questions(cell.spec.task.model_copy(update={"draw": None, "draw_seed": 0}))
        arm.population, arm.group = len(whole), questions_digest(whole)
    for question in questions(cell.spec.task):
        credit, answers = tallies[question.id]
        arm.scores.append(credit / answers)
    return round(summary["answers"] * summary["mean_total_tokens"])


def _names(batch: Sequence[Sequence[str]]) -> list[str]:
    """Each cell by the overrides that not all have."""
    common = set.intersection(*(set(overrides) for overrides in batch))
    names = [" ".join(text for text in overrides if text not in common) for overrides in batch]
    return [name or " ".join(overrides) or "the cell" for name, overrides in zip(names, batch, strict=True)]


def _refuse(config: CellConfig) -> None:
    """Raise UserError where a search would not mean what it says."""
    by = "hydra/sweeper=sequential"
    if config.objective != "accuracy":
        raise UserError(f"objective={config.objective} is not for {by}, which judges accuracy. Leave it out.")
    if config.claims:
        raise UserError(
            f"claims are tested on questions fixed beforehand, and {by} stops at what it sees. "
            "Give claims=[], or run the grid without it."
        )
    if (draw := config.cell.task.draw) is not None or config.cell.task.draw_seed:
        raise UserError(f"task.draw={draw} is set by {by}. Leave it out; hydra.sweeper.seed gives another order.")
    if getattr(config.cell.method, "max_thinking_tokens", None) == "auto_harness":
        raise UserError(
            "method.max_thinking_tokens=auto_harness depends on the longest prompt of the questions asked, which "
            f"{by} chooses. Give a number."
        )


def _refuse_first(configs: Sequence[CellConfig], store: Store, options: Options) -> None:
    plan, known = Plan(), pins.read(store)
    cells = [plan.add(pins.pinned(config.cell, known, plan.once), {}) for config in configs]
    stages = {cell.stages["decode"]: plan.stages[cell.stages["decode"]] for cell in cells}
    tokens = estimate(plan, stages, configs[0].placement).decode_tokens
    if options.token_budget is not None and tokens > options.token_budget:
        raise UserError(
            f"hydra.sweeper.token_budget={options.token_budget:,.0f} has no room for the first round: {len(cells)} "
            f"cells of {options.first} questions take about {tokens:,} tokens. Raise it, or lower hydra.sweeper.first."
        )
