"""A decode stage on its way: its rows so far, counts over them, and how far it is.

Knows no engine, no method and no other stage.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from s1sweep.decoding.case import Format, Scorer
from s1sweep.decoding.chat import question_text
from s1sweep.decoding.readout import ENDINGS, READOUTS
from s1sweep.decoding.rows import TOKENS, Rows
from s1sweep.decoding.trace import Tally
from s1sweep.sources.tasks import questions_of_stage
from s1sweep.spec import DecodeStage
from s1sweep.stages.contract import Done, Item
from s1sweep.store import write_progress

EVERY = 2.0  # seconds between two words of a stage about how far it is
EVERY_STAGE = 0.02  # the same for each stage of a session, so that many do not spend their time on it


class RunningStage:
    """One item of a session. With `keeps` False it makes traces and no output.

    `cases` counts those asked of it, `answered` those that are done; `alone` is how many tokens its readouts would have
    cost without sharing. `started` is when its first case began, in seconds since the epoch. It is `over` when it has
    failed or is whole: at once, where nothing is asked of it.
    """

    def __init__(self, item: Item, chat: Format, scorer: Scorer | None, keeps: bool) -> None:
        self.item = item
        self.spec: DecodeStage = item.spec
        self.scorer = scorer
        self.asked = questions_of_stage(self.spec.task, item.inputs)
        self.longest_prompt = 0
        if getattr(self.spec.method, "max_thinking_tokens", None) == "auto_harness":
            prompts = (chat.prompt(question_text(question, self.spec.task)) for question in self.asked)
            self.longest_prompt = max(map(len, prompts), default=0)
        self.cases = self.answered = self.alone = 0
        self.started: float | None = None
        self._sums: Counter[str] = Counter()
        self._endings: Counter[str] = Counter()
        self._finishes: Counter[str] = Counter()
        self._rows = Rows(item.out / READOUTS, len(self.asked) * self.spec.sampling.samples) if keeps else None
        self.over = self._rows is not None and not self.asked
        if self._rows is not None and self.over:
            self._rows.finish()

    def take(self, place: int, rows: Sequence[dict[str, Any]], alone: int) -> bool:
        """Keep what one case gave; whether the output is now whole. Raises OSError where it cannot be written."""
        self.answered += 1
        if self._rows is None:
            return False
        self.alone += alone
        for row in rows:
            self._sums["readouts"] += 1
            self._sums["loops"] += row["loop"] is not None
            self._sums.update({name: row[name] for name in (*TOKENS, "ignored", "tries")})
            self._endings[row["ended"]] += 1
            self._finishes[row["answer_finish"]] += 1
        if not self._rows.put(place, rows):
            return False
        self._rows.finish()
        return True

    def close(self) -> None:
        """Let go of its files."""
        if self._rows is not None:
            self._rows.close()

    def done(self, cost: Mapping[str, Any]) -> Done:
        """What the stage says at its end."""
        return Done({} if self._rows is None else self._summary(), cost, self.started)

    def _summary(self) -> dict[str, Any]:
        n = self._sums["readouts"] or 1
        return {
            "questions": len(self.asked),
            "readouts": self._sums["readouts"],
            **{f"mean_{name}": self._sums[name] / n for name in (*TOKENS, "ignored", "tries")},
            "loop_share": self._sums["loops"] / n,
            "endings": {name: self._endings[name] for name in ENDINGS if self._endings[name]},
            "answer_finishes": dict(sorted(self._finishes.items())),
        }


class ProgressWriter:
    """Says now and then how far the stages of a session are, each in its own attempt's folder.

    The tokens are the session's; the first stage says them, to its end. A disk that takes nothing costs a warning.
    """

    def __init__(self, stages: Sequence[RunningStage], tally: Tally) -> None:
        self.every = max(EVERY, EVERY_STAGE * len(stages))
        self._stages = stages
        self._tally = tally
        self._said = [(0, 0)] * len(stages)
        self._due = time.monotonic() + self.every
        self._failed = False

    def write(self) -> None:
        """Write what is new, unless that was done a moment ago."""
        if time.monotonic() < self._due:
            return
        try:
            for i, stage in enumerate(self._stages):
                said = stage.answered, 0 if i else self._tally.decoded
                if said != self._said[i] and not (i and stage.over):
                    write_progress(stage.item.out, done=said[0], total=stage.cases, tokens=said[1])
                    self._said[i] = said
        except OSError as error:
            if not self._failed:
                logging.getLogger(__name__).warning("progress is not written: %s", error)
            self._failed = True
        self._due = time.monotonic() + self.every
