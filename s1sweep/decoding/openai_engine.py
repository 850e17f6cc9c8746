"""An OpenAI-compatible server behind the engine seam: token ids to /v1/completions, token ids back.

It must be vLLM's or answer like it: `return_token_ids`, `stop_token_ids`, `min_tokens` and `ignore_eos` are its own. A
server that gives text alone is refused, since its text would be split into other tokens than it made. Where the server
stands is placement; what it is goes into the fingerprint. Only this file imports httpx.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from s1sweep.decoding.engine import Completion, Sampling
from s1sweep.errors import UserError
from s1sweep.servers import LONGEST_WAIT, PASSING
from s1sweep.spec import Endpoint, ModelSpec

FIELD = "placement.endpoint"
# A server may have defaults of its own (the model's generation_config.json), which would change what is drawn.
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def key(endpoint: Endpoint) -> str | None:
    """The server's key; None for one without. Raises UserError if its environment variable is not set here."""
    if endpoint.key_env is None:
        return None
    if found := os.environ.get(endpoint.key_env):
        return found
    raise UserError(
        f"{FIELD}.key_env={endpoint.key_env!r}: this environment variable is not set. Set it, where stages run, to the "
        f"server's key, or give {FIELD}.key_env=null for a server without one."
    )


class OpenAIEngine:
    """The weights of a model, served elsewhere. Raises UserError if the server does not serve them or gives no ids."""

    def __init__(self, model: ModelSpec, weights: str, endpoint: Endpoint, first_wait: float = 1.0) -> None:
        import httpx

        self._endpoint = endpoint
        self._first_wait = first_wait
        self._max_len = model.max_model_len
        self._stopped = Event()
        said = key(endpoint)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {said}"} if said else {},
            timeout=endpoint.timeout_s,
            limits=httpx.Limits(max_connections=endpoint.at_once, max_keepalive_connections=endpoint.at_once),
        )
        self._threads = ThreadPoolExecutor(endpoint.at_once, thread_name_prefix="endpoint")
        self._url = endpoint.url.rstrip("/")
        self._name = self._served(model, weights)
        version = self._client.get(f"{self._url.removesuffix('/v1')}/version")  # vLLM's; others have none
        self._fingerprint = {
            "engine": f"completions of vllm {_json(version).get('version', 'unknown')}",
            "served": endpoint.model,
            "device": endpoint.device,
        }

    def fingerprint(self) -> Mapping[str, Any]:
        return self._fingerprint

    def close(self) -> None:
        """Leave the server; requests that wait are given up."""
        self._stopped.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        room = self._max_len - len(prompt_ids)
        if room < 1:
            return Completion((), "context")
        body: dict[str, Any] = {
            **NEUTRAL,
            "prompt": list(prompt_ids),
            "max_tokens": min(max_tokens, room),
            "min_tokens": sampling.min_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop_token_ids": list(stop_ids),
            "ignore_eos": True,  # an EOS is a stop only where the caller says so
            "return_token_ids": True,
            **dict(sampling.extra),
        }
        if sampling.banned:
            body["logit_bias"] = {str(i): -100.0 for i in sampling.banned}
        if sampling.thinking_budget is not None:
            body["thinking_token_budget"] = sampling.thinking_budget
        said = await self._asked(body)
        got = said["choices"][0]
        ids = got.get("token_ids")
        if ids is None:
            raise UserError(
                f"{FIELD}.url={self._endpoint.url!r} gives no token ids back (return_token_ids). Text alone would be "
                "split into other tokens than were made. Serve the model with vLLM 0.11 or newer, or give "
                f"{FIELD}=null for an engine of our own."
            )
        return self._completion(tuple(ids), got, max_tokens, tuple(stop_ids), _prefilled(said, len(prompt_ids)))

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        wanted = list(token_ids)
        said = await self._asked(
            {
                **NEUTRAL,
                "prompt": list(prompt_ids),
                "max_tokens": 1,
                "temperature": 0.0,
                "logprobs": 1,
                "logprob_token_ids": wanted,
                "return_tokens_as_token_ids": True,
            }
        )
        found = ((said["choices"][0].get("logprobs") or {}).get("top_logprobs") or [{}])[0]
        if missing := [i for i in wanted if f"token_id:{i}" not in found]:
            raise UserError(f"{FIELD}.url={self._endpoint.url!r} gives no log-probability of token {missing[0]}.")
        return tuple(float(found[f"token_id:{i}"]) for i in wanted)

    def _completion(
        self, ids: tuple[int, ...], got: Mapping[str, Any], asked: int, stops: tuple[int, ...], prefilled: int
    ) -> Completion:
        finish, stop = got.get("finish_reason"), got.get("stop_reason")
        if finish == "length":
            return Completion(ids, "length" if len(ids) >= asked else "context", None, prefilled)
        if finish == "stop" and stop in stops:
            return Completion(ids[:-1] if ids[-1:] == (stop,) else ids, "stop", stop, prefilled)
        raise UserError(
            f"{FIELD}.url={self._endpoint.url!r} ended a request with {finish!r} ({stop!r}), which nobody asked for. "
            "Start it without stops of its own: vllm serve --generation-config vllm."
        )

    async def _asked(self, body: Mapping[str, Any]) -> Any:
        ask = {"model": self._name, **body}
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._post, ask)

    def _post(self, body: Mapping[str, Any]) -> Any:
        """The server's answer; asked again where that may help. Raises ConnectionError when it does not."""
        import httpx

        said, after = "", None
        for tried in range(self._endpoint.max_tries):
            if tried:
                self._pause(tried - 1, after)
            try:
                response = self._client.post(f"{self._url}/completions", json=body)
            except httpx.TransportError as error:  # no connection, or too late
                said, after = f"{type(error).__name__}: {error}", None
                continue
            if response.status_code == 200 and (found := _json(response)).get("choices"):
                return found
            said, after = f"HTTP {response.status_code} {response.text[:300]}", response.headers.get("Retry-After")
            if response.status_code not in PASSING:
                raise UserError(f"{FIELD}.url={self._endpoint.url!r}, model {body['model']!r}: {said}")
        raise ConnectionError(
            f"{FIELD}.url={self._endpoint.url!r}: {said} (after {self._endpoint.max_tries} tries). What was decoded is "
            "kept."
        )

    def _pause(self, tried: int, after: str | None) -> None:
        wait = min(self._first_wait * 2**tried, LONGEST_WAIT) * random.uniform(0.5, 1)  # so that threads do not march
        if after and after.isdigit():
            wait = max(wait, min(float(after), LONGEST_WAIT))
        if self._stopped.wait(wait):
            raise ConnectionError("the session has ended")

    def _served(self, model: ModelSpec, weights: str) -> str:
        """The server's name of the weights."""
        import httpx

        endpoint = self._endpoint
        try:
            response = self._client.get(f"{self._url}/models")
        except httpx.TransportError as error:
            raise UserError(
                f"{FIELD}.url={endpoint.url!r} does not answer ({type(error).__name__}: {error}). Start the server, or "
                "give its address as http://HOST:PORT/v1."
            ) from error
        listed = _json(response).get("data")
        if response.status_code != 200 or not listed:
            raise UserError(
                f"{FIELD}.url={endpoint.url!r}/models says HTTP {response.status_code} {response.text[:200]}. Give the "
                f"address of an OpenAI-compatible server, which ends in /v1, and {FIELD}.key_env if it wants a key."
            )
        wanted = endpoint.model or weights
        found = next((m for m in listed if m["id"] == wanted or (not endpoint.model and m.get("root") == wanted)), None)
        if found is None:
            names = ", ".join(repr(m["id"]) for m in listed)
            raise UserError(
                f"{FIELD}.url={endpoint.url!r} serves {names}, not {wanted!r}. Serve those weights, or, if it has them "
                f"under another name, give {FIELD}.model=NAME."
            )
        if (found.get("max_model_len") or self._max_len) < self._max_len:
            raise UserError(
                f"{FIELD}.url={endpoint.url!r} serves {found['id']!r} with a context of {found['max_model_len']} "
                f"tokens, less than model.max_model_len={self._max_len}. Lower that, or serve more."
            )
        return str(found["id"])


def _json(response: Any) -> dict[str, Any]:
    """A response's JSON object; empty if it is none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _prefilled(said: Mapping[str, Any], prompt: int) -> int:
    """Prompt tokens that were computed: all, unless the server tells (vLLM's --enable-prompt-tokens-details)."""
    details = (said.get("usage") or {}).get("prompt_tokens_details") or {}
    return prompt - (details.get("cached_tokens") or 0)
