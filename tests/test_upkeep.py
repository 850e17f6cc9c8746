"""`store ls|verify|gc|export|import`: nothing needed is removed, nothing damaged passes, nothing escapes."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import results
from s1sweep.errors import UserError
from s1sweep.identity import file_sha256
from s1sweep.store import CHECKPOINTS, Store, Sweep, archive, upkeep
from tests.helpers import cli
from tests.test_analysis import fabricate

GRID = ("data=random,diverse", "task=tiny_calc", "task.limit=4")
MORE = ("data=random,longest", "task=tiny_calc", "task.limit=4")


def drop_sweep(store: Store, name: str) -> None:
    store.files.remove(f"sweeps/{name}")


def kept(store: Store) -> set[str]:
    return {i for i in store.stage_ids() if store.record(i)}


# --- ls, verify, gc


def test_usage_adds_up(url: str) -> None:
    fabricate(url, *GRID, name="one")  # type: ignore[arg-type]
    fabricate(url, *MORE, name="two")  # type: ignore[arg-type]
    store = Store(url)
    found = upkeep.usage(store)
    total = sum(info.bytes for info in store.files.tree("stages").values())
    assert sum(row["bytes"] for row in found["kinds"].values()) == total
    one, two = found["sweeps"]
    assert one["own_bytes"] + two["bytes"] == total == two["own_bytes"] + one["bytes"]
    assert found["unreferenced"] == [] and found["broken"] == {}
    drop_sweep(store, "two")
    lost = upkeep.usage(store)["unreferenced"]
    assert lost and sum(row["bytes"] for row in lost) == two["own_bytes"]
    assert all("longest" in row["id"] for row in lost if not row["id"].startswith("grade"))


def test_gc_removes_what_no_sweep_needs(url: str) -> None:
    fabricate(url, *GRID, name="one")  # type: ignore[arg-type]
    mine = kept(Store(url))
    fabricate(url, *MORE, name="two")  # type: ignore[arg-type]
    store, every = Store(url), kept(Store(url))
    before = results.cells(Sweep(store, "one"))
    drop_sweep(store, "two")
    assert upkeep.collect(store)["waste"] == [], "nothing young goes"
    dry = upkeep.collect(store, grace=0)
    assert {w["path"] for w in dry["waste"]} == {f"stages/{i}" for i in every - mine} and kept(store) == every
    with store.scheduler_lock():
        busy = upkeep.collect(store, grace=0, really=True)
        assert busy["waste"] == [] and any("a scheduler runs" in line for line in busy["kept"])
    assert kept(store) == every
    done = upkeep.collect(store, grace=0, really=True)
    assert done["bytes"] == dry["bytes"] > 0 and kept(store) == mine
    assert results.cells(Sweep(store, "one")) == before and upkeep.verify(store)["broken"] == {}
    assert upkeep.collect(store, grace=0)["waste"] == []


def test_gc_of_attempts_checkpoints_and_halves(root: Path) -> None:
    sweep = fabricate(root, *GRID)
    store, stage = sweep.store, sweep.cells()[0].stages["train"]
    for path in (store.attempt_dir(stage) / "partial.bin", store.stage_dir(stage) / CHECKPOINTS / "step-3" / "w"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    (store.stage_dir(stage) / ".record.json.abc").write_text("{")
    assert upkeep.verify(store)["half_written"], "said, and no fault"
    assert upkeep.collect(store, really=True)["waste"] == [], "within the grace time nothing goes"
    leases = store.leases("there")
    leases.take(stage)
    assert upkeep.collect(store, grace=0, really=True)["waste"] == [], "someone is at work on it"
    leases.drop([stage])
    for path in store.root.rglob("*"):
        os.utime(path, (1, 1))
    assert len(upkeep.collect(store, really=True)["waste"]) == 3
    assert upkeep.verify(store) == {**upkeep.verify(store), "broken": {}, "half_written": []}
    assert len(results.cells(sweep)) == 2 and all(cell.missing is None for cell in results.cells(sweep))


def edit(store: Store, stage: str, change: Callable[[dict[str, Any]], None]) -> None:
    data = store.files.read(f"stages/{stage}/record.json")
    assert data
    record = json.loads(data)
    change(record)
    store.files.replace(f"stages/{stage}/record.json", json.dumps(record).encode())


def test_verify_finds_each_fault(url: str) -> None:
    fabricate(url, "data=random,diverse,longest,full", "task=tiny_calc,tiny_hard", "task.limit=3")  # type: ignore[arg-type]
    store = Store(url)
    grades = [i for i in store.stage_ids() if i.startswith("grade")]
    assert len(grades) == 8 and upkeep.verify(store)["broken"] == {}
    paths = [f"stages/{i}/{record.attempt}/grades.jsonl" for i in grades if (record := store.record(i))]
    data = store.files.read(paths[0])
    assert data
    store.files.replace(paths[0], bytes([data[0] ^ 1]) + data[1:])
    store.files.replace(paths[1], data[:-5])
    store.files.remove(paths[2])
    edit(store, grades[3], lambda r: r.update(schema=7))
    edit(store, grades[4], lambda r: r.update(id="grade-other"))
    edit(store, grades[5], lambda r: r["result"]["hashed"]["versions"].update(grade=99))
    store.files.replace(f"stages/{grades[6]}/record.json", b'{"schema": 1, ')
    store.files.append("sweeps/made/cells.jsonl", b'{"key": "torn\n')
    found = upkeep.verify(store)["broken"]
    said = [
        "has sha256",
        "its record says",
        "is not there",
        "schema 7",
        "that of grade-other",
        "not the digest",
        "torn",
    ]
    assert list(found) == [*sorted(grades[:7]), "sweeps/made"]
    for stage, text in zip(grades, said, strict=False):
        assert len(found[stage]) == 1 and text in found[stage][0]
    assert found["sweeps/made"] == ["line 9 of cells.jsonl, its last, is no cell"]


def test_the_commands(root: Path, tmp_path: Path) -> None:
    sweep = fabricate(root, *GRID)
    for command in ("ls", "verify", "gc"):
        done = cli("store", command, root=root)
        assert done.returncode == 0 and done.stdout, done.stderr
        assert json.loads(cli("store", command, "--json", root=root).stdout)["store"] == str(root)
    done = cli("store", "export", "made", str(tmp_path / "a.tar.gz"), root=root)
    assert done.returncode == 0 and "sweep made" in done.stdout, done.stderr
    done = cli("store", "import", str(tmp_path / "a.tar.gz"), root=tmp_path / "new")
    assert done.returncode == 0 and "2 cells" in done.stdout, done.stderr
    (sweep.store.outputs(sweep.cells()[0].stages["grade"]) / "grades.jsonl").write_text("{}")
    done = cli("store", "verify", root=root)
    assert done.returncode == 1 and "BROKEN grade-" in done.stdout and "Traceback" not in done.stderr
    done = cli("store", "export", "made", "x.zip", root=root)
    assert done.returncode == 2 and ".tar.zst" in done.stderr and "Traceback" not in done.stderr


# --- archives


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_an_archive_brings_the_sweep(url: str, tmp_path: Path, suffix: str) -> None:
    sweep = fabricate(url, *GRID)  # type: ignore[arg-type]
    file = tmp_path / f"made{suffix}"
    archive.export(sweep, file)
    there = Store(tmp_path / "there")
    first = archive.import_(there, file)
    again = archive.import_(there, file)
    assert first["cells_added"] == 2 and first["stages_kept"] == 0 and first["stages_added"] == len(kept(there))
    assert again == {"sweep": "made", "cells_added": 0, "stages_added": 0, "stages_kept": first["stages_added"]}
    loaded = results.cells(there.sweep("made"))
    assert [c.as_json() for c in loaded] == [c.as_json() for c in results.cells(sweep)]
    assert upkeep.verify(there)["broken"] == {} and there.sweep("made").info().tags == ("demo",)
    assert {i: there.record(i) for i in kept(there)} == {i: sweep.store.record(i) for i in kept(sweep.store)}


def test_an_archive_without_checkpoints(root: Path, tmp_path: Path) -> None:
    sweep = fabricate(root, *GRID)
    train = sweep.cells()[0].stages["train"]
    weights = sweep.store.outputs(train) / "checkpoint" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(os.urandom(50_000))
    said = {"sha256": file_sha256(weights), "bytes": 50_000}
    edit(sweep.store, train, lambda r: r["result"]["outputs"].update({"checkpoint/model.safetensors": said}))
    whole = archive.export(sweep, tmp_path / "whole.tar")
    light = archive.export(sweep, tmp_path / "light.tar", checkpoints=False)
    assert light["left_out"] == [train] and whole["bytes"] - light["bytes"] > 50_000
    there = Store(tmp_path / "there")
    archive.import_(there, tmp_path / "light.tar")
    assert there.record(train) is None and upkeep.verify(there)["broken"] == {}
    assert [c.as_json() for c in results.cells(there.sweep("made"))] == [c.as_json() for c in results.cells(sweep)]
    archive.import_(there, tmp_path / "whole.tar")
    assert (there.outputs(train) / "checkpoint" / "model.safetensors").read_bytes() == weights.read_bytes()


def repacked(file: Path, out: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(file) as old, tarfile.open(out, "w") as new:
        for member in old:
            source = old.extractfile(member)
            member, data = change(member, source.read() if source else b"")
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "stages/../../out", "stages/a/../../../out"])
def test_nothing_leaves_the_folder(root: Path, tmp_path: Path, name: str) -> None:
    archive.export(fabricate(root, *GRID), tmp_path / "a.tar")

    def rename(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = name if member.name.endswith("grades.jsonl") else member.name
        return member, data

    there = Store(tmp_path / "there")
    with pytest.raises(UserError, match="leads out of the archive"):
        archive.import_(there, repacked(tmp_path / "a.tar", tmp_path / "bad.tar", rename))
    assert kept(there) == set() and there.sweep_names() == []
    assert not [p for p in tmp_path.rglob("out") if p.is_file()] and not Path("/tmp/out").exists()


def test_links_are_refused(root: Path, tmp_path: Path) -> None:
    archive.export(fabricate(root, *GRID), tmp_path / "a.tar")

    def link(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("grades.jsonl"):
            member.type, member.linkname, data = tarfile.SYMTYPE, "/etc/passwd", b""
        return member, data

    with pytest.raises(UserError, match="no plain file"):
        archive.import_(Store(tmp_path / "there"), repacked(tmp_path / "a.tar", tmp_path / "bad.tar", link))


def test_a_damaged_archive_brings_nothing(root: Path, tmp_path: Path) -> None:
    archive.export(fabricate(root, *GRID), tmp_path / "a.tar")
    archive.export(fabricate(root, *GRID), tmp_path / "a.tar.gz")

    def flip(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member, data.replace(b'"correct"', b'"corrupt"') if member.name.endswith("grades.jsonl") else data

    there = Store(tmp_path / "there")
    bad = repacked(tmp_path / "a.tar", tmp_path / "bad.tar", flip)
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / "a.tar").read_bytes()[:30_000])
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes((tmp_path / "a.tar.gz").read_bytes()[:2_000])
    for file in (bad, cut, torn):
        with pytest.raises(UserError, match=r"Nothing was imported|is no whole archive"):
            archive.import_(there, file)
        assert kept(there) == set() and there.sweep_names() == []


def test_another_result_of_the_same_work_is_refused_with_both_named(root: Path, tmp_path: Path) -> None:
    sweep = fabricate(root, *GRID)
    archive.export(sweep, tmp_path / "a.tar")
    grade = sweep.cells()[0].stages["grade"]
    edit(sweep.store, grade, lambda r: r["result"]["summary"].update(accuracy=0.125))
    with pytest.raises(UserError) as caught:
        archive.import_(sweep.store, tmp_path / "a.tar")
    for text in (sweep.store.where("stages", grade, "record.json"), f"{tmp_path / 'a.tar'}:stages/{grade}", "0.125"):
        assert text in str(caught.value)


def test_gzip_is_gzip(root: Path, tmp_path: Path) -> None:
    archive.export(fabricate(root, *GRID), tmp_path / "a.tar.gz")
    assert gzip.decompress((tmp_path / "a.tar.gz").read_bytes())[:12] == b"s1sweep.json"
