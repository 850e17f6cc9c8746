"""Plans: equal stages are one, and mistakes are seen before anything runs."""

from __future__ import annotations

import gzip
import json

import pytest

from s1sweep import testbed
from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of, series_key
from s1sweep.spec import CellConfig, CellSpec
from s1sweep.store import RecordMismatch, Store
from tests.helpers import ROOT, compose


def planned(cells: list[CellConfig]) -> Plan:
    plan = Plan()
    for config in cells:
        plan.add(config.cell, axes_of(config))
    return plan


def test_quickstart_is_the_golden_plan() -> None:
    """Counts, and the shape of every stage. Ids hold the pool's and the base's digests, so they are not in it."""
    plan = planned(compose("experiment=quickstart"))
    slugs = sorted(name.rsplit("-", 1)[0] for name in plan.stages)
    assert slugs == json.loads((ROOT / "tests/golden/quickstart_plan.json").read_text())
    assert plan.counts(plan.stages) == {"pool": 1, "curate": 2, "select": 6, "train": 6, "decode": 96, "grade": 96}
    assert len(plan.cells) == 99


def test_one_training_and_one_session_per_subset() -> None:
    plan = planned(compose("data=random,s1k", "extrapolation=none,wait,hmm", "task=tiny_calc,tiny_hard"))
    assert plan.counts(plan.stages) == {"pool": 1, "curate": 2, "select": 2, "train": 2, "decode": 12, "grade": 12}
    assert len({s.session for s in plan.stages.values() if s.kind == "decode"}) == 2


def test_settings_a_rule_does_not_use_do_not_split_stages() -> None:
    plan = planned(compose("data=full", "data.seed=0,1", "data.size=10,20"))
    assert plan.counts(plan.stages)["train"] == 1
    plan = planned(compose("data=longest", "data.seed=0,1"))
    assert plan.counts(plan.stages)["train"] == 1


def test_equal_cells_share_everything_with_a_note() -> None:
    plan = planned(compose("extrapolation=none", "extrapolation.string='',Wait"))
    assert len(plan.cells) == 2
    assert plan.counts(plan.stages)["decode"] == 1
    assert any("nothing is ignored" in note for note in plan.cells[1].notes)


def test_no_training_drops_the_data() -> None:
    plan = planned(compose("train=none", "data=random,s1k"))
    assert plan.counts(plan.stages) == {"pool": 0, "curate": 0, "select": 0, "train": 0, "decode": 1, "grade": 1}
    assert any("no training" in note for note in plan.cells[0].notes)


def test_grader_does_not_change_what_is_decoded() -> None:
    plan = planned(compose("task=tiny_choice", "task.grader=math,choice"))
    assert plan.counts(plan.stages) == {"pool": 1, "curate": 1, "select": 1, "train": 1, "decode": 1, "grade": 2}


def test_inputs_come_before_what_needs_them() -> None:
    seen: set[str] = set()
    for stage in planned(compose("experiment=quickstart")).stages.values():
        assert seen.issuperset(stage.inputs.values())
        seen.add(stage.id)


def test_series_differ_only_in_compute() -> None:
    def keys(*overrides: str) -> list[str]:
        return [series_key(c.spec, c.stages) for c in planned(compose(*overrides)).cells]

    assert len(set(keys("method.max_thinking_tokens=8,64", "extrapolation=wait", "extrapolation.num_ignore=1,4"))) == 1
    assert len(set(keys("extrapolation=wait,hmm"))) == 2
    assert len(set(keys("data=random,s1k"))) == 2
    assert len(set(keys("task=tiny_calc,tiny_hard"))) == 2
    assert len(set(keys("train=none", "data=random,s1k"))) == 1


def test_axes_name_choices_and_values() -> None:
    config = compose("data=random", "data.seed=3", "method.max_thinking_tokens=64")[0]
    axes = axes_of(config)
    assert axes["data"] == "random"
    assert axes["data.seed"] == 3
    assert axes["method.max_thinking_tokens"] == 64
    assert "placement" not in axes


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.size=100000"], ["data.size=100000", "larger than", "Give data.size<="]),
        (["task.grader=null"], ["task.grader=null", "no grader", "math", "choice"]),
        (["task.grader=maths"], ["task.grader='maths'", "Did you mean 'math'"]),
        (["data.rule=rndom"], ["data.rule='rndom'", "Did you mean 'random'"]),
        (["method.max_thinking_tokens=5000"], ["method.max_thinking_tokens=5000", "model.max_model_len=1024"]),
        (["task.name=aime"], ["task.name='aime'", "tiny_calc", "task.path"]),
        (["pool=file", "pool.path=/nowhere.jsonl"], ["pool.path='/nowhere.jsonl'", "not a file"]),
        (["model.source=/nowhere"], ["model.source='/nowhere'"]),
    ],
)
def test_mistakes_stop_before_any_work(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        planned(compose(*overrides))
    for word in words:
        assert word in str(error.value)


def _pool(tmp_path, *lines: str):
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_a_bad_pool_row_is_named(tmp_path) -> None:
    good = gzip.decompress(testbed.POOL.read_bytes()).decode().splitlines()[0]
    bad = {**json.loads(good), "id": "second", "answer": ""}
    for lines, words in [
        ([good, json.dumps(bad)], ["row 2", "answer"]),
        ([good, "{not json"], ["row 2", "malformed"]),
        ([good, good], ["row 2", "repeats id"]),
        ([], ["holds no rows"]),
    ]:
        with pytest.raises(UserError) as error:
            planned(compose("data=random", "data.size=1", "pool=file", f"pool.path={_pool(tmp_path, *lines)}"))
        for word in ["pool.path", *words]:
            assert word in str(error.value)


def test_reuse_compares_the_hashed_json(root, tmp_path) -> None:
    plan = planned(compose("train=none"))
    decode = next(s for s in plan.stages.values() if s.kind == "decode")
    store = Store(root)
    assert not store.reusable(decode.id, decode.hashed)
    attempt = store.attempt_dir(decode.id)
    store.publish(decode.id, decode.hashed, attempt, {}, 0.0, {})
    assert plan.reused(store) == {decode.id}
    path = store.stage_dir(decode.id) / "record.json"
    edited = json.loads(path.read_text())
    edited["result"]["hashed"]["spec"]["sampling"]["seed"] = 99
    path.write_text(json.dumps(edited))
    with pytest.raises(RecordMismatch, match=r"spec.sampling.seed: record has 99, asked for 0"):
        plan.reused(store)


def test_a_finished_stage_needs_no_inputs(root) -> None:
    plan = planned(compose("data=random"))
    grade = next(s for s in plan.stages.values() if s.kind == "grade")
    Store(root).publish(grade.id, grade.hashed, Store(root).attempt_dir(grade.id), {}, 0.0, {})
    assert plan.needed(plan.reused(Store(root))) == {}


def test_what_cells_share_does_not_change_their_stages() -> None:
    """Cells of one grid share parts, each asked and encoded once; a cell alone, read from JSON, shares nothing."""
    shared = planned(
        [
            *compose("experiment=table3", "task=tiny_hard"),
            *compose(
                "train=tiny,grpo", "method=rebase", "sampling=sampled", "parallel=weighted,best", "parallel.n=1,2"
            ),
            *compose("pool=s1_59k", "curation=s1_attempts", "data=full,s1k", "extrapolation=none,rotation"),
        ]
    )
    for cell in shared.cells:
        plan = Plan()
        alone = plan.add(CellSpec.model_validate_json(cell.spec.model_dump_json()), cell.axes)
        assert (alone.key, alone.stages, alone.notes) == (cell.key, cell.stages, cell.notes)
        assert {name: stage.hashed for name, stage in plan.stages.items()} == {
            name: shared.stages[name].hashed for name in plan.stages
        }
