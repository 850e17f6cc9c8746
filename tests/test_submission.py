"""A submission comes back from the store as it went in; orders hold by time; code that is frozen stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s1sweep.errors import UserError
from s1sweep.planning import Plan, Stage
from s1sweep.policy import Capacity
from s1sweep.queue import view
from s1sweep.queue.code import freeze, freeze_inputs, thaw
from s1sweep.queue.service import Service
from s1sweep.queue.submission import State, Submission, Submissions, new_id
from s1sweep.runtime.backend import InProcessBackend
from s1sweep.sources import held_out_digest, model_digest, pool_digest, tokenizer_digest
from s1sweep.sources.tasks import task_content
from s1sweep.spec import CurateStage, DecodeStage, DecontaminateSpec, LengthSpec, PoolStage, Spec
from s1sweep.spec.base import Excluded, OnDisk
from s1sweep.store import Store
from tests.helpers import compose
from tests.test_identity import classes

COMMAND = ("-m", "data=random,diverse", "task=tiny_calc")


def submission(user: str = "ann", sweep: str = "made", now: float = 1e9) -> Submission:
    cells, plan = compose(*COMMAND[1:]), Plan()
    for cell in cells:
        plan.add(cell.cell, {})
    return Submission(
        id=new_id(sweep, COMMAND, now),
        sweep=sweep,
        user=user,
        host="here",
        submitted=now,
        priority=0,
        command=COMMAND,
        placement=cells[0].placement,
        tracking=cells[0].tracking,
        stages=plan.stages,
        expected={name: 1.5 for name in plan.stages},
    )


def test_what_was_submitted_comes_back(url: str) -> None:
    asked, queue = submission(), Submissions(Store(url))
    queue.add(asked)
    found = Submissions(Store(url)).get(asked.id)
    assert found == asked and list(found.stages) == list(asked.stages)
    assert queue.state(asked) == State()
    queue.write_state(asked, State("running", 1.0, 3, ("train-a",), why={"train-b": "no GPU is free"}))
    assert queue.state(asked) == State("running", 1.0, 3, ("train-a",), why={"train-b": "no GPU is free"})


def test_the_newest_order_of_a_kind_holds(url: str) -> None:
    asked, queue = submission(), Submissions(Store(url))
    queue.add(asked)
    for verb, value in [("priority", 3), ("pause", None), ("priority", 5), ("resume", None)]:
        queue.order(asked, verb, "ann", value)  # type: ignore[arg-type]
    standing = queue.standing(asked)
    assert (standing.priority, standing.paused, standing.cancelled) == (5, False, None)
    with pytest.raises(UserError, match=r"belongs to 'ann', and you are 'ben'.*--admin"):
        queue.order(asked, "cancel", "ben")
    assert queue.standing(asked) == standing
    queue.order(asked, "cancel", "ben", admin=True)
    assert queue.standing(asked).cancelled == "ben"


def test_submissions_are_found_by_sweep_or_id(root: Path) -> None:
    queue = Submissions(Store(root))
    first, second, other = submission(now=1e9), submission(now=2e9), submission(sweep="other")
    for one in (second, first, other):
        queue.add(one)
    assert [s.id for s in queue.of("made")] == [first.id, second.id]
    assert [s.id for s in queue.of(other.id)] == [other.id]
    with pytest.raises(UserError, match=r"'mad' is not in this store's queue\. Did you mean 'made'\?"):
        queue.of("mad")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"format": 2', b'"format": 1', "it has format 1, this s1sweep reads 2"),
        (b'"max_retries"', b'"retries"', "validation error.* for Placement"),
        (b'"type": "TrainStage"', b'"type": "TuneStage"', "TuneStage"),
        (b'"expected"', b'"told"', "expected"),
    ],
)
def test_what_another_version_wrote_is_told_and_stops_nothing(root: Path, old: bytes, new: bytes, why: str) -> None:
    """Neither the commands about the queue nor a service."""
    mine, theirs, queue = submission(), submission(sweep="theirs", now=2e9), Submissions(Store(root))
    queue.add(mine)
    assert old in theirs.encode()
    queue._files.create(f"queue/{theirs.id}/submission.json", theirs.encode().replace(old, new))
    with pytest.raises(UserError, match=rf"{theirs.id}.* another version of s1sweep \(.*{why}.*submit it again"):
        queue.get(theirs.id)
    found = view.gather(Store(root))
    assert [r["id"] for r in found["submissions"]] == [mine.id] and theirs.id in found["unreadable"][0]
    assert [s.id for s in queue.of("made")] == [mine.id]
    with pytest.raises(UserError, match=f"And: submission '{theirs.id}' was written by another version"):
        queue.of("theirs")
    queue.order(mine, "pause", mine.user)
    service = Service(Store(root), mine.placement, InProcessBackend(Capacity(cpus=1)))
    service._poll()
    assert (
        "another version" in json.loads((root / "queue" / theirs.id / "state.json").read_text())["failed"]["submission"]
    )
    assert json.loads((root / "queue" / mine.id / "state.json").read_text())["phase"] == "paused"


def test_frozen_code_outlives_an_edit(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = tmp_path / "mine"
    extra.mkdir()
    (extra / "rule.py").write_text("x = 1\n")
    first = freeze(Store(root), extra)
    assert freeze(Store(root), extra) == first
    (extra / "rule.py").write_text("x = 2\n")
    assert freeze(Store(root), extra) != first
    folder = thaw(Store(root), first)
    assert (folder / "project/rule.py").read_text() == "x = 1\n"
    assert (folder / "s1sweep/api.py").read_bytes() == (Path(__file__).parent.parent / "s1sweep/api.py").read_bytes()
    assert (folder / "s1sweep/launchers/slurm.sh").exists()


# --- what specs read -------------------------------------------------------------------------------------------------


def frozen(root: Path, *specs: Spec) -> list[Spec]:
    return [freeze_inputs(Store(root), Stage("x", "x", spec, {}, {})).spec for spec in specs]  # type: ignore[arg-type]


def test_what_ships_is_not_taken_from_a_folder_or_file_of_its_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a column taken for a file: specs say which of their fields name one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "testbed").mkdir()
    (tmp_path / "testbed/model.safetensors").write_text("other weights")
    (tmp_path / "src").mkdir()
    for name in ("tiny_calc", "tiny_hard", "hub:owner"):
        (tmp_path / name).write_text("{}")
    (config,) = compose("method=rebase", "sampling=sampled", "parallel=weighted", "pool.columns.source=src")
    plan = Plan()
    ids = plan.add(config.cell, {}).stages
    pool, decode = (plan.stages[ids[kind]].spec for kind in ("pool", "decode"))
    assert isinstance(pool, PoolStage) and isinstance(decode, DecodeStage) and decode.scorer is not None
    length = CurateStage(step=LengthSpec(kind="length", tokenizer="testbed", revision=None))
    against = DecontaminateSpec(
        kind="decontaminate", against=("tiny_calc", "tiny_hard", "hub:owner/name:test"), words=8, earlier_sources=False
    )
    given = (pool, decode, length, CurateStage(step=against))
    assert list(frozen(root, *given)) == list(given)


def test_what_is_read_is_the_same_bytes_by_its_full_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files by their copy, folders where they lie: elsewhere, and after an edit, they are what they were."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.safetensors").write_text("weights")
    (tmp_path / "weights/tokenizer.json").write_text("{}")
    for name in ("rows.jsonl", "asked.jsonl", "held.jsonl"):
        (tmp_path / name).write_text('{"id": "q1", "question": "calc 1 a+1", "answer": "2"}\n')
    (config,) = compose("task=file", "task.path=asked.jsonl", "task.name=mine", "task.grader=math", "train=none")
    model = config.cell.model.model_copy(update={"source": "weights"})
    decode = DecodeStage(
        **{name: getattr(config.cell, name) for name in ("task", "method", "extrapolation", "sampling")},
        model=model,
        scorer=config.cell.scorer.model_copy(update={"source": "./weights"}),
    )
    pool = PoolStage(pool=config.cell.pool.model_copy(update={"path": "rows.jsonl", "columns": {"source": "weights"}}))
    length = CurateStage(step=LengthSpec(kind="length", tokenizer="weights", revision=None))
    against = CurateStage(
        step=DecontaminateSpec(
            kind="decontaminate", against=("held.jsonl", "tiny_calc"), words=8, earlier_sources=False
        )
    )

    def digests(pool: PoolStage, decode: DecodeStage, length: CurateStage, against: CurateStage) -> list[str]:
        assert decode.scorer is not None and isinstance(length.step, LengthSpec)
        assert isinstance(against.step, DecontaminateSpec)
        return [
            *(pool_digest(pool.pool), model_digest(decode.model), model_digest(decode.scorer)),
            *(task_content(decode.task), tokenizer_digest(length.step), held_out_digest(against.step)),  # type: ignore[arg-type]
        ]

    before = digests(pool, decode, length, against)
    found = frozen(root, pool, decode, length, against)
    for name in ("rows.jsonl", "asked.jsonl", "held.jsonl"):
        (tmp_path / name).write_text("edited")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert digests(*found) == before  # type: ignore[arg-type]
    assert found[0].pool.columns == {"source": "weights"}  # type: ignore[attr-defined]
    assert found[1].model.source == str(tmp_path / "weights")  # type: ignore[attr-defined]


def test_every_field_that_may_name_a_file_says_so() -> None:
    """A path is never hashed, so it is among the fields that identity leaves out: each of them is decided here."""
    marked = {
        f"{cls.__name__}.{name}": any(isinstance(mark, OnDisk) for mark in field.metadata)
        for cls in classes(Spec).values()
        for name, field in cls.model_fields.items()
        if any(isinstance(mark, Excluded) for mark in field.metadata) and field.annotation not in (int, float)
    }
    assert {name for name, file in marked.items() if file} == {
        *("PoolSpec.path", "DataSpec.path", "TaskSpec.path", "TaskSpec.include_path", "DecontaminateSpec.against"),
        *("ModelSpec.source", "ScorerSpec.source", "LengthSpec.tokenizer"),
    }
    assert {name for name, file in marked.items() if not file} == {
        *(f"{kind}Spec.name" for kind in ("Model", "Scorer", "Pool")),
        *(f"{kind}Spec.{part}" for kind in ("Pool", "Task") for part in ("hub", "subset", "split", "revision")),
        *("PoolSpec.rows", "PoolSpec.mean_trace_tokens", "TaskSpec.size", "TaskSpec.digest", "TaskSpec.lm_eval"),
        *("LengthSpec.revision", "ServerDomainsSpec.url", "ServerDomainsSpec.key_env"),
    }
