"""Records: published whole, once and last; one scheduler; sweeps that survive a torn line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from s1sweep.errors import UserError
from s1sweep.store import Store, Sweep, same_result, write_progress
from tests.helpers import bare

HASHED = {"kind": "noop", "spec": {"n": 1}}


def publish(store: Store, text: str = "x", stage_id: str = "noop-1") -> tuple[Path, bool]:
    attempt = store.attempt_dir(stage_id)
    (attempt / "out.txt").write_text(text)
    (attempt / "log.txt").write_text("noise that differs from run to run")
    write_progress(attempt, done=1, total=1)
    return attempt, store.publish(stage_id, HASHED, attempt, {"n": 1}, 0.0, {"tokens": 5})


def test_no_record_means_not_done(root: Path) -> None:
    store = Store(root)
    store.attempt_dir("noop-1")
    assert store.record("noop-1") is None
    assert not store.reusable("noop-1", HASHED)
    with pytest.raises(KeyError):
        store.outputs("noop-1")


def test_the_first_record_wins(root: Path) -> None:
    store = Store(root)
    first, won = publish(store, "first")
    _, again = publish(store, "second")
    assert (won, again) == (True, False)
    assert store.outputs("noop-1") == first
    assert sorted(p.name for p in store.stage_dir("noop-1").iterdir() if p.is_file()) == ["record.json"]


def test_many_publishers_one_record(root: Path) -> None:
    store = Store(root)
    wins: list[bool] = []
    threads = [threading.Thread(target=lambda i=i: wins.append(publish(store, str(i))[1])) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(wins) == 1
    assert store.record("noop-1") is not None


def test_logs_and_times_are_not_part_of_a_result(root: Path, tmp_path: Path) -> None:
    a, b, c = Store(root), Store(tmp_path / "b"), Store(tmp_path / "c")
    publish(a)
    publish(b)
    publish(c, "other bytes")
    ra, rb, rc = a.record("noop-1"), b.record("noop-1"), c.record("noop-1")
    assert ra and rb and rc
    assert set(ra.outputs) == {"out.txt"}
    assert same_result(ra, rb) and not same_result(ra, rc)
    written = json.loads((a.stage_dir("noop-1") / "record.json").read_text())
    assert written == ra.as_json() and written.keys() == {"schema", "id", "result", "provenance"}
    assert written["provenance"].keys() == {"attempt", "started", "seconds", "cost", "host", "code", "environment"}


def test_another_schema_is_refused(root: Path) -> None:
    store = Store(root)
    publish(store)
    path = store.stage_dir("noop-1") / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        store.reusable("noop-1", HASHED)


def test_withdrawn_records_are_kept(root: Path) -> None:
    store = Store(root)
    attempt, _ = publish(store)
    store.withdraw("noop-1")
    assert store.record("noop-1") is None
    assert (attempt / "withdrawn.json").exists()


def test_second_scheduler_is_refused_until_the_first_dies(root: Path) -> None:
    hold = (
        "import sys, time; from s1sweep.store import Store\n"
        "with Store(sys.argv[1]).scheduler_lock(): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"pid {holder.pid}"), Store(root).scheduler_lock():
            pass
    finally:
        holder.kill()  # SIGKILL: nothing of its own cleans up
        holder.wait()
    with Store(root).scheduler_lock():
        pass


def test_unwritable_root_is_a_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with (
        pytest.raises(UserError, match=r"placement.root=.* cannot be written"),
        Store(blocked / "store").scheduler_lock(),
    ):
        pass


def test_sweep_cells_are_append_only_and_unique(root: Path) -> None:
    sweep = Sweep(Store(root), "s")
    sweep.open("first notes", ["a"])
    assert sweep.add([bare("1"), bare("2")]) == 2
    assert sweep.add([bare("2"), bare("3")]) == 1
    with (sweep.dir / "cells.jsonl").open("a") as f:
        f.write('{"key": "torn')  # a crash in the middle of a line
    assert [c.key for c in sweep.cells()] == ["1", "2", "3"]
    sweep.add([bare("4")])
    assert [c.key for c in sweep.cells()] == ["1", "2", "3", "4"]
    sweep.open("", ["b"])
    assert (sweep.info().notes, sweep.info().tags) == ("first notes", ("a", "b"))


def test_newest_sweep_is_the_one_worked_on_last(root: Path) -> None:
    store = Store(root)
    for i, name in enumerate(["a", "b", "a"]):
        Sweep(store, name).open("", [])
        os.utime(store.sweep_dir(name) / "sweep.json", (i, i))
    assert store.sweep(None).name == "a"
    with pytest.raises(UserError, match=r"No sweep 'c'.*b, a"):
        store.sweep("c")
    with pytest.raises(UserError, match="No sweep under"):
        Store(root / "none").sweep(None)
