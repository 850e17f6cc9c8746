"""What every engine offers: token ids in, token ids out. Knows nothing of methods, text or questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

# Parameters under which the next token depends on the tokens before it and on nothing else, wherever a request began.
STATELESS = ("top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True)
class Sampling:
    """How one request is drawn. `seed` is None when greedy. `min_tokens` bans stops before that many tokens.

    `extra` are further sampling parameters of the engine, by name; `banned` are ids that are never drawn;
    `thinking_budget` is the engine's own budget forcing.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    min_tokens: int = 0
    extra: tuple[tuple[str, int | float | bool], ...] = ()
    banned: tuple[int, ...] = ()
    thinking_budget: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the draw depends on where the request began, so that it cannot be taken up again half-way."""
        if self.thinking_budget is not None:
            return True
        return bool(self.extra) and any(name not in STATELESS for name, _ in self.extra)


@dataclass(frozen=True)
class Completion:
    """Decoded ids without the stop token; why they end: a stop id, the asked length, or the model's context.

    `stop_id` is the stop that ended it. `prefilled` counts prompt tokens the engine had to compute, that is, did not
    find in its prefix cache.
    """

    token_ids: tuple[int, ...]
    finish: Literal["stop", "length", "context"]
    stop_id: int | None = None
    prefilled: int = field(default=0, compare=False)

    @property
    def tokens(self) -> int:
        """Tokens the engine made, the stop included."""
        return len(self.token_ids) + (self.finish == "stop")


class Engine(Protocol):
    def fingerprint(self) -> Mapping[str, Any]:
        """What the same weights' tokens may differ by from engine to engine, as JSON values."""
        ...

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        """Decode up to `max_tokens` (>= 1) ids; a stop id counts as one of them."""
        ...

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        """Log-probability of each of `token_ids` as the token after the prompt."""
        ...

    async def release(self) -> None:
        """At a session's end, on its event loop, after all that used the engine there: abort the requests that are
        unfinished, so that the next session finds the engine as new, or close it, so that the next one starts another.
        """
        ...
