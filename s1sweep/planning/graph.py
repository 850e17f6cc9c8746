"""The stages of a plan as they come together, each once. Knows ids and inputs; not what a stage does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from s1sweep.identity import Once, encode, payload, stage_id
from s1sweep.planning.known import KnownIds
from s1sweep.planning.stage import Stage
from s1sweep.spec import Spec, StageSpec
from s1sweep.stages.rows import Entry


@dataclass(eq=False)
class Graph:
    """Stages by id, in an order in which inputs come first.

    `subsets` holds the rows of each `select` stage whose pool is small and local, as they will be chosen; `asked` how
    many rows each decode stage of curation asks about at most, where that is known. `known` are the ids that work goes
    by in the store.
    """

    known: KnownIds = field(default_factory=KnownIds, repr=False)
    stages: dict[str, Stage] = field(default_factory=dict)
    subsets: dict[str, list[Entry]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    once: Once = field(default_factory=Once, repr=False)

    def stage(
        self,
        kind: str,
        slug: str,
        spec: StageSpec,
        inputs: Mapping[str, str],
        content: Mapping[str, str],
        versions: Mapping[str, int],
        session: str | None = None,
    ) -> str:
        """Add a stage unless it is there; its id."""
        hashed = payload(kind, spec, inputs, content, versions, self._encoded)
        name = self.known.id_for(stage_id(slug, hashed))
        if name not in self.stages:
            self.stages[name] = Stage(name, kind, spec, inputs, hashed, session)
        return name

    def _encoded(self, part: Any) -> Any:
        return self.once(encode, part) if isinstance(part, Spec) else encode(part)
