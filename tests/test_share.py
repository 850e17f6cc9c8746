"""What is handed to others: files in lm_eval's form, and checkpoints on a hub that is real but for its address."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import lm_eval_export
from s1sweep.analysis.results import cells
from s1sweep.errors import UserError
from s1sweep.sources.tasks import questions
from s1sweep.spec import TaskSpec
from s1sweep.store import Store, Sweep
from tests.fakehub import commit_of, serve
from tests.helpers import cli
from tests.planted import plant

GRID = ("train=none", "task=tiny_calc,tiny_choice", "task.limit=12", "method.max_thinking_tokens=30,60")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_export_has_each_cell_once_by_run_and_task(root: Path, tmp_path: Path) -> None:
    sweep = plant(root, *GRID)
    done = cli("export", "planted", str(tmp_path / "out"), "--format", "lm-eval", root=root)
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert len(written) == 2 and all(path.name.startswith("results_") for path in written)
    found = {}
    for path in written:
        about = json.loads(path.read_text())
        assert set(about["results"]) == {"tiny_calc", "tiny_choice"}
        assert path.parent.name == about["model_name_sanitized"]
        for task, metrics in about["results"].items():
            (samples,) = path.parent.glob(f"samples_{task}_*.jsonl")
            assert samples.stem.rsplit("_", 1)[1] == path.stem.rsplit("_", 1)[1], "lm_eval pairs files by their time"
            lines = read(samples)
            values = [line["exact_match"] for line in lines]
            assert metrics["exact_match,none"] == pytest.approx(sum(values) / len(values))
            spread = sum((v - sum(values) / 12) ** 2 for v in values) / 11
            assert metrics["exact_match_stderr,none"] == pytest.approx(math.sqrt(spread / 12))
            assert about["n-samples"][task] == {"original": 12, "effective": 12}
            hashes = "".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines)
            assert about["task_hashes"][task] == hashlib.sha256(hashes.encode()).hexdigest()
            cell = about["configs"][task]["metadata"]["cell"]
            found[cell] = metrics["exact_match,none"]
    assert found == {cell.key: pytest.approx(cell.accuracy) for cell in cells(sweep)}


def test_a_sample_says_what_was_asked_said_and_right(root: Path, tmp_path: Path) -> None:
    sweep = plant(root, "train=none", "task=tiny_choice", "task.limit=3", "sampling=sampled", "sampling.samples=4")
    (path,), open_ = lm_eval_export.write(sweep, tmp_path)
    assert open_ == 0
    (samples,) = path.parent.glob("samples_*")
    lines = read(samples)
    task = cells(sweep)[0].spec["task"]
    asked = questions(TaskSpec.model_validate(task))
    assert [line["doc_id"] for line in lines] == [0, 1, 2]
    for line, question in zip(lines, asked, strict=True):
        assert line["target"] == question.answer and line["doc"]["question"] == question.question
        prompt = line["arguments"]["gen_args_0"]["arg_0"]
        assert question.question in prompt and question.choices[0] in prompt
        assert line["arguments"]["gen_args_0"]["arg_1"]["do_sample"] is True
        assert len(line["resps"][0]) == len(line["filtered_resps"][0]) == 4
        assert line["exact_match"] == line["filtered_resps"][0].count(question.answer) / 4
        assert line["metrics"] == ["exact_match"] and line["filter"] == "none"


def test_the_harness_itself_reads_the_files(root: Path, tmp_path: Path) -> None:
    """Its own functions find, pair and read them; where it is not installed this is left out."""
    utils = pytest.importorskip("lm_eval.utils")
    plant(root, *GRID)
    lm_eval_export.write(Sweep(Store(root), "planted"), tmp_path)
    names = [str(path) for path in tmp_path.rglob("*.json*")]
    results = utils.get_results_filenames(names)
    samples = utils.get_sample_results_filenames(names)
    assert (len(results), len(samples)) == (2, 4)
    about = json.loads(Path(utils.get_latest_filename(results)).read_text())
    table = utils.make_table(about)
    assert "exact_match" in table and "tiny_calc" in table
    assert utils.sanitize_model_name(about["model_name_sanitized"]) == about["model_name_sanitized"]
    schema = __import__("lm_eval.result_schema", fromlist=["EvalResults"]).EvalResults
    known = set(schema.__annotations__)
    assert set(about) - known == {"s1sweep_version"}


def test_nothing_to_export_is_said(root: Path, tmp_path: Path) -> None:
    plant(root, *GRID)
    for record in root.glob("stages/grade-*/record.json"):
        record.unlink()
    with pytest.raises(UserError, match="no finished cell"):
        lm_eval_export.write(Sweep(Store(root), "planted"), tmp_path)


# --- push


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one real checkpoint of two steps, evaluated under two caps."""
    root = tmp_path_factory.mktemp("push") / "store"
    grid = [
        *("data=random", "data.size=16", "train.steps=2", "task=tiny_calc", "task.limit=4"),
        *("method.max_thinking_tokens=8,16", "placement=inprocess", "tracking=none", "name=mine"),
    ]
    done = cli("run", "-m", *grid, root=root)
    assert done.returncode == 0, done.stderr
    return root


def checkpoint(root: Path) -> tuple[str, Path]:
    (record,) = root.glob("stages/train-*/record.json")
    return record.parent.name, next(record.parent.glob("*/checkpoint"))


@pytest.mark.slow
def test_push_puts_weights_tokenizer_and_card_in_one_commit(trained: Path, tmp_path: Path) -> None:
    repos: dict = {}
    stage, folder = checkpoint(trained)
    env = {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_secret"}
    with serve(repos, "hf_secret") as (address, asked):
        done = cli("push", stage, "us/checkpoint", "--private", root=trained, HF_ENDPOINT=address, **env)
        assert done.returncode == 0, done.stderr
        again = cli("push", "mine", "us/checkpoint", "--private", root=trained, HF_ENDPOINT=address, **env)
        assert again.returncode == 0, again.stderr
    files = repos["models", "us/checkpoint"]
    assert done.stdout.strip() == f"{address}/us/checkpoint/commit/{commit_of(files)}"
    assert ".private" in files and "hf_secret" not in "".join(asked) + files["README.md"].decode()
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert not [name for name in files if "optimizer" in name or name.endswith((".bin", ".pt", ".pth"))]
    assert sum(path.endswith("/commit/main") for path in asked) == 2, "one commit a push"


@pytest.mark.slow
def test_a_pushed_checkpoint_is_a_model(trained: Path, tmp_path: Path) -> None:
    """What was pushed can be prefetched and planned as a base model."""
    repos: dict = {}
    env = {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "t"}
    with serve(repos, "t") as (address, _):
        assert cli("push", "train-", "us/mine", root=trained, HF_ENDPOINT=address, **env).returncode == 0
        command = ("prefetch", "model.source=us/mine", "train=none")
        done = cli(*command, root=tmp_path / "store", HF_ENDPOINT=address, **env, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert f"model us/mine at {commit_of(repos['models', 'us/mine'])}" in done.stdout


@pytest.mark.slow
def test_the_card_says_what_it_is(trained: Path) -> None:
    stage, _ = checkpoint(trained)
    done = cli("push", "mine", "us/checkpoint", "--dry-run", root=trained)
    assert done.returncode == 0, done.stderr
    card = done.stdout
    front, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert "license" not in front and "base_model" not in front and "s1sweep" in front
    record = Store(trained).record(stage)
    assert record
    select = record.inputs["data"]
    (subset,) = (trained / "stages" / select).glob("*/card.json")
    for said in (
        *(stage, select, json.loads(subset.read_text())["digest"], "| rows | 16 |", "sweeps | mine"),
        *("Synthetic data", "sets `license`", "| steps | 2 |", "<|im_start|>think", "| learning_rate |"),
    ):
        assert said in body, said
    for cell in cells(Sweep(Store(trained), "mine")):
        assert f"{100 * cell.ci_low:.1f}–{100 * cell.ci_high:.1f} | 4 |" in body
    assert "model.safetensors" in done.stderr and "{{" not in card and "None" not in body


@pytest.mark.slow
def test_pushes_that_cannot_be(trained: Path, root: Path, tmp_path: Path) -> None:
    stage, _ = checkpoint(trained)
    env = {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf")}
    repos: dict = {("models", "us/public"): {"a.txt": b"a"}}
    with serve(repos, "right") as (address, _):
        for token, repo, said in [("wrong", "us/new", "HF_TOKEN"), ("right", "us/public", "public, so --private")]:
            push = cli("push", stage, repo, "--private", root=trained, HF_ENDPOINT=address, HF_TOKEN=token, **env)
            assert push.returncode == 2 and said in push.stderr and "Traceback" not in push.stderr, push.stderr
    assert repos == {("models", "us/public"): {"a.txt": b"a"}}
    unknown = cli("push", "train-nothing", "us/new", root=trained)
    assert unknown.returncode == 2 and stage in unknown.stderr
    empty = cli("push", "train-nothing", "us/new", root=root)
    assert empty.returncode == 2 and "none" in empty.stderr
