"""An OpenAI-compatible server as an engine: token ids to /v1/completions, token ids back.

It must be vLLM's or answer like it: `return_token_ids`, `stop_token_ids`, `min_tokens` and `ignore_eos` are its own. A
server that gives text alone is refused, since its text would be split into other tokens than it made. Where the server
stands is placement; what it is goes into the fingerprint.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from s1sweep.decoding.engines.protocol import Completion, Sampling
from s1sweep.errors import UserError
from s1sweep.servers import Client
from s1sweep.spec import Endpoint, ModelSpec

FIELD = "placement.endpoint"
# A server may have defaults of its own (the model's generation_config.json), which would change what is drawn.
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class OpenAIEngine:
    """The weights of a model, served elsewhere. Raises UserError if the server does not serve them or gives no ids."""

    def __init__(self, model: ModelSpec, weights: str, endpoint: Endpoint, first_wait: float = 1.0) -> None:
        self._endpoint = endpoint
        self._max_len = model.max_model_len
        self._client = Client(endpoint, first_wait)
        self._name, version = asyncio.run(self._look(weights))
        self._fingerprint = {
            "engine": f"completions of vllm {version}",
            "served": endpoint.model,
            "device": endpoint.device,
        }

    def fingerprint(self) -> Mapping[str, Any]:
        return self._fingerprint

    async def release(self) -> None:
        await self._client.close()

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
        got, usage = await self._asked(body)
        ids = got.get("token_ids")
        if ids is None:
            raise UserError(
                f"{FIELD}.url={self._endpoint.url!r} gives no token ids back (return_token_ids). Text alone would be "
                "split into other tokens than were made. Serve the model with vLLM 0.11 or newer, or give "
                f"{FIELD}=null for an engine of our own."
            )
        return self._completion(tuple(ids), got, max_tokens, tuple(stop_ids), _prefilled(usage, len(prompt_ids)))

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        wanted = list(token_ids)
        got, _ = await self._asked(
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
        found = ((got.get("logprobs") or {}).get("top_logprobs") or [{}])[0]
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

    async def _asked(self, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The choice of the server's answer, and its account of tokens."""
        return await self._client.post("/completions", {"model": self._name, **body}, _choice)

    async def _look(self, weights: str) -> tuple[str, str]:
        """The server's name of the weights, and its version of vLLM."""
        try:
            found = await self._served(weights)
            _, said = await self._client.get(f"{self._client.url.removesuffix('/v1')}/version")
            return found, str(_json(said).get("version", "unknown"))  # others than vLLM's have none
        finally:
            await self._client.close()

    async def _served(self, weights: str) -> str:
        """The server's name of the weights."""
        endpoint = self._endpoint
        try:
            status, said = await self._client.get(f"{self._client.url}/models")
        except ConnectionError as error:
            raise UserError(
                f"{FIELD}.url={endpoint.url!r} does not answer ({error}). Start the server, or give its address as "
                "http://HOST:PORT/v1."
            ) from error
        listed = _json(said).get("data")
        if status != 200 or not listed:
            raise UserError(
                f"{FIELD}.url={endpoint.url!r}/models says HTTP {status} {said[:200]}. Give the address of an "
                f"OpenAI-compatible server, which ends in /v1, and {FIELD}.key_env if it wants a key."
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


def _json(text: str) -> dict[str, Any]:
    """A JSON object; empty if the text is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _choice(said: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return said["choices"][0], said.get("usage") or {}


def _prefilled(usage: Mapping[str, Any], prompt: int) -> int:
    """Prompt tokens that were computed: all, unless the server tells (vLLM's --enable-prompt-tokens-details)."""
    return prompt - ((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
