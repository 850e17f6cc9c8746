"""Training options: memory and compute estimates, FSDP's arguments, LoRA, packing, rows on disk."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from s1sweep.errors import UserError
from s1sweep.estimating.estimate import TRAIN_EFFICIENCY, train_flops
from s1sweep.estimating.remarks import PUBLISHED, refuse_too_large, remarks
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.runtime.backend import launch_here
from s1sweep.session import Session
from s1sweep.spec import SftSpec, TrainStage
from s1sweep.stages.contract import Done
from s1sweep.stages.resources import Resources
from s1sweep.training import sft
from s1sweep.training.encode import encode, read
from s1sweep.training.format import IGNORE
from s1sweep.training.memory import memory
from s1sweep.training.recipe import split_batch, trainer_arguments
from tests.helpers import ROOT, compose, write_subset

H100_TFLOPS = 989


def need(*overrides: str) -> float:
    config = compose("data=random", "train=s1", *overrides)[0]
    assert isinstance(config.cell.train, SftSpec)
    return memory(32.8e9, config.cell.train, config.placement, 1).total


def test_memory_agrees_with_what_s1_met() -> None:
    """32B in blocks of 32,768: trained on 16 GPUs of 80 GB, out of memory on 8 (s1's repository)."""
    assert need("placement=slurm_16xh100") < 80
    assert need("placement=8x80gb", "placement.cpu_offload=false") > 80
    assert need("placement=8x80gb") < 80
    assert need("placement=slurm_16xh100", "placement.gradient_checkpointing=false") > 80


def test_compute_agrees_with_what_s1_paid() -> None:
    """7 H100 hours for s1K (4.7M tokens x 5), 394 for 59,029 rows of 3.6K: within a third, by one efficiency."""
    for rows, tokens, length in ((1_000, 4.7e6, 4700), (59_000, 59_029 * 3600, 3600)):
        hours = train_flops(32.8e9, 5 * tokens, length) / (H100_TFLOPS * 1e12) / 3600
        assert PUBLISHED[rows] / 1.33 < hours < PUBLISHED[rows] * 1.33
    assert 0.1 < TRAIN_EFFICIENCY < 0.3


def test_plan_warns_with_numbers() -> None:
    config = compose(
        "data=random",
        "train=s1",
        "train.block_size=78",
        "model=qwen2_5_32b_instruct",
        "model.revision=abc",
        "placement=gpu",
    )[0]
    plan = Plan()
    plan.add(config.cell, axes_of(config))
    notes = remarks(plan, plan.stages, config.placement)
    assert any("GB of each GPU" in note for note in notes)
    assert any(
        "placement.gpu_memory_gb=80" in note and "placement.gradient_checkpointing=true" in note for note in notes
    )
    assert any("block_size=78 would cut at least" in note for note in notes)
    assert any("131 GB of weights in float32" in note and "placement.gpus_per_engine" in note for note in notes)
    half = config.placement.model_copy(update={"gpus_per_engine": 4})
    assert not any("of weights in" in note for note in remarks(plan, plan.stages, half))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({}, True),
        ({"train_workers": 8, "gpus": 8}, True),  # each has all of it
        ({"train_workers": 8, "gpus": 8, "train_strategy": "fsdp2"}, False),
        ({"gpu_memory_gb": None}, False),
        ({"gpus_per_train_worker": 0}, False),
    ],
)
def test_what_no_gpu_holds_is_refused_before_anything_runs(change: dict[str, Any], refused: bool) -> None:
    config = compose("data=random", "train=s1", "model=qwen2_5_32b_instruct", "model.revision=abc", "placement=gpu")[0]
    plan, here = Plan(), config.placement.model_copy(update=change)
    plan.add(config.cell, axes_of(config))
    says = pytest.raises(UserError, match=r"525 GB of weights, .*gpu_memory_gb=80: it never fits.*fsdp2")
    with says if refused else nullcontext():
        refuse_too_large(plan.stages, here)


def test_table_8_compares_truncated_with_whole_rows() -> None:
    cells = compose("experiment=table8")
    assert {c.cell.train.block_size for c in cells if isinstance(c.cell.train, SftSpec)} == {150, 512}


@pytest.mark.parametrize("placement", ["slurm_16xh100", "8x80gb"])
def test_fsdp_arguments(placement: str) -> None:
    """FSDP is ignored on CPUs, so what the trainer would be given is held here, and by its own configuration class."""
    config = compose("data=random", "train=s1", f"placement={placement}")[0]
    here, train = config.placement, config.cell.train
    assert isinstance(train, SftSpec)
    where = {"strategy": here.train_strategy, "cpu_offload": here.cpu_offload}
    where |= {"gradient_checkpointing": here.gradient_checkpointing, "checkpoint_every": here.checkpoint_every}
    split = split_batch(train.batch_size, here.train_workers, here.micro_batch)
    made = trainer_arguments(train, 315, split, where, Path("out"))
    golden = json.loads((ROOT / "tests/golden/trainer.json").read_text())
    assert made == golden[placement]
    assert made["fsdp"] and not made["gradient_checkpointing"], "both kinds of checkpointing: the trainer refuses"


@pytest.mark.slow
def test_fsdp_trains_on_a_gpu(tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("FSDP needs a GPU")
    done, _ = trained(tmp_path, resources=Resources(train_strategy="fsdp2", gradient_checkpointing=True))
    assert done.summary["final_loss"] < done.summary["first_loss"]


def test_fsdp_without_gpus_is_refused() -> None:
    from s1sweep.errors import UserError

    config = compose("data=random", "placement.train_strategy=fsdp2")[0]
    session = Session(command=(), run=True, config=config)
    with pytest.raises(UserError, match="train_strategy=fsdp2 needs GPUs"):
        session.feasible()


def trained(tmp_path: Path, *overrides: str, resources: Resources | None = None) -> tuple[Done, Path]:
    config = compose("data=random", "data.size=32", "train.steps=4", *overrides)[0]
    data, out = tmp_path / "data", tmp_path / "stage" / "attempt"
    data.mkdir(parents=True)
    out.mkdir(parents=True)
    write_subset(config, data)
    spec = TrainStage.model_validate({"model": config.cell.model.model_dump(), "train": config.cell.train.model_dump()})
    return sft.run(spec, {"data": data}, out, resources or Resources(), launch_here), out


@pytest.mark.slow
def test_lora_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from s1sweep import testbed

    done, out = trained(tmp_path, "train=tiny_lora", "train.lora.keep_adapter=true")
    merged, base = (load_file(p / "model.safetensors") for p in (out / "checkpoint", testbed.BASE))
    assert merged.keys() == base.keys()
    changed = {name for name in merged if not merged[name].equal(base[name])}
    assert changed and all("proj" in name for name in changed)
    assert (out / "adapter" / "adapter_model.safetensors").exists()
    assert not list(out.rglob("*.bin")) and not list(out.rglob("*.pt*"))
    assert done.summary["final_loss"] < done.summary["first_loss"]


@pytest.mark.slow
def test_joined_rows_train_as_padded_ones_do(tmp_path: Path) -> None:
    padded, _ = trained(tmp_path / "a")
    joined, _ = trained(tmp_path / "b", "train.padding_free=true")
    assert joined.summary["final_loss"] == pytest.approx(padded.summary["final_loss"], rel=1e-3)
    assert joined.summary["supervised_tokens"] == padded.summary["supervised_tokens"]


@pytest.mark.slow
def test_packed_blocks_train_every_label_once_an_epoch(tmp_path: Path) -> None:
    packed, _ = trained(
        tmp_path, "train.packing=true", "train.match=epochs", "train.epochs=1", "train.batch_size=2",
        "train.block_size=330",
    )  # fmt: skip
    assert packed.summary["blocks"] < packed.summary["rows"] == 32
    assert packed.summary["supervised_tokens"] == packed.summary["supervised_tokens_per_epoch"]
    assert packed.summary["steps"] == -(-packed.summary["blocks"] // 2)


def test_rows_on_disk_hold_the_same_ids_and_labels(tmp_path: Path) -> None:
    config = compose("data=random", "data.size=16", "train.block_size=100")[0]
    write_subset(config, tmp_path)
    spec = TrainStage.model_validate({"model": config.cell.model.model_dump(), "train": config.cell.train.model_dump()})
    made = encode(spec, tmp_path / "rows.jsonl", tmp_path)
    rows = read(made.path)
    assert str(rows.features["input_ids"].feature.dtype) == "int32"
    assert made.rows + made.dropped == made.examples == 16
    assert made.supervised == sum(label != IGNORE for row in rows for label in row["labels"])
    assert made.truncated and made.lost_labels
    said = made.warning(100)
    assert said and f"{made.truncated} of 16 rows" in said and f"{made.lost_labels:,} supervised tokens" in said
