"""Pools and steps of curation against planted rows, the funnel of the s1 paper, and what a stage writes."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.data import curate, ingest, select
from s1sweep.data.card import CARD
from s1sweep.data.curation import STEPS, quality
from s1sweep.data.overlap import ngrams
from s1sweep.data.rules import RULES, rule_of
from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.planning.normal import curation_before
from s1sweep.planning.pins import unpinned
from s1sweep.sources import hub
from s1sweep.sources.raw import read_jsonl
from s1sweep.spec import CellSpec, CurateStage, PoolSpec, PoolStage, SelectStage
from s1sweep.spec.data import DecontaminateSpec, DeduplicateSpec, DifficultySpec, LengthSpec, QualitySpec
from s1sweep.stages.rows import ROWS
from tests.helpers import ROOT, compose
from tests.test_rules import row

NOTEBOOK = QualitySpec(kind="quality", rule="notebook", features=("thinking", "solution", "domain"))
PAPER = QualitySpec(kind="quality", rule="paper", features=("thinking", "domain"))
DIFFICULTY = DifficultySpec(kind="difficulty", by="labels")


def pool(path: Path | None = None, **changes: Any) -> PoolSpec:
    config = compose("pool=file", f"pool.path='{path}'") if path else compose("pool=testbed")
    return PoolSpec.model_validate({**config[0].cell.pool.model_dump(), **changes})


def jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def judged(spec: Any, rows: Sequence[Any]) -> list[str | None]:
    return [reason for _, reason in STEPS[spec.kind].judge(spec, rows)]


# --- steps


@pytest.mark.parametrize(
    ("changes", "notebook", "paper"),
    [
        ({}, None, None),
        ({"thinking": " "}, "no thinking", "no thinking"),
        ({"domain": None}, "no domain", "no domain"),
        ({"solution": None}, "no solution", None),
        ({"question": "see [asy] draw(); [/asy]"}, "figure", "figure"),
        ({"question": "[asy] draw();", "source": "AIME 2020"}, None, "figure"),
        ({"thinking": "the answer is **12**"}, "bold number", "bold number"),
        ({"thinking": "**bold words** and p. 12"}, None, None),
        ({"question": "![Image](x.png) what is it"}, "image", "image"),
        ({"question": "as on p12. of the book"}, "page number", "page number"),
        ({"question": "as on p1000. of the book"}, None, None),
    ],
)
def test_quality(changes: dict, notebook: str | None, paper: str | None) -> None:
    assert quality.fault(row(1, **changes), NOTEBOOK) == notebook
    assert quality.fault(row(1, **changes), PAPER) == paper


def test_difficulty_drops_what_either_model_solves_and_what_nobody_tried() -> None:
    rows = [row(i, weak_correct=w, strong_correct=s) for i, (w, s) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)])]
    rows += [row(9, weak_correct=None), row(10, weak_correct=None, strong_correct=True)]
    either = [None, "solved by weak", "solved by strong", "solved by weak and strong", "no label", "solved by strong"]
    assert judged(DIFFICULTY, rows) == either


def test_deduplicate_keeps_the_first() -> None:
    rows = [row(i, question=q) for i, q in enumerate(["a", "b", "a", "A", "a"])]
    again = "repeats a question"
    assert judged(DeduplicateSpec(kind="deduplicate"), rows) == [None, None, again, None, again]


def against(*names: object, words: int = 8, earlier: bool = False) -> DecontaminateSpec:
    return DecontaminateSpec(kind="decontaminate", against=tuple(map(str, names)), words=words, earlier_sources=earlier)


def test_decontamination_is_s1s_rule(tmp_path: Path) -> None:
    held = jsonl(tmp_path / "held.jsonl", [{"problem": "One two  THREE four five six\nseven eight nine"}])
    texts = {
        "zero one two three four five six seven eight": True,  # one 8-gram, whatever case and space
        "one two three four five six seven": False,  # too short to hold one
        "one two three four five six seven 8": False,
        "two three four five six seven eight, nine": False,  # words keep their punctuation
        "TWO three four five six seven eight nine ten": True,
    }
    rows = [row(i, question=text) for i, text in enumerate(texts)]
    found = judged(against(held), rows)
    assert [reason is not None for reason in found] == list(texts.values())
    assert found[0] == f"overlaps {held}"


def test_decontamination_against_earlier_sources() -> None:
    gram = "a b c d e f g h"
    rows = [
        row(0, source="one", question=gram + " i"),
        row(1, source="one", question=gram + " j"),  # of the same source: stays
        row(2, source="two", question="x " + gram),  # goes
        row(3, source="two", question="x a b c d e f g k"),
        row(4, source="three", question="y x a b c d e f g k"),  # against a kept row
        row(5, source="three", question="q x a b c d e f"),  # shares 7 words only
    ]
    found = judged(against(earlier=True), rows)
    assert found == [None, None, "overlaps source one", None, "overlaps source two", None]


@given(st.text(alphabet="ab \t\nÄ", max_size=60), st.integers(1, 4))
def test_ngrams_are_those_of_the_words(text: str, words: int) -> None:
    split = text.lower().split()
    assert len(ngrams(text, words)) == max(0, len(split) - words + 1)
    assert ngrams(text, words) == ngrams("  " + text.upper() + "\n", words) or "Ä" in text


def test_length_counts_with_the_named_tokenizer() -> None:
    rows = [row(i, thinking=text, trace_tokens=None) for i, text in enumerate(["", "a0+1=3", "a0+1=3;b1+4=5"])]
    spec = LengthSpec(kind="length", tokenizer="testbed", revision=None)
    assert [r.trace_tokens for r, _ in STEPS["length"].judge(spec, rows)] == [0, 6, 13]


# --- pools


def test_columns_are_mapped(tmp_path: Path) -> None:
    """As in s1's pools: lists, metadata as text of a dict, constants, grades as words, names by the question."""
    raw = {
        "question": "1+1?",
        "thinking_trajectories": ["first", "second"],
        "attempt": 2,
        "metadata": "{'year': 1999, 'kind': {'name': 'sum'}}",
        "grade": "Yes",
    }
    columns = {"id": None, "thinking": "thinking_trajectories", "answer": "attempt", "domain": "metadata.kind.name"}
    columns |= {"source": "=AIME", "trace_correct": "grade"}
    path = jsonl(tmp_path / "pool.jsonl", [raw, raw])
    first, second = ingest.checked(pool(path, columns=columns))
    assert first.thinking == "first\nsecond" and first.answer == "2" and first.trace_correct is True
    assert (first.domain, first.source, first.trace_tokens, first.solution) == ("sum", "AIME", None, None)
    assert first.id == hashlib.sha256(b"1+1?").hexdigest()[:16] and second.id == f"{first.id}-2"


def test_formats_hold_the_same_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    rows = [row(i).model_dump() for i in range(300)]
    plain = jsonl(tmp_path / "pool.jsonl", rows)
    (tmp_path / "pool.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "pool.parquet")
    read = [list(ingest.checked(pool(tmp_path / f"pool.{kind}"))) for kind in ("jsonl", "jsonl.gz", "parquet")]
    assert read[0] == read[1] == read[2] and len(read[0]) == 300


BAD = [
    "{not json",
    '["a list"]',
    {"question": ""},
    {"id": "r0001", "question": "q"},
    {"question": "q", "thinking": "t"},
]


def test_rejects_are_kept_and_stop_the_stage_beyond_a_share(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "pool.jsonl", [*(row(i).model_dump() for i in range(15)), *BAD])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as error:
        ingest.run(PoolStage(pool=pool(path, max_rejects=0.2)), {}, tmp_path / "out")
    for word in ["pool.path", str(path), "5 of 20 rows", "max_rejects=0.2", "row 16 malformed: not a JSON object"]:
        assert word in str(error.value)
    summary = ingest.run(PoolStage(pool=pool(path, max_rejects=0.25)), {}, tmp_path / "out")
    assert (summary["rows"], summary["rejects"]) == (15, 5)
    kept = read_jsonl(tmp_path / "out" / ingest.REJECTS)
    assert [reject["row"] for reject in kept] == [16, 17, 18, 19, 20]
    assert "repeats id 'r0001'" in kept[3]["reason"] and kept[3]["raw"] == "r0001"
    assert "answer is missing beside a trace" in kept[4]["reason"]
    assert summary["absent"] == ["trace_correct"]


def test_pool_digest_is_over_the_rows(tmp_path: Path) -> None:
    """Another file of the same rows has the same row digest; another row or order has not."""
    rows = [row(i).model_dump() for i in range(5)]
    found = []
    for name, some in (("a", rows), ("b", [dict(reversed(r.items())) for r in rows]), ("c", rows[::-1])):
        (tmp_path / name).mkdir()
        path = jsonl(tmp_path / f"{name}.jsonl", some)
        found.append(ingest.run(PoolStage(pool=pool(path)), {}, tmp_path / name)["row_digest"])
    assert found[0] == found[1] != found[2]


# --- the chain


def chain(out: Path, source: PoolSpec, *steps: Any) -> dict[str, dict[str, Any]]:
    """Run pool and steps as stages; summaries by step, with the folder of the last under `out/last`."""
    found = {}
    for i, step in enumerate([None, *steps]):
        here = out / str(i)
        here.mkdir(parents=True)
        if step is None:
            found["pool"] = ingest.run(PoolStage(pool=source), {}, here)
        else:
            found[step.kind] = curate.run(CurateStage(step=step), {"rows": out / str(i - 1)}, here)
    (out / "last").symlink_to(out / str(len(steps)))
    return found


def funnel_pool(path: Path, rule: str) -> PoolSpec:
    """A pool with the funnel of the s1 paper or of its notebook planted into it, in tiny texts, shuffled."""
    total, features, clean, hard = {
        "paper": (59_029, 54_116, 51_581, 24_496),
        "notebook": (58_986, 54_116, 51_607, 24_517),
    }[rule]
    gone = [{"thinking": ""}, {"domain": None}, *([{"solution": None}] if rule == "notebook" else [])]
    broken = [{"thinking": "**12**"}, {"question": "![Image]"}, {"question": "p7."}, {"question": "[asy]"}]
    solved = [{"weak_correct": True}, {"strong_correct": True}, {"weak_correct": True, "strong_correct": True}]
    rows = []
    for i in range(total):
        changes = (
            gone if i < total - features else broken if i < total - clean else solved if i < total - hard else [{}]
        )
        rows.append(row(i, question=f"q{i}", domain="abc"[i % 3]).model_dump() | changes[i % len(changes)])
    random.Random(0).shuffle(rows)
    return pool(jsonl(path, rows))


@pytest.mark.parametrize(("spec", "counts"), [(NOTEBOOK, (58_986, 51_607, 24_517)), (PAPER, (59_029, 51_581, 24_496))])
def test_the_funnel_of_the_paper_and_of_the_notebook(tmp_path: Path, spec: QualitySpec, counts: tuple) -> None:
    found = chain(tmp_path / "out", funnel_pool(tmp_path / "pool.jsonl", spec.rule), spec, DIFFICULTY)
    assert tuple(found[name]["rows"] for name in ("pool", "quality", "difficulty")) == counts
    missing = sum(n for reason, n in found["quality"]["dropped"].items() if reason.startswith("no "))
    assert found["quality"]["before"] - missing == 54_116
    funnel = json.loads((tmp_path / "out" / "last" / curate.FUNNEL).read_text())
    assert [step["rows"] for step in funnel] == list(counts)
    data = compose("data=s1k", "data.size=1000")[0].cell.data
    (tmp_path / "subset").mkdir()
    summary = select.run(SelectStage(data=data), {"rows": tmp_path / "out" / "last"}, tmp_path / "subset")
    assert summary["rows"] == 1000 and all(300 < n < 370 for n in summary["domains"].values())


def test_stage_writes_rows_counts_and_a_card(tmp_path: Path) -> None:
    found = chain(tmp_path / "out", pool(), NOTEBOOK, DIFFICULTY)
    assert found["quality"]["before"] == found["pool"]["rows"] == 6000
    assert (found["quality"]["rows"], found["difficulty"]["rows"]) == (5796, 1859)
    assert sum(s["rows"] for s in found["quality"]["sources"].values()) == 5796
    config = compose("data=s1k", "data.size=30")[0].cell
    (tmp_path / "subset").mkdir()
    summary = select.run(SelectStage(data=config.data), {"rows": tmp_path / "out" / "last"}, tmp_path / "subset")
    rows = read_jsonl(tmp_path / "subset" / ROWS)
    card = json.loads((tmp_path / "subset" / CARD).read_text())
    assert summary["rows"] == len(rows) == sum(summary["domains"].values()) == card["rows"] == 30
    assert summary["max_trace_tokens"] == max(r["trace_tokens"] for r in rows)
    assert sum(card["lengths"].values()) == sum(card["domains"].values()) == 30
    assert [step["step"] for step in card["funnel"]] == ["pool", "quality", "difficulty"]
    assert card["correct"]["strong"] == {"no": 30}
    plan = Plan()
    plan.add(config, {})
    assert [r["id"] for r in rows] == [r.id for r in next(iter(plan.subsets.values()))]  # as planned


def cell(*overrides: str) -> CellSpec:
    return compose(*overrides)[0].cell


def test_rules_draw_from_their_point_of_the_chain() -> None:
    found = {
        rule: [s.kind for s in curation_before(cell(f"data={rule}").curation, RULES[rule])] for rule in sorted(RULES)
    }
    assert found["full"] == []
    assert found["s1k"] == found["s1k_notebook"] == found["random_difficult"] == ["quality", "difficulty"]
    assert found["random"] == found["diverse"] == found["longest"] == found["domain_quota"] == ["quality"]
    every = cell("data=full", "curation=s1_paper")
    assert [s.kind for s in curation_before(every.curation, rule_of(every.data))] == ["deduplicate", "decontaminate"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data=s1k", "curation=none"], ["data=s1k", "curation.difficulty=null", "curation=s1_paper", "data=full"]),
        (["data=random", "curation=none"], ["data=random", "curation.quality=null"]),
        (["curation.quality.rule=papr"], ["curation.quality.rule='papr'", "'paper' or 'notebook'"]),
        (["curation.quality.features=[thnking]"], ["curation.quality.features", "thnking is no field of a row"]),
        (["pool.columns.question=problem"], ["6000 of 6000 rows do not fit", "row 1 has no question", "pool.columns"]),
        (["+pool.columns.qustion=problem"], ["pool.columns", "qustion is no field of a row"]),
        (["pool.hub=a/b"], ["split is missing beside hub"]),
        (["curation={deduplicate: null, decontaminate: {kind: decontaminate, against: [nowhere.jsonl], words: 8, "
          "earlier_sources: false}, length: null, quality: null, difficulty: null}", "data=full"],
         ["curation.decontaminate.against='nowhere.jsonl'"]),
    ],
)  # fmt: skip
def test_mistakes_stop_before_any_work(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        Plan().add(cell(*overrides), {})
    for word in words:
        assert word in str(error.value)


def test_decontamination_is_fixed_by_content_whatever_the_task(tmp_path: Path) -> None:
    """The cell's task makes no difference; the held-out text does, its path does not."""
    ids = []
    step = "{kind: decontaminate, against: [%s], words: 8, earlier_sources: false}"
    rows = [{"question": "a b c d e f g h i"}]
    for name, some, task in (("a", rows, "tiny_calc"), ("b", rows, "tiny_hard"), ("c", rows * 2, "tiny_calc")):
        path = jsonl(tmp_path / f"{name}.jsonl", some)
        plan = Plan()
        planned = plan.add(cell(f"curation.decontaminate={step % path}", f"task={task}"), {})
        ids.append(planned.stages["decontaminate"])
    assert ids[0] == ids[1] != ids[2]


# --- the hub


def test_the_hub_is_planned_but_not_run_unpinned(tmp_path: Path) -> None:
    config = compose("data.pool=s1_59k", "data=full", "curation=none", "data.size=null")[0]
    plan = Plan()
    planned = plan.add(config.cell, axes_of(config))
    assert plan.stages[planned.stages["pool"]].hashed["content"] == {
        "pool": "simplescaling/data_ablation_full59K@unpinned/default/train"
    }
    assert not plan.subsets
    assert [(use.field, use.name) for use in unpinned(config.cell)] == [("pool.revision", config.cell.pool.hub)]
    assert unpinned(cell("pool=s1_59k", "pool.revision=0a1b", "curation=none", "data=full")) == []
    assert len(unpinned(cell("pool=s1_59k", "curation=s1_paper"))) == 4
    assert unpinned(cell("pool=s1_59k", "train=none")) == []


def test_every_shipped_pool_and_curation_plans() -> None:
    pools = sorted(p.stem for p in (ROOT / "conf/pool").glob("*.yaml") if p.stem not in ("base", "file"))
    curations = sorted(p.stem for p in (ROOT / "conf/curation").glob("*.yaml"))
    plan = Plan()
    for config in compose("data=full", f"pool={','.join(pools)}", f"curation={','.join(curations)}"):
        if config.cell.pool.name != "testbed" or config.choices["curation"] in ("none", "testbed"):
            plan.add(config.cell, axes_of(config))
    assert len(plan.cells) == len(curations) * (len(pools) - 1) + 2


def test_a_hub_pool_streams_through_the_same_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows as s1K has them; tests/test_prefetch.py reads real ones from a real server."""
    asked: list[tuple[Any, ...]] = []
    raw = {"question": "1+1?", "solution": "2", "thinking_trajectories": ["think"], "attempt": "2", "source_type": "s"}

    def rows(*place: Any) -> Any:
        asked.append(place)
        return iter([raw, {**raw, "question": "2+2?"}])

    monkeypatch.setattr(hub, "dataset_rows", rows)
    source = cell("pool=s1k", "pool.revision=0a1b", "data=full", "curation=none").pool
    assert ingest.run(PoolStage(pool=source), {}, tmp_path)["rows"] == 2
    assert asked == [("simplescaling/s1K", "0a1b", None, "train")]
    assert read_jsonl(tmp_path / ROWS)[0]["thinking"] == "think"


MEMORY = """
import json, sys
from pathlib import Path
from s1sweep.data import curate, ingest, select
from s1sweep.spec import CurateStage, DataSpec, PoolStage, SelectStage
from tests.test_curation import DIFFICULTY, NOTEBOOK, chain, pool
out = Path(sys.argv[1])
text = "so we add the terms and carry on; " * 350  # 12 KB, the mean of s1's pool
with (out / "pool.jsonl").open("w") as f:
    for i in range(int(sys.argv[2])):
        row = {"id": f"r{i}", "question": f"question number {i} " * 8, "solution": "s", "thinking": text + str(i)}
        f.write(json.dumps({**row, "answer": "1", "domain": "abc"[i % 3], "source": "made", "weak_correct": False,
                            "strong_correct": False, "trace_tokens": i % 5000}) + chr(10))
chain(out / "chain", pool(out / "pool.jsonl"), NOTEBOOK, DIFFICULTY)
(out / "subset").mkdir()
select.run(SelectStage(data=DataSpec(rule="s1k", size=1000, seed=0)), {"rows": out / "chain/last"}, out / "subset")
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak.split()[1])  # of this program; ru_maxrss would be at least what the process that started it had
"""


@pytest.mark.long
def test_a_pool_of_59_thousand_long_rows_needs_little_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), "59000"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) < 1 << 20  # KiB: half of the 2 GB that are allowed
