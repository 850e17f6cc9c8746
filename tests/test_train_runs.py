"""Real trainings under real Ray: any number of workers, killed, told to go, out of memory; always the same history."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from s1sweep.planning import Plan, Stage
from s1sweep.planning.axes import axes_of
from s1sweep.runtime.backend import Backend
from s1sweep.runtime.scheduler import Progress, Scheduler
from s1sweep.spec import Placement
from s1sweep.store import CHECKPOINTS, Store, same_result
from tests.helpers import ROOT, below, compose

pytestmark = pytest.mark.slow

# 37 rows: the last batch of each epoch is short, and no number of workers divides it.
TINY = ["data=random", "data.size=37", "train.match=epochs", "train.epochs=3"]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    from s1sweep.runtime.ray_backend import RayBackend

    os.environ["PYTHONPATH"] = str(ROOT)
    backend = RayBackend(compose("train=none")[0].placement, cpus=2)
    yield backend
    backend.close()


def stages(*overrides: str, kind: str = "train") -> tuple[dict[str, Stage], Stage, Placement]:
    """Training of one cell and all that it needs, and where to run them."""
    config = compose(*TINY, *overrides)[0]
    plan = Plan()
    cell = plan.add(config.cell, axes_of(config))
    train = replace(plan.stages[cell.stages["train"]], kind=kind)
    needed = {name: stage for name, stage in plan.stages.items() if stage.kind in ("pool", "curate", "select")}
    return needed | {train.id: train}, train, config.placement


def go(
    root: Path,
    backend: Backend,
    *overrides: str,
    kind: str = "train",
    watch: Callable[[Progress], None] = lambda _: None,
) -> tuple[Progress, Stage]:
    found, train, placement = stages(*overrides, kind=kind)
    return Scheduler(Store(root), backend, placement, watch).run(found, {}), train


def history(root: Path, stage: Stage) -> list[dict]:
    return [json.loads(line) for line in (Store(root).outputs(stage.id) / "history.jsonl").open()]


def weights(root: Path, stage: Stage) -> dict:
    from safetensors.torch import load_file

    return load_file(Store(root).outputs(stage.id) / "checkpoint" / "model.safetensors")


def ranks(title: str = "RayTrainWorker") -> list[psutil.Process]:
    return [process for process, said in below(os.getpid()) if title in said]


ALONE = "ray::train"  # the one rank of a training is its task


@pytest.fixture(scope="module")
def calm(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stage]:
    root = tmp_path_factory.mktemp("calm") / "store"
    progress, stage = go(root, backend)
    assert not progress.failed
    return root, stage


def test_two_workers_train_as_one_does(calm: tuple[Path, Stage], root: Path, backend: Backend) -> None:
    import torch

    progress, stage = go(root, backend, "placement.train_workers=2", "placement.micro_batch=4")
    assert not progress.failed and stage.id == calm[1].id
    one, two = history(*calm), history(root, stage)
    assert len(one) == len(two) == 9
    for a, b in zip(one, two, strict=True):
        assert b["supervised_tokens"] == a["supervised_tokens"] and b["learning_rate"] == a["learning_rate"]
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    first, second = weights(*calm), weights(root, stage)
    assert all(torch.allclose(first[name], second[name], atol=2e-4) for name in first)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_rank_is_replaced_and_the_history_is_the_same(
    workers: int, root: Path, backend: Backend, tmp_path: Path
) -> None:
    where = [f"placement.train_workers={workers}", "placement.micro_batch=4", "placement.checkpoint_every=1"]
    killed: list[int] = []
    _, stage, _ = stages(*where)

    def kill(progress: Progress) -> None:
        step = Store(root).saved_step(stage.id)
        found = ranks(ALONE if workers == 1 else "RayTrainWorker")
        if step >= 4 and not killed and found:  # in the second epoch, inside it
            found[-1].kill()
            killed.append(step)

    progress, _ = go(root, backend, *where, watch=kill)
    assert not progress.failed and killed
    calm, _ = go(tmp_path / "undisturbed", backend, *where)
    assert not calm.failed
    assert history(root, stage) == history(tmp_path / "undisturbed", stage)
    undisturbed = Store(tmp_path / "undisturbed").record(stage.id)
    record = Store(root).record(stage.id)
    assert record and undisturbed and same_result(record, undisturbed)
    assert int(record.cost["resumed_from"].removeprefix("step-")) >= killed[0]
    assert not (Store(root).stage_dir(stage.id) / CHECKPOINTS).exists()


@pytest.mark.long
def test_what_a_killed_controller_reserved_is_free_again(root: Path, backend: Backend) -> None:
    """Its two ranks hold both CPUs: were they still reserved, the second attempt would wait for ever."""
    import ray

    where = ["placement.train_workers=2", "placement.micro_batch=4", "placement.checkpoint_every=1"]
    killed: list[psutil.Process] = []
    _, stage, _ = stages(*where)

    def kill(progress: Progress) -> None:
        if not killed and Store(root).saved_step(stage.id):
            killed.extend(ranks("TrainController"))
            for controller in killed:
                controller.kill()

    progress, _ = go(root, backend, *where, watch=kill)
    assert killed and not progress.failed
    until = time.monotonic() + 60
    while backend.nodes() and ray.available_resources().get("CPU") != 2:
        assert time.monotonic() < until, ray.available_resources()
        time.sleep(0.5)


def test_who_is_told_to_go_saves_and_goes_on_free_of_charge(
    calm: tuple[Path, Stage], root: Path, backend: Backend
) -> None:
    told: list[int] = []

    def tell(progress: Progress) -> None:
        now = Store(root).progress(calm[1].id)
        if now and now.done >= 2 and not told:
            for rank in ranks(ALONE):
                rank.send_signal(signal.SIGTERM)
                told.append(int(now.done))

    # Not one retry is granted, and no step checkpoint asked for.
    where = ["placement.max_retries=0", "placement.checkpoint_every=null"]
    progress, stage = go(root, backend, *where, watch=tell)
    assert told and not progress.failed
    record = Store(root).record(stage.id)
    assert record and record.cost["resumed_from"].startswith("step-")
    assert history(root, stage) == history(*calm)


def test_out_of_memory_is_tried_once_more_in_half_the_micro_batch(
    calm: tuple[Path, Stage], root: Path, backend: Backend, tmp_path: Path
) -> None:
    progress, stage = go(root, backend, kind="tests.oom_stage")
    assert not progress.failed
    record = Store(root).record(stage.id)
    assert record and record.cost["micro_batch"] == 8
    assert record.cost["halved_after_out_of_memory"]
    for a, b in zip(history(*calm), history(root, stage), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)


def test_out_of_memory_again_says_what_to_do(root: Path, backend: Backend) -> None:
    progress, stage = go(root, backend, "train.batch_size=36", "placement.micro_batch=36", kind="tests.oom_stage")
    attempts = [p for p in Store(root).stage_dir(stage.id).iterdir() if p.is_dir()]
    assert len(attempts) == 2
    failure = Store(root).failure(stage.id)
    assert failure and failure.kind == "out_of_memory" and "MemoryError" in failure.message
    assert progress.failed.keys() == {stage.id}
