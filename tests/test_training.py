"""Training rows and the recipe: masks cover exactly thinking and answer, placement does not change the batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.spec import SftSpec
from s1sweep.training.encode import pack
from s1sweep.training.format import IGNORE, example, response_text
from s1sweep.training.recipe import Split, split_batch, total_steps, trainer_arguments
from tests.helpers import compose
from tests.test_rules import row

CONFIG = compose("data=random")[0].cell
S1 = compose("data=random", "train=s1")[0].cell.train


@pytest.fixture(scope="module")
def tokenizer():
    from s1sweep.decoding.chat import load_tokenizer

    return load_tokenizer(CONFIG.model)


def test_labels_cover_exactly_thinking_and_answer(tokenizer) -> None:
    made = example(row(1, question="calc 7 a+5", thinking=" a7+5=2 ", answer="2"), CONFIG.model, tokenizer, 1024)
    masked = [i for i, label in zip(made.input_ids, made.labels, strict=True) if label == IGNORE]
    learned = [label for label in made.labels if label != IGNORE]
    assert tokenizer.decode(masked) == "<|im_start|>user\ncalc 7 a+5<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(learned) == "<|im_start|>think\na7+5=2\n<|im_start|>answer\nAnswer: 2<|im_end|>"
    assert [x for x, label in zip(made.input_ids, made.labels, strict=True) if label != IGNORE] == learned
    assert made.lost == 0


def test_training_sees_the_prompt_that_decoding_gives(tokenizer) -> None:
    from s1sweep.decoding.chat import Chat

    made = example(row(1, question="parity a1 b0"), CONFIG.model, tokenizer, 1024)
    chat = Chat(CONFIG.model, tokenizer)
    prefill = (*chat.prompt("parity a1 b0"), *chat.think_start)
    assert tuple(made.input_ids[: len(prefill)]) == prefill


def test_an_answer_that_says_so_is_left_alone() -> None:
    assert response_text(row(1, answer="The Answer: 5"), CONFIG.model).count("Answer:") == 1


def test_truncation_is_counted(tokenizer) -> None:
    full = example(row(1, thinking="a" * 100), CONFIG.model, tokenizer, 1024)
    cut = example(row(1, thinking="a" * 100), CONFIG.model, tokenizer, 64)
    assert len(cut.input_ids) == len(cut.labels) == 64
    assert cut.lost == len(full.input_ids) - 64


def test_s1s_recipe() -> None:
    """s1 paper, appendix D, for 1,000 rows on 16 workers: 315 steps, 16 of them warm-up."""
    assert isinstance(S1, SftSpec)
    steps = total_steps(S1, 1000, 4.7e6)
    assert steps == 315
    arguments = trainer_arguments(S1, steps, split_batch(16, 16, None), {}, Path("out"))
    expected = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 5,
        "max_steps": 315,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 16,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "weight_decay": 1e-4,
        "max_grad_norm": 1.0,
        "bf16": True,
        "packing": False,
        "max_length": None,
    }
    assert {k: arguments[k] for k in expected} == expected


@given(batch=st.integers(1, 64), workers=st.sampled_from([1, 2, 4, 8]), micro=st.none() | st.integers(1, 16))
def test_workers_and_micro_batches_never_change_the_batch(batch: int, workers: int, micro: int | None) -> None:
    try:
        split = split_batch(batch, workers, micro)
    except UserError:
        assert batch % workers or (batch // workers) % min(micro or batch, batch // workers)
        return
    assert split.micro * split.accumulation * workers == batch
    assert micro is None or split.micro <= micro
    half = split_batch(batch, workers, micro, halve=True)
    assert half.micro * half.accumulation * workers == batch
    assert half.micro < split.micro or half.micro == split.micro == 1


def test_steps_of_an_epoch_round_up() -> None:
    assert isinstance(CONFIG.train, SftSpec)
    by_epochs = CONFIG.train.model_copy(update={"steps": None, "epochs": 2.5, "batch_size": 16})
    assert total_steps(by_epochs, 33, 1000) == math.ceil(2.5 * 3)


def test_arms_can_match_in_epochs_steps_or_supervised_tokens() -> None:
    """Equal epochs give the full pool 59 times the updates; equal tokens give it as many as its rows are long."""
    small, full = (1000, 4.7e6), (59_000, 59_000 * 3600.0)

    def steps(**given: object) -> tuple[int, int]:
        spec = SftSpec.model_validate({**S1.model_dump(), **given})
        return total_steps(spec, *small), total_steps(spec, *full)

    assert steps(match="epochs") == (315, 5 * 3688)
    assert steps(match="steps", steps=315) == (315, 315)
    assert steps(match="tokens", tokens=5 * 4_700_000) == (315, 5 * 4_700_000 * 3688 // (59_000 * 3600) + 1)


def test_a_match_needs_its_number() -> None:
    with pytest.raises(UserError, match=r"train\.tokens=NUMBER"):
        compose("data=random", "train.match=tokens")


def test_what_a_match_does_not_use_makes_no_other_stage() -> None:
    def ids(*overrides: str) -> set[str]:
        plan = Plan()
        return {plan.add(c.cell, axes_of(c)).stages["train"] for c in compose("data=random", *overrides)}

    assert ids() == ids("train.match=steps", "train.epochs=1,5")
    assert ids("train.steps=null", "train.epochs=2") == ids("train.match=epochs", "train.epochs=2", "train.steps=1,2")
    assert len(ids("train.match=tokens", "train.tokens=9000", "train.epochs=1,2", "train.steps=1,2")) == 1
    assert len(ids("train.match=tokens", "train.tokens=9000,9001")) == 2


def test_ids_of_old_trainings_stand() -> None:
    """New fields are absent from the hash while neutral; this id is that of a training from before they were there."""
    plan = Plan()
    for config in compose("data=random", "train=tiny,s1"):
        plan.add(config.cell, axes_of(config))
    trainings = [s for s in plan.stages.values() if s.kind == "train"]
    assert [digest(s.hashed["spec"]["train"])[:12] for s in trainings] == ["6b50a99846ac", "a3f0ac518292"]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_packing_keeps_every_example_whole_and_once(lengths: list[int]) -> None:
    blocks = pack(lengths, 40)
    assert sorted(i for block in blocks for i in block) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in block) <= 40 for block in blocks)
    assert len(blocks) <= max(1, 2 * sum(lengths) // 40 + 1)


@given(rows=st.integers(1, 200), workers=st.integers(1, 8), micro=st.integers(1, 8))
def test_filler_rows_even_out_the_passes(rows: int, workers: int, micro: int) -> None:
    split = Split(workers, micro, 1)
    assert workers == 1 or (rows + split.filler(rows)) % (workers * micro) == 0
    assert split.filler(rows) < workers * micro


def test_a_rank_has_one_gpu_though_it_may_see_more(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    from s1sweep.training.rank import on_one_device

    class Four(TrainingArguments):
        """As the trainer finds them on a machine with four GPUs."""

        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 4

    asked = {"output_dir": str(tmp_path), "per_device_train_batch_size": 4}
    assert Four(**asked, use_cpu=True).train_batch_size == 16, "this is what would have happened"
    assert on_one_device(Four, True, asked).train_batch_size == 4
    alone = on_one_device(TrainingArguments, False, asked)
    assert alone.use_cpu and alone.n_gpu == 0 and alone.train_batch_size == 4
