"""The W&B mirror, written offline for real and read back from its files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from s1sweep.analysis import results
from s1sweep.grading import grade
from s1sweep.planning import Plan, Stage
from s1sweep.planning.axes import axes_of
from s1sweep.sources.tasks import questions
from s1sweep.spec import DecodeStage, GradeStage, Tracking
from s1sweep.store import Store, Sweep
from s1sweep.tracking import publish
from s1sweep.tracking.wandb_results import records
from tests.helpers import compose

pytest.importorskip("wandb")
CANARY = "c4na7y" * 7
GRID = ("data=random,longest", "data.size=64", "extrapolation=wait", "task=tiny_calc", "task.limit=6")
CAPS = "method.max_thinking_tokens=128,32"
OFFLINE = Tracking(mode="offline", project="p", entity=None, samples_per_series=5, upload_checkpoints=False)


# --- a finished sweep, made without training or decoding


def fabricate(root: Path, *overrides: str, undone: Sequence[str] = ()) -> Sweep:
    """Plan cells as a user would, add them to the sweep `s`, and publish a record for each of their stages."""
    plan, store = Plan(), Store(root)
    cells = [plan.add(config.cell, axes_of(config)) for config in compose(*overrides)]
    sweep = Sweep(store, "s")
    sweep.open("why", ["mine"])
    sweep.add(cell.as_json() for cell in cells)
    for stage in plan.stages.values():
        if store.record(stage.id) is None and stage.kind not in undone:
            attempt = store.attempt_dir(stage.id)
            store.publish(stage.id, stage.hashed, attempt, _work(store, stage, attempt), 0.0, {"train_seconds": 2.5})
    return sweep


def _work(store: Store, stage: Stage, out: Path) -> dict[str, Any]:
    if isinstance(stage.spec, GradeStage):
        return grade.run(stage.spec, {"decode": store.outputs(stage.inputs["decode"])}, out)
    if isinstance(stage.spec, DecodeStage):
        tokens = stage.spec.method.max_thinking_tokens // 2 + stage.spec.extrapolation.num_ignore
        _jsonl(
            out / "readouts.jsonl",
            [_readout(q.id, q.answer, i, tokens) for i, q in enumerate(questions(stage.spec.task))],
        )
    elif stage.kind == "train":
        logged = [{"step": n, "loss": 1 / n, "learning_rate": 1e-3, "grad_norm": 2.0 * n} for n in (1, 2, 3)]
        _jsonl(out / "history.jsonl", logged)
        pace = [{"step": n, "tokens_per_second": 100.0 * n, "memory_gb": 4.0 - n} for n in (1, 2, 3)]
        _jsonl(out / "timing.jsonl", pace)
        (out / "checkpoint").mkdir()
        (out / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    else:
        _jsonl(out / "rows.jsonl", [{"id": "a"}])
    return {"rows": 1}


def _readout(question: str, gold: str, number: int, tokens: int) -> dict[str, Any]:
    return {
        "question_id": question,
        "sample": 0,
        "ended": "forced" if number % 2 else "natural",
        "ignored": 0,
        "thinking_tokens": tokens,
        "injected_tokens": 1,
        "answer_tokens": 2,
        **dict.fromkeys(
            ("probe_tokens", "verifier_tokens", "discarded_tokens", "scored_tokens", "prefilled_tokens"), 0
        ),
        "tries": 1,
        "loop": None,
        "score": None,
        "probes": [],
        "thinking": [["a+b", False], ["Wait", True]],
        "answer": gold,
        "stated": f"Final Answer: {gold}" if number * 12 < tokens else "no idea",
    }


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- reading W&B's files


def _items(items: Any) -> dict[str, Any]:
    return {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}


class Mirrored:
    """One offline run as W&B will show it."""

    def __init__(self, folder: Path) -> None:
        found = list(records(folder))
        run = next(r.run for r in found if r.WhichOneof("record_type") == "run")
        self.folder, self.run, self.id = folder, run, run.run_id
        self.config = _items(run.config.update)
        self.history = [_items(r.history.item) for r in found if r.WhichOneof("record_type") == "history"]
        self.artifacts = {r.artifact.type: r.artifact for r in found if r.WhichOneof("record_type") == "artifact"}
        self.metrics = {r.metric.name: r.metric for r in found if r.WhichOneof("record_type") == "metric"}
        self.step_metrics = {name: metric.step_metric for name, metric in self.metrics.items()}
        self.summary: dict[str, Any] = {}
        for record in found:
            if record.WhichOneof("record_type") == "summary":
                self.summary.update(_items(record.summary.update))

    def table(self, name: str) -> list[dict[str, Any]]:
        found = json.loads(next((self.folder / "files/media/table").glob(f"{name}_*.table.json")).read_text())
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def mirrored(sweep: Sweep) -> dict[str, list[Mirrored]]:
    runs: dict[str, list[Mirrored]] = {"train": [], "eval": [], "sweep": []}
    for folder in sorted((sweep.dir / "wandb").glob("offline-run-*")):
        run = Mirrored(folder)
        runs[run.run.job_type].append(run)
    return runs


def mark_synced(sweep: Sweep) -> None:
    """What `wandb sync` leaves behind."""
    for path in (sweep.dir / "wandb").glob("offline-run-*/*.wandb"):
        path.with_suffix(".wandb.synced").touch()


# --- a W&B server, as much of it as wandb 0.31 asks for


class Server(BaseHTTPRequestHandler):
    """Keeps the history and summary of each run, names of artifacts that were made and used, and views and charts."""

    runs: ClassVar[dict[str, dict[str, Any]]] = {}
    made: ClassVar[list[str]] = []
    used: ClassVar[list[str]] = []
    views: ClassVar[dict[str, dict[str, Any]]] = {}
    charts: ClassVar[dict[str, dict[str, Any]]] = {}
    projects: ClassVar[list[str]] = []
    refused: ClassVar[dict[str, str]] = {}  # GraphQL operation -> the error that answers it

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._reply({})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        if "file_stream" in self.path:
            run = self.runs.setdefault(self.path.split("/")[4], {"history": [], "summary": {}})
            for name, part in (json.loads(raw).get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    run["history"][part["offset"] : part["offset"] + len(part["content"])] = part["content"]
                elif name == "wandb-summary.json":
                    run["summary"] = json.loads(part["content"][-1])
            self._reply({"exitcode": None, "limits": {}})
        elif self.path == "/graphql":
            body = json.loads(raw)
            found = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
            assert found is not None
            if found[1] in self.refused:
                self._reply({"errors": [{"message": self.refused[found[1]]}], "data": None})
            else:
                self._reply({"data": self._answer(found[1], body.get("variables") or {})})
        else:
            self._reply({})

    def _answer(self, asked: str, given: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p", "internalId": "p", "name": "p", "entity": {"id": "e", "name": "me"}}
        if asked == "RunResumeStatus":
            return {"model": {**project, "bucket": self._bucket(given["name"])}}
        if asked == "UpsertBucket":
            bucket = {"id": "x", "name": given["name"], "displayName": given["name"], "project": project}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}
        if asked == "Viewer":
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if asked == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"http://{self.headers['host']}/{n}"} for n in given["files"]]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        if asked == "CreateArtifact":
            name = given["input"]["artifactCollectionName"]
            self.made.append(name)
            latest = {"id": name, "versionIndex": 0}
            artifact = {"id": name, "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": latest}}
            return {"createArtifact": {"artifact": artifact}}
        if asked == "UseArtifact":
            self.used.append(given["input"]["artifactID"])
            return {"useArtifact": {"artifact": {"id": "a"}}}
        if asked == "ArtifactByID":
            sequence = {"__typename": "ArtifactSequence", "id": "s", "name": "n", "project": project}
            texts = {"digest": "d", "commitHash": "c", "metadata": "{}", "createdAt": "2026-01-01T00:00:00Z"}
            state = {"state": "COMMITTED", "ttlDurationSeconds": -1, "ttlIsInherited": True, "versionIndex": 0}
            empty = {"description": None, "updatedAt": None, "historyStep": None, "tags": [], "aliases": []}
            kind = {"artifactType": {"name": "any"}, "artifactSequence": sequence, "size": 1, "fileCount": 1}
            return {"artifact": {"__typename": "Artifact", "id": given["id"], **texts, **state, **empty, **kind}}
        if asked in ("upsertView", "UpsertView2"):
            view_id = given.get("id") or f"view{len(self.views)}"
            inserted = view_id not in self.views
            self.views[view_id] = given
            of = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
            told = {key: given[key] for key in ("name", "displayName", "description", "type", "spec")}
            view = {"id": view_id, **told, "project": of, "updatedAt": "2026-01-01T00:00:00Z"}
            return {"upsertView": {"view": view, "inserted": inserted}}
        if asked == "GetProjects":
            page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
            return {"models": {"pageInfo": page, "edges": []}}
        if asked == "CreateProject":
            self.projects.append(given["input"]["name"])
            return {"upsertModel": {"model": {"id": "p", "name": given["input"]["name"], "entityName": "me"}}}
        if asked == "CreateCustomChart":
            chart_id = f"{given['entity']}/{given['chartName']}"
            self.charts[chart_id] = json.loads(given["spec"])
            return {"createCustomChart": {"chart": {"id": chart_id}}}
        return {"project": {"artifact": None}} if asked == "ArtifactType" else {"serverInfo": {"features": []}}

    def _bucket(self, name: str) -> dict[str, Any] | None:
        if name not in self.runs:
            return None
        history = self.runs[name]["history"]
        texts = {
            "config": "{}",
            "notes": "",
            "eventsTail": "[]",
            "wandbConfig": '{"t": {"1": [1]}}',
            "displayName": name,
        }
        counts = {"logLineCount": 0, "eventsLineCount": 0, "historyLineCount": len(history), "tags": []}
        summary = json.dumps(self.runs[name]["summary"])
        tail = json.dumps(history[-1:])
        return {"id": "x", "name": name, "summaryMetrics": summary, "historyTail": tail, **texts, **counts}

    def _reply(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    class Fresh(Server):
        runs: ClassVar[dict[str, dict[str, Any]]] = {}
        made: ClassVar[list[str]] = []
        used: ClassVar[list[str]] = []
        views: ClassVar[dict[str, dict[str, Any]]] = {}
        charts: ClassVar[dict[str, dict[str, Any]]] = {}
        projects: ClassVar[list[str]] = []
        refused: ClassVar[dict[str, str]] = {}

    with ThreadingHTTPServer(("127.0.0.1", 0), Fresh) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", CANARY)
        monkeypatch.setenv("HOME", str(tmp_path))
        yield Fresh
        listening.shutdown()


# --- tests


def test_what_appears(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    sweep = fabricate(root, *GRID, CAPS)
    fabricate(root, *GRID, "extrapolation.num_ignore=4", undone=["decode", "grade"])
    lines = publish(sweep, OFFLINE)
    assert lines == [f"W&B: 5 offline runs to upload: wandb sync {sweep.dir}/wandb/offline-run-*"]
    runs = mirrored(sweep)
    assert {kind: len(found) for kind, found in runs.items()} == {"train": 2, "eval": 2, "sweep": 1}
    assert all(
        r.run.run_group == "s" and r.run.project == "p" and "mine" in r.run.tags for f in runs.values() for r in f
    )
    assert {r.run.display_name for r in runs["train"]} == {"random-64 train", "longest-64 train"}
    assert {r.run.display_name for r in runs["eval"]} == {"random-64 wait tiny_calc", "longest-64 wait tiny_calc"}

    cells = results.cells(sweep)
    train = next(r for r in runs["train"] if r.run.display_name.startswith("random"))
    assert [(row["step"], row["loss"]) for row in train.history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert train.step_metrics["loss"] == train.step_metrics["tokens_per_second"] == "step"
    assert train.summary["rows"] == 1 and train.summary["loss"] == 1 / 3
    assert (train.summary["tokens_per_second"], train.summary["memory_gb"]) == ({"mean": 200.0}, {"max": 3.0})
    assert train.config["arm"] == "random-64" and train.config["sweep"] == "s"
    for group in ("pool", "data", "model", "train"):
        assert train.config[group] == cells[0].spec[group]
    dataset, model = train.artifacts["dataset"], train.artifacts["model"]
    assert (dataset.name, model.name) == (cells[0].stages["select"], cells[0].stages["train"])
    assert json.loads(model.metadata)["inputs"] == {"data": dataset.name}
    assert [(c.path, c.ref.startswith("file://")) for c in model.manifest.contents] == [("model.safetensors", True)]

    series = next(r for r in runs["eval"] if r.run.display_name.startswith("random"))
    done = sorted(
        (c for c in cells if c.series == series.config["series"] and not c.missing),
        key=lambda c: c.spec["method"]["max_thinking_tokens"],
    )
    assert [row["max_thinking_tokens"] for row in series.history] == [32, 128]
    for row, cell in zip(series.history, done, strict=True):
        assert row["thinking_tokens"] == cell.mean_thinking_tokens
        for name in ("accuracy", "ci_low", "ci_high", "n", "forced_share", "mean_answer_tokens"):
            assert row[name] == getattr(cell, name)
    assert series.step_metrics["accuracy"] == series.step_metrics["ci_low"] == "thinking_tokens"
    assert series.metrics["max_thinking_tokens"].options.hidden and not series.metrics["accuracy"].options.hidden
    assert (series.config["arm"], series.config["control"]) == ("random-64", "wait")
    points = series.table("points")
    assert [(row["thinking_tokens"], row["accuracy"], row["ci_low"], row["ci_high"], row["n"]) for row in points] == [
        (cell.mean_thinking_tokens, cell.accuracy, cell.ci_low, cell.ci_high, cell.n) for cell in done
    ]
    assert {(row["series"], row["arm"], row["control"], row["task"]) for row in points} == {
        ("random-64 wait tiny_calc", "random-64", "wait", "tiny_calc")
    }
    assert "max_thinking_tokens" not in series.config["method"] and "num_ignore" not in series.config["extrapolation"]
    assert series.config["train"] == cells[0].spec["train"] and series.config["axes"]["extrapolation"] == "wait"
    assert series.summary["accuracy"] == done[-1].accuracy and series.summary["best_accuracy"] == done[-1].accuracy
    assert series.history[0]["accuracy"] < series.history[1]["accuracy"]
    assert (series.summary["planned"], series.summary["missing"]) == (3, 1)
    samples = series.table("samples")
    assert len(samples) == 5 and samples[0]["thinking"] == "a+b«Wait»" and samples[0]["question"]
    assert [s["max_thinking_tokens"] for s in samples] == [32, 128, 32, 128, 32]
    assert samples[0]["question_id"] == samples[1]["question_id"]
    assert {"answer", "gold", "verdict", "ending", "thinking_tokens", "answer_tokens"} <= samples[0].keys()

    table = runs["sweep"][0].table("cells")
    assert [row["missing"] for row in table] == [None] * 4 + ["not run yet"] * 2
    assert [row["accuracy"] for row in table] == [cell.accuracy for cell in cells]
    assert {name: runs["sweep"][0].summary[name] for name in ("planned", "finished", "missing")} == {
        **{"planned": 6, "finished": 4, "missing": 2}
    }

    files = [path for path in root.rglob("*") if path.is_file()]
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_nothing_is_shown_twice(root: Path) -> None:
    sweep = fabricate(root, *GRID, CAPS)
    publish(sweep, OFFLINE)
    before = {path: path.stat().st_mtime_ns for path in sweep.dir.rglob("*")}
    code = """
import sys
from s1sweep.spec import Tracking
from s1sweep.store import Store
from s1sweep.tracking import publish
publish(Store(sys.argv[1]).sweep("s"), Tracking.model_validate_json(sys.argv[2]))
assert "wandb" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(root), OFFLINE.model_dump_json()], check=True)
    assert {path: path.stat().st_mtime_ns for path in sweep.dir.rglob("*")} == before


def test_a_series_grows_under_its_id(root: Path) -> None:
    """Before a sync the offline run is replaced; after it only the new point is written, as the next step."""
    grid = ("data=random", *GRID[1:])
    publish(fabricate(root, *grid, CAPS), OFFLINE)
    sweep = fabricate(root, *grid, "method.max_thinking_tokens=64")
    first = mirrored(sweep)
    publish(sweep, OFFLINE)
    grown = mirrored(sweep)
    assert {kind: [r.id for r in found] for kind, found in grown.items()} == {
        k: [r.id for r in f] for k, f in first.items()
    }
    assert [row["max_thinking_tokens"] for row in grown["eval"][0].history] == [32, 64, 128]
    assert grown["train"][0].folder == first["train"][0].folder

    mark_synced(sweep)
    assert publish(sweep, OFFLINE) == []
    publish(fabricate(root, *grid, "method.max_thinking_tokens=48"), OFFLINE)
    old, new = sorted(mirrored(sweep)["eval"], key=lambda r: -len(r.history))
    assert (old.id, len(old.history)) == (new.id, 3)
    assert [(row["max_thinking_tokens"], row["_step"]) for row in new.history] == [(48, 3)]
    assert new.summary["max_thinking_tokens"] == 128 and new.summary["planned"] == 4


def test_a_crash_before_the_receipt_does_no_harm(root: Path) -> None:
    sweep = fabricate(root, "data=random", *GRID[1:])
    publish(sweep, OFFLINE)
    before = mirrored(sweep)
    (sweep.dir / "wandb.json").unlink()
    publish(sweep, OFFLINE)
    after = mirrored(sweep)
    for kind, found in before.items():
        assert [(r.id, len(r.history)) for r in found] == [(r.id, len(r.history)) for r in after[kind]]


@pytest.mark.parametrize(("mode", "wandb_mode"), [("none", None), ("offline", "disabled"), ("none", "offline")])
def test_no_mirror(root: Path, monkeypatch: pytest.MonkeyPatch, mode: str, wandb_mode: str | None) -> None:
    if wandb_mode:
        monkeypatch.setenv("WANDB_MODE", wandb_mode)
    sweep = fabricate(root, "data=random", *GRID[1:])
    assert publish(sweep, OFFLINE.model_copy(update={"mode": mode})) == []
    assert sorted(path.name for path in sweep.dir.iterdir()) == ["cells.jsonl", "sweep.json"]


def test_online(root: Path, server: type[Server]) -> None:
    """History is appended once, whatever was lost between publishing and the receipt; used artifacts are linked."""

    def caps(run_id: str) -> list[int]:
        return [json.loads(row)["max_thinking_tokens"] for row in server.runs[run_id]["history"]]

    grid, online = ("data=random", *GRID[1:]), OFFLINE.model_copy(update={"mode": "online"})
    sweep = fabricate(root, *grid, CAPS)
    assert publish(sweep, OFFLINE) and len(mirrored(sweep)["eval"]) == 1
    (line,) = publish(sweep, online)
    assert "3 runs published" in line and not list((sweep.dir / "wandb").glob("offline-run-*"))
    stages = sweep.cells()[0].stages
    assert {stages["train"], stages["select"]} <= {*server.made}
    assert server.used == [stages["select"], stages["train"]]
    (series,) = [run_id for run_id in server.runs if run_id.startswith("eval")]
    assert caps(series) == [32, 128]
    assert publish(sweep, online) == publish(sweep, OFFLINE) == []

    (sweep.dir / "wandb.json").unlink()
    publish(sweep, online)
    assert caps(series) == [32, 128]
    publish(fabricate(root, *grid, "method.max_thinking_tokens=64"), online)
    assert caps(series) == [32, 128, 64]
    assert server.runs[series]["summary"]["max_thinking_tokens"] == 128
    assert not [p for p in root.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]


def test_the_printed_command_uploads_what_is_new(root: Path, server: type[Server]) -> None:
    grid = ("data=random", *GRID[1:])
    for overrides in ((CAPS,), ("method.max_thinking_tokens=64",)):
        sweep = fabricate(root, *grid, *overrides)
        command = publish(sweep, OFFLINE)[0].split("upload: ")[1]
        done = subprocess.run(
            [sys.executable, "-m", command.split()[0], "sync", *map(str, (sweep.dir / "wandb").glob("offline-run-*"))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert publish(sweep, OFFLINE) == []
    (series,) = [run for run_id, run in server.runs.items() if run_id.startswith("eval")]
    assert [json.loads(row)["max_thinking_tokens"] for row in series["history"]] == [32, 128, 64]


@pytest.mark.parametrize(("key", "said"), [(CANARY, "does not answer"), ("", "no API key"), ("bad", "invalid")])
def test_online_falls_back_to_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, said: str
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("HOME", str(tmp_path))
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    sweep = fabricate(root, "data=random", *GRID[1:])
    lines = publish(sweep, OFFLINE)
    assert len(lines) == 2 and said in lines[0] and "wandb sync" in lines[1]
    runs = mirrored(sweep)
    assert len(runs["eval"]) == 1 and runs["eval"][0].run.project == "theirs"
    assert CANARY not in "".join(lines)
    assert not [p for p in root.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    publish(sweep, OFFLINE)  # the server is still away: the files stay as they are
    assert [r.folder for r in mirrored(sweep)["eval"]] == [r.folder for r in runs["eval"]]


def test_a_server_that_goes_away_after_it_answered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s1sweep.tracking import live

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    monkeypatch.setattr(live, "obstacle", lambda: None)
    monkeypatch.setitem(live.SECONDS, "init", 2)
    sweep = fabricate(root, "data=random", *GRID[1:])
    lines = publish(sweep, OFFLINE.model_copy(update={"mode": "online"}))
    assert len(lines) == 2 and "written offline instead" in lines[0] and "3 offline runs" in lines[1]
    assert CANARY not in "".join(lines)
    assert not [p for p in root.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]


def test_a_broken_or_missing_wandb_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = fabricate(root, "data=random", *GRID[1:])
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "s1sweep.tracking.live", raising=False)
        patch.delattr("s1sweep.tracking.live", raising=False)
        patch.setitem(sys.modules, "wandb", None)
        (line,) = publish(sweep, OFFLINE)
        assert "wandb is not installed" in line
    (sweep.dir / "wandb").write_text("a file where the folder should be")
    (line,) = publish(sweep, OFFLINE)
    assert "not all was published" in line
    (sweep.dir / "wandb").unlink()
    assert "3 offline runs" in publish(sweep, OFFLINE)[0]


def test_a_deleted_checkpoint_is_no_artifact(root: Path) -> None:
    sweep = fabricate(root, "data=random", *GRID[1:])
    for path in root.glob("stages/train-*/*/checkpoint"):
        shutil.rmtree(path)
    publish(sweep, OFFLINE)
    assert set(mirrored(sweep)["train"][0].artifacts) == {"dataset"}


def test_an_uploaded_checkpoint_is_read_where_it_lies(root: Path) -> None:
    sweep = fabricate(root, "data=random", *GRID[1:])
    publish(sweep, OFFLINE.model_copy(update={"upload_checkpoints": True}))
    (content,) = mirrored(sweep)["train"][0].artifacts["model"].manifest.contents
    assert Path(content.local_path).parent.name == "checkpoint" and not content.ref
