"""A sweep's results as files of lm-evaluation-harness write them, for tools that read those. Reads only records.

    DIR/<what was run>/results_<time>.json          metrics, configs and versions by task
    DIR/<what was run>/samples_<task>_<time>.jsonl  a line a question: what was asked, said, read and right

Cells that differ in nothing but their task are one run of several tasks. The form is that of lm_eval 0.4's
`EvaluationTracker` and its result_schema.py; fields that would be about lm_eval's own models are null.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s1sweep import __version__
from s1sweep.decoding.chat import question_text
from s1sweep.errors import UserError
from s1sweep.sources.tasks import Question
from s1sweep.spec import CellSpec
from s1sweep.store import Store, Sweep

from .labels import columns
from .results import CellResult, cells, questions, readouts, record_of

METRIC, FILTER = "exact_match", "none"


def write(sweep: Sweep, folder: Path) -> tuple[list[Path], int]:
    """Write every finished cell; the results files, and how many cells have no number yet.

    Raises UserError if no cell has one, or if the questions that were graded are gone.
    """
    found = cells(sweep)
    done = [cell for cell in found if cell.missing is None]
    if not done:
        raise UserError(f"Sweep {sweep.name} has no finished cell to export. `s1sweep status` says what is open.")
    runs: dict[str, dict[str, CellResult]] = defaultdict(dict)
    for cell, label in zip(done, _labels(done), strict=True):
        task = cell.spec["task"]["name"]
        run = label if task not in runs[label] else f"{label}-{cell.key}"
        runs[run][task] = cell
    written = [_write_run(sweep, name, by_task, folder) for name, by_task in runs.items()]
    return written, len(found) - len(done)


def _labels(done: Sequence[CellResult]) -> list[str]:
    """What was run, without the task: the model, and what tells the cells apart."""
    apart = [column for column in columns(done) if not column.heading.startswith("task")]
    return [
        "-".join([cell.spec["model"]["name"], *(f"{c.heading}={c.values[i]}" for c in apart if c.values[i])])
        for i, cell in enumerate(done)
    ]


def _write_run(sweep: Sweep, name: str, by_task: Mapping[str, CellResult], folder: Path) -> Path:
    store = sweep.store
    samples = {task: _samples(store, cell) for task, cell in by_task.items()}
    records = [record_of(store, cell.stages["grade"]) for cell in by_task.values()]
    made = [record.provenance for record in records if record]
    started = min(one.started for one in made)
    ended = max(one.started + one.seconds for one in made)
    specs = {task: CellSpec.model_validate(cell.spec) for task, cell in by_task.items()}
    spec = next(iter(specs.values()))
    model = {"pretrained": spec.model.source, "revision": spec.model.revision, "dtype": spec.model.dtype}
    safe = re.sub(r"[\"<>:/|\\?*\[\]\s]+", "__", name)
    about = {
        "results": {task: _metrics(task, lines) for task, lines in samples.items()},
        "group_subtasks": {task: [] for task in samples},
        "configs": {task: _config(one, by_task[task]) for task, one in specs.items()},
        "versions": {task: cell.versions.get("grader") for task, cell in by_task.items()},
        "n-shot": dict.fromkeys(samples, 0),
        "higher_is_better": {task: {METRIC: True} for task in samples},
        "n-samples": {task: {"original": len(lines), "effective": len(lines)} for task, lines in samples.items()},
        "config": {
            "model": "s1sweep",
            "model_args": model,
            "model_num_parameters": round(spec.model.parameters),
            "model_dtype": spec.model.dtype,
            "model_revision": spec.model.revision or "",
            "batch_size": None,
            "batch_sizes": [],
            "device": None,
            "use_cache": None,
            "limit": spec.task.limit,
            "bootstrap_iters": 0,
            "gen_kwargs": _drawn(spec),
            "random_seed": spec.sampling.seed,
            "numpy_seed": spec.sampling.seed,
            "torch_seed": spec.sampling.seed,
            "fewshot_seed": spec.sampling.seed,
        },
        "git_hash": made[0].code.get("commit"),
        "date": started,
        "s1sweep_version": __version__,
        "lm_eval_version": None,
        "max_length": spec.model.max_model_len,
        "task_hashes": {
            task: _sha256("".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines))
            for task, lines in samples.items()
        },
        "model_source": "s1sweep",
        "model_name": name,
        "model_name_sanitized": safe,
        "system_instruction": spec.model.system_prompt,
        "system_instruction_sha": _sha256(spec.model.system_prompt) if spec.model.system_prompt else None,
        "fewshot_as_multiturn": False,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": str(ended - started),
    }
    stamp = datetime.fromtimestamp(ended, UTC).replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    place = folder / safe
    place.mkdir(parents=True, exist_ok=True)
    for task, lines in samples.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (place / f"samples_{task}_{stamp}.jsonl").write_text(text, encoding="utf-8")
    path = place / f"results_{stamp}.json"
    path.write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def _metrics(task: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over questions, and its standard error as lm_eval has it: sample deviation / sqrt(n)."""
    values = [line[METRIC] for line in lines]
    n = len(values)
    mean = sum(values) / n
    error: float | str = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n) if n > 1 else "N/A"
    return {
        "name": task,
        "alias": task,
        "sample_len": n,
        f"{METRIC},{FILTER}": mean,
        f"{METRIC}_stderr,{FILTER}": error,
    }


def _samples(store: Store, cell: CellResult) -> list[dict[str, Any]]:
    """A line a question, in the task's order; a question's several samples are repeats of its one request."""
    spec = CellSpec.model_validate(cell.spec)
    asked = questions(store, cell)
    if not asked:
        raise UserError(
            f"The questions of task {spec.task.name!r} that cell {cell.key} was graded on are gone or have changed. "
            "Put them back where task.path, task.hub or task.lm_eval says."
        )
    said: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for readout in readouts(store, cell):
        said[readout["question_id"]].append(readout)
    numbers = {question: i for i, question in enumerate(asked)}
    return [_sample(numbers[name], asked[name], spec, rows) for name, rows in said.items()]


def _sample(number: int, question: Question, spec: CellSpec, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    doc, prompt = question.model_dump(mode="json"), question_text(question, spec.task)
    read = [str(row["extracted"] or "[invalid]") for row in rows]
    return {
        "doc_id": number,
        "doc": doc,
        "target": question.answer,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": _drawn(spec)}},
        "resps": [[_text(row, spec) for row in rows]],
        "filtered_resps": read if len(read) == 1 else [read],
        "filter": FILTER,
        "metrics": [METRIC],
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(prompt),
        "target_hash": _sha256(question.answer),
        METRIC: sum(row["credit"] for row in rows) / len(rows),
    }


def _text(row: Mapping[str, Any], spec: CellSpec) -> str:
    """What the model wrote, thinking and answer; the extracted answer where the text is not kept."""
    if "thinking" not in row:
        return str(row["extracted"] or "")
    marks = spec.model.delimiters
    thinking = "".join(text for text, _ in row["thinking"])
    return f"{marks.think_start}{thinking}{marks.think_end}{row['answer']}"


def _drawn(spec: CellSpec) -> dict[str, Any]:
    """How tokens were drawn, by lm_eval's names."""
    caps = [getattr(spec.method, f"max_{kind}_tokens", None) for kind in ("thinking", "answer")]
    most = {"max_gen_toks": sum(cap for cap in caps if isinstance(cap, int))}
    greedy = spec.sampling.temperature == 0
    return {
        "until": [],
        "do_sample": not greedy,
        "temperature": spec.sampling.temperature,
        **({} if greedy else {"top_p": spec.sampling.top_p}),
        **most,
    }


def _config(spec: CellSpec, cell: CellResult) -> dict[str, Any]:
    return {
        "task": spec.task.name,
        "dataset_path": spec.task.hub or spec.task.lm_eval or spec.task.path or "s1sweep",
        "dataset_name": spec.task.subset,
        "test_split": spec.task.split,
        "doc_to_text": spec.task.prompt,
        "doc_to_target": "answer",
        "output_type": "generate_until",
        "generation_kwargs": _drawn(spec),
        "repeats": spec.sampling.samples,
        "num_fewshot": 0,
        "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"cell": cell.key, "axes": cell.axes, "stages": cell.stages, "spec": cell.spec},
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
