"""A name is a label: a plan that differs in one goes by the ids that the store has, whatever it is at work on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from s1sweep import api
from s1sweep.cli import main
from s1sweep.planning import KnownIds, Plan, Stage
from s1sweep.planning.axes import axes_of
from s1sweep.queue.submission import Submissions
from s1sweep.store import Store
from s1sweep.store.storage import LocalFiles
from tests.helpers import compose
from tests.planted import plant

GRID = ("data=random,diverse", "data.size=256", "task=tiny_calc,tiny_hard", "extrapolation=none,wait")
RENAMED = "model.name=renamed"


def planned(*names: str, known: KnownIds | None = None, strings: str = "none,wait", train: str = "tiny") -> Plan:
    """Cells of GRID, or of the same with other strings or training, under each of the names of their model."""
    plan = Plan(known or KnownIds())
    for name in names or ("tiny",):
        for config in compose(*GRID[:-1], "extrapolation=none,wait,hmm", "train=tiny,grpo"):
            kind = config.choices["train"]
            if kind == train and config.choices["extrapolation"] in strings.split(","):
                model = config.cell.model.model_copy(update={"name": name})
                plan.add(config.cell.model_copy(update={"model": model}), axes_of(config) | {"model.name": name})
    return plan


def finish(store: Store, *stages: Stage) -> None:
    for stage in stages:
        assert store.publish(stage.id, stage.hashed, store.attempt_dir(stage.id), {}, 0.0, {})


def trainings(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages.values() if stage.kind == "train"]


def test_a_renamed_model_uses_all_that_is_finished(root: Path) -> None:
    store, old = Store(root), planned()
    finish(store, *old.stages.values())
    new = planned("renamed", known=KnownIds.of(store))
    assert new.stages.keys() == old.stages.keys() and not new.needed(new.reused(store))
    assert {name: stage.hashed for name, stage in new.stages.items()} == {
        name: stage.hashed for name, stage in old.stages.items()
    }
    assert [cell.stages for cell in new.cells] == [cell.stages for cell in old.cells]
    assert all(stage.spec.model.name == "renamed" for stage in trainings(new))  # type: ignore[union-attr]


@pytest.mark.parametrize("train", ["tiny", "grpo"])
def test_what_is_new_is_made_from_the_finished_training_under_its_old_name(root: Path, train: str) -> None:
    """So decode and grade ids, which hash the training's, are the ones that the old name would have given."""
    store, old = Store(root), planned(train=train)
    finish(store, *trainings(old))
    new = planned("renamed", known=KnownIds.of(store), strings="hmm", train=train)
    assert new.stages.keys() == planned(strings="hmm", train=train).stages.keys()
    assert {stage.kind for stage in new.needed(new.reused(store)).values()} == {"decode", "grade"}


def test_where_nothing_is_renamed_ids_are_what_they_would_be_in_an_empty_store(root: Path) -> None:
    store, other, plain = Store(root), planned("renamed"), planned()
    finish(store, *other.stages.values(), *trainings(plain))
    assert planned(known=KnownIds.of(store)).stages.keys() == plain.stages.keys(), "both are finished"
    assert planned("renamed", known=KnownIds.of(store)).stages.keys() == other.stages.keys()
    assert planned(known=KnownIds.of(Store(root / "empty"))).stages.keys() == plain.stages.keys()


def test_two_names_in_one_grid_share_a_training(root: Path) -> None:
    both = planned("one", "two")
    assert both.stages.keys() == planned("one").stages.keys()
    assert len(both.cells) == 16 and len({cell.key for cell in both.cells}) == 16
    assert len({json.dumps(dict(cell.stages)) for cell in both.cells}) == 8
    finish(Store(root), *trainings(planned("two")))
    later = planned("one", "two", known=KnownIds.of(Store(root)))
    assert later.stages.keys() == planned("two").stages.keys()


def test_what_was_begun_under_another_name_is_gone_on_with(root: Path) -> None:
    """A failure, a step checkpoint or a running job is of the work, not of its name. What is finished comes first."""
    store, old, new = Store(root), trainings(planned()), trainings(planned("renamed"))
    assert [stage.hashed for stage in old] == [stage.hashed for stage in new]
    for stage in (*old, new[1]):
        store.attempt_dir(stage.id)
    found = trainings(planned("renamed", known=KnownIds.of(store)))
    assert [stage.id for stage in found] == [old[0].id, new[1].id], "what has its own name there keeps it"
    finish(store, old[1])
    found = trainings(planned("renamed", known=KnownIds.of(store)))
    assert [stage.id for stage in found] == [old[0].id, old[1].id]


def test_under_a_url_what_runs_is_known_by_its_lease(url: str) -> None:
    store, (old, *_) = Store(url), trainings(planned())
    with store.leases("elsewhere") as leases:
        assert leases.take(old.id)
        found = trainings(planned("renamed", known=KnownIds.of(store)))
    assert found[0].id == old.id and "-renamed-" in found[1].id


def test_a_damaged_record_of_another_name_is_no_finished_stage(root: Path) -> None:
    store, old, new = Store(root), trainings(planned())[0], trainings(planned("renamed"))[0]
    finish(store, old)
    store.attempt_dir(new.id)
    store.files.replace(f"stages/{old.id}/record.json", b"{torn")
    assert trainings(planned("renamed", known=KnownIds.of(store)))[0].id == new.id


# --- the commands ----------------------------------------------------------------------------------------------------


def said(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_run_submit_explain_and_results_go_by_the_old_ids(root: Path) -> None:
    plant(root, *GRID)
    store, old = Store(root), planned()
    finish(store, *(stage for stage in old.stages.values() if stage.kind != "grade"))
    command = ("-m", *GRID, RENAMED, "tracking=none", "placement.backend=inprocess", "name=mine")
    ran = api.run(*command)
    assert (ran.cells, ran.executed, ran.reused) == (8, 0, len(old.stages))
    rows = json.loads(said("results", "mine", "--json"))
    assert [row["stages"] for row in rows] == [dict(cell.stages) for cell in old.cells]
    assert all(row["accuracy"] is not None for row in rows)

    submitted = json.loads(said("submit", "--json", *command))
    frozen = Submissions(store).get(submitted["id"])
    assert frozen is not None and frozen.stages.keys() == old.stages.keys() and submitted["to_run"] == 0

    gone = trainings(old)[0]
    store.withdraw(gone.id)
    explained = said("explain", gone.id)
    assert "not reused" in explained and "needed by 4 stages" in explained, "planned anew it is still this stage"


def test_a_large_grid_costs_no_more_looks_at_the_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = plant(root, *GRID)
    sweep.store.attempt_dir(sweep.cells()[0].stages["train"])
    looks: list[str] = []
    for verb in ("names", "tree"):
        look = getattr(LocalFiles, verb)
        monkeypatch.setattr(
            LocalFiles, verb, lambda self, path, verb=verb, look=look: looks.append(verb) or look(self, path)
        )
    counts = []
    for caps in ("256", "range(192,272,8)"):
        looks.clear()
        plan = json.loads(said("plan", "--json", "-m", *GRID, RENAMED, f"method.max_thinking_tokens={caps}"))
        counts.append(len(looks))
    assert plan["cells"] == 80 and plan["reused"]["grade"] == 4, "those of the training that was begun"
    assert counts[0] == counts[1] > 0
