"""The train stage on machines whose memory holds 8 rows a pass: ranks are real, the shortage is planted."""

from __future__ import annotations

from typing import Any

from s1sweep.training import sft
from s1sweep.training.rank import train_rank


def rank(config: dict[str, Any]) -> None:
    if config["split"]["micro"] > 8:
        raise MemoryError("cannot allocate the activations of 16 rows")
    train_rank(config)


def run(*given: Any, launch_ranks: Any, **named: Any) -> Any:
    def launch(_: Any, config: dict[str, Any], resources: Any) -> None:
        launch_ranks(rank, config, resources)

    return sft.run(*given, launch_ranks=launch, **named)
