"""The engine seam: token ids in, token ids out. Knows nothing of methods, text or questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Sampling:
    """How one request is drawn. `seed` is None when greedy. `min_tokens` bans stops before that many tokens."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    min_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """Decoded ids without the stop token; why they end: a stop id, the asked length, or the model's context."""

    token_ids: tuple[int, ...]
    finish: Literal["stop", "length", "context"]

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
