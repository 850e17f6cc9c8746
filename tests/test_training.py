"""Training rows and the recipe: masks cover exactly thinking and answer, placement does not change the batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.spec import SftSpec
from s1sweep.training.format import IGNORE, example, response_text
from s1sweep.training.sft import split_batch, total_steps, trainer_arguments
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
    arguments = trainer_arguments(S1, 1000, 16, None, Path("out"))
    assert total_steps(S1, 1000) == 315
    expected = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 5,
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
        per_device, accumulation = split_batch(batch, workers, micro)
    except ValueError:
        assert batch % workers or (batch // workers) % min(micro or batch, batch // workers)
        return
    assert per_device * accumulation * workers == batch
    assert micro is None or per_device <= micro


def test_steps_of_an_epoch_round_up() -> None:
    assert isinstance(CONFIG.train, SftSpec)
    by_epochs = CONFIG.train.model_copy(update={"steps": None, "epochs": 2.5, "batch_size": 16})
    assert total_steps(by_epochs, 33) == math.ceil(2.5 * 3)
