"""OpenAI-compatible servers that are asked: so many requests at once, again where that may help.

All that speaks HTTP to such a server goes through `Client`. Knows no tokens, no rows and no stage. Only this file
imports httpx.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.spec import Endpoint, ServerDomainsSpec

if TYPE_CHECKING:
    import httpx

PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 529)  # statuses of what may be better in a moment
LONGEST_WAIT = 60.0  # seconds

ServerSpec = Endpoint | ServerDomainsSpec
Found = TypeVar("Found")


def field(server: ServerSpec) -> str:
    """The field of the config that names the server."""
    return "placement.endpoint" if isinstance(server, Endpoint) else "curation.domains"


def key(server: ServerSpec) -> str | None:
    """The server's key; None for one without. Raises UserError if its environment variable is not set here."""
    if server.key_env is None:
        return None
    if found := os.environ.get(server.key_env):
        return found
    raise UserError(
        f"{field(server)}.key_env={server.key_env!r}: this environment variable is not set. Set it, where stages run, "
        f"to the server's key, or give {field(server)}.key_env=null for a server without one."
    )


class Client:
    """Asks one server, on one event loop at a time. A request that is cancelled hangs up.

    `first_wait` is the longest wait before a second try, in seconds; each further one may be twice as long. Raises
    UserError if the server's key is not set.
    """

    def __init__(self, server: ServerSpec, first_wait: float = 1.0) -> None:
        self._server = server
        self._first_wait = first_wait
        self._key = key(server)
        self.url = server.url.rstrip("/")
        self._open: tuple[httpx.AsyncClient, asyncio.Semaphore] | None = None  # made on the event loop that asks

    async def get(self, url: str) -> tuple[int, str]:
        """Status and text of an answer. Raises ConnectionError where there is none."""
        import httpx

        try:
            response = await self._connected()[0].get(url)
        except httpx.RequestError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        return response.status_code, response.text

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Found]) -> Found:
        """What `read` takes from the JSON of the answer; an answer in which it finds nothing counts as none.

        Raises UserError for a status that will not get better, and ConnectionError after the last try.
        """
        import httpx

        http, slots = self._connected()
        said, after = "", None
        async with slots:
            for tried in range(self._server.max_tries):
                if tried:
                    await asyncio.sleep(self._pause(tried - 1, after))
                try:
                    response = await http.post(f"{self.url}{path}", json=body)
                except httpx.RequestError as error:  # no connection, or too late
                    said, after = f"{type(error).__name__}: {error}", None
                    continue
                after = response.headers.get("Retry-After")
                said = f"HTTP {response.status_code} {response.text[:300].strip()}"
                if response.status_code == 200:
                    try:
                        return read(response.json())
                    except (ValueError, LookupError, TypeError, AttributeError):  # no JSON, or not what was asked for
                        continue
                if response.status_code not in PASSING:
                    raise UserError(self._failed(body["model"], said, tried + 1))
        raise ConnectionError(self._failed(body["model"], said, self._server.max_tries))

    async def close(self) -> None:
        """Hang up, and be ready for another event loop."""
        if self._open is not None:
            http, _ = self._open
            self._open = None
            await http.aclose()

    def _connected(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        if self._open is None:
            import httpx

            http = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=self._server.timeout_s,
                limits=httpx.Limits(max_keepalive_connections=self._server.at_once),
            )
            # The client's own limit looks through all that wait whenever one answer has come.
            self._open = http, asyncio.Semaphore(self._server.at_once)
        return self._open

    def _pause(self, tried: int, after: str | None) -> float:
        wait = min(self._first_wait * 2**tried, LONGEST_WAIT) * random.uniform(0.5, 1)  # so that they do not march
        return max(wait, min(float(after), LONGEST_WAIT)) if after and after.isdigit() else wait

    def _failed(self, model: str, said: str, tries: int) -> str:
        return (
            f"{field(self._server)}.url={self._server.url!r}, model {model!r}: {said} (after {tries} "
            f"{'try' if tries == 1 else 'tries'}). Answers so far are kept."
        )


class Server:
    """A chat model behind a URL. Raises UserError where the key is missing.

    The first stored answer to a prompt is the truth: a stage that was killed pays nothing twice, and one that is done
    again gets the same answers. `cache` is the folder of traces; None keeps nothing.
    """

    def __init__(self, spec: ServerDomainsSpec, cache: Path | None, first_wait: float = 1.0) -> None:
        self._spec = spec
        self._client = Client(spec, first_wait)
        about = digest([spec.model, spec.max_tokens])[:16]
        self._path = cache / "answers" / f"{about}.jsonl" if cache else None
        self._known = dict(_stored(self._path)) if self._path and self._path.exists() else {}

    def answers(self, prompts: Iterable[str]) -> Iterator[str]:
        """The answers, in the prompts' order. Raises what `Client.post` raises for the first that cannot be had."""
        waiting: deque[asyncio.Task[str]] = deque()

        async def first() -> str:
            return await waiting.popleft()

        async def end() -> None:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await self._client.close()

        with asyncio.Runner() as runner:
            try:
                for prompt in prompts:
                    waiting.append(runner.get_loop().create_task(self._answer(prompt)))
                    if len(waiting) > 2 * self._spec.at_once:
                        yield runner.run(first())
                while waiting:
                    yield runner.run(first())
            finally:
                runner.run(end())

    async def _answer(self, prompt: str) -> str:
        name = digest(prompt)
        if name not in self._known:
            answer = await self._client.post("/chat/completions", self._body(prompt), _content)
            if name not in self._known:
                self._known[name] = answer
                self._keep(name, answer)
        return self._known[name]

    def _body(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self._spec.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self._spec.max_tokens,
        }

    def _keep(self, name: str, answer: str) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The line break comes first: what a killed process left half-written must not spoil this line.
        line = "\n" + json.dumps({"prompt": name, "answer": answer}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as f:
            f.write(line)


def _content(said: Any) -> str:
    return said["choices"][0]["message"]["content"] or ""


def _stored(path: Path) -> Iterator[tuple[str, str]]:
    """What is kept, the first of each last, so that it wins; half-written lines are left out."""
    found = []
    with path.open(encoding="utf-8", errors="replace") as f:
        for line in f:
            try:
                row = json.loads(line)
                found.append((row["prompt"], row["answer"]))
            except (ValueError, KeyError, TypeError):
                continue
    return reversed(found)
