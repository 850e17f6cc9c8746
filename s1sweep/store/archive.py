"""A sweep as one archive: `s1sweep store export` and `import`.

    s1sweep.json                       the format, the sweep's name, the stages left out
    sweeps/<name>/sweep.json, cells.jsonl
    stages/<id>/record.json            before the outputs it names
    stages/<id>/<attempt>/<output>

An import reads into a folder of its own, compares every digest, and publishes only then; records that are there stay.
Knows records and tar files; pyarrow compresses, where the name ends in .zst.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from s1sweep.errors import UserError, invalid
from s1sweep.identity import digest, file_sha256
from s1sweep.store import SCHEMA, Record, SavedCell, Store, Sweep, SweepInfo, same_result, upkeep
from s1sweep.store.records import as_file, differences
from s1sweep.store.storage import cannot_write

T = TypeVar("T")
FORMAT = 1
ABOUT = "s1sweep.json"
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
CHECKPOINT = "checkpoint/"  # outputs under this name are weights


def export(sweep: Sweep, file: str | Path, checkpoints: bool = True) -> dict[str, Any]:
    """Write a sweep, its stages' records and outputs. Without checkpoints, stages that hold one are left out whole:
    results load without them, and a run that needs one makes it again.

    Raises UserError for another suffix, or if an output is missing.
    """
    path, store = Path(file).expanduser(), sweep.store
    _check_suffix(path.name)
    stages = upkeep.survey(store)
    ids = sorted(upkeep.closure((i for c in sweep.cells() for i in c.stages.values()), stages) & stages.keys())
    records = {i: record for i in ids if (record := stages[i].record) is not None}
    for stage in records:
        if stages[stage].broken:
            why = stages[stage].broken[0]
            raise UserError(f"{stage} is broken ({why}), so {sweep.name!r} cannot be exported whole.")
    left = [] if checkpoints else [i for i, r in records.items() if any(_weights(n) for n in r.outputs)]
    kept = sorted(records.keys() - left)
    about = {"format": FORMAT, "sweep": sweep.name, "stages": kept, "left_out": left}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        with _tar(aside, "w", path.name) as tar:
            _add(tar, ABOUT, as_file(about))
            _add(tar, f"sweeps/{sweep.name}/sweep.json", as_file({"name": sweep.name, **sweep.info().as_json()}))
            _add(tar, f"sweeps/{sweep.name}/cells.jsonl", sweep.lines().encode())
            for stage in kept:
                record, out = records[stage], store.outputs(stage)
                _add(tar, f"stages/{stage}/record.json", as_file(record.as_json()))
                for name in record.outputs:
                    tar.add(out / name, f"stages/{stage}/{out.name}/{name}", recursive=False)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return {**about, "file": str(path), "bytes": path.stat().st_size}


def import_(store: Store, file: str | Path) -> dict[str, Any]:
    """Read an archive into a store. Nothing is published unless all of it is whole and agrees with what is there.

    Raises UserError naming what is damaged, unsafe, or different from the store's own record.
    """
    path = Path(file).expanduser()
    (store.root / "tmp").mkdir(parents=True, exist_ok=True)  # on the store's own disk, so that files can be moved
    with tempfile.TemporaryDirectory(dir=store.root / "tmp", prefix="import-") as temp:
        _extract(path, Path(temp))
        about = _read(path, Path(temp), ABOUT, lambda text: dict(json.loads(text)))
        if about.get("format") != FORMAT:
            raise UserError(f"{path} has format {about.get('format')!r}, this s1sweep reads {FORMAT}.")
        name, stages = _plain(path, str(about.get("sweep"))), [str(stage) for stage in about.get("stages", [])]
        records = {stage: _verified(path, Path(temp), stage) for stage in stages}
        known = {stage: mine for stage in stages if (mine := store.record(stage)) is not None}
        _refuse_different(store, path, records, known)
        cells = _cells(path, Path(temp) / "sweeps" / name / "cells.jsonl")
        info = _read(path, Path(temp), f"sweeps/{name}/sweep.json", SweepInfo.model_validate_json)
        for stage in stages:
            if stage not in known:
                _publish(store, Path(temp), stage, records[stage])
        sweep = Sweep(store, name)
        sweep.open(info.notes, info.tags, info.claims)
        added = sweep.add(cells)
    with suppress(OSError):  # another import may be at work in it
        (store.root / "tmp").rmdir()
    return {"sweep": name, "cells_added": added, "stages_added": len(stages) - len(known), "stages_kept": len(known)}


def _publish(store: Store, temp: Path, stage: str, record: Record) -> None:
    for name in record.outputs:
        place = store.stage_dir(stage) / record.attempt / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(temp / "stages" / stage / record.attempt / name, place)
        store.files.put(f"stages/{stage}/{record.attempt}/{name}")
    store.files.create(f"stages/{stage}/record.json", as_file(record.as_json()))


def _verified(path: Path, temp: Path, stage: str) -> Record:
    """A stage's record, if it and all outputs are what they say they are."""
    record = _read(path, temp, f"stages/{_plain(path, stage)}/record.json", Record.parse)
    attempt = _plain(path, record.attempt)
    if record.schema_version != SCHEMA or record.id != stage or not stage.endswith(digest(record.hashed)[:12]):
        raise UserError(f"{path}: the record of {stage} is of another schema or stage. Nothing was imported.")
    for name, said in record.outputs.items():
        place = temp / "stages" / stage / attempt / _safe(path, name)
        if not place.is_file() or file_sha256(place) != said.sha256:
            raise UserError(f"{path}: {stage}/{name} is missing or damaged. Export it again. Nothing was imported.")
    return record


def _refuse_different(store: Store, path: Path, theirs: Mapping[str, Record], ours: Mapping[str, Record]) -> None:
    for stage, mine in ours.items():
        if not same_result(mine, theirs[stage]):
            lines = [f"  {key}: {a!r} here, {b!r} there" for key, a, b in differences(mine, theirs[stage])]
            raise UserError(
                f"{store.where('stages', stage, 'record.json')} and {path}:stages/{stage}/record.json are different "
                "results of the same work:\n" + "\n".join(lines[:10]) + "\nNothing was imported. Import into another "
                "store, or take one back with `s1sweep run --force`."
            )


def _extract(path: Path, folder: Path) -> None:
    """Plain files only, and none outside the folder, whatever the archive says."""
    try:
        with _tar(path, "r", path.name) as tar:
            for member in tar:
                if not member.isfile():
                    raise UserError(f"{path}: {member.name!r} is no plain file. Nothing was imported.")
                place = folder / _safe(path, member.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with place.open("xb") as f:
                    shutil.copyfileobj(source, f, 1 << 20)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there.") from error
    except (tarfile.TarError, EOFError, FileExistsError, zlib.error) as error:
        raise UserError(f"{path} is no whole archive ({error}). Export it again. Nothing was imported.") from error
    except OSError as error:
        raise cannot_write(str(folder), path.name, error) from error


def _safe(path: Path, name: str) -> PurePosixPath:
    """A relative path without `..`."""
    found = PurePosixPath(name)
    if found.is_absolute() or not found.parts or ".." in found.parts or "\\" in name or "\0" in name:
        raise UserError(f"{path}: {name!r} leads out of the archive. Nothing was imported.")
    return found


def _plain(path: Path, name: str) -> str:
    if len(_safe(path, name).parts) != 1:
        raise UserError(f"{path}: {name!r} is no name of a folder. Nothing was imported.")
    return name


def _weights(name: str) -> bool:
    return name.startswith(CHECKPOINT)


def _check_suffix(name: str) -> None:
    if not name.endswith(SUFFIXES):
        raise invalid("FILE", name, SUFFIXES, "Give a name that ends in one of these.")


@contextmanager
def _tar(path: Path, mode: str, name: str) -> Iterator[tarfile.TarFile]:
    """An archive as a stream, compressed as its name says."""
    _check_suffix(name)
    with ExitStack() as stack:
        kind: Any = f"{mode}|gz" if name.endswith("gz") else f"{mode}|"
        if name.endswith(".zst"):
            try:
                import pyarrow as pa
            except ImportError as error:
                raise UserError(f"{name} needs pyarrow (pip install 's1sweep[analysis]'), .tar.gz does not.") from error
            raw = stack.enter_context(path.open(f"{mode}b"))
            try:
                opened = pa.CompressedInputStream if mode == "r" else pa.CompressedOutputStream
                stream: IO[bytes] = stack.enter_context(opened(raw, "zstd"))
                yield stack.enter_context(tarfile.open(fileobj=stream, mode=kind, dereference=True))
            except pa.ArrowException as error:
                raise tarfile.ReadError(str(error)) from error
            except OSError as error:
                if mode == "r" and error.errno is None:  # pyarrow's word for damaged bytes
                    raise tarfile.ReadError(str(error)) from error
                raise
            return
        yield stack.enter_context(tarfile.open(str(path), kind, dereference=True))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read(path: Path, temp: Path, name: str, parse: Callable[[str], T]) -> T:
    """A file of the archive, parsed. Raises UserError if it is not there or is not what it should be."""
    try:
        return parse((temp / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} has no whole {name} ({error}). Nothing was imported.") from error


def _cells(path: Path, place: Path) -> list[dict[str, Any]]:
    """The cells of an exported list. Lines torn by a crash before the export are no cells."""
    if not place.is_file():
        raise UserError(f"{path} has no {place.name}. Nothing was imported.")
    found = []
    for line in place.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    try:
        for cell in found:
            SavedCell.model_validate(cell)
    except ValueError as error:
        raise UserError(f"{path}: {place.name} holds what is no cell. Nothing was imported.") from error
    return found
