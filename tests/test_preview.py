"""`s1sweep inspect`: what the model sees, and reasons where something is not here."""

from __future__ import annotations

import json
from pathlib import Path

from s1sweep.cli.preview import preview, preview_text
from s1sweep.decoding.chat import load_tokenizer
from s1sweep.training.format import IGNORE, example
from tests.helpers import cli, compose


def test_what_is_shown_is_what_training_and_decoding_use(root: Path) -> None:
    found = preview(compose("extrapolation=wait", "task=tiny_choice", "train.block_size=64")[0].cell)
    assert found["prompt"]["text"].startswith("<|im_start|>user\ncalc")
    assert found["prompt"]["opens"] == "<|im_start|>think"
    assert "\n(A) " in found["prompt"]["text"]
    assert found["task"]["questions"] == 80 and found["task"]["read_as"][""] == "no_answer"
    assert found["task"]["read_as"]["Answer: " + found["task"]["gold"]] == "correct"
    row = found["row"]
    counts = row["tokens"]
    assert [part["loss"] for part in row["parts"]] == [False, True]
    assert counts["with_loss"] + counts["without"] == 64 and counts["cut"] > 0
    assert found["marks"]["think_end"]["texts"] == ["<|im_start|>", "answer"]
    assert found["control"]["injected"] == {
        "at each of the first 2 ends of thinking": ["Wait"],
        "after 256 thinking tokens": "\n<|im_start|>answer\nFinal Answer:",
    }
    text = preview_text(found)
    assert f"⟦{row['parts'][1]['text']}⟧" in text and "1 cell" not in text


def test_the_row_is_the_one_that_is_trained_on() -> None:
    from s1sweep.data.ingest import checked

    cell = compose("data=random")[0].cell
    shown = preview(cell)["row"]
    row = next(row for row in checked(cell.pool) if row.id == shown["id"])
    made = example(row, cell.model, load_tokenizer(cell.model), cell.train.block_size)  # type: ignore[union-attr]
    assert shown["tokens"]["with_loss"] == sum(label != IGNORE for label in made.labels)


def test_what_is_not_here_is_a_reason(root: Path, tmp_path: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = cli("inspect", "--json", "task=gpqa_diamond", "model=qwen3_8b", "train=none", root=root, **offline)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["task"]["questions"] == 198 and "s1sweep prefetch" in found["task"]["error"]
    assert "'Qwen/Qwen3-8B' at revision main" in found["prompt"]["error"]
    assert found["row"]["error"].startswith("train=none")
    several = cli("inspect", "-m", "task=tiny_calc,tiny_hard", root=root)
    assert several.returncode == 2 and "inspect shows one cell; these are 2" in several.stderr
