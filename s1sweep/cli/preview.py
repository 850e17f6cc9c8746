"""What a cell looks like to the model: one prompt, one masked training row, marks, stops, and how an answer is read.

For `s1sweep inspect`. Needs a tokenizer, no weights, no GPU and no engine; what is not here is a reason, not a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from s1sweep.answers.graders import GRADERS
from s1sweep.data.ingest import checked
from s1sweep.decoding.chat import Chat, load_tokenizer, question_text
from s1sweep.decoding.methods.budget_forcing import leads
from s1sweep.errors import UserError
from s1sweep.planning.checks import check, check_questions
from s1sweep.planning.normal import training_format
from s1sweep.sources import model_digest
from s1sweep.sources.tasks import question_count, questions, questions_digest, task_content
from s1sweep.spec import CellSpec, ForcedSpec, GrpoSpec, SftSpec
from s1sweep.training.format import IGNORE, example

Section = dict[str, Any]


def preview(cell: CellSpec) -> dict[str, Section]:
    """Plain JSON values by section; a section that cannot be shown holds its `error`. Raises UserError if the cell
    cannot work.
    """
    check(cell)
    check_questions(cell.task)
    sections: dict[str, Callable[[CellSpec], Section]] = {
        "task": _task, "prompt": _prompt, "row": _row, "marks": _marks, "control": _control,
    }  # fmt: skip
    return {name: _or_reason(section, cell) for name, section in sections.items()}


def _or_reason(section: Callable[[CellSpec], Section], cell: CellSpec) -> Section:
    try:
        return section(cell)
    except UserError as error:
        return {"error": str(error)}


def _task(cell: CellSpec) -> Section:
    task = cell.task
    shown: Section = {"name": task.name, "content": task_content(task), "grader": task.grader}
    try:
        asked = questions(task)
    except UserError as error:
        return {**shown, "questions": question_count(task), "error": str(error)}
    one, grader = asked[0], GRADERS[task.grader or ""]
    answers = [f"Answer: {one.answer}", f"\\boxed{{{one.answer}}}", one.answer, ""]
    return {
        **shown,
        "questions": len(asked),
        "digest": questions_digest(asked),
        "id": one.id,
        "gold": one.answer,
        "read_as": {answer: grader.judge(answer, one.answer).verdict for answer in answers},
    }


def _prompt(cell: CellSpec) -> Section:
    chat, one = _chat(cell), questions(cell.task)[0]
    ids = chat.prompt(question_text(one, cell.task))
    return {"text": chat.decode(ids), "tokens": len(ids), "opens": chat.decode(chat.think_start)}


def _row(cell: CellSpec) -> Section:
    train = cell.train.sft if isinstance(cell.train, GrpoSpec) else cell.train
    if not isinstance(train, SftSpec):
        return {"error": f"train={cell.train.kind}: nothing is fine-tuned on rows"}
    row = next((row for row in checked(cell.pool) if row.thinking.strip()), None)
    if row is None:
        return {"error": "no row of the pool has a trace"}
    tokenizer, chat = load_tokenizer(cell.model), _chat(cell)
    made = example(row, cell.model, tokenizer, train.block_size, training_format(cell.method))
    pairs = zip(made.input_ids, made.labels, strict=True)
    parts = [
        {"loss": loss, "text": chat.decode([i for i, _ in group])}
        for loss, group in groupby(pairs, key=lambda pair: pair[1] != IGNORE)
    ]
    with_loss = sum(label != IGNORE for label in made.labels)
    counts = {"with_loss": with_loss, "without": len(made.labels) - with_loss, "cut": made.lost}
    return {"id": row.id, "parts": parts, "tokens": counts, "block_size": train.block_size}


def _marks(cell: CellSpec) -> Section:
    chat = _chat(cell)
    ids = {name: getattr(chat, name) for name in ("think_start", "think_end", "think_stop", "answer_stop")}
    shown: Section = {name: {"ids": list(of), "texts": [chat.decode([i]) for i in of]} for name, of in ids.items()}
    return {"model": model_digest(cell.model), **shown}


def _control(cell: CellSpec) -> Section:
    method, extrapolation = cell.method, cell.extrapolation
    shown: Section = {"method": method.model_dump(mode="json"), "sampling": cell.sampling.model_dump(mode="json")}
    if isinstance(method, ForcedSpec):
        chat = _chat(cell)
        forced = leads(method, chat, chat.encode("..."), forced=True)[1]
        shown["injected"] = {
            f"at each of the first {extrapolation.num_ignore} ends of thinking": list(extrapolation.strings),
            f"after {method.max_thinking_tokens} thinking tokens": chat.decode(forced),
        }
        if not extrapolation.num_ignore:
            shown["injected"].pop("at each of the first 0 ends of thinking")
    return shown


def _chat(cell: CellSpec) -> Chat:
    return Chat(cell.model, load_tokenizer(cell.model))


def preview_text(found: dict[str, Section], mark: Callable[[str], str] = "⟦{}⟧".format) -> str:
    """The same for people; `mark` sets off what has loss."""
    lines: list[str] = []
    for name, section in found.items():
        lines += ["", f"== {name}"] + ([section["error"]] if "error" in section else [])
        if name == "prompt" and "text" in section:
            lines += [f"{section['tokens']} tokens, then {section['opens']!r} opens the thinking:", section["text"]]
        elif name == "row" and "parts" in section:
            n = section["tokens"]
            lines.append(
                f"row {section['id']}: {n['with_loss']} tokens with loss (marked), {n['without']} without, {n['cut']} "
                f"cut at train.block_size={section['block_size']}"
            )
            lines.append("".join(mark(p["text"]) if p["loss"] else p["text"] for p in section["parts"]))
        else:
            lines += _pairs({key: value for key, value in section.items() if key != "error"})
    return "\n".join(lines[1:])


def _pairs(section: Section, indent: str = "") -> Sequence[str]:
    lines = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *_pairs(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key or 'nothing'}: {value!r}")
    return lines
