"""Curation steps that ask models: what they make of the answers, how they are planned, a failing server, a real run."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from s1sweep import testbed
from s1sweep.answers.graders import gold
from s1sweep.data.curate import run as curate
from s1sweep.data.curation import domains
from s1sweep.decoding.readout import READOUTS
from s1sweep.errors import UserError
from s1sweep.estimating.estimate import estimate
from s1sweep.grading.grade import GRADES
from s1sweep.identity import encode
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.planning.pins import unpinned
from s1sweep.servers import Server
from s1sweep.sources.raw import read_jsonl
from s1sweep.sources.tasks import questions_of_stage
from s1sweep.spec import CurateStage, CurationStep, RowsSpec, ServerDomainsSpec
from s1sweep.spec.data import DomainsSpec, TracesSpec
from s1sweep.stages.resources import Resources
from s1sweep.stages.rows import ROWS, Row
from s1sweep.store import Store
from tests.helpers import cli, compose
from tests.test_rules import row

QUESTIONS = "curation=testbed_from_questions"
SPEC = compose(QUESTIONS)[0].cell.curation
CODES = {"03": "Logic", "11": "Numbers", "11A": "Elementary"}


def folder(path: Path, name: str, rows: Sequence[Any]) -> Path:
    path.mkdir()
    lines = (r.model_dump_json() if isinstance(r, Row) else json.dumps(r) for r in rows)
    (path / name).write_text("".join(line + "\n" for line in lines))
    return path


def curated(tmp_path: Path, step: CurationStep, rows: Sequence[Row], **said: Path) -> tuple[dict[str, Any], list[Row]]:
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"rows": folder(tmp_path / "rows", ROWS, rows), **said}
    summary = curate(CurateStage(step=step), inputs, out, resources=Resources(traces=str(tmp_path / "traces")))
    return summary, [Row.model_validate(r) for r in read_jsonl(out / ROWS)]


def readout(i: int, thinking: str, stated: str, ended: str = "natural", finish: str = "stop") -> dict[str, Any]:
    pieces = [[thinking, False]] if thinking else []
    return {
        "question_id": row(i).id,
        "thinking": pieces,
        "stated": stated,
        "ended": ended,
        "answer_finish": finish,
    }


# --- what is made of answers


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("It is 11", "Numbers"),
        ("so **11**.", "Numbers"),
        ("\\boxed{03}", "Logic"),
        ("11A", "Elementary"),
        ("11 or 3", None),  # no code
        ("The code is 11, I think", None),  # does not end in it
        ("111", None),
        ("", None),
    ],
)
def test_a_domain_is_the_code_an_answer_ends_in(answer: str, name: str | None) -> None:
    assert domains.parsed(answer, CODES) == name


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("7", "7"),
        ("First.\nThen \\boxed{\\frac{1}{2}} so.", "\\frac{1}{2}"),
        ("Long.\n\nAnswer: C", "C"),
        ("A proof\nof two lines.", None),
        (" \n", None),
        ("", None),
    ],
)
def test_gold_of_a_solution(solution: str, answer: str | None) -> None:
    assert gold(solution) == answer


def test_which_rows_are_asked(tmp_path: Path) -> None:
    rows = [row(0), row(1, thinking=" "), row(2, solution=None), row(3, solution="a\nb", thinking="")]
    inputs = {"rows": folder(tmp_path / "rows", ROWS, rows)}
    found = {
        which: [
            (q.id, q.answer) for q in questions_of_stage(RowsSpec(rows=which, prompt="{question}", grader=None), inputs)
        ]  # type: ignore[arg-type]
        for which in ("all", "untraced", "gradable")
    }
    assert found == {
        "all": [("r0000", "s"), ("r0001", "s"), ("r0002", ""), ("r0003", "")],
        "untraced": [("r0001", "s"), ("r0003", "")],
        "gradable": [("r0000", "s"), ("r0001", "s")],
    }


@pytest.mark.parametrize("unfinished", ["drop", "keep"])
def test_a_teacher_fills_what_has_no_trace(tmp_path: Path, unfinished: str) -> None:
    assert SPEC.traces is not None
    step = TracesSpec.model_validate({**SPEC.traces.model_dump(), "unfinished": unfinished})
    rows = [row(0), *(row(i, thinking="", answer="old", trace_correct=True) for i in range(1, 6))]
    teacher = [
        readout(1, " a\n", "\nAnswer: 2 "),
        readout(2, "b", "Final Answer: 2", ended="forced"),
        readout(3, "c", "Answer: 2 and", finish="length"),
        readout(4, "", "2"),
        readout(5, "d", ""),
    ]
    summary, kept = curated(tmp_path, step, rows, teacher=folder(tmp_path / "t", READOUTS, teacher))
    made = [(r.id, r.thinking, r.answer, r.trace_correct, r.trace_tokens) for r in kept]
    first = [("r0000", "t", "1", None, 0), ("r0001", "a", "Answer: 2", None, None)]
    if unfinished == "drop":
        assert (made, summary["dropped"]) == (first, {"no finished trace": 4})
    else:
        cut = [("r0002", "b", "Final Answer: 2", None, None), ("r0003", "c", "Answer: 2 and", None, None)]
        assert (made, summary["dropped"]) == ([*first, *cut], {"no trace": 2})


def test_attempts_become_labels(tmp_path: Path) -> None:
    """Whatever labels a row had; one without a grade cannot be known to be hard."""
    assert SPEC.difficulty is not None
    rows = [row(i, weak_correct=True, strong_correct=None) for i in range(5)]
    weak = [{"question_id": row(i).id, "credit": c} for i, c in enumerate([1.0, 0.0, 0.0, 1.0])]
    strong = [{"question_id": row(i).id, "credit": c} for i, c in enumerate([0.0, 0.0, 1.0, 1.0])]
    summary, kept = curated(
        tmp_path,
        SPEC.difficulty,
        rows,
        weak=folder(tmp_path / "w", GRADES, weak),
        strong=folder(tmp_path / "s", GRADES, strong),
    )
    assert [(r.id, r.weak_correct, r.strong_correct) for r in kept] == [("r0001", False, False)]
    assert summary["dropped"] == {
        "solved by weak": 1,
        "solved by strong": 1,
        "solved by weak and strong": 1,
        "no solution to grade by": 1,
    }


def test_unread_domains_are_counted_and_nothing_is_dropped(tmp_path: Path) -> None:
    assert isinstance(SPEC.domains, DomainsSpec)
    step = SPEC.domains.model_copy(update={"codes": CODES})
    said = [readout(0, "", "so 11"), readout(1, "", "no idea"), readout(2, "x", "03.")]
    rows = [row(i, domain="old") for i in range(3)]
    summary, kept = curated(tmp_path, step, rows, classifier=folder(tmp_path / "c", READOUTS, said))
    assert [r.domain for r in kept] == ["Numbers", None, "Logic"]
    assert (summary["dropped"], summary["unknown"]) == ({}, {"domain": 1})


# --- plans


def planned(*overrides: str) -> Plan:
    plan = Plan()
    for config in compose(*overrides):
        plan.add(config.cell, axes_of(config))
    return plan


def test_asking_is_decoding_and_shares_the_engine() -> None:
    plan = planned("data=s1k", QUESTIONS)
    (cell,) = plan.cells
    sessions = {role: plan.stages[name].session for role, name in cell.stages.items() if role.endswith("decode")}
    (base,) = (s.session for s in planned("train=none").stages.values() if s.kind == "decode")
    roles = ("traces.teacher", "domains.classifier", "difficulty.weak", "difficulty.strong")
    assert [sessions[f"{role}.decode"] for role in roles] == [base] * 4
    assert sessions["decode"] != base  # the trained checkpoint's
    assert {r for r in cell.stages if r.endswith(".grade")} == {"difficulty.weak.grade", "difficulty.strong.grade"}
    assert not plan.subsets  # what a model will say is not known


def test_no_more_is_asked_than_the_rule_needs() -> None:
    plan = planned("data=random,s1k", "curation=testbed_attempts", "data.seed=0,1")
    first, second = plan.cells[0], plan.cells[-1]
    assert not any("." in role for role in first.stages)
    assert first.stages["select"] in plan.subsets and second.stages["select"] not in plan.subsets
    assert plan.counts(plan.stages)["decode"] == 2 + 4  # two attempts, and an evaluation of each arm


def test_equal_attempts_are_one_stage() -> None:
    plan = planned("data=s1k", "curation=testbed_attempts", "curation.difficulty.strong.method.max_thinking_tokens=4")
    stages = plan.cells[0].stages
    assert stages["difficulty.weak.grade"] == stages["difficulty.strong.grade"]


def test_a_models_choice_is_an_axis() -> None:
    (config,) = compose("curation=testbed_attempts", "model@curation.difficulty.weak.model=qwen2_5_7b_instruct")
    assert axes_of(config)["curation.difficulty.weak.model"] == "qwen2_5_7b_instruct"
    (config,) = compose("curation=from_questions", "curation/domains=msc2020_server", "curation.domains.model=m")
    assert axes_of(config)["curation.domains"] == "msc2020_server"


def test_estimates_count_the_rows_that_are_asked(tmp_path: Path) -> None:
    for n in (10, 20):
        lines = [json.dumps({"id": str(i), "question": f"q{i}", "solution": "1"}) for i in range(n)]
        (tmp_path / f"{n}.jsonl").write_text("\n".join(lines))
    few, many = (
        planned("data=s1k", "data.size=1", QUESTIONS, "pool=file", f"pool.path={tmp_path / f'{n}.jsonl'}")
        for n in (10, 20)
    )
    placement = compose()[0].placement
    tokens = [
        estimate(p, {n: s for n, s in p.stages.items() if n.startswith("decode-rows")}, placement).decode_tokens
        for p in (few, many)
    ]
    assert set(few.asked.values()) == {10} and set(many.asked.values()) == {20}
    assert tokens[1] == 2 * tokens[0] > 0


def test_hub_models_that_are_asked_are_pinned() -> None:
    plan = planned("data=s1k,random", "curation=s1_attempts", "pool=s1k")
    open_ = [[use for use in unpinned(cell.spec) if "difficulty" in use.group] for cell in plan.cells]
    assert [len(uses) for uses in open_] == [2, 0]  # data=random draws before the attempts
    (config,) = compose("data=s1k", "curation=s1_attempts", "pool=s1k", "curation.difficulty.weak.model.revision=abc")
    assert [use.remedy for use in unpinned(config.cell) if "difficulty" in use.group] == [
        "curation.difficulty.strong.model.revision=<commit>"
    ]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("difficulty.weak.prompt=hello", ["curation.difficulty.weak.prompt", "{question}"]),
        ("difficulty.weak.sampling.samples=2", ["curation.difficulty.weak.sampling", "samples must be 1"]),
        ("difficulty.grader=maths", ["curation.difficulty.grader='maths'", "Did you mean 'math'"]),
        ("difficulty.weak.method.max_thinking_tokens=5000", ["curation.difficulty.weak.method.max_thinking_tokens"]),
        ("difficulty.strong.model.source=/nowhere", ["curation.difficulty.strong.model.source='/nowhere'"]),
        ("traces.teacher.model.delimiters.think_end=''", ["curation.traces.teacher.model.delimiters.think_end"]),
        ("traces.unfinished=maybe", ["curation.traces.unfinished='maybe'", "'drop' or 'keep'"]),
        ("domains.codes=null", ["curation.domains.codes"]),
        ("difficulty.by=labels", ["curation.difficulty.weak", "not a field"]),
    ],
)
def test_mistakes_are_seen_while_planning(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        planned("data=s1k", QUESTIONS, f"curation.{override}")
    for word in words:
        assert word in str(error.value)


def test_a_method_that_needs_marks_is_refused() -> None:
    with pytest.raises(UserError, match=r"curation\.difficulty\.weak\.method=no_thinking needs a model that marks"):
        planned(
            *("data=s1k", "curation=s1_attempts", "pool=s1k", "method@curation.difficulty.weak.method=no_thinking"),
            "~curation.difficulty.weak.method.max_thinking_tokens",
        )


# --- a server


class Flaky(BaseHTTPRequestHandler):
    """Says the question's length in two digits; fails as told by the question, each failure once."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"]
        state: Any = self.server
        with state.lock:
            state.asked[text] += 1
            state.under_way += 1
            state.most = max(state.most, state.under_way)
            again = state.asked[text]
        state.bodies.append((body, self.headers.get("Authorization")))
        status = state.fails(text, again)
        with state.lock:
            state.under_way -= 1
        if status == "hang up":
            self.connection.close()
            return
        answer = json.dumps({"choices": [{"message": {"content": f"So {len(text) % 100:02d}"}}]})
        self.send_response(status or 200)
        self.end_headers()
        self.wfile.write(b"no JSON" if status == 200 else answer.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    made.lock, made.asked, made.bodies, made.under_way, made.most = threading.Lock(), Counter(), [], 0, 0
    made.fails = lambda text, again: None
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def spec_of(server: Any, **changes: Any) -> ServerDomainsSpec:
    (config,) = compose("curation=from_questions", "curation/domains=msc2020_server", "curation.domains.model=m")
    assert config.cell.curation.domains is not None
    own = {"url": f"http://127.0.0.1:{server.server_port}/v1", "at_once": 4, "max_tries": 3, "timeout_s": 5, **changes}
    return ServerDomainsSpec.model_validate({**config.cell.curation.domains.model_dump(), **own})


FAULTS = {"b": 429, "c": 503, "d": "hang up", "e": 200}  # 200: an answer that is no JSON


def test_a_server_that_fails_at_times_is_asked_again(server: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    server.fails = lambda text, again: FAULTS.get(text[0]) if again == 1 else None
    prompts = [letter * n for n in (1, 2, 3) for letter in "abcde"]
    spec = spec_of(server, key_env="THE_KEY")
    answers = list(Server(spec, tmp_path, first_wait=0.01).answers(prompts))
    assert answers == [f"So {len(p):02d}" for p in prompts]
    assert server.asked == {p: 1 if p[0] == "a" else 2 for p in prompts}
    assert server.most <= 4
    assert all(said == "Bearer secret" for _, said in server.bodies)
    assert all((b["model"], b["temperature"], b["max_tokens"]) == ("m", 0, 512) for b, _ in server.bodies)
    (kept,) = tmp_path.rglob("*.jsonl")
    assert "secret" not in kept.read_text()
    # A second stage asks nothing, also of another address; a half-written line spoils no other.
    kept.write_text(kept.read_text() + '\n{"prompt": "ha')
    before = len(server.bodies)
    elsewhere = spec.model_copy(update={"url": "http://127.0.0.1:1/v1", "key_env": None})
    assert list(Server(elsewhere, tmp_path).answers(prompts)) == answers
    assert len(server.bodies) == before
    assert list(Server(spec, tmp_path).answers(["aaaa"])) == ["So 04"]
    assert list(Server(elsewhere, tmp_path).answers(["aaaa"])) == ["So 04"]


def test_a_failing_server_keeps_what_it_answered(server: Any, tmp_path: Path) -> None:
    server.fails = lambda text, again: 500 if text == "z" and server.asked[text] <= 3 else None
    prompts = ["a", "b", "z", "c"]
    with pytest.raises(ConnectionError, match=r"curation.domains.url=.*HTTP 500.*after 3 tries"):
        list(Server(spec_of(server), tmp_path, first_wait=0.01).answers(prompts))
    assert list(Server(spec_of(server), tmp_path, first_wait=0.01).answers(prompts)) == ["So 01"] * 4
    assert (server.asked["a"], server.asked["b"], server.asked["z"]) == (1, 1, 4)


def test_what_will_not_get_better_is_not_tried_again(server: Any, tmp_path: Path) -> None:
    server.fails = lambda text, again: 401
    with pytest.raises(UserError, match=r"HTTP 401 .*after 1 try"):
        list(Server(spec_of(server), None).answers(["a"]))
    assert server.asked == {"a": 1}
    with pytest.raises(UserError, match=r"curation.domains.key_env='NOT_SET'.* is not set"):
        Server(spec_of(server, key_env="NOT_SET"), None)


def test_a_missing_key_is_seen_before_anything_runs(root: Path) -> None:
    done = cli(
        *("run", "curation=testbed", "curation/domains=msc2020_server", "curation.domains.model=m", "tracking=none"),
        *("curation.domains.key_env=NOT_SET", "data.size=4", "placement=inprocess"),
        root=root,
    )
    assert (done.returncode, root.exists()) == (2, False), done.stdout + done.stderr
    assert "curation.domains.key_env='NOT_SET'" in done.stderr


def test_where_a_server_stands_is_not_identity(server: Any) -> None:
    here = spec_of(server)
    there = spec_of(server, url="https://else.where/v1", key_env="X", at_once=1, max_tries=9, timeout_s=1)
    assert encode(here) == encode(there)
    assert encode(here) != encode(spec_of(server, model="n"))


def test_domains_by_a_server(server: Any, tmp_path: Path) -> None:
    step = spec_of(server, codes={"03": "Logic", "05": "Combinatorics"}, prompt="{question}")
    rows = [row(i, question="q" * n) for i, n in enumerate((3, 5, 7))]
    summary, kept = curated(tmp_path, step, rows)
    assert [r.domain for r in kept] == ["Logic", "Combinatorics", None]
    assert summary["unknown"] == {"domain": 1}
    assert len(list((tmp_path / "traces" / "answers").iterdir())) == 1


# --- a real run


@pytest.mark.slow
@pytest.mark.long  # a minute; its parts have tests of their own
def test_from_bare_questions_to_a_subset(root: Path) -> None:
    """Every count of the funnel is what the decoded readouts say; done again or drawn anew, nothing is decoded."""
    path = root.parent / "bare.jsonl"
    found = [json.loads(line) for line in gzip.decompress(testbed.POOL.read_bytes()).splitlines()[:60]]
    rows = [{name: r[name] for name in ("id", "question", "solution", "source")} for r in found]
    rows[0] |= {"thinking": found[0]["thinking"], "answer": found[0]["answer"]}
    rows[1] |= {"thinking": "x", "answer": "1", "solution": "no answer\nin two lines"}
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    line = [
        *("name=s", "pool=file", f"pool.path={path}", QUESTIONS, "data=s1k", "data.size=4", "train.steps=2"),
        *("task.limit=2", "placement=inprocess", "tracking=none"),
    ]
    done = cli("run", *line, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 stages run, 0 reused" in done.stdout

    (cell,) = json.loads(cli("results", "s", "--json", root=root).stdout)
    record = {role: record for role, name in cell["stages"].items() if (record := Store(root).record(name))}
    summary = {role: found.summary for role, found in record.items()}

    def out(role: str, name: str) -> list[dict[str, Any]]:
        return read_jsonl(root / "stages" / cell["stages"][role] / record[role].attempt / name)

    taught = out("traces.teacher.decode", READOUTS)
    assert [r["question_id"] for r in taught] == [r["id"] for r in rows[2:]]
    whole = {
        r["question_id"]
        for r in taught
        if r["ended"] == "natural" and r["answer_finish"] == "stop" and r["thinking"] and r["stated"].strip()
    }
    traced = [r["id"] for r in rows[:2]] + [r["id"] for r in rows[2:] if r["id"] in whole]
    assert [r["id"] for r in out("traces", ROWS)] == traced and 2 < len(traced) < 60
    assert out("traces", ROWS)[0]["thinking"] == found[0]["thinking"]
    assert all(r["trace_tokens"] > 0 for r in out("length", ROWS))

    digits = {
        r["question_id"]: domains.parsed(r["stated"], SPEC.domains.codes)
        for r in out("domains.classifier.decode", READOUTS)
    }  # type: ignore[union-attr]
    assert {r["id"]: r["domain"] for r in out("domains", ROWS)} == digits
    unread = sum(d is None for d in digits.values())
    assert summary["domains"].get("unknown", {}).get("domain", 0) == unread
    assert summary["quality"]["dropped"].get("no domain", 0) == unread

    weak, strong = (
        {g["question_id"]: g["verdict"] == "correct" for g in out(f"difficulty.{who}.grade", GRADES)}
        for who in ("weak", "strong")
    )
    before = [r["id"] for r in out("quality", ROWS)]
    hard = [i for i in before if i in weak and not weak[i] and not strong[i]]
    assert [r["id"] for r in out("difficulty", ROWS)] == hard
    assert sum(weak.values()) + sum(strong.values()) > 0
    assert rows[1]["id"] not in weak
    assert (rows[1]["id"] in before) == (summary["difficulty"]["dropped"].get("no solution to grade by", 0) == 1)
    assert {r["id"] for r in out("select", ROWS)} <= set(hard) and summary["select"]["rows"] == 4
    funnel = json.loads(
        (root / "stages" / cell["stages"]["select"] / record["select"].attempt / "card.json").read_text()
    )["funnel"]
    assert [f["step"] for f in funnel] == ["pool", "traces", "length", "domains", "quality", "difficulty"]

    again = cli("run", *line, root=root)
    assert "0 stages run, 16 reused" in again.stdout, again.stdout + again.stderr
    drawn = cli("run", *line, "data.seed=1", root=root)
    assert drawn.returncode == 0 and "4 stages run, 12 reused" in drawn.stdout, drawn.stdout + drawn.stderr
    status = json.loads(cli("status", "s", "--json", root=root).stdout)
    assert status["stages"]["decode"]["done"] == 6 and not status["open"]
    assert '"rows": "gradable"' in cli("explain", cell["stages"]["difficulty.weak.decode"], root=root).stdout
