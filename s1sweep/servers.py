"""Asks an OpenAI-compatible server: so many at once, again where that may help, and keeps answers as they come.

The first stored answer is the truth: a stage that was killed pays nothing twice, and one that is done again gets the
same answers. Knows no row and no step.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.spec.data import ServerDomainsSpec

PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 529)  # statuses of what may be better in a moment
LONGEST_WAIT = 60.0  # seconds


def key(spec: ServerDomainsSpec) -> str | None:
    """The server's key; None for one without. Raises UserError if its environment variable is not set here."""
    if spec.key_env is None:
        return None
    if found := os.environ.get(spec.key_env):
        return found
    raise UserError(
        f"curation.domains.key_env={spec.key_env!r}: this environment variable is not set. Set it, where stages run, "
        "to the server's key, or give curation.domains.key_env=null for a server without one."
    )


class Server:
    """A chat model behind a URL. Raises UserError where the key is missing or a request cannot be answered."""

    def __init__(self, spec: ServerDomainsSpec, cache: Path | None, first_wait: float = 1.0) -> None:
        self._spec = spec
        self._first_wait = first_wait
        self._key = key(spec)
        self._stopped = Event()
        self._lock = Lock()
        about = digest([spec.model, spec.max_tokens])[:16]
        self._path = cache / "answers" / f"{about}.jsonl" if cache else None
        self._known = dict(_stored(self._path)) if self._path and self._path.exists() else {}

    def answers(self, prompts: Iterable[str]) -> Iterator[str]:
        """The answers, in the prompts' order."""
        waiting: deque[Future[str]] = deque()
        with ThreadPoolExecutor(self._spec.at_once) as threads:
            try:
                for prompt in prompts:
                    waiting.append(threads.submit(self._answer, prompt))
                    if len(waiting) > 2 * self._spec.at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                self._stopped.set()
                for future in waiting:
                    future.cancel()

    def _answer(self, prompt: str) -> str:
        name = digest(prompt)
        with self._lock:
            known = self._known.get(name)
        if known is not None:
            return known
        answer = self._asked(prompt)
        with self._lock:
            self._known.setdefault(name, answer)
            self._keep(name, answer)
            return self._known[name]

    def _keep(self, name: str, answer: str) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The line break comes first: what a killed process left half-written must not spoil this line.
        line = "\n" + json.dumps({"prompt": name, "answer": answer}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as f:
            f.write(line)

    def _asked(self, prompt: str) -> str:
        spec, said = self._spec, ""
        for tried in range(spec.max_tries):
            try:
                return self._request(prompt)
            except urllib.error.HTTPError as error:
                said, after = f"HTTP {error.code} {_text(error)}", error.headers.get("Retry-After")
                if error.code not in PASSING:
                    raise UserError(self._failed(said, 1)) from error
            except (OSError, http.client.HTTPException, ValueError) as error:  # no connection, too late, no JSON
                said, after = f"{type(error).__name__}: {error}", None
            if tried + 1 < spec.max_tries:
                self._pause(tried, after)
        raise UserError(self._failed(said, spec.max_tries))

    def _pause(self, tried: int, after: str | None) -> None:
        wait = min(self._first_wait * 2**tried, LONGEST_WAIT) * random.uniform(0.5, 1)  # so that threads do not march
        if after and after.isdigit():
            wait = max(wait, min(float(after), LONGEST_WAIT))
        if self._stopped.wait(wait):
            raise RuntimeError("another request failed for good")

    def _request(self, prompt: str) -> str:
        spec = self._spec
        asked = {
            "model": spec.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": spec.max_tokens,
        }
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        }
        url = f"{spec.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
        with urllib.request.urlopen(request, timeout=spec.timeout_s) as response:
            said = json.load(response)
        try:
            return said["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"the answer has no choices[0].message.content: {str(said)[:200]}") from error

    def _failed(self, said: str, tries: int) -> str:
        return (
            f"curation.domains.url={self._spec.url!r}, model {self._spec.model!r}: {said} (after {tries} "
            f"{'try' if tries == 1 else 'tries'}). Answers so far are kept."
        )


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


def _text(error: urllib.error.HTTPError) -> str:
    return error.read(300).decode(errors="replace").strip()
