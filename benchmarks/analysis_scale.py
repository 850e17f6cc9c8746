"""Reading a large sweep: 1,000 cells of 500 questions and 2 samples each, fabricated, then loaded, tabled and paged.

The bar is for loading, the tables and every exhibit. The page is timed beside it: it reads all of it afresh, with what
was decoded, makes the same exhibits and draws them.

The grades are as a real run writes them; of what was decoded, a readout keeps some 100 tokens, so reading real traces
for the page takes longer in proportion to them.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import main

SAMPLES = 2
ENDINGS = ("natural", "natural", "natural", "forced")
BAR = {"seconds": 60.0, "peak_mib": 4096.0}


def fabricate(root: Path, cells: int, questions: int) -> int:
    """A sweep with a record for every stage; returns its number of cells."""
    from s1sweep.planning import Plan
    from s1sweep.planning.axes import axes_of
    from s1sweep.store import Store, Sweep
    from tests.helpers import compose

    root.mkdir(parents=True)
    task = root / "task.jsonl"
    rows = [{"id": f"q{i:04}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(questions)]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    strings, arms, seeds = "none,empty,alternatively,hmm,wait", "random,diverse,longest,s1k", 5
    caps = ",".join(str(32 * (i + 1)) for i in range(max(1, cells // (5 * 4 * seeds))))
    plan, store = Plan(), Store(root)
    for config in compose(
        f"data={arms}",
        "data.size=256",
        f"data.seed={','.join(map(str, range(seeds)))}",
        f"extrapolation={strings}",
        f"method.max_thinking_tokens={caps}",
        "task=file",
        "task.name=sums",
        "task.grader=math",
        f"task.path={task}",
        "sampling=sampled",
        f"sampling.samples={SAMPLES}",
    ):
        plan.add(config.cell, axes_of(config))
    for stage in plan.stages.values():
        out = store.attempt_dir(stage.id)
        summary = _work(stage, out, questions)
        store.publish(stage.id, stage.hashed, out, summary, time.time(), {"train_seconds": 20.0})
    sweep = Sweep(store, "scale")
    sweep.open("", [])
    sweep.add(cell.as_json() for cell in plan.cells)
    return len(plan.cells)


def _work(stage: Any, out: Path, questions: int) -> dict[str, Any]:
    if stage.kind == "train":
        history = [{"step": i, "loss": 0.3 + 1 / i, "learning_rate": 1e-3} for i in range(1, 97)]
        (out / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
        return {"rows": 256, "steps": 96, "truncated_share": 0.0, "first_loss": 1.3, "final_loss": 0.3, "tokens": 10**6}
    if stage.kind not in ("decode", "grade"):
        (out / "rows.jsonl").write_text("{}\n")
        return {"rows": 256, "pool_rows": 4096}
    # Decode and grade of a cell throw the same dice.
    dice = random.Random(stage.inputs["decode"] if stage.kind == "grade" else stage.id)
    skill = 0.3 + 0.5 * dice.random()
    make = _grade if stage.kind == "grade" else _readout
    rows = [
        make(place, i, j, 100 + dice.randrange(400), dice.random() < skill, dice.choice(ENDINGS))
        for place, (i, j) in enumerate((i, j) for i in range(questions) for j in range(SAMPLES))
    ]
    name = "grades.jsonl" if stage.kind == "grade" else "readouts.jsonl"
    (out / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    if stage.kind == "decode":
        return {"questions": questions, "readouts": len(rows)}
    count = len(rows)
    verdicts = Counter(row["verdict"] for row in rows)
    sums = {n: sum(row[n] for row in rows) / count for n in ("thinking_tokens", "answer_tokens", "total_tokens")}
    return {
        **{"questions": questions, "answers": count, "readouts": count, "accuracy": verdicts["correct"] / count},
        **{"verdicts": dict(verdicts), "endings": dict(Counter(row["ended"] for row in rows)), "loop_share": 0.0},
        **{f"mean_{name}": value for name, value in sums.items()},
    }


def _grade(place: int, question: int, sample: int, tokens: int, right: bool, ended: str) -> dict[str, Any]:
    zero = ("probe_tokens", "verifier_tokens", "discarded_tokens", "scored_tokens", "prefilled_tokens", "loop_tokens")
    return {
        **{"question_id": f"q{question:04}", "sample": sample, "readout": place, "ended": ended, "ignored": 2},
        **{"thinking_tokens": tokens, "injected_tokens": 2, "answer_tokens": 12, **dict.fromkeys(zero, 0)},
        **{"total_tokens": tokens + 12, "backtracks": tokens % 7, "score": None},
        **{"verdict": "correct" if right else "wrong", "credit": float(right), "gold": str(question + 1)},
        **{"extracted": str(question + 1 if right else tokens), "votes": None, "probes": []},
    }


def _readout(place: int, question: int, sample: int, tokens: int, right: bool, ended: str) -> dict[str, Any]:
    said = f"Final Answer: {question + 1 if right else tokens}"
    zero = ("probe_tokens", "verifier_tokens", "discarded_tokens", "scored_tokens", "prefilled_tokens")
    return {
        **{"question_id": f"q{question:04}", "sample": sample, "ended": ended, "ignored": 2, "tries": 1},
        **{"thinking_tokens": tokens, "injected_tokens": 2, "answer_tokens": 12, **dict.fromkeys(zero, 0)},
        **{"answer_finish": "stop", "loop": None, "score": None, "steps": [], "probes": []},
        **{"thinking_ids": list(range(60)), "injected": [[20, 21], [40, 41]], "answer_ids": list(range(12))},
        "thinking": [["a3+8=11; b1+7=8; " * 8, False], ["Wait", True], [f" {said}" * 6, False]],
        **{"answer": said, "stated": said},
    }


def read(root: Path, pipe: Any) -> None:
    """Everything an analyst asks first, in this process; sends seconds of each step and the peak of memory."""
    import io

    from rich.console import Console

    from s1sweep.analysis import exhibits, report, results, tables
    from s1sweep.analysis.study import Study
    from s1sweep.errors import UserError
    from s1sweep.store import Store

    sweep = Store(root).sweep("scale")
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    lacking: list[str] = []

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started, used = time.perf_counter(), time.process_time()
        found = step()
        seconds[name] = round(time.perf_counter() - started, 2)
        cpu[name] = round(time.process_time() - used, 2)
        return found

    def made(name: str, study: Study) -> None:
        try:
            exhibits.exhibit(name, study)
        except UserError:
            lacking.append(name)

    frame = timed("load", lambda: results.load(sweep))
    memory = round(frame.memory_usage(deep=False).sum() / 2**20, 1)
    rows = int((frame["row"] == "readout").sum())
    after = _peak()
    cells = timed("cells", lambda: results.cells(sweep))
    timed("all-cells table", lambda: tables.show(cells, Console(file=io.StringIO(), width=200, force_terminal=True)))
    study = timed("study", lambda: Study.of(sweep))
    for name in exhibits.NAMES:
        timed(f"exhibit {name}", partial(made, name, study))
    total, total_cpu, peak = (round(sum(seconds.values()), 2), round(sum(cpu.values()), 2), _peak())
    page = timed("page", lambda: report.write(sweep))
    pipe.send(
        {
            **{
                "readouts": rows,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "frame_mib": memory,
                "peak_mib_after_load": after,
            },
            **{
                "exhibits_without_cells": lacking,
                "total_seconds": total,
                "total_cpu_seconds": total_cpu,
                "peak_mib": peak,
                "page_seconds": seconds.pop("page"),
                "page_cpu_seconds": cpu.pop("page"),
                "page_mib": round(page.stat().st_size / 2**20, 1),
                "peak_mib_after_page": _peak(),
            },
        }
    )


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def measure(_: int, cells: int, questions: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="s1sweep-bench-") as temp:
        root = Path(temp) / "store"
        made = fabricate(root, cells, questions)
        here, there = context.Pipe()
        process = context.Process(target=read, args=(root, there))
        process.start()
        there.close()
        try:
            found: dict[str, Any] = here.recv()
        except EOFError:
            raise SystemExit("the reading process died") from None
        process.join()
        return {"cells": made, "questions": questions, "samples": SAMPLES, **found, "bar": BAR}


if __name__ == "__main__":
    main("analysis_scale", measure, cells=1_000, questions=500)
