"""Pairs, medians and the file of results; decode sessions as the benchmarks run them. Every benchmark prints one JSON
object and, with --write, keeps it in RESULTS.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from s1sweep.decoding.engines import Completion, Engine, Sampling
from s1sweep.spec import CellConfig

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Benchmark results

Two cores, no GPU, unless a section says otherwise. Ratios are medians over interleaved pairs in one run; rerun any
section with its command (`--write` replaces the section). Synthetic testbed; figures say nothing about LLMs.
"""


def main(name: str, measure: Callable[..., dict[str, Any]], pairs: int = 5, **more: Any) -> None:
    """Parse the options, measure, print, and keep the result if asked. `more` are further options with defaults."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--pairs", type=int, default=pairs, help="interleaved pairs")
    parser.add_argument("--write", action="store_true", help="replace this section of RESULTS.md")
    for option, default in more.items():
        parser.add_argument(f"--{option.replace('_', '-')}", type=type(default), default=default, help=f"({default})")
    options = parser.parse_args()
    found = measure(options.pairs, **{option: getattr(options, option) for option in more})
    if options.write:
        write(name, found)
    print(json.dumps(found, indent=None if options.json else 1))


def interleaved(a: Callable[[], float], b: Callable[[], float], pairs: int) -> tuple[list[float], list[float]]:
    """Run two measurements in turn, so that a drift of the machine hits both."""
    first, second = [], []
    for i in range(pairs):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            (first if which == 0 else second).append((a if which == 0 else b)())
    return first, second


def ratios(a: list[float], b: list[float]) -> dict[str, float]:
    """Median, least and greatest of a/b, pair by pair."""
    values = [x / y for x, y in zip(a, b, strict=True)]
    return {"median": round(median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def write(name: str, found: dict[str, Any]) -> None:
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    date = time.strftime("%Y-%m-%d")
    command = " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]])
    section = (
        f"## {name}\n\n`{command}` on {date}, Python {platform.python_version()}\n\n"
        f"```json\n{json.dumps(found, indent=1)}\n```\n"
    )
    pattern = re.compile(rf"## {re.escape(name)}\n.*?(?=\n## |\Z)", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    RESULTS.write_text(text.rstrip() + "\n")


def testbed_engine(weights: str = "", layers: int = 0, **engine_args: Any) -> tuple[Any, Any]:
    """A vLLM engine with the testbed's base, or other weights of its shape, on one thread; and the chat format.

    `layers` silent ones more, see `deepened`.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from s1sweep.decoding.chat import Chat, load_tokenizer
    from s1sweep.decoding.engines.vllm import VllmEngine
    from s1sweep.sources import model_path
    from s1sweep.stages.resources import Resources
    from tests.helpers import compose

    model = compose("train=none")[0].cell.model
    model = model.model_copy(update={"engine_args": {**model.engine_args, **engine_args}})
    weights = weights or model_path(model)
    deeper = deepened(weights, layers) if layers else weights
    engine = VllmEngine(model, deeper, Resources(threads=1, kv_cache_mb=512 * (4 + layers) // 4))
    return engine, Chat(model, load_tokenizer(model))


def deepened(weights: str, layers: int) -> str:
    """A checkpoint with `layers` more layers that add nothing to the residual stream: every token stays, and costs what
    a deeper model costs. The testbed's four layers are so cheap that Python outweighs them as in no real model.
    """
    from safetensors.torch import load_file, save_file

    target = Path(tempfile.mkdtemp(prefix="deepened-"))
    shutil.copytree(weights, target, dirs_exist_ok=True)
    config = json.loads((target / "config.json").read_text())
    had = config["num_hidden_layers"]
    last = f"model.layers.{had - 1}."
    tensors = load_file(target / "model.safetensors")
    for i in range(had, had + layers):
        for name, tensor in [(n, t) for n, t in tensors.items() if n.startswith(last)]:
            silent = name.endswith(("o_proj.weight", "down_proj.weight"))
            tensors[name.replace(last, f"model.layers.{i}.")] = (
                tensor.new_zeros(tensor.shape) if silent else tensor.clone()
            )
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config |= {"num_hidden_layers": had + layers, "layer_types": ["full_attention"] * (had + layers)}
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


@dataclass(frozen=True)
class Session:
    """Cells decoded in one session: wall seconds, tokens the engine decoded, the readouts file of each cell."""

    seconds: float
    decoded: int
    readouts: tuple[bytes, ...]

    def rows(self) -> list[list[dict[str, Any]]]:
        return [[json.loads(line) for line in data.splitlines()] for data in self.readouts]


def decode(cells: Sequence[CellConfig], engine: Engine, chat: Any) -> Session:
    """Decode cells in one session, as a job would; nothing is stored beyond their readouts."""
    from s1sweep.decoding.readout import READOUTS
    from s1sweep.decoding.serve import serve
    from s1sweep.decoding.session import decode_session
    from s1sweep.decoding.trace import Tally
    from s1sweep.spec import DecodeStage
    from s1sweep.stages.contract import Item

    with ExitStack() as stack:
        items = []
        for config in cells:
            c = config.cell
            spec = DecodeStage(
                model=c.model, task=c.task, method=c.method, extrapolation=c.extrapolation, sampling=c.sampling
            )
            items.append(Item(spec, {}, Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        tally = Tally()
        started = time.perf_counter()
        with decode_session(engine) as runner:
            for _, done in serve(runner, items, engine, chat, tally=tally):
                if isinstance(done, Exception):
                    raise done
        seconds = time.perf_counter() - started
        return Session(seconds, tally.decoded, tuple((item.out / READOUTS).read_bytes() for item in items))


def one_by_one(
    cells: Sequence[CellConfig], engine: Engine, chat: Any, before: Callable[[], None] = lambda: None
) -> Session:
    """The same, each cell in a session of its own, one after the other; `before` is called before each."""
    seconds, decoded, readouts = 0.0, 0, []
    for config in cells:
        before()
        one = decode([config], engine, chat)
        seconds, decoded = seconds + one.seconds, decoded + one.decoded
        readouts += one.readouts
    return Session(seconds, decoded, tuple(readouts))


class Recorder:
    """An engine that remembers what it was asked and what it made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.made: list[tuple[tuple[int, ...], tuple[int, ...]]] = []  # prompt, and all that followed, stops included

    def fingerprint(self) -> Mapping[str, Any]:
        return self._engine.fingerprint()

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        got = await self._engine.generate(prompt_ids, max_tokens, stop_ids, sampling)
        stop = () if got.stop_id is None else (got.stop_id,)
        self.made.append((tuple(prompt_ids), (*got.token_ids, *stop)))
        return got

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        return await self._engine.next_logprobs(prompt_ids, token_ids)

    async def release(self) -> None:
        await self._engine.release()

    @property
    def tokens(self) -> int:
        return sum(len(following) for _, following in self.made)

    def unique_tokens(self) -> int:
        """Distinct (prefix, token) pairs: the nodes of the token tree. Each is held as 16 bytes of a digest."""
        nodes: set[bytes] = set()
        for prompt, following in self.made:
            path = hashlib.blake2b(struct.pack(f"<{len(prompt)}I", *prompt), digest_size=16)
            for token in following:
                path.update(struct.pack("<I", token))
                nodes.add(path.digest())
        return len(nodes)


def flat(recorder: Recorder, engine: Any) -> Callable[[], float]:
    """A measurement: seconds of one flat `LLM.generate` call of the recorded requests with their exact lengths."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": list(prompt)} for prompt, _ in recorder.made]
    params = [
        SamplingParams(temperature=0.0, max_tokens=n, min_tokens=n, ignore_eos=True, detokenize=False)
        for n in (len(following) for _, following in recorder.made)
    ]

    def measure() -> float:
        engine.forget()
        started = time.perf_counter()
        made = engine._llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - started
        assert sum(len(o.outputs[0].token_ids) for o in made) == recorder.tokens
        return seconds

    return measure


FLAT = "one flat LLM.generate call of the same requests with their exact lengths, cold prefix cache"
