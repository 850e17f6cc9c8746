"""The same store in a directory, in memory and on a real S3 server: exclusive, whole, and clear when it cannot be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s1sweep.analysis import results
from s1sweep.errors import StoreUnavailable, UserError
from s1sweep.policy import Capacity
from s1sweep.runtime.backend import InProcessBackend
from s1sweep.runtime.scheduler import Scheduler
from s1sweep.store import Store, Sweep, objects, same_result
from s1sweep.store.objects import ObjectFiles
from s1sweep.store.storage import LocalFiles, open_files
from tests.helpers import bare, cli
from tests.noop_stage import stage
from tests.objectstore import moto
from tests.test_analysis import fabricate
from tests.test_scheduler import PLACEMENT, diamond


def together(work: Callable[[int], None], count: int = 12) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "elsewhere") -> None:
    """From now on this is another machine: nothing is in its cache."""
    monkeypatch.setenv("S1SWEEP_CACHE", str(tmp_path / name))


def test_of_many_creates_one_wins(url: str) -> None:
    files, wins = open_files(url), list[int]()

    def create(i: int) -> None:
        if files.create("a/record.json", f"by {i}".encode()):
            wins.append(i)

    together(create)
    assert len(wins) == 1 and files.read("a/record.json") == f"by {wins[0]}".encode()
    assert list(files.tree("a")) == ["record.json"]
    assert files.create("a/record.json", f"by {wins[0]}".encode()), "an answer that was lost is no other's win"


def test_files(url: str) -> None:
    files = open_files(url)
    assert files.read("none") is None and files.names("none") == [] and files.tree("none") == {}
    files.remove("none")
    files.replace("a/b/one.json", b"1")
    files.replace("a/b/one.json", b"12")
    files.replace("a/c/two.json", b"2")
    files.replace("ab/three.json", b"3")
    assert files.read("a/b/one.json") == b"12" and files.names("a") == ["b", "c"] and files.names("") == ["a", "ab"]
    found = files.tree("a")
    assert {path: info.bytes for path, info in found.items()} == {"b/one.json": 2, "c/two.json": 1}
    assert all(abs(info.time - time.time()) < 300 for info in found.values())
    files.remove("a")
    assert files.tree("a") == {} and files.read("ab/three.json") == b"3"


def test_who_adds_at_once_is_kept(url: str) -> None:
    sweep = Sweep(Store(url), "s")
    sweep.open("", [])
    together(lambda i: Sweep(Store(url), "s").add([bare(str(i)), bare("all")]) and None, 8)
    assert sorted(cell.key for cell in sweep.cells()) == [*map(str, range(8)), "all"]
    sweep.add([bare("last"), bare("3")])
    assert len(sweep.cells()) == 10 and sweep.cells()[-1].key == "last"


def test_one_scheduler_a_cluster(url: str) -> None:
    store = Store(url)
    with store.scheduler_lock():
        with pytest.raises(UserError, match=f"already has a scheduler .*pid {os.getpid()}"), store.scheduler_lock():
            pass
        with store.scheduler_lock("other"):
            assert set(store.schedulers()) == {"main", "other"}
        with store.cleaning_lock() as running:
            assert set(running) == {"main"}
            with pytest.raises(UserError, match="being cleaned up"), store.scheduler_lock("third"):
                pass
    assert store.schedulers() == {}
    with store.scheduler_lock():
        pass


def test_a_run_leaves_equal_records_wherever_the_store_is(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = {s.id: s for s in [*diamond(), stage("broken", mode="bug")]}
    for place in (Store(url), Store(tmp_path / "plain")):
        progress = Scheduler(place, InProcessBackend(Capacity(cpus=1, engines=1)), PLACEMENT).run(stages, {})
        assert len(progress.done) == 5 and len(progress.failed) == 1
    elsewhere(monkeypatch, tmp_path)
    there = Store(url)
    for name in progress.done:
        mine, theirs = Store(tmp_path / "plain").record(name), there.record(name)
        assert mine and theirs and same_result(mine, theirs)
        assert (there.outputs(name) / "out.txt").read_text() == (
            Store(tmp_path / "plain").outputs(name) / "out.txt"
        ).read_text()
    (broken,) = progress.failed
    failure = there.failure(broken)
    assert failure and b"a planted bug" in (there.files.read(failure.log or "") or b"")


def test_results_of_a_sweep_on_s3(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ("data=random,diverse", "task=tiny_calc", "task.limit=6")
    fabricate(s3, *grid)  # type: ignore[arg-type]
    local = fabricate(tmp_path / "plain", *grid)
    elsewhere(monkeypatch, tmp_path)
    found = results.cells(Store(s3).sweep(None))
    assert [cell.as_json() for cell in found] == [cell.as_json() for cell in results.cells(local)]
    fetched = {path.name for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()}
    assert fetched <= {"grades.jsonl"}, "only what is read is fetched"
    assert [s.name for s in results.sweeps_of(s3)] == [s.name for s in results.sweeps_of(f"{s3}/sweeps/made")]
    done = cli("results", "--json", "--root", s3, root=tmp_path / "unused")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 2, done.stderr
    done = cli("store", "verify", "--json", "--root", s3, root=tmp_path / "unused")
    assert done.returncode == 0 and json.loads(done.stdout)["broken"] == {}, done.stdout + done.stderr


def test_a_damaged_object_is_refused(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = Store(s3), stage("a")
    Scheduler(store, InProcessBackend(Capacity(cpus=1, engines=1)), PLACEMENT).run({one.id: one}, {})
    record = store.record(one.id)
    assert record
    store.files.replace(f"stages/{one.id}/{record.attempt}/out.txt", b"b")
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(StoreUnavailable, match="damaged"):
        Store(s3).outputs(one.id)


def test_a_dead_holders_lock_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S1SWEEP_CACHE", str(tmp_path / "cache"))
    files = ObjectFiles("memory://locks/prefix")
    files.replace("schedulers/main.lock", json.dumps({"owner": "a dead one", "token": "x", "expires": 5.0}).encode())
    assert files.locked("schedulers/main.lock") is None
    with files.lock("schedulers/main.lock", "me"):
        assert str(files.locked("schedulers/main.lock")).startswith("me")
    assert files.read("schedulers/main.lock") is None


def test_protocols_without_exclusive_create_are_refused() -> None:
    with pytest.raises(UserError, match=r"protocol='ftp' is not valid. Valid: gcs, gs, memory, s3"):
        Store("ftp://host/store")


def test_a_server_that_ignores_the_condition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S1SWEEP_CACHE", str(tmp_path / "cache"))
    files = ObjectFiles("memory://deaf/prefix")
    pipe = files._fs.pipe_file
    monkeypatch.setattr(files._fs, "pipe_file", lambda path, data, mode="overwrite": pipe(path, data))
    with pytest.raises(UserError, match="If-None-Match is ignored"), files.lock("schedulers/main.lock", "me"):
        pass


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = moto()
    import s3fs

    monkeypatch.setattr(objects, "WAITS", (0.2, 0.5, 1.0, 2.0))
    values = {"AWS_ENDPOINT_URL": server.start(), "AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    for name, value in {**values, "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("lasting")
    server.stop()
    files = ObjectFiles("s3://lasting/prefix")
    timer = threading.Timer(0.6, server.start)
    timer.start()
    try:
        assert files.create("a.json", b"1")
    finally:
        timer.join()
        server.close()
    monkeypatch.setattr(objects, "WAITS", (0.01,))
    with pytest.raises(StoreUnavailable, match=r"s3://lasting/prefix.*cannot be written.*give the same command again"):
        files.replace("a.json", b"2")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        files.read("a.json")


def test_no_permission_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnavailable, match=r"placement.root=.*cannot be written"):
        LocalFiles(tmp_path / "file" / "store").create("a.json", b"1")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 64 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount")
def test_a_full_disk_leaves_nothing_half_written(tiny: Path) -> None:
    store, one, two = Store(tiny / "store"), stage("one"), stage("two")
    backend = InProcessBackend(Capacity(cpus=1, engines=1))
    Scheduler(store, backend, PLACEMENT).run({one.id: one}, {})
    before = store.record(one.id)
    fill = tiny / "fill"
    with fill.open("wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    for write in (store.files.replace, store.files.create):
        with pytest.raises(StoreUnavailable, match=r"No space left.*store gc"):
            write(f"stages/{one.id}/new.json", b"y" * 9000)
    with pytest.raises(StoreUnavailable):
        Scheduler(store, backend, PLACEMENT).run({two.id: two}, {})
    assert store.record(one.id) == before and store.record(two.id) is None
    assert not [p for p in (tiny / "store").rglob(".*") if p.is_file()], "nothing is left aside"
    fill.unlink()
    assert Scheduler(store, backend, PLACEMENT).run({two.id: two}, {}).done == [two.id]
