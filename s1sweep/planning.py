"""Cells to stages: a DAG in which equal stages are one. Pure but for reading pools, tasks and digests; runs nothing.

Every mistake that can be seen without running is raised here, before any work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from s1sweep.axes import series_key
from s1sweep.checks import check, check_ask
from s1sweep.data import curate, ingest, rules, select, trial
from s1sweep.data.curation import STEPS, domains
from s1sweep.data.pool import Entry
from s1sweep.decoding import decode
from s1sweep.decoding.methods import METHODS
from s1sweep.errors import UserError, invalid
from s1sweep.grading import grade
from s1sweep.grading.graders import GRADERS
from s1sweep.identity import digest, encode, file_sha256, payload, stage_id
from s1sweep.pins import unpinned
from s1sweep.sources import held_out_digest, model_digest, pool_digest, tokenizer_digest
from s1sweep.spec import (
    COMPUTE,
    AttemptsSpec,
    CellSpec,
    CurateStage,
    CurationStep,
    DataSpec,
    DecodeStage,
    DecontaminateSpec,
    DomainsSpec,
    ExtrapolationSpec,
    ForcedSpec,
    GradeStage,
    GrpoSpec,
    GrpoStage,
    LengthSpec,
    MethodSpec,
    ModelSpec,
    ParallelSpec,
    PoolSpec,
    PoolStage,
    RowsSpec,
    SelectStage,
    SftSpec,
    StageSpec,
    TrainingFormat,
    TrainStage,
)
from s1sweep.spec.control import StepConditionalSpec, TokenConditionalSpec
from s1sweep.spec.data import asks
from s1sweep.store import Store
from s1sweep.tasks import task_content
from s1sweep.training import conditional, grpo, sft

KINDS = ("pool", "curate", "select", "train", "decode", "grade")


@dataclass(frozen=True)
class Stage:
    """One unit of work. `session` is the same for the decode stages that one engine session serves."""

    id: str
    kind: str
    spec: StageSpec
    inputs: Mapping[str, str]
    hashed: Mapping[str, Any]
    session: str | None = None


@dataclass(frozen=True)
class Cell:
    """One point of a grid and the stages it needs, by role, inputs first. `axes` is how the user named it."""

    key: str
    axes: Mapping[str, Any]
    spec: CellSpec
    stages: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As kept in a sweep's list of cells."""
        return {
            "key": self.key,
            "axes": dict(self.axes),
            "spec": self.spec.model_dump(mode="json"),
            "stages": dict(self.stages),
            "series": series_key(self.spec, self.stages),
            "notes": list(self.notes),
        }


@dataclass
class Plan:
    """The union of its cells' stages, in an order in which inputs come first.

    `subsets` holds the rows of each `select` stage whose pool is small and local, as they will be chosen; `asked` how
    many rows each decode stage of curation asks about at most, where that is known.
    """

    cells: list[Cell] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)
    subsets: dict[str, list[Entry]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def add(self, cell: CellSpec, axes: Mapping[str, Any]) -> Cell:
        """Add one cell. Raises UserError if it cannot work."""
        check(cell)
        notes = [f"{use}: `run` asks for a commit, or for `s1sweep prefetch` first" for use in unpinned(cell)]
        ids: dict[str, str] = {}
        inputs: dict[str, str] = {}
        if isinstance(cell.train, SftSpec):
            self._select(cell, ids)
            ids["train"] = inputs["checkpoint"] = self._train(cell, cell.train, ids["select"])
        elif isinstance(cell.train, GrpoSpec):
            self._select(cell, ids)
            ids["train"] = inputs["checkpoint"] = self._grpo(cell, cell.train, ids["select"])
        else:
            notes.append("no training: pool and data make no difference")
        ids["decode"] = self._decode(cell, inputs, notes)
        ids["grade"] = self._stage(
            "grade",
            cell.task.name,
            GradeStage(task=cell.task, parallel=parallel_of(cell)),
            {"decode": ids["decode"]},
            {"task": task_content(cell.task)},
            {"grade": grade.VERSION, "grader": GRADERS[cell.task.grader or ""].version},
        )
        planned = Cell(digest([axes, ids])[:16], axes, cell, ids, tuple(notes))
        self.cells.append(planned)
        return planned

    def _select(self, cell: CellSpec, ids: dict[str, str]) -> None:
        """Pool, curation as far as the rule draws from it, subset; raises UserError if it can be seen to be too small.

        What a rule does not use must not make two stages of one.
        """
        rule, data = rules.rule_of(cell.data), select.normal(cell.data)
        steps = curation_before(cell, rule)
        before = ids["pool"] = self._pool(cell.pool)
        left = cell.pool.rows
        for i, step in enumerate(steps):
            said: dict[str, str] = {}
            if asks(step):
                rows = trial.tried(cell.pool, steps[:i], before)
                if left is None or rows is not None:
                    found = rows if rows is not None else trial.tried(cell.pool, [], ids["pool"])
                    left = None if found is None else len(found)
                said = self._ask(step, before, ids)
                traced = sum(row.traced for row in rows or ()) if step.kind == "traces" else 0
                if left is not None:
                    self.asked.update((ids[f"{step.kind}.{who}.decode"], left - traced) for who in said)
            before = ids[step.kind] = self._curate(step, {"rows": before, **said})
        ids["select"] = self._stage(
            "select",
            _data_slug(data),
            SelectStage(data=data),
            {"rows": before},
            {"rule": file_sha256(Path(data.path).expanduser())} if data.path else {},
            {"select": select.VERSION, f"rule.{rule.name}": rule.version, "rules": rules.VERSION},
        )
        if ids["select"] not in self.subsets:
            rows = trial.tried(cell.pool, steps, before)
            if rows is not None:
                self.subsets[ids["select"]] = select.select(rows, data)

    def _pool(self, pool: PoolSpec) -> str:
        content = {"pool": pool_digest(pool)}
        slug = (pool.hub or "file").rsplit("/", 1)[-1]  # no label: a slug is part of what inputs are called
        return self._stage("pool", slug, PoolStage(pool=pool), {}, content, {"pool": ingest.VERSION})

    def _ask(self, step: CurationStep, rows: str, ids: dict[str, str]) -> dict[str, str]:
        """The stages in which a step's models are asked about the rows; those it reads, by who was asked."""
        said = {}
        for who, ask in asks(step).items():
            check_ask(step, who, ask)
            role = f"{step.kind}.{who}"
            codes = domains.listing(step.codes) if isinstance(step, DomainsSpec) else ""
            about = RowsSpec(
                rows=ASKED.get(step.kind, "all"), prompt=ask.prompt.replace("{domains}", codes), grader=None
            )
            said[who] = ids[f"{role}.decode"] = self._stage(
                "decode",
                f"rows-{_method_slug(ask.method, NO_EXTRAPOLATION)}",  # not who: equal attempts are one
                DecodeStage(
                    model=ask.model,
                    task=about,
                    method=ask.method,
                    extrapolation=NO_EXTRAPOLATION,
                    sampling=ask.sampling,
                ),
                {"rows": rows},
                {"model": model_digest(ask.model)},
                _decode_versions(ask.method),
                _session(ask.model, {}),
            )
            if isinstance(step, AttemptsSpec):
                said[who] = ids[f"{role}.grade"] = self._stage(
                    "grade",
                    "rows",
                    GradeStage(task=about.model_copy(update={"grader": step.grader})),
                    {"rows": rows, "decode": said[who]},
                    {},
                    {"grade": grade.VERSION, "grader": GRADERS[step.grader].version},
                )
        return said

    def _curate(self, step: CurationStep, inputs: Mapping[str, str]) -> str:
        content = {}
        if isinstance(step, DecontaminateSpec):
            content["against"] = held_out_digest(step)
        if isinstance(step, LengthSpec):
            content["tokenizer"] = tokenizer_digest(step)
        versions = {"curate": curate.VERSION, f"step.{step.kind}": STEPS[step.kind].VERSION}
        slug = "-".join([step.kind, *filter(None, [getattr(step, "rule", None)])])
        return self._stage("curate", slug, CurateStage(step=step), inputs, content, versions)

    def _train(self, cell: CellSpec, train: SftSpec, select_id: str) -> str:
        wanted = training_format(cell)
        arm = select_id.removeprefix("select-").rsplit("-", 1)[0]
        return self._stage(
            "train",
            f"{cell.model.name}-{arm}" + (f"-{SHORT[wanted.kind]}" if wanted else ""),
            TrainStage(model=cell.model, train=train.canonical(), format=wanted),
            {"data": select_id},
            {"model": model_digest(cell.model)},
            {"train.sft": sft.VERSION, **({"train.conditional": conditional.VERSION} if wanted else {})},
        )

    def _grpo(self, cell: CellSpec, train: GrpoSpec, select_id: str) -> str:
        """On top of the same fine-tuning that the arm without GRPO has."""
        if train.grader not in GRADERS:
            raise invalid("train.grader", train.grader, GRADERS)
        before = {"checkpoint": self._train(cell, train.sft, select_id)} if train.sft else {}
        arm = select_id.removeprefix("select-").rsplit("-", 1)[0]
        return self._stage(
            "train",
            f"{cell.model.name}-{arm}-grpo",
            GrpoStage(model=cell.model, train=train.model_copy(update={"sft": None})),  # its stage's id is hashed
            {"data": select_id, **before},
            {"model": model_digest(cell.model)},
            {"train.grpo": grpo.VERSION, "grader": GRADERS[train.grader].version},
        )

    def _decode(self, cell: CellSpec, inputs: dict[str, str], notes: list[str]) -> str:
        method, extrapolation = cell.method, _extrapolation(cell, notes)
        parallel = parallel_of(cell)
        samples = cell.sampling.samples * (parallel.n if parallel else 1)
        scorer = cell.scorer if method.kind == "rebase" or (parallel and parallel.scored) else None
        arm = inputs.get("checkpoint", "base").removeprefix("train-").rsplit("-", 1)[0]
        content = {"model": model_digest(cell.model), "task": task_content(cell.task)}
        versions = _decode_versions(method)
        if scorer is not None:
            content["scorer"] = model_digest(scorer)
            versions["scorer"] = decode.SCORER_VERSION
        return self._stage(
            "decode",
            f"{arm}-{cell.task.name}-{_method_slug(method, extrapolation)}",
            DecodeStage(
                model=cell.model,
                task=cell.task.model_copy(update={"grader": None}),  # how it is graded does not change what is decoded
                method=method,
                extrapolation=extrapolation,
                sampling=cell.sampling.model_copy(update={"samples": samples}),
                scorer=scorer,
            ),
            inputs,
            content,
            versions,
            _session(cell.model, inputs),
        )

    def _stage(
        self,
        kind: str,
        slug: str,
        spec: StageSpec,
        inputs: Mapping[str, str],
        content: Mapping[str, str],
        versions: Mapping[str, int],
        session: str | None = None,
    ) -> str:
        hashed = payload(kind, spec, inputs, content, versions)
        name = stage_id(slug, hashed)
        self.stages.setdefault(name, Stage(name, kind, spec, inputs, hashed, session))
        return name

    def reused(self, store: Store) -> set[str]:
        """Ids of the stages that need not run: those with a record.

        A finished stage needs none of its inputs, so a missing intermediate below it is not made again.
        """
        return {stage.id for stage in self.stages.values() if store.reusable(stage.id, stage.hashed)}

    def needed(self, reused: Iterable[str]) -> dict[str, Stage]:
        """The stages that must run to have every cell's grade, in order."""
        have = set(reused)
        want: set[str] = set()
        todo = [cell.stages["grade"] for cell in self.cells]
        while todo:
            name = todo.pop()
            if name not in have and name not in want:
                want.add(name)
                todo.extend(self.stages[name].inputs.values())
        return {name: stage for name, stage in self.stages.items() if name in want}

    def counts(self, ids: Iterable[str]) -> dict[str, int]:
        found = Counter(self.stages[name].kind for name in ids)
        return {kind: found[kind] for kind in KINDS}


def _decode_versions(method: MethodSpec) -> dict[str, int]:
    return {"decode": decode.VERSION, f"method.{method.kind}": METHODS[method.kind].VERSION}


def _session(model: ModelSpec, checkpoint: Mapping[str, str]) -> str:
    """Equal for what one engine serves, whatever it is asked."""
    return digest([checkpoint, model_digest(model), encode(model)])[:12]


# What a step asks about, where it is not all rows.
ASKED: Mapping[str, Literal["untraced", "gradable"]] = {"traces": "untraced", "difficulty": "gradable"}


def curation_before(cell: CellSpec, rule: rules.Rule) -> list[CurationStep]:
    """The steps of curation whose rows the rule draws from. Raises UserError if its own point is left out."""
    point = rule.draws_from
    steps = {name: getattr(cell.curation, name) for name in type(cell.curation).model_fields}
    if point != "pool" and steps[point] is None:
        raise UserError(
            f"data={cell.data.rule} draws from the rows after the `{point}` step, and curation.{point}=null leaves it "
            f"out. Give a curation with that step, say curation=s1_paper, or a rule that needs none, say data=full."
        )
    names = list(steps)
    wanted = names[: names.index("quality" if point == "pool" else point) + (point != "pool")]
    return [step for name in wanted if (step := steps[name]) is not None]


def parallel_of(cell: CellSpec) -> ParallelSpec | None:
    """How parallel samples become one answer, without what its rule does not use; None if each counts by itself."""
    given = cell.parallel
    if given.rule == "none":
        return None
    return ParallelSpec(
        rule=given.rule,
        n=given.n,
        weight=given.weight if given.rule == "weighted" else "score",
        m=given.m if given.rule == "shortest" else 1,
    )


def training_format(cell: CellSpec) -> TrainingFormat | None:
    """The format of its own that the cell's method is trained in; None is s1's."""
    method = cell.method
    if isinstance(method, TokenConditionalSpec) and method.trained_on == "own":
        return TrainingFormat(kind=method.kind, prompt=method.prompt, step_mark="", separator="")
    if isinstance(method, StepConditionalSpec) and method.trained_on == "own":
        return TrainingFormat(
            kind=method.kind, prompt=method.prompt, step_mark=method.step_mark, separator=method.separator
        )
    return None


def _extrapolation(cell: CellSpec, notes: list[str]) -> ExtrapolationSpec:
    """What is left of the extrapolation where parts of it make no difference."""
    given, method = cell.extrapolation, cell.method
    if not isinstance(method, ForcedSpec) or isinstance(method, StepConditionalSpec):
        if given.num_ignore:
            notes.append(f"{method.kind} ignores no ends: extrapolation makes no difference")
        return NO_EXTRAPOLATION
    if method.dialect == "exact_length":
        notes.append("exact_length ignores every end: extrapolation.num_ignore makes no difference")
        return given.model_copy(update={"num_ignore": 0})
    if given.num_ignore == 0:
        if any(given.strings):
            notes.append("nothing is ignored: extrapolation.string makes no difference")
        return NO_EXTRAPOLATION
    return given


NO_EXTRAPOLATION = ExtrapolationSpec(string="", num_ignore=0, temperature=None, frequency_penalty=0.0)


def _data_slug(data: DataSpec) -> str:
    return data.rule + (f"-{data.size}" if data.size else "") + (f"-seed{data.seed}" if data.seed else "")


SHORT = {"token_conditional": "tcc", "step_conditional": "scc", "class_conditional": "ccc"}  # as in the paper


def _method_slug(method: MethodSpec, extrapolation: ExtrapolationSpec) -> str:
    """Short and readable: what differs most often between the stages of a task."""
    parts: list[str] = [] if method.kind == "budget_forcing" else [SHORT.get(method.kind, method.kind)]
    if isinstance(method, ForcedSpec):
        parts += [] if method.dialect == "s1_harness" else [method.dialect]
        strings = "-".join(s.strip() or "empty" for s in extrapolation.strings)
        parts.append(f"{strings}-x{extrapolation.num_ignore}" if extrapolation.num_ignore else "none")
    parts += [str(value) for group, name in COMPUTE if group == "method" and (value := getattr(method, name, None))]
    parts += ["forced"] if getattr(method, "force_steps", False) else []
    return "-".join(parts)
