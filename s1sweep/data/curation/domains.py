"""Domains by a model or a server that classifies questions (s1's data/featurization.py: the answer ends in a code).

Drops nothing: where no code can be read the domain is unknown, and the quality step drops rows without one if it is
told to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import tee

from s1sweep.data.curation.replies import Said, readouts
from s1sweep.servers import Server
from s1sweep.spec.data import DomainsSpec, ServerDomainsSpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = False
TELLS: tuple[str, ...] = ("domain",)


def tell(spec: DomainsSpec | ServerDomainsSpec, rows: Iterable[Row], said: Said) -> Iterator[Row]:
    """Rows with the named domain, or with none."""
    first, second = tee(rows)  # apart by no more rows than are asked about at once
    for row, answer in zip(first, _answers(spec, second, said), strict=True):
        yield row.model_copy(update={"domain": parsed(answer, spec.codes)})


def judge(spec: DomainsSpec | ServerDomainsSpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Keeps all."""
    for row in rows:
        yield row, None


def parsed(answer: str, codes: Mapping[str, str]) -> str | None:
    """The name of the code that the answer ends in, whatever signs are around it; None if it ends otherwise."""
    words = re.findall(r"\w+", answer)
    return codes.get(words[-1]) if words else None


def listing(codes: Mapping[str, str]) -> str:
    """The codes as a prompt lists them."""
    return "\n".join(f"{code}: {name}" for code, name in codes.items())


def _answers(spec: DomainsSpec | ServerDomainsSpec, rows: Iterable[Row], said: Said) -> Iterator[str]:
    if isinstance(spec, DomainsSpec):
        return (readout["stated"] for readout in readouts(said.by["classifier"]))
    prompt = spec.prompt.replace("{domains}", listing(spec.codes))
    server = Server(spec, said.cache)
    return server.answers(prompt.replace("{question}", row.question) for row in rows)
