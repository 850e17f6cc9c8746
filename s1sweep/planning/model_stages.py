"""The stages that train, decode and grade, with what makes a difference to each of them. Runs nothing."""

from __future__ import annotations

from s1sweep.answers.graders import GRADERS
from s1sweep.decoding import decode
from s1sweep.decoding.methods import METHODS
from s1sweep.errors import invalid
from s1sweep.grading import grade
from s1sweep.identity import digest, encode
from s1sweep.planning.graph import Graph
from s1sweep.planning.normal import extrapolation_of, parallel_of
from s1sweep.planning.slugs import SHORT, method_slug
from s1sweep.sources import model_digest
from s1sweep.sources.tasks import task_content
from s1sweep.spec import (
    CellSpec,
    DecodeStage,
    GradeStage,
    GrpoSpec,
    GrpoStage,
    MethodSpec,
    ModelSpec,
    ParallelSpec,
    SamplingSpec,
    SftSpec,
    TaskSpec,
    TrainingFormat,
    TrainStage,
)
from s1sweep.training import conditional, grpo, sft


def train_stage(
    graph: Graph, model: ModelSpec, train: SftSpec | GrpoSpec, wanted: TrainingFormat | None, select_id: str
) -> str:
    """Train a model on a subset, in the format that its method is trained in; the stage's id."""
    arm = graph.stages[select_id].slug
    if isinstance(train, GrpoSpec):
        return _grpo(graph, model, train, wanted, select_id)
    return graph.stage(
        "train",
        f"{model.name}-{arm}" + (f"-{SHORT[wanted.kind]}" if wanted else ""),
        TrainStage(model=model, train=train.canonical(), format=wanted),
        {"data": select_id},
        {"model": model_digest(model)},
        {"train.sft": sft.VERSION, **({"train.conditional": conditional.VERSION} if wanted else {})},
    )


def _grpo(graph: Graph, model: ModelSpec, train: GrpoSpec, wanted: TrainingFormat | None, select_id: str) -> str:
    """On top of the same fine-tuning that the arm without GRPO has."""
    if train.grader not in GRADERS:
        raise invalid("train.grader", train.grader, GRADERS)
    before = {"checkpoint": train_stage(graph, model, train.sft, wanted, select_id)} if train.sft else {}
    return graph.stage(
        "train",
        f"{model.name}-{graph.stages[select_id].slug}-grpo",
        GrpoStage(model=model, train=train.model_copy(update={"sft": None})),  # its stage's id is hashed
        {"data": select_id, **before},
        {"model": model_digest(model)},
        {"train.grpo": grpo.VERSION, "grader": GRADERS[train.grader].version},
    )


def decode_stage(graph: Graph, cell: CellSpec, checkpoint: str | None, notes: list[str]) -> str:
    """Decode a cell's task with a checkpoint, or the base; the stage's id. Notes get what makes no difference."""
    once, method, extrapolation = graph.once, cell.method, extrapolation_of(cell, notes)
    parallel = once(parallel_of, cell.parallel)
    samples = cell.sampling.samples * (parallel.n if parallel else 1)
    scorer = cell.scorer if method.kind == "rebase" or (parallel and parallel.scored) else None
    arm = graph.stages[checkpoint].slug if checkpoint else "base"
    content = {"model": once(model_digest, cell.model), **once(_task_content, cell.task)}
    versions = once(decode_versions, method)
    if scorer is not None:
        content["scorer"] = once(model_digest, scorer)
        versions = {**versions, "scorer": decode.SCORER_VERSION}
    return graph.stage(
        "decode",
        f"{arm}-{cell.task.name}-{method_slug(method, extrapolation)}",
        DecodeStage(
            model=cell.model,
            task=once(_ungraded, cell.task),
            method=method,
            extrapolation=extrapolation,
            sampling=once(_drawn, cell.sampling, samples),
            scorer=scorer,
        ),
        {"checkpoint": checkpoint} if checkpoint else {},
        content,
        versions,
        once(engine_session, cell.model, checkpoint or ""),
    )


def grade_stage(graph: Graph, cell: CellSpec, decode_id: str) -> str:
    """Grade what a cell's decode stage reads out; the stage's id."""
    return graph.stage(
        "grade",
        cell.task.name,
        graph.once(_grade_spec, cell.task, cell.parallel),
        {"decode": decode_id},
        graph.once(_task_content, cell.task),
        graph.once(_grade_versions, cell.task),
    )


def decode_versions(method: MethodSpec) -> dict[str, int]:
    """The components of a decode stage, without the scorer."""
    return {"decode": decode.VERSION, f"method.{method.kind}": METHODS[method.kind].VERSION}


def engine_session(model: ModelSpec, checkpoint: str) -> str:
    """Equal for what one engine serves, whatever it is asked."""
    return digest([{"checkpoint": checkpoint} if checkpoint else {}, model_digest(model), encode(model)])[:12]


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
