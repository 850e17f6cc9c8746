"""What W&B was given is what the records hold: published offline for real, and read back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import results
from s1sweep.errors import UserError
from s1sweep.spec import Tracking
from s1sweep.tracking import publish
from tests.test_analysis import fabricate

pytest.importorskip("wandb")
pd = pytest.importorskip("pandas")
from pandas.testing import assert_frame_equal  # noqa: E402

from s1sweep.tracking.wandb_results import load_wandb  # noqa: E402

GRID = ("data=random,diverse", "task=tiny_calc", "task.limit=6", "sampling=sampled", "sampling.samples=2")
OFFLINE = Tracking(mode="offline", project="p", entity=None, samples_per_series=0, upload_checkpoints=False)


@pytest.mark.parametrize("rows", [None, "cells", "readouts"])
def test_the_frame_of_offline_runs_is_that_of_the_records(root: Path, rows: Any) -> None:
    sweep = fabricate(root, *GRID, "extrapolation=none,wait", failing=["train-tiny-diverse"])
    publish(sweep, OFFLINE)
    for source in (sweep.dir, sweep.dir / "wandb", str(root), *(sweep.dir / "wandb").glob("offline-run-*-sweep-*")):
        assert_frame_equal(load_wandb(source, rows=rows), results.load(sweep, rows=rows))


def test_the_newest_of_several_runs_counts(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    publish(sweep, OFFLINE)
    before = load_wandb(sweep.dir)
    for path in (sweep.dir / "wandb").glob("offline-run-*/*.wandb"):
        path.with_suffix(".wandb.synced").touch()  # what `wandb sync` leaves: the folder stays
    fabricate(root, *GRID, "extrapolation=wait")
    publish(sweep, OFFLINE)
    assert len(list((sweep.dir / "wandb").glob("offline-run-*-sweep-*"))) == 2
    assert_frame_equal(load_wandb(sweep.dir), results.load(sweep))
    assert len(load_wandb(sweep.dir)) > len(before)
    assert len(list((sweep.dir / "wandb" / "results").iterdir())) == 1


def test_equal_results_are_equal_bytes_published_once(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    publish(sweep, OFFLINE)
    (path,) = (sweep.dir / "wandb" / "results").iterdir()
    first, changed = path.read_bytes(), path.stat().st_mtime_ns
    publish(sweep, OFFLINE)
    assert path.stat().st_mtime_ns == changed
    (sweep.dir / "wandb.json").unlink()
    publish(sweep, OFFLINE)
    assert path.stat().st_mtime_ns != changed and path.read_bytes() == first


def test_several_sweeps_of_a_moved_store(root: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        publish(fabricate(root, *GRID, f"train.learning_rate={len(name)}e-{ord(name[0]) % 7}", name=name), OFFLINE)
    expected = results.load(root)
    assert set(expected["sweep"]) == {"one", "two"}
    shutil.move(root, tmp_path / "moved")
    assert_frame_equal(load_wandb(tmp_path / "moved"), expected)


def test_what_was_not_published_or_was_edited_is_refused(root: Path, tmp_path: Path) -> None:
    sweep = fabricate(root, *GRID)
    with pytest.raises(UserError, match="0 offline runs"):
        load_wandb(sweep.dir)
    publish(sweep, OFFLINE)
    with pytest.raises(UserError, match=r"rows='all' is not valid"):
        load_wandb(sweep.dir, rows="all")  # type: ignore[arg-type]
    (path,) = (sweep.dir / "wandb" / "results").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="was edited"):
        load_wandb(sweep.dir)
    path.unlink()
    with pytest.raises(UserError, match="is gone"):
        load_wandb(sweep.dir)
    for folder in (sweep.dir / "wandb").glob("offline-run-*-sweep-*"):
        next(folder.glob("*.wandb")).unlink()
    with pytest.raises(UserError, match="no offline run of W&B"):
        load_wandb(sweep.dir)
    with pytest.raises(UserError, match="no folder, and no entity/project/NAME"):
        load_wandb("nowhere")
