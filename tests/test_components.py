"""A component's version is part of identities, so its source may not change without someone deciding whether results
do.

When this fails: if the change alters any output, raise the component's VERSION; if it does not, it is a waiver. Either
way run
`python -m tests.test_components "why results do or do not change"` and commit the table it writes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from pathlib import Path

import pytest

from s1sweep.answers.graders import GRADERS
from s1sweep.data import curate, ingest, rules, select
from s1sweep.data.curation import STEPS
from s1sweep.decoding import decode
from s1sweep.decoding.methods import METHODS
from s1sweep.grading import grade
from s1sweep.training import conditional, grpo, sft
from tests.helpers import ROOT

TABLE = ROOT / "tests/golden/components.json"

DECODE = (
    *("decode", "serve", "session", "stage", "questions", "case", "trace", "readout", "rows", "segments", "blockfile"),
    *("chat", "engines/protocol", "engines/steps", "engines/vllm"),
)
POOL = ("data/ingest", "data/pool", "stages/rows", "sources/raw")
TRAIN = ("sft", "rank", "recipe", "encode", "format")
COMPONENTS: dict[str, tuple[int | list[int], list[str]]] = {
    "pool": (ingest.VERSION, [f"s1sweep/{name}.py" for name in POOL]),
    "curate": (curate.VERSION, ["s1sweep/data/curate.py", "s1sweep/data/curation/replies.py"]),
    **{
        f"step.{name}": (
            step.VERSION,
            [f"s1sweep/data/curation/{name}.py", *(["s1sweep/servers.py"] if name == "domains" else [])],
        )
        for name, step in STEPS.items()
    },
    "select": (select.VERSION, ["s1sweep/data/select.py", "s1sweep/data/card.py"]),
    "rules": (
        [rules.VERSION, *(r.version for r in rules.RULES.values())],
        [f"s1sweep/data/rules/{name}.py" for name in ("base", "plain", "domains", "s1k")],
    ),
    "train.sft": (sft.VERSION, [f"s1sweep/training/{name}.py" for name in TRAIN]),
    "train.grpo": (grpo.VERSION, ["s1sweep/training/grpo.py"]),
    "train.conditional": (conditional.VERSION, ["s1sweep/training/conditional.py"]),
    "decode": (
        decode.VERSION,
        [f"s1sweep/decoding/{name}.py" for name in DECODE],
    ),
    "scorer": (decode.SCORER_VERSION, ["s1sweep/decoding/scorer.py"]),
    **{f"method.{n}": (m.VERSION, [f"s1sweep/decoding/methods/{Path(m.__file__).name}"]) for n, m in METHODS.items()},
    "graders": (
        [grade.VERSION, *(g.version for g in GRADERS.values())],
        [f"s1sweep/{name}.py" for name in ("answers/graders", "grading/grade", "grading/parallel")],
    ),
}


def source_digest(files: list[str]) -> str:
    """sha256 of the code without comments, docstrings and layout."""
    h = hashlib.sha256()
    for name in files:
        tree = ast.parse((ROOT / name).read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if (
                isinstance(body, list)
                and body
                and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant)
            ):
                body.pop(0)
        h.update(ast.dump(tree).encode())
    return h.hexdigest()[:16]


def current() -> dict[str, dict]:
    return {name: {"version": v, "source": source_digest(files)} for name, (v, files) in COMPONENTS.items()}


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_source_changes_are_decided(name: str) -> None:
    known = json.loads(TABLE.read_text())["components"]
    assert current()[name] == known.get(name), __doc__


if __name__ == "__main__":
    old = json.loads(TABLE.read_text()) if TABLE.exists() else {"waivers": [], "components": {}}
    changed = [n for n, c in current().items() if old["components"].get(n) != c]
    old["waivers"].append({"components": changed, "why": " ".join(sys.argv[1:])})
    old["components"] = current()
    TABLE.write_text(json.dumps(old, indent=1) + "\n")
