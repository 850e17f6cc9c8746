"""How many tokens a training reads: what is encoded of each row, prompt and marks and all, told by its characters.

A row says how many tokens its trace has, and so how many characters a token of its tokenizer has; the rest of its text
is taken to be like that. Knows plans and rows; no tokenizer, and not how long anything takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from s1sweep.planning import Plan, Stage
from s1sweep.spec import ModelSpec, PoolSpec, PoolStage, SelectStage, SftSpec, TrainingFormat, TrainStage
from s1sweep.stages.rows import Entry
from s1sweep.training.conditional import steps_of, thought, wish
from s1sweep.training.encode import pack
from s1sweep.training.recipe import total_steps

CHARS_PER_TOKEN = 4  # of a row that does not say how long its trace is
TURN_TOKENS = 8  # of a chat template around a question
MARK_TOKENS = 2  # of what opens the thinking, and of what ends it
END_TOKENS = 2  # of a line's end before the answer and of the end of the turn
ANSWER_TOKENS = 3  # of `Answer: `
# Of a pool that cannot be read while planning and does not say: those of s1.
POOL_ROWS = 59_000
TRACE_TOKENS = 3_600.0
BESIDE_TRACE = 400  # tokens of a question and a worked answer


@dataclass(frozen=True, slots=True)
class RowLength:
    """Tokens of a training row: `prompt` without loss, `response` with."""

    prompt: float
    response: float

    @property
    def total(self) -> float:
        return self.prompt + self.response

    def cut(self, size: int) -> RowLength:
        """The row at a block size: its end is lost."""
        prompt = min(self.prompt, size)
        return RowLength(prompt, min(self.response, size - prompt))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over a subset: `rows` (blocks, where packed) with `tokens` in all, `supervised` of them with loss."""

    rows: int
    tokens: float
    supervised: float


def row_lengths(plan: Plan, stage: Stage) -> list[RowLength]:
    """Of each row of a training, longest first; none where the rows are not known yet."""
    return plan.once(_row_lengths, plan, stage.id)


def _row_lengths(plan: Plan, stage_id: str) -> list[RowLength]:
    stage = plan.stages[stage_id]
    assert isinstance(stage.spec, TrainStage)
    rows, spec = plan.subsets.get(stage.inputs["data"], ()), stage.spec
    found = [plan.once(_row_length, row, spec.model, spec.format) for row in rows]
    return sorted(found, key=lambda length: -length.total)


def _row_length(entry: Entry, model: ModelSpec, form: TrainingFormat | None) -> RowLength:
    row = entry.read()
    known = bool(row.thinking and row.trace_tokens)
    a_char = (row.trace_tokens or 0) / len(row.thinking) if known else 1 / CHARS_PER_TOKEN
    asked = (model.system_prompt or "") + row.question
    marks, said = MARK_TOKENS, row.answer.strip()
    if form is not None:
        asked += wish(row, form, lambda text: round(len(text) * a_char))
        if form.kind == "step_conditional":  # a mark before each step in place of the one before all
            marks = len(steps_of(row.thinking, form.separator))
            form = form.model_copy(update={"step_mark": ""})
    said = thought(row, form, "") + said
    marks += MARK_TOKENS + END_TOKENS + (0 if "Answer:" in row.answer else ANSWER_TOKENS)
    return RowLength(TURN_TOKENS + a_char * len(asked), marks + a_char * len(said))


def epoch_of(plan: Plan, stage: Stage, train: SftSpec) -> Epoch:
    """What one pass over a training's rows reads, cut to the block size and packed where the recipe says so."""
    cut = [length.cut(train.block_size) for length in row_lengths(plan, stage)]
    cut = [length for length in cut if length.response]  # others are left out
    if not cut:
        rows, mean = row_count(plan, stage), mean_length(plan, stage, train)
        blocks = max(1, round(rows * mean / train.block_size)) if train.packing else rows
        return Epoch(blocks, rows * mean, rows * mean)
    blocks = len(pack([round(length.total) for length in cut], train.block_size)) if train.packing else len(cut)
    return Epoch(blocks, sum(length.total for length in cut), sum(length.response for length in cut))


def step_count(plan: Plan, stage: Stage, train: SftSpec) -> int:
    """Optimizer steps of a training."""
    epoch = epoch_of(plan, stage, train)
    return total_steps(train, epoch.rows, epoch.supervised)


def train_tokens(plan: Plan, stage: Stage, train: SftSpec) -> int:
    """All tokens that a training reads, over all its steps: what its record's cost calls `tokens`."""
    epoch = epoch_of(plan, stage, train)
    epochs, rest = divmod(total_steps(train, epoch.rows, epoch.supervised), -(-epoch.rows // train.batch_size))
    return round((epochs + min(1.0, rest * train.batch_size / epoch.rows)) * epoch.tokens)


def mean_length(plan: Plan, stage: Stage, train: SftSpec) -> float:
    """Mean tokens of a training's rows, after truncation."""
    lengths = row_lengths(plan, stage)
    if lengths:
        return fmean(min(length.total, train.block_size) for length in lengths)
    return min((pool_of(plan, stage).mean_trace_tokens or TRACE_TOKENS) + BESIDE_TRACE, train.block_size)


def row_count(plan: Plan, stage: Stage) -> int:
    """How many rows a training has, as far as it is known."""
    select = plan.stages[stage.inputs["data"]].spec
    assert isinstance(select, SelectStage)
    return len(row_lengths(plan, stage)) or select.data.size or pool_of(plan, stage).rows or POOL_ROWS


def pool_of(plan: Plan, stage: Stage) -> PoolSpec:
    """The pool at the end of a stage's inputs."""
    while not isinstance(stage.spec, PoolStage):
        stage = plan.stages[next(iter(stage.inputs.values()))]
    return stage.spec.pool
