"""How much memory of each GPU a training takes, before it starts. Pure; every assumption is a named number here.

    weights, gradients, optimizer   16 bytes a parameter (fp32 master weights and Adam), over all workers with fsdp2
    activations                     tokens a pass x width x LAYER_BYTES a layer; checkpointing: 2, and one layer
    rest                            two gathered layers, the language-model head, and what the runtime holds

Right to about a quarter for dense transformers under flash or memory-efficient attention; attention scores, which
plain attention would keep, are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from s1sweep.spec import Placement, SftSpec

STATE_BYTES = 16  # of a trained parameter: weight 4, gradient 4, Adam's two moments 8
ASPECT = 80  # width / layers of common models (Qwen2.5-32B: 5120 / 64)
LAYER_PARAMETERS = 18  # x width^2: grouped attention and a gated MLP
LAYER_BYTES = 50  # bf16 activations of a layer, a token and unit of width (Korthikanti et al. 2022: 34 for plain MLPs)
KEPT_BYTES = 2  # of them where a layer's input alone is kept
LORA_WIDTHS = 26  # inputs and outputs of a layer's linear maps, in widths
VOCABULARY = 152_000
RUNTIME_GB = 4.0  # CUDA context, NCCL buffers, fragmentation


@dataclass(frozen=True)
class Memory:
    """Gigabytes (10^9) of one GPU."""

    states: float
    activations: float
    rest: float

    @property
    def total(self) -> float:
        return self.states + self.activations + self.rest


def shape(parameters: float) -> tuple[float, float]:
    """Width and number of layers of a common model of this size."""
    width = (parameters * ASPECT / LAYER_PARAMETERS) ** (1 / 3)
    return width, width / ASPECT


def memory(parameters: float, train: SftSpec, here: Placement, micro: int, longest: int | None = None) -> Memory:
    """What one GPU holds with `micro` rows a pass, each as long as the block or the longest row, if that is less."""
    width, layers = shape(parameters)
    two_or_four = 2 if train.precision == "bfloat16" else 4
    shards = here.train_workers if here.train_strategy == "fsdp2" else 1
    states = STATE_BYTES * parameters
    if train.lora is not None:
        adapters = LORA_WIDTHS * train.lora.r * width * layers
        states = two_or_four * parameters + STATE_BYTES * adapters
    if here.cpu_offload and here.train_strategy == "fsdp2":
        states = 0
    tokens = micro * min(train.block_size, longest or train.block_size)
    layer = LAYER_BYTES * tokens * width * two_or_four / 2
    kept = KEPT_BYTES * tokens * width * two_or_four / 2
    activations = layers * kept + layer if here.gradient_checkpointing else layers * layer
    gathered = 2 * two_or_four * parameters / layers if shards > 1 else 0
    head = 4 * min(VOCABULARY * width, parameters)
    return Memory(states / shards / 1e9, activations / 1e9, (gathered + head) / 1e9 + RUNTIME_GB)


def advice(train: SftSpec, here: Placement, micro: int) -> str:
    """What would make it smaller, by how little it costs."""
    ways = []
    if micro > 1:
        ways.append("placement.micro_batch=1")
    if not here.gradient_checkpointing:
        ways.append("placement.gradient_checkpointing=true")
    return ", ".join([*ways, *smaller_states(train, here), "a smaller train.block_size"])


def smaller_states(train: SftSpec, here: Placement) -> list[str]:
    """What would make weights, gradients and optimizer smaller."""
    if here.train_strategy != "fsdp2":
        ways = ["placement.train_strategy=fsdp2 with more placement.train_workers"]
    else:
        ways = ["more placement.train_workers", *([] if here.cpu_offload else ["placement.cpu_offload=true"])]
    return ways if train.lora else [*ways, "train=lora"]
