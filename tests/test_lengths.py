"""Tokens to train are those that trainings read: told by a row's characters, beside what the real tokenizer makes."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from s1sweep.estimating.estimate import estimate
from s1sweep.estimating.lengths import epoch_of, row_lengths, step_count, train_tokens
from s1sweep.planning import KnownIds, Plan
from s1sweep.planning.axes import axes_of
from s1sweep.spec import CellSpec, TrainStage
from s1sweep.store import Store
from s1sweep.training.encode import Encoded, encode
from s1sweep.training.recipe import total_steps
from tests.helpers import compose
from tests.test_old_store import ARCHIVE

FORMATS = "method=budget_forcing,token_conditional,step_conditional"


def encoded(plan: Plan, name: str, out: Path) -> Encoded:
    """What the training would encode of the rows that it is going to be given."""
    stage = plan.stages[name]
    assert isinstance(stage.spec, TrainStage)
    out.mkdir(parents=True)
    rows = out / "given.jsonl"
    rows.write_text("".join(row.read().model_dump_json() + "\n" for row in plan.subsets[stage.inputs["data"]]))
    return encode(stage.spec, rows, out)


@pytest.mark.parametrize(
    ("overrides", "close"),
    [
        (("data=random,longest", "data.size=64", FORMATS), 0.05),
        (("data=random", "train.packing=true", "train.block_size=512"), 0.02),
        (("data=longest", "train.block_size=200"), 0.01),
        (("data=random", "train.match=tokens", "train.tokens=50000"), 0.02),
    ],
)
def test_an_epoch_reads_what_the_tokenizer_makes(overrides: tuple[str, ...], close: float, tmp_path: Path) -> None:
    """Formats of training, truncation and packing too; most are within 1 %, traces of many marked steps within 4 %."""
    plan = Plan()
    for config in compose(*overrides):
        plan.add(config.cell, axes_of(config))
    trainings = [stage for stage in plan.stages.values() if stage.kind == "train"]
    for stage in trainings:
        assert isinstance(stage.spec, TrainStage)
        train, made = stage.spec.train, encoded(plan, stage.id, tmp_path / stage.id)
        told = epoch_of(plan, stage, train)
        assert told.tokens == pytest.approx(made.tokens, rel=close), stage.id
        assert told.supervised == pytest.approx(made.supervised, rel=close), stage.id
        assert told.rows == pytest.approx(made.rows, rel=0.02)
        steps = total_steps(train, made.rows, made.supervised)
        assert step_count(plan, stage, train) == pytest.approx(steps, rel=0.03)
    assert len(trainings) == len({stage.id for stage in trainings}) == len(plan.cells)


def test_a_record_says_what_was_estimated(tmp_path: Path) -> None:
    """Trainings that really ran, of short traces: prompts are most of what they read."""
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path, filter="data")
    store = Store(tmp_path / "store-0.1.0")
    plan = Plan(KnownIds.of(store))
    for cell in store.sweep("first").cells():
        plan.add(CellSpec.model_validate(cell.spec), cell.axes)
    found = 0
    for stage in plan.stages.values():
        record = store.record(stage.id)
        if record is not None and isinstance(stage.spec, TrainStage):
            assert train_tokens(plan, stage, stage.spec.train) == pytest.approx(record.cost["tokens"], rel=0.03)
            assert step_count(plan, stage, stage.spec.train) == record.summary["steps"]
            found += 1
    assert found


def test_the_last_batch_of_an_epoch_may_be_short() -> None:
    """Epochs read every row, whatever is left for their last step; steps that end within an epoch read a part of it."""
    (config,) = compose("data=random", "data.size=250", "train=tiny")
    plan = Plan()
    stage = plan.stages[plan.add(config.cell, {}).stages["train"]]
    assert isinstance(stage.spec, TrainStage)
    whole = epoch_of(plan, stage, stage.spec.train).tokens
    assert whole == pytest.approx(sum(length.total for length in row_lengths(plan, stage)))
    for change, read in [
        ({"epochs": 3, "steps": None, "match": "epochs"}, 3.0),
        ({"steps": 4, "match": "steps"}, 4 * 16 / 250),
        ({"steps": 16 + 4, "match": "steps"}, 1 + 4 * 16 / 250),
    ]:
        train = stage.spec.train.model_copy(update={"batch_size": 16, **change})
        assert train_tokens(plan, stage, train) == pytest.approx(read * whole, rel=1e-3), change
    told = estimate(plan, {stage.id: stage}, config.placement).train_tokens
    assert told == train_tokens(plan, stage, stage.spec.train)


def test_a_row_that_does_not_say_how_long_it_is_is_not_of_no_length(tmp_path: Path) -> None:
    """A pool of one's own without `trace_tokens`: by its characters."""
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"id": "1", "question": "What is it?", "thinking": "%s", "answer": "It."}\n' % ("word " * 80))
    (config,) = compose("data=full", "pool=file", f"pool.path={pool}", "curation=none")
    plan = Plan()
    stage = plan.stages[plan.add(config.cell, {}).stages["train"]]
    (length,) = row_lengths(plan, stage)
    assert 100 < length.response < 120 and 8 < length.prompt < 20
