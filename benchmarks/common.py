"""Pairs, medians and the file of results. Every benchmark prints one JSON object and, with --write, keeps it in
RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Benchmark results

Two cores, no GPU, unless a section says otherwise. Ratios are medians over interleaved pairs in one run; rerun any
section with its command (`--write` replaces the section). Synthetic testbed; figures say nothing about LLMs.
"""


def main(name: str, measure: Callable[[int], dict[str, Any]], pairs: int = 5) -> None:
    """Parse the common options, measure, print, and keep the result if asked."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--pairs", type=int, default=pairs, help="interleaved pairs")
    parser.add_argument("--write", action="store_true", help="replace this section of RESULTS.md")
    options = parser.parse_args()
    found = measure(options.pairs)
    if options.write:
        write(name, found)
    print(json.dumps(found, indent=None if options.json else 1))


def interleaved(a: Callable[[], float], b: Callable[[], float], pairs: int) -> tuple[list[float], list[float]]:
    """Run two measurements in turn, so that a drift of the machine hits both."""
    first, second = [], []
    for i in range(pairs):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            (first if which == 0 else second).append((a if which == 0 else b)())
    return first, second


def ratios(a: list[float], b: list[float]) -> dict[str, float]:
    """Median, least and greatest of a/b, pair by pair."""
    values = [x / y for x, y in zip(a, b, strict=True)]
    return {"median": round(median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def write(name: str, found: dict[str, Any]) -> None:
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    date = time.strftime("%Y-%m-%d")
    section = (
        f"## {name}\n\n`python -m benchmarks.{name} --json --write` on {date}, Python {platform.python_version()}\n\n"
        f"```json\n{json.dumps(found, indent=1)}\n```\n"
    )
    pattern = re.compile(rf"## {re.escape(name)}\n.*?(?=\n## |\Z)", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    RESULTS.write_text(text.rstrip() + "\n")
