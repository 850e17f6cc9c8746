"""An OpenAI-compatible server as engine: vLLM's gives the tokens of the engine in process; faults and refusals."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from s1sweep import testbed
from s1sweep.decoding.engines import Engine, Sampling
from s1sweep.decoding.engines.openai import OpenAIEngine
from s1sweep.decoding.readout import READOUTS
from s1sweep.decoding.serve import serve
from s1sweep.decoding.session import decode_session
from s1sweep.errors import UserError
from s1sweep.servers import LONGEST_WAIT, key
from s1sweep.spec import Endpoint
from s1sweep.store import Store
from tests.helpers import cli, compose
from tests.test_segments import LetterChat, items

MODEL = compose("train=none")[0].cell.model
BASE = str(testbed.BASE)


def endpoint(url: str, **changes: Any) -> Endpoint:
    own = {"model": None, "key_env": None, "device": None, "at_once": 4, "timeout_s": 20, "max_tries": 3}
    return Endpoint.model_validate({"url": url, **own, **changes})


def ask(engine: OpenAIEngine, *prompts: list[int], n: int = 8, stops: tuple[int, ...] = (9,), **sampling: Any) -> list:
    async def all_() -> list:
        try:
            return await asyncio.gather(*(engine.generate(p, n, stops, Sampling(**sampling)) for p in prompts))
        finally:
            await engine.release()

    return asyncio.run(all_())


# --- a server that answers as it is told


class Handler(BaseHTTPRequestHandler):
    """After a prompt ending in k come k+1, k+2, ... up to a stop or the length."""

    def do_GET(self) -> None:
        state: Any = self.server
        if self.path == "/version":
            self._say(200, {"version": "9.9"})
        else:
            self._say(state.models_status, {"data": state.models})

    def do_POST(self) -> None:
        state: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append((body, self.headers.get("Authorization")))
            state.asked[tuple(body["prompt"])] += 1
            again = state.asked[tuple(body["prompt"])]
            state.now += 1
            state.most = max(state.most, state.now)
        time.sleep(0.02)
        while state.silent:
            if select.select([self.connection], [], [], 0.01)[0]:  # it hung up
                state.left += 1
                return
        with state.lock:
            state.now -= 1
        if fault := state.fails(body, again):
            return self._say(fault, {"error": {"message": f"fault {fault}"}}, **state.headers)
        ids, finish, stop = [], "length", None
        for token in range(body["prompt"][-1] + 1, body["prompt"][-1] + 1 + body["max_tokens"]):
            ids.append(token)
            if token in body["stop_token_ids"]:
                finish, stop = "stop", token
                break
        choice = {"text": "x", "finish_reason": finish, "stop_reason": stop, "token_ids": ids, **state.choice}
        usage = {"prompt_tokens": len(body["prompt"]), "prompt_tokens_details": {"cached_tokens": 1}}
        self._say(200, {"choices": [{k: v for k, v in choice.items() if v is not ...}], "usage": usage})

    def _say(self, status: int, value: Any, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, said in headers.items():
            self.send_header(name.replace("_", "-"), said)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.lock, made.bodies, made.asked, made.now, made.most = threading.Lock(), [], Counter(), 0, 0
    made.fails, made.choice, made.models_status = (lambda body, again: None), {}, 200
    made.silent, made.left, made.headers = False, 0, {}
    made.models = [{"id": "served", "root": BASE, "max_model_len": 4096}]
    made.url = f"http://127.0.0.1:{made.server_port}/v1"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def engine_of(server: Any, **changes: Any) -> OpenAIEngine:
    return OpenAIEngine(MODEL, BASE, endpoint(server.url, **changes), first_wait=0.01)


def test_a_request_says_all_that_tokens_depend_on(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    engine = engine_of(server, key_env="THE_KEY", device="H100")
    (stopped,), (cut,) = ask(engine, [5, 6]), ask(engine, [5, 6], n=2)
    assert (stopped.token_ids, stopped.finish, stopped.stop_id, stopped.prefilled) == ((7, 8), "stop", 9, 1)
    assert (cut.token_ids, cut.finish, cut.stop_id) == ((7, 8), "length", None)
    drawn = {"temperature": 0.7, "top_p": 0.9, "seed": 3, "min_tokens": 2, "banned": (4,), "thinking_budget": 6}
    ask(engine, [5], extra=(("top_k", 20), ("frequency_penalty", 0.5)), **drawn)
    body, authorization = server.bodies[-1]
    wanted = {
        "model": "served", "prompt": [5], "max_tokens": 8, "temperature": 0.7, "top_p": 0.9, "seed": 3,
        "min_tokens": 2, "stop_token_ids": [9], "ignore_eos": True, "return_token_ids": True, "logit_bias": {"4": -100},
        "thinking_token_budget": 6, "top_k": 20, "frequency_penalty": 0.5, "repetition_penalty": 1.0, "min_p": 0.0,
    }  # fmt: skip
    assert {name: body[name] for name in wanted} == wanted
    assert authorization == "Bearer secret"
    assert engine.fingerprint() == {"engine": "completions of vllm 9.9", "served": None, "device": "H100"}
    assert "secret" not in json.dumps(dict(engine.fingerprint()))


def test_the_context_ends_a_stream(server: Any) -> None:
    engine = engine_of(server)
    room = MODEL.max_model_len - 2
    (near,) = ask(engine, [100] * room, n=8)
    assert (near.token_ids, near.finish) == ((101, 102), "context")
    (full,) = ask(engine, [100] * MODEL.max_model_len)
    assert (full.token_ids, full.finish) == ((), "context") and len(server.bodies) == 1


def test_what_may_get_better_is_asked_again_and_no_more_at_once_than_allowed(server: Any) -> None:
    server.fails = lambda body, again: {10: 503, 20: 429, 30: 500}.get(body["prompt"][-1]) if again == 1 else None
    engine = engine_of(server)
    prompts = [[k] for k in range(10, 40)]
    answers = ask(engine, *prompts, n=1)
    assert [a.token_ids for a in answers] == [(k + 1,) for k in range(10, 40)]
    assert {k: n for (k,), n in server.asked.items() if n > 1} == {10: 2, 20: 2, 30: 2}
    assert server.most <= 4


def test_what_stays_wrong_is_said(server: Any) -> None:
    server.fails = lambda body, again: 503
    with pytest.raises(ConnectionError, match=r"HTTP 503.*after 3 tries"):
        ask(engine_of(server), [10])
    assert server.asked == {(10,): 3}
    server.fails = lambda body, again: 400
    with pytest.raises(UserError, match=r"HTTP 400.*fault 400"):
        ask(engine_of(server), [11])
    assert server.asked[(11,)] == 1


@pytest.mark.parametrize(("after", "waits"), [("7", 7.0), ("3600", LONGEST_WAIT), ("soon", None), ("", None)])
def test_a_server_says_when_to_ask_again(
    server: Any, monkeypatch: pytest.MonkeyPatch, after: str, waits: float | None
) -> None:
    """Otherwise pauses grow."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    engine = OpenAIEngine(MODEL, BASE, endpoint(server.url, max_tries=9), first_wait=1.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    server.fails = lambda body, again: 429 if again < 9 else None
    server.headers = {"Retry_After": after} if after else {}
    (answer,) = ask(engine, [10], n=1)
    assert answer.token_ids == (11,) and len(waited) == 8
    if waits is None:
        assert all(2**i / 2 <= pause <= 2**i for i, pause in enumerate(waited[:6])) and max(waited) <= LONGEST_WAIT
    else:
        assert all(pause == max(waits, pause) for pause in waited) and waited[0] == waits


def test_a_session_that_ends_early_hangs_up(server: Any) -> None:
    """It does not wait for what the server makes, and the next one is answered."""
    server.silent = True
    engine = engine_of(server)

    async def some() -> None:
        for k in range(10):
            asyncio.create_task(engine.generate([k], 8, (99,), Sampling()))  # noqa: RUF006
        while server.now < 4:
            await asyncio.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), decode_session(engine) as runner:
        runner.run(some())
    for _ in range(200):
        if server.left == 4:
            break
        time.sleep(0.01)
    assert server.left == 4 and len(server.bodies) == 4
    server.silent = False
    assert ask(engine, [10], n=1)[0].token_ids == (11,)


@pytest.mark.parametrize("at", [1, 7])
def test_a_server_fails_in_the_middle_of_a_session(server: Any, at: int) -> None:
    """Stages that asked for what it refused fail, the others are done, and the next session has its tokens."""
    cells = (0, 3, 8)

    def decoded() -> tuple[list[Exception], list[bytes]]:
        asked, engine = items(cells), engine_of(server, at_once=1)
        with decode_session(engine) as runner:
            ended = [done for _, done in serve(runner, asked, engine, LetterChat())]  # type: ignore[arg-type]
        found = [item.out / READOUTS for item in asked]
        return [e for e in ended if isinstance(e, Exception)], [path.read_bytes() for path in found if path.exists()]

    right = decoded()
    server.bodies.clear()
    server.fails = lambda body, again: 400 if len(server.bodies) == at else None
    failed, done = decoded()
    assert failed and all("HTTP 400" in str(error) for error in failed) and set(done) <= set(right[1])
    assert len(failed) + len(done) == 3
    server.fails = lambda body, again: None
    assert decoded() == right


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"token_ids": ...}, "gives no token ids back"),
        ({"token_ids": None}, "gives no token ids back"),
        ({"finish_reason": "stop", "stop_reason": 77}, "nobody asked for"),
        ({"finish_reason": "stop", "stop_reason": None}, "nobody asked for"),
        ({"finish_reason": "abort"}, "nobody asked for"),
    ],
)
def test_answers_that_would_give_other_tokens_are_refused(server: Any, choice: dict, message: str) -> None:
    server.choice = choice
    with pytest.raises(UserError, match=message):
        ask(engine_of(server), [10])


def test_the_server_must_serve_the_weights(server: Any) -> None:
    server.models = [{"id": "us/other"}]
    with pytest.raises(UserError, match=r"serves 'us/other', not .*placement.endpoint.model=NAME"):
        engine_of(server)
    named = engine_of(server, model="us/other")
    assert named.fingerprint()["served"] == "us/other", "a claim of the user's is part of what traces are kept under"
    server.models = [{"id": BASE, "max_model_len": 100}]
    with pytest.raises(UserError, match=r"context of 100 tokens, less than model.max_model_len"):
        engine_of(server)
    server.models_status = 401
    with pytest.raises(UserError, match=r"HTTP 401.*key_env"):
        engine_of(server)
    with pytest.raises(UserError, match="does not answer"):
        OpenAIEngine(MODEL, BASE, endpoint("http://127.0.0.1:9/v1"))


def test_no_key_in_the_config() -> None:
    for url in ("http://user:word@host/v1", "http://host/v1?key=x", "host:8000/v1"):
        with pytest.raises(ValidationError, match="url"):
            endpoint(url)
    with pytest.raises(UserError, match="NOT_SET"):
        key(endpoint("http://host/v1", key_env="NOT_SET"))


def test_where_tokens_come_from_is_placement() -> None:
    """Stages keep their ids; traces are apart by the fingerprint."""
    from s1sweep.planning import Plan

    here, there = (
        compose("train=none", *more)[0]
        for more in ([], ["placement=endpoint", "placement.endpoint.url=http://host:8000/v1"])
    )
    assert Plan().add(here.cell, {}).stages == Plan().add(there.cell, {}).stages


def test_a_grid_that_trains_is_refused(root: Path) -> None:
    command = ("placement=endpoint", "placement.endpoint.url=http://127.0.0.1:9/v1", "tracking=none")
    done = cli("run", *command, root=root)
    assert done.returncode == 2 and "train=none" in done.stderr, done.stderr
    unset = cli("run", "train=none", *command, "placement.endpoint.key_env=NOT_SET", root=root)
    assert unset.returncode == 2 and "NOT_SET" in unset.stderr
    assert not root.exists()


# --- vLLM's own server


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", BASE, "--port", str(port)),
        *("--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", str(MODEL.max_model_len)),
        *("--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
        *("--kv-cache-memory-bytes", str(128 << 20), "--generation-config", "vllm", "--enable-prompt-tokens-details"),
    ]
    env = {**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{url}/models", timeout=5).read()
                break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail(log.read_text()[-3000:])
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


async def logprobs(engine: Engine, prompt: tuple[int, ...], tokens: list[int]) -> tuple[float, ...]:
    try:
        return await engine.next_logprobs(prompt, tokens)
    finally:
        await engine.release()


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["greedy", "sampled"])
def test_a_real_server_gives_the_tokens_of_the_engine_in_process(
    vllm_server: str, tmp_path: Path, sampling: str
) -> None:
    from s1sweep.decoding.chat import Chat, load_tokenizer
    from s1sweep.decoding.engines.vllm import warm_engine
    from s1sweep.stages.resources import Resources
    from tests.test_vllm import decode

    cells = compose(
        *("train=none", "task=tiny_calc,tiny_hard", "task.limit=6", "method.max_thinking_tokens=6,40,160"),
        *(f"sampling={sampling}", "extrapolation=none,wait", "method.max_answer_tokens=8"),
    )
    chat = Chat(MODEL, load_tokenizer(MODEL))
    served = OpenAIEngine(MODEL, BASE, endpoint(vllm_server, at_once=16))
    own = warm_engine(MODEL, BASE, Resources(kv_cache_mb=128))
    ids = ("thinking_ids", "answer_ids", "ended")
    theirs, ours = decode(cells, served, chat, tmp_path / "a"), decode(cells, own, chat, tmp_path / "b")
    assert [[[row[i] for i in ids] for row in rows] for rows in theirs] == [
        [[row[i] for i in ids] for row in rows] for rows in ours
    ]
    prompt = chat.prompt("calc 7 a+5")
    tokens = [5, 17, 30]
    here, there = (asyncio.run(logprobs(engine, prompt, tokens)) for engine in (own, served))
    assert there == pytest.approx(here, abs=1e-4)


@pytest.mark.slow
def test_a_sweep_over_a_server(vllm_server: str, root: Path, tmp_path: Path) -> None:
    """The same stages and results as with our own engine, and traces apart from its."""
    grid = ["train=none", "task=tiny_calc,tiny_hard", "task.limit=4", "method.max_thinking_tokens=16", "tracking=none"]
    over = ["placement=endpoint", "placement.backend=inprocess", f"placement.endpoint.url={vllm_server}"]
    done = cli("run", "-m", *grid, *over, "name=served", root=root)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "other"
    own = cli("run", "-m", *grid, "placement=inprocess", "name=own", root=other)
    assert own.returncode == 0, own.stderr

    def grades(where: Path) -> dict[str, Any]:
        records = map(Store(where).record, Store(where).stage_ids())
        return {record.id: record.summary["accuracy"] for record in records if record and record.kind == "grade"}

    assert grades(root) == grades(other) and len(grades(root)) == 2
    (about,) = root.glob("traces/*/about.json")
    assert json.loads(about.read_text())["engine"]["engine"].startswith("completions of vllm 0.")
    (record, _) = root.glob("stages/decode-*/record.json")
    assert vllm_server not in record.read_text()
