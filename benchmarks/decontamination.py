"""Seconds to hold 59,000 questions against 1,000 held-out ones by 8-grams, on one core, as the step does it.

Questions are random words at the lengths of contest problems; every hundredth shares 8 words with a held-out one.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import main
from s1sweep.data.curation import decontaminate
from s1sweep.spec import DecontaminateSpec
from s1sweep.stages.rows import Row

ROWS, HELD_OUT, WORDS = 59_000, 1_000, (20, 140)
SOURCES = 16


def measure(pairs: int) -> dict[str, Any]:
    """Seconds against the list alone and against earlier sources too, each the median of `pairs` runs."""
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(20_000)]

    def text() -> list[str]:
        return rng.choices(vocabulary, k=rng.randint(*WORDS))

    held = [text() for _ in range(HELD_OUT)]
    rows = []
    for i in range(ROWS):
        words = text() + (rng.choice(held)[:8] if i % 100 == 0 else [])
        rows.append(Row(id=str(i), question=" ".join(words), source=str(i * SOURCES // ROWS)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "held.jsonl"
        path.write_text("".join(json.dumps({"question": " ".join(words)}) + "\n" for words in held))
        found: dict[str, Any] = {"rows": ROWS, "held_out": HELD_OUT}
        for name, earlier in (("against_list", False), ("against_earlier_sources_too", True)):
            spec = DecontaminateSpec(kind="decontaminate", against=(str(path),), words=8, earlier_sources=earlier)
            seconds = []
            for _ in range(pairs):
                started = time.perf_counter()
                dropped = sum(reason is not None for _, reason in decontaminate.judge(spec, rows))
                seconds.append(time.perf_counter() - started)
            found[name] = {"seconds": round(sorted(seconds)[len(seconds) // 2], 2), "dropped": dropped}
    return found


if __name__ == "__main__":
    main("decontamination", measure, pairs=3)
