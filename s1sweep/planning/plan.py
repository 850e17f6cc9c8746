"""Cells to stages: a DAG in which equal stages are one. Pure but for reading pools, tasks and digests; runs nothing.

Every mistake that can be seen without running is raised here, before any work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from s1sweep.answers.graders import GRADERS
from s1sweep.data import curate, ingest, rules, select, trial
from s1sweep.data.curation import STEPS, domains
from s1sweep.decoding import decode
from s1sweep.decoding.methods import METHODS
from s1sweep.errors import invalid
from s1sweep.grading import grade
from s1sweep.identity import Once, digest, encode, file_sha256, payload, stage_id
from s1sweep.planning.axes import series_key
from s1sweep.planning.checks import check, check_ask, check_questions
from s1sweep.planning.normal import NO_EXTRAPOLATION, curation_before, extrapolation_of, parallel_of, training_format
from s1sweep.sources import held_out_digest, model_digest, pool_digest, tokenizer_digest
from s1sweep.sources.tasks import task_content
from s1sweep.spec import (
    COMPUTE,
    AttemptsSpec,
    CellSpec,
    CurateStage,
    CurationSpec,
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
    SamplingSpec,
    SelectStage,
    SftSpec,
    Spec,
    StageSpec,
    TaskSpec,
    TrainingFormat,
    TrainStage,
)
from s1sweep.spec.data import asks
from s1sweep.stages.rows import Entry
from s1sweep.store import Store
from s1sweep.training import conditional, grpo, sft

KINDS = ("pool", "curate", "select", "train", "decode", "grade")


@dataclass(frozen=True, slots=True)
class Stage:
    """One unit of work. `session` is the same for the decode stages that one engine session serves."""

    id: str
    kind: str
    spec: StageSpec
    inputs: Mapping[str, str]
    hashed: Mapping[str, Any]
    session: str | None = None


@dataclass(frozen=True, slots=True)
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
    once: Once = field(default_factory=Once, repr=False)

    def add(self, cell: CellSpec, axes: Mapping[str, Any]) -> Cell:
        """Add one cell. Raises UserError if it cannot work."""
        check(cell)
        once = self.once
        once(check_questions, cell.task)
        notes: list[str] = []
        ids: dict[str, str] = {}
        inputs: dict[str, str] = {}
        if isinstance(cell.train, SftSpec | GrpoSpec):
            ids |= once(self._chain, cell.pool, cell.curation, cell.data)
            make: Callable[..., str] = self._train if isinstance(cell.train, SftSpec) else self._grpo
            wanted = once(training_format, cell.method)
            ids["train"] = inputs["checkpoint"] = once(make, cell.model, cell.train, wanted, ids["select"])
        else:
            notes.append("no training: pool and data make no difference")
        ids["decode"] = self._decode(cell, inputs, notes)
        ids["grade"] = self._stage(
            "grade",
            cell.task.name,
            once(_grade_spec, cell.task, cell.parallel),
            {"decode": ids["decode"]},
            once(_task_content, cell.task),
            once(_grade_versions, cell.task),
        )
        planned = Cell(digest([axes, ids])[:16], axes, cell, ids, tuple(notes))
        self.cells.append(planned)
        return planned

    def _chain(self, pool: PoolSpec, curation: CurationSpec, given: DataSpec) -> dict[str, str]:
        """Pool, curation as far as the rule draws from it, subset; raises UserError if it can be seen to be too small.

        What a rule does not use must not make two stages of one.
        """
        ids: dict[str, str] = {}
        rule, data = rules.rule_of(given), select.normal(given)
        steps = curation_before(curation, rule)
        before = ids["pool"] = self._pool(pool)
        left = pool.rows
        for i, step in enumerate(steps):
            said: dict[str, str] = {}
            if asks(step):
                rows = trial.tried(pool, steps[:i], before)
                if left is None or rows is not None:
                    found = rows if rows is not None else trial.tried(pool, [], ids["pool"])
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
            rows = trial.tried(pool, steps, before)
            if rows is not None:
                self.subsets[ids["select"]] = select.select(rows, data)
        return ids

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
                _session(ask.model, ""),
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

    def _train(self, model: ModelSpec, train: SftSpec, wanted: TrainingFormat | None, select_id: str) -> str:
        arm = select_id.removeprefix("select-").rsplit("-", 1)[0]
        return self._stage(
            "train",
            f"{model.name}-{arm}" + (f"-{SHORT[wanted.kind]}" if wanted else ""),
            TrainStage(model=model, train=train.canonical(), format=wanted),
            {"data": select_id},
            {"model": model_digest(model)},
            {"train.sft": sft.VERSION, **({"train.conditional": conditional.VERSION} if wanted else {})},
        )

    def _grpo(self, model: ModelSpec, train: GrpoSpec, wanted: TrainingFormat | None, select_id: str) -> str:
        """On top of the same fine-tuning that the arm without GRPO has."""
        if train.grader not in GRADERS:
            raise invalid("train.grader", train.grader, GRADERS)
        before = {"checkpoint": self._train(model, train.sft, wanted, select_id)} if train.sft else {}
        arm = select_id.removeprefix("select-").rsplit("-", 1)[0]
        return self._stage(
            "train",
            f"{model.name}-{arm}-grpo",
            GrpoStage(model=model, train=train.model_copy(update={"sft": None})),  # its stage's id is hashed
            {"data": select_id, **before},
            {"model": model_digest(model)},
            {"train.grpo": grpo.VERSION, "grader": GRADERS[train.grader].version},
        )

    def _decode(self, cell: CellSpec, inputs: dict[str, str], notes: list[str]) -> str:
        once, method, extrapolation = self.once, cell.method, extrapolation_of(cell, notes)
        parallel = once(parallel_of, cell.parallel)
        samples = cell.sampling.samples * (parallel.n if parallel else 1)
        scorer = cell.scorer if method.kind == "rebase" or (parallel and parallel.scored) else None
        checkpoint = inputs.get("checkpoint", "")
        arm = checkpoint.removeprefix("train-").rsplit("-", 1)[0] or "base"
        content = {"model": once(model_digest, cell.model), **once(_task_content, cell.task)}
        versions = once(_decode_versions, method)
        if scorer is not None:
            content["scorer"] = once(model_digest, scorer)
            versions = {**versions, "scorer": decode.SCORER_VERSION}
        return self._stage(
            "decode",
            f"{arm}-{cell.task.name}-{_method_slug(method, extrapolation)}",
            DecodeStage(
                model=cell.model,
                task=once(_ungraded, cell.task),
                method=method,
                extrapolation=extrapolation,
                sampling=once(_drawn, cell.sampling, samples),
                scorer=scorer,
            ),
            inputs,
            content,
            versions,
            once(_session, cell.model, checkpoint),
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
        hashed = payload(kind, spec, inputs, content, versions, self._encoded)
        name = stage_id(slug, hashed)
        if name not in self.stages:
            self.stages[name] = Stage(name, kind, spec, inputs, hashed, session)
        return name

    def _encoded(self, part: Any) -> Any:
        return self.once(encode, part) if isinstance(part, Spec) else encode(part)

    def reused(self, store: Store) -> set[str]:
        """Ids of the stages that need not run: those with a record.

        A finished stage needs none of its inputs, so a missing intermediate below it is not made again.
        """
        begun = set(store.stage_ids())  # one look, where most may have nothing
        return {s.id for s in self.stages.values() if s.id in begun and store.reusable(s.id, s.hashed)}

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


def _grade_versions(task: TaskSpec) -> dict[str, int]:
    return {"grade": grade.VERSION, "grader": GRADERS[task.grader or ""].version}


def _grade_spec(task: TaskSpec, parallel: ParallelSpec) -> GradeStage:
    return GradeStage(task=task, parallel=parallel_of(parallel))


def _task_content(task: TaskSpec) -> dict[str, str]:
    return {"task": task_content(task)}


def _ungraded(task: TaskSpec) -> TaskSpec:
    return task.model_copy(update={"grader": None})  # how it is graded does not change what is decoded


def _drawn(sampling: SamplingSpec, samples: int) -> SamplingSpec:
    return sampling.model_copy(update={"samples": samples})


def _session(model: ModelSpec, checkpoint: str) -> str:
    """Equal for what one engine serves, whatever it is asked."""
    return digest([{"checkpoint": checkpoint} if checkpoint else {}, model_digest(model), encode(model)])[:12]


# What a step asks about, where it is not all rows.
ASKED: Mapping[str, Literal["untraced", "gradable"]] = {"traces": "untraced", "difficulty": "gradable"}


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
