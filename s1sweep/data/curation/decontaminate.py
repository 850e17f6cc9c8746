"""Decontamination by word n-grams, exactly as s1's data/decontaminate_util.py does it with 8 words.

Text is lower-cased and split at white space; a question goes if any one of its n-grams is in a held-out question, so
one of fewer words never goes. (The paper says "more than an 8-gram overlap"; the code drops at one.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from s1sweep.data.overlap import ngrams
from s1sweep.sources import held_out
from s1sweep.spec.data import DecontaminateSpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = True


def judge(spec: DecontaminateSpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Drops what shares an n-gram with `against` or, if wanted, with a kept row of another source further up.

    Where a pool stands source by source, the latter is s1's data/collect_data.py, which adds a source's kept questions
    to the held-out ones before it takes the next.
    """
    held: dict[int, str] = {}
    owners: dict[int, str] = {}  # of the n-grams of kept rows: a later source's row with one is dropped, so one each
    for name in spec.against:
        for text in held_out(name):
            held.update((gram, f"overlaps {name}") for gram in ngrams(text, spec.words) if gram not in held)
    for row in rows:
        found = ngrams(row.question, spec.words)
        reason = next((held[gram] for gram in found if gram in held), None)
        if reason is None and spec.earlier_sources:
            other = next((o for gram in found if (o := owners.get(gram, row.source)) != row.source), None)
            if other is None:
                owners.update(dict.fromkeys(found, row.source))
            else:
                reason = f"overlaps source {other}"
        yield row, reason
