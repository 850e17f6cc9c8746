"""The stages from a pool to a subset, as far as the rule draws from them. Reads small local pools; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from s1sweep.answers.graders import GRADERS
from s1sweep.data import curate, ingest, rules, select, trial
from s1sweep.data.curation import STEPS, domains
from s1sweep.grading import grade
from s1sweep.identity import file_sha256
from s1sweep.planning.checks import check_ask
from s1sweep.planning.graph import Graph
from s1sweep.planning.model_stages import decode_versions, engine_session
from s1sweep.planning.normal import NO_EXTRAPOLATION, curation_before
from s1sweep.planning.slugs import data_slug, method_slug, pool_slug
from s1sweep.sources import held_out_digest, model_digest, pool_digest, tokenizer_digest
from s1sweep.spec import (
    AttemptsSpec,
    CurateStage,
    CurationSpec,
    CurationStep,
    DataSpec,
    DecodeStage,
    DecontaminateSpec,
    DomainsSpec,
    GradeStage,
    LengthSpec,
    PoolSpec,
    PoolStage,
    RowsSpec,
    SelectStage,
)
from s1sweep.spec.data import asks

# What a step asks about, where it is not all rows.
ASKED: Mapping[str, Literal["untraced", "gradable"]] = {"traces": "untraced", "difficulty": "gradable"}


def chain(graph: Graph, pool: PoolSpec, curation: CurationSpec, given: DataSpec) -> dict[str, str]:
    """Pool, curation as far as the rule draws from it, and subset: ids by role. Raises UserError if the subset can be
    seen to be too small. What a rule does not use must not make two stages of one.
    """
    ids: dict[str, str] = {}
    rule, data = rules.rule_of(given), select.normal(given)
    steps = curation_before(curation, rule)
    before = ids["pool"] = _pool(graph, pool)
    left = pool.rows
    for i, step in enumerate(steps):
        said: dict[str, str] = {}
        if asks(step):
            rows = trial.rows_after_steps(pool, steps[:i], before)
            if left is None or rows is not None:
                found = rows if rows is not None else trial.rows_after_steps(pool, [], ids["pool"])
                left = None if found is None else len(found)
            said = _ask(graph, step, before, ids)
            traced = sum(row.traced for row in rows or ()) if step.kind == "traces" else 0
            if left is not None:
                graph.asked.update((ids[f"{step.kind}.{who}.decode"], left - traced) for who in said)
        before = ids[step.kind] = _curate(graph, step, {"rows": before, **said})
    ids["select"] = graph.stage(
        "select",
        data_slug(data),
        SelectStage(data=data),
        {"rows": before},
        {"rule": file_sha256(Path(data.path).expanduser())} if data.path else {},
        {"select": select.VERSION, f"rule.{rule.name}": rule.version, "rules": rules.VERSION},
    )
    if ids["select"] not in graph.subsets:
        rows = trial.rows_after_steps(pool, steps, before)
        if rows is not None:
            graph.subsets[ids["select"]] = select.select(rows, data)
    return ids


def _pool(graph: Graph, pool: PoolSpec) -> str:
    content = {"pool": pool_digest(pool)}
    return graph.stage("pool", pool_slug(pool), PoolStage(pool=pool), {}, content, {"pool": ingest.VERSION})


def _ask(graph: Graph, step: CurationStep, rows: str, ids: dict[str, str]) -> dict[str, str]:
    """The stages in which a step's models are asked about the rows; those it reads, by who was asked."""
    said = {}
    for who, ask in asks(step).items():
        check_ask(step, who, ask)
        role = f"{step.kind}.{who}"
        codes = domains.listing(step.codes) if isinstance(step, DomainsSpec) else ""
        about = RowsSpec(rows=ASKED.get(step.kind, "all"), prompt=ask.prompt.replace("{domains}", codes), grader=None)
        said[who] = ids[f"{role}.decode"] = graph.stage(
            "decode",
            f"rows-{method_slug(ask.method, NO_EXTRAPOLATION)}",  # not who: equal attempts are one
            DecodeStage(
                model=ask.model,
                task=about,
                method=ask.method,
                extrapolation=NO_EXTRAPOLATION,
                sampling=ask.sampling,
            ),
            {"rows": rows},
            {"model": model_digest(ask.model)},
            decode_versions(ask.method),
            engine_session(ask.model, ""),
        )
        if isinstance(step, AttemptsSpec):
            said[who] = ids[f"{role}.grade"] = graph.stage(
                "grade",
                "rows",
                GradeStage(task=about.model_copy(update={"grader": step.grader})),
                {"rows": rows, "decode": said[who]},
                {},
                {"grade": grade.VERSION, "grader": GRADERS[step.grader].version},
            )
    return said


def _curate(graph: Graph, step: CurationStep, inputs: Mapping[str, str]) -> str:
    content = {}
    if isinstance(step, DecontaminateSpec):
        content["against"] = held_out_digest(step)
    if isinstance(step, LengthSpec):
        content["tokenizer"] = tokenizer_digest(step)
    versions = {"curate": curate.VERSION, f"step.{step.kind}": STEPS[step.kind].VERSION}
    slug = "-".join([step.kind, *filter(None, [getattr(step, "rule", None)])])
    return graph.stage("curate", slug, CurateStage(step=step), inputs, content, versions)
