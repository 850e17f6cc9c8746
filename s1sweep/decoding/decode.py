"""The `decode` stage: one (checkpoint, task, method, sampling); one engine session serves all stages of a checkpoint.

A shard of a session decodes its share of the questions and leaves nothing but their traces, from which the session then
takes what it would otherwise decode. So results do not depend on how many engines there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from s1sweep.decoding.case import Scorer
from s1sweep.decoding.chat import Chat, load_tokenizer
from s1sweep.decoding.engines import Engine
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.serve import serve
from s1sweep.decoding.session import decode_session
from s1sweep.decoding.trace import Tally
from s1sweep.identity import digest, encode, tree_sha256
from s1sweep.sources import model_digest, model_path
from s1sweep.spec import DecodeStage, ModelSpec, ScorerSpec
from s1sweep.stages.contract import Done, Item
from s1sweep.stages.resources import Resources

VERSION = 2
SCORER_VERSION = 1


def run_all(items: Sequence[Item], resources: Resources, **_: Any) -> Iterator[tuple[Item, Done | Exception]]:
    """Run the stages of one checkpoint in one engine session; yields each as it finishes."""
    first: DecodeStage = items[0].spec
    checkpoint = items[0].inputs.get("checkpoint")
    weights = str(checkpoint / "checkpoint") if checkpoint else model_path(first.model)
    chat = Chat(first.model, load_tokenizer(first.model))
    tally = Tally()
    engines = [_engine(first.model, weights, resources)]
    with ExitStack() as stack:
        stored = None
        if resources.traces is not None:
            stored = stack.enter_context(closing(segments(Path(resources.traces), first.model, weights, engines[0])))
        made: dict[str, Scorer] = {}
        scorers: dict[Path, Scorer] = {}
        for item in items:
            if item.spec.scorer is not None:
                key = digest(encode(item.spec.scorer))
                if key not in made:
                    engines.append(_scoring_engine(item.spec.scorer, resources))
                    made[key] = _scorer(item.spec.scorer, engines[-1], stored, tally)
                scorers[item.out] = made[key]
        runner = stack.enter_context(decode_session(*engines))
        yield from serve(runner, items, engines[0], chat, stored, tally, scorers, resources.shard)


def _engine(model: ModelSpec, weights: str, resources: Resources) -> Engine:
    """The engine of this process, or the server that stands in for it."""
    if resources.endpoint is not None:
        from s1sweep.decoding.engines.openai import OpenAIEngine

        return OpenAIEngine(model, weights, resources.endpoint)
    from s1sweep.decoding.engines.vllm import LazyEngine

    return LazyEngine(model, weights, resources)


def _scoring_engine(spec: ScorerSpec, resources: Resources) -> Engine:
    from s1sweep.decoding.engines.vllm import LazyEngine

    return LazyEngine(spec, model_path(spec), resources, role="scorer")


def segments(traces: Path, model: ModelSpec, weights: str, engine: Engine) -> Segments:
    """The stored blocks of these weights under this engine; all that tokens depend on beside their stream."""
    local = Path(weights).is_dir()
    about = {
        "decode": VERSION,
        "weights": tree_sha256(Path(weights), ("*.safetensors", "config.json")) if local else model_digest(model),
        "model": encode(model),
        "engine": dict(engine.fingerprint()),
    }
    return Segments(traces, about)


def _scorer(spec: ScorerSpec, engine: Engine, stored: Segments | None, tally: Tally) -> Scorer:
    from s1sweep.decoding.scorer import ProcessRewardModel

    about = {"model": model_digest(spec), "spec": encode(spec), "engine": dict(engine.fingerprint())}
    return ProcessRewardModel(spec, load_tokenizer(spec), engine, about, stored, tally)
