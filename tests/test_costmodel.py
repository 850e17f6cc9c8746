"""The cost model: rates planted in records come back, with an honest error; what plans and simulations make of it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.cli import main
from s1sweep.estimating.costmodel import CostModel, FinishedRun, finished, fitted
from s1sweep.estimating.estimate import DECODE_EFFICIENCY, STATED, TRAIN_EFFICIENCY, estimate, expected, loads_of, times
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.spec import CellConfig
from s1sweep.store import Store, Sweep
from tests.helpers import compose
from tests.planted import keep, record

H100 = "NVIDIA H100 80GB HBM3"
SIZE = 0.9e6  # of the testbed's model


def plant(
    root: Path,
    seconds: float = 30.0,
    rate: float = 2e10,
    noise: float = 0.0,
    device: str = "cpu",
    n: int = 12,
    named: bool = True,
) -> None:
    """A sweep of trainings and of engine sessions of three stages each; seconds of start-up, size x tokens a second.

    Unless sessions are `named`, as those of today, times are as s1sweep 0.1 wrote them: a stage's from the beginning of
    its session.
    """
    random, store = Random(1), Store(root)
    torch = "2.13.0+cpu" if device == "cpu" else "2.13.0"
    cells: list[dict[str, Any]] = []
    for i in range(n):
        train, began = f"train-{i}", 1000.0 * i
        tokens = 100_000 * (1 + i % 4)
        spent = SIZE * tokens / 4 / rate * random.uniform(1 - noise, 1 + noise)
        cost: dict[str, Any] = {"train_seconds": spent, "tokens": tokens, "workers": 4, "device": device}
        keep(store, record(train, began, seconds + spent, cost, torch=torch))
        for part in (1, 2, 3):
            decode, decoded = f"decode-{i}-{part}", 50_000 * (1 + i % 5) * part
            spent = (seconds + SIZE * decoded / 2 / rate) * random.uniform(1 - noise, 1 + noise)
            waited = (part - 1) * 5.0 if named else 0.0  # this long after the session began, its own work did
            cost = {"decoded_tokens": decoded, "engine": {"device": device, "tensor_parallel": 2}}
            cost |= {"session": f"session {i}"} if named else {}
            keep(store, record(decode, began + waited, spent - waited, cost, inputs={"checkpoint": train}, torch=torch))
            spec = {"model": {"parameters": SIZE}, "train": {"kind": "sft"}}
            cells.append({"key": decode, "spec": spec, "stages": {"train": train, "decode": decode}})
    sweep = Sweep(store, "old")
    sweep.open("", [])
    sweep.add(cells)


def planned(cells: list[CellConfig]) -> Plan:
    plan = Plan()
    for config in cells:
        plan.add(config.cell, axes_of(config))
    return plan


@pytest.mark.parametrize("kind", ["train", "decode"])
@pytest.mark.parametrize("named", [True, False])
def test_planted_rates_come_back_with_their_error(root: Path, kind: str, named: bool) -> None:
    plant(root / "exact", named=named)
    exact = CostModel(finished(Store(root / "exact"))).fit(kind, "cpu", SIZE)
    assert exact is not None and exact.runs == 12  # a session of three stages is one run
    assert exact.startup == pytest.approx(30) and exact.rate == pytest.approx(2e10)
    assert (exact.error, exact.low, exact.high) == pytest.approx((0, 1, 1), abs=1e-6)
    plant(root / "noisy", noise=0.2, named=named)
    noisy = CostModel(finished(Store(root / "noisy"))).fit(kind, "cpu", SIZE)
    assert noisy is not None and noisy.error is not None
    assert noisy.rate == pytest.approx(2e10, rel=0.3)
    assert 0.005 < noisy.error < 0.25 and noisy.low < 1 < noisy.high


@given(st.floats(0, 500), st.floats(1e6, 1e12), st.sets(st.integers(1, 10**6), min_size=2, max_size=12))
def test_a_line_is_found_whatever_it_is(startup: float, rate: float, tokens: set[int]) -> None:
    runs = [FinishedRun("decode", "cpu", 1e6, n, 1, startup + 1e6 * n / rate) for n in sorted(tokens)]
    found = fitted(runs)
    for run in runs:
        assert found.seconds(run.work) == pytest.approx(run.seconds, rel=1e-3)


def test_one_wild_run_moves_little() -> None:
    runs = [FinishedRun("decode", "cpu", 1e6, 1000 * n, 1, 10 + n) for n in range(1, 12)]
    wild = fitted([*runs, FinishedRun("decode", "cpu", 1e6, 5000, 1, 4000)])
    assert wild.rate == pytest.approx(1e9, rel=0.05) and wild.startup == pytest.approx(10, rel=0.2)
    assert wild.error is not None and wild.error < 0.05 and wild.high > 1.0


def test_other_devices_and_sizes_say_nothing(root: Path) -> None:
    plant(root, device=H100)
    model = CostModel(finished(Store(root)))
    for device in ("gpu", "H100"):
        assert model.fit("train", device, SIZE) is not None
    for device in ("cpu", "A100"):
        assert model.fit("train", device, SIZE) is None
    assert model.fit("decode", "H100", 1.9 * SIZE) is not None
    assert model.fit("decode", "H100", 10 * SIZE) is None


def test_a_store_without_runs_and_a_run_alone(root: Path) -> None:
    assert finished(Store(root)) == []
    alone = fitted([FinishedRun("train", "cpu", 1e6, 1000, 1, 10.0)])
    assert (alone.runs, alone.error, alone.rate) == (1, None, 1e8) and alone.low < 1 < alone.high


def test_what_no_run_speaks_for_is_stated_and_said(root: Path) -> None:
    cells = compose("data=random,full", "train=tiny", "placement=gpu", "placement.gpu_kind=H100")
    plan, here = planned(cells), cells[0].placement
    said = estimate(plan, plan.stages, here, CostModel(finished(Store(root))))
    assert (said.low, said.high) == pytest.approx(STATED, abs=1e-3) and said.cost is None
    assert [f"{e:g}" in line for e, line in zip((TRAIN_EFFICIENCY, DECODE_EFFICIENCY), said.basis, strict=True)]
    assert all("no finished run of this kind" in line and "H100" in line for line in said.basis)
    plant(root, device=H100)
    price = here.model_copy(update={"price_per_gpu_hour": 2.0})
    told = estimate(plan, plan.stages, price, CostModel(finished(Store(root))))
    assert all("12 finished runs, median error 0 %" in line for line in told.basis)
    assert (told.decode_tokens, told.train_tokens) == (said.decode_tokens, said.train_tokens)
    # A GPU at a time, and a training and an engine session for each of the two subsets; start-ups are as planted.
    hours = (4 * 30 + SIZE * (told.train_tokens + told.decode_tokens) / 2e10) / 3600
    assert told.gpu_hours == pytest.approx(hours, rel=1e-2) and told.wall_hours >= told.gpu_hours
    assert told.cost == pytest.approx(2 * told.gpu_hours, abs=0.01)
    assert told.as_json()["cost_range"] == pytest.approx([told.cost * told.low, told.cost * told.high])


def test_a_training_is_saved_as_often_as_its_placement_says() -> None:
    cells = compose("data=random", "train=tiny", "placement=gpu", "placement.checkpoint_every=10")
    plan = planned(cells)
    loads = loads_of(plan, plan.stages)
    took = times(loads, cells[0].placement, CostModel())
    (train,) = (load for load in loads if load.kind == "train")
    work = {job.id: job for job in took.work(plan.stages, cells[0].placement)}
    assert work[train.stages[0]].checkpoint == pytest.approx(10 * work[train.stages[0]].seconds / train.steps)


def test_the_policy_is_told_what_each_stage_is_expected_to_take(root: Path) -> None:
    """All of the work's hours, start-ups included, shared out among stages; nothing of what is not known."""
    cells = compose("data=random,diverse", "task=tiny_calc,tiny_hard", "train=tiny", "placement=gpu")
    here, plan = cells[0].placement, planned(cells)
    plant(root, device=H100)
    model = CostModel(finished(Store(root)))
    told = expected(plan, plan.stages, here, model)
    on_gpus = sum(told[stage.id] for stage in plan.stages.values() if stage.kind in ("train", "decode"))
    assert on_gpus / 3600 == pytest.approx(estimate(plan, plan.stages, here, model).gpu_hours, rel=1e-2)
    assert {stage.kind for stage in plan.stages.values() if stage.id not in told} == {"pool", "curate"}
    grpo = planned(compose("data=random", "task=tiny_calc", "train=grpo", "placement=gpu"))
    kinds = {type(grpo.stages[name].spec).__name__ for name in expected(grpo, grpo.stages, here, model)}
    assert "GrpoStage" not in kinds and "DecodeStage" in kinds


# --- the command -----------------------------------------------------------------------------------------------------


def simulated(root: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["simulate", "--json", *arguments, f"placement.root={root}"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_simulate_the_testbeds_plan(root: Path) -> None:
    grid = ("-m", "data=random,diverse,longest,full", "task=tiny_calc,tiny_hard", "placement=gpu")
    grid = (*grid, "placement.price_per_gpu_hour=2")
    one, many = simulated(root, "--gpus", "1", *grid), simulated(root, "--gpus", "64", *grid)
    assert simulated(root, "--gpus", "1", *grid, "placement.gpu_kind=H100")["makespan_hours"] == one["makespan_hours"]
    for found in (one, many):
        assert found["ratio"] >= 1 and found["lower_bound"]["bound"] <= found["makespan_hours"] + 1e-3
        assert found["cost"] == pytest.approx(2 * found["gpu_hours"], abs=0.2)
        assert len(found["utilisation_over_time"]) == 50
    assert many["makespan_hours"] < 0.5 * one["makespan_hours"]
    assert (many["gpus"], many["nodes"], many["stages"]) == (64, 8, one["stages"])
    assert one["utilisation"] > many["utilisation"]


def test_failures_cost_hours_and_the_same_every_time(root: Path) -> None:
    grid = ("-m", "data=random,diverse,longest,full", "placement=gpu", "--gpus", "1")
    calm = simulated(root, *grid)
    rough = simulated(root, *grid, "--mtbf-days", "0.005", "--repair-minutes", "5")
    assert rough == simulated(root, *grid, "--mtbf-days", "0.005", "--repair-minutes", "5")
    assert calm["failures"] == 0 < rough["failures"] and rough["makespan_hours"] > calm["makespan_hours"]


def test_a_plan_without_gpus_runs_on_cores(root: Path) -> None:
    found = simulated(root, "data=random")
    assert found["gpus"] == 0 and found["core_hours"] > 0 and found["cost"] is None
    shown = CliRunner().invoke(main, ["simulate", "data=random", f"placement.root={root}"])
    assert "core hours" in shown.output and "no finished run of this kind" in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "4", "data=random"], "gives no stage a GPU"),
        (["--gpus", "4", "data=random", "placement=8x80gb"], "never fit on 1 nodes of 4 GPUs"),
    ],
)
def test_what_cannot_be_is_refused(root: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["simulate", *arguments, f"placement.root={root}"])
    assert done.exit_code == 2 and message in done.output
