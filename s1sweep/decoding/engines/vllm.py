"""vLLM as an engine: one in this process for each role, kept warm from checkpoint to checkpoint.

In-process, because a request must be added the moment a trace asks for it, without a hop to another process. Only
this file imports vLLM.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from s1sweep.decoding.engines.protocol import Completion, Sampling
from s1sweep.decoding.engines.steps import StepLoop
from s1sweep.identity import digest, encode
from s1sweep.sources import model_path
from s1sweep.spec import ModelSpec, ScorerSpec
from s1sweep.stages.resources import Resources

Model = ModelSpec | ScorerSpec
_warm: dict[str, tuple[str, VllmEngine]] = {}  # by role: a reward model has an engine beside the one that decodes


def warm_engine(model: Model, weights: str, resources: Resources, role: str = "decode") -> VllmEngine:
    """The process's engine with these weights: the running one with weights reloaded if only they differ.

    One that was closed, or that a session has not released, is replaced.
    """
    key = digest([encode(model), model_path(model), repr(replace(resources, traces=None, shard=None))])
    had, engine = _warm.pop(role, ("", None))  # forgotten until the one to use is ready
    if engine is not None and had == key and engine.idle:
        engine.load(weights)
    else:
        if engine is not None:
            engine.close()
        engine = VllmEngine(model, weights, resources)
    _warm[role] = key, engine
    return engine


def fingerprint(model: Model, resources: Resources) -> dict[str, Any]:
    """What the same weights' tokens may differ by from engine to engine, as JSON values."""
    import vllm
    from vllm import envs
    from vllm.platforms import current_platform

    return {
        "engine": f"vllm {vllm.__version__}",
        "device": current_platform.get_device_name(),
        "tensor_parallel": max(1, resources.gpus_per_engine),
        "batch_invariant": bool(envs.VLLM_BATCH_INVARIANT),
        "dtype": model.dtype,
    }


class LazyEngine:
    """The warm engine of these weights, started when the first token is needed: what is stored needs no engine."""

    def __init__(self, model: Model, weights: str, resources: Resources, role: str = "decode") -> None:
        self._wanted = model, weights, resources, role
        self._engine: VllmEngine | None = None
        self._failed: Exception | None = None
        self._fingerprint = fingerprint(model, resources)

    def fingerprint(self) -> dict[str, Any]:
        return self._fingerprint

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        return await self._started().generate(prompt_ids, max_tokens, stop_ids, sampling)

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        return await self._started().next_logprobs(prompt_ids, token_ids)

    async def release(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.release()

    def _started(self) -> VllmEngine:
        if self._failed is not None:
            raise self._failed  # each question would try, and wait for it to fail, again
        if self._engine is None:
            try:
                self._engine = warm_engine(*self._wanted)
            except Exception as error:
                self._failed = error
                raise
        return self._engine


def _repack_embeddings(model: Any) -> None:
    """On CPU vLLM keeps a packed copy of the embedding for the output layer, and a reload leaves the old copy in
    use.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    for module in model.modules():
        if isinstance(getattr(module, "quant_method", None), UnquantizedEmbeddingMethod):
            module.quant_method.process_weights_after_loading(module)


class VllmEngine:
    """vLLM, stepped by the event loop that awaits it. One event loop at a time."""

    def __init__(self, model: Model, weights: str, resources: Resources) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ["OMP_NUM_THREADS"] = str(resources.threads)
        import torch
        from vllm import LLM, SamplingParams
        from vllm.platforms import current_platform
        from vllm.sampling_params import RequestOutputKind

        if current_platform.is_cpu():
            # Before the engine starts: afterwards vLLM makes this call a no-op.
            torch.set_num_threads(resources.threads)
        args: dict[str, Any] = {
            "model": weights,
            "tokenizer": model_path(model),
            "dtype": model.dtype,
            "max_model_len": model.max_model_len,
            "trust_remote_code": model.trust_remote_code,
            "skip_tokenizer_init": True,
            "generation_config": "vllm",
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            # Longest first: thinking, on which more requests wait, goes before answers, on which nothing does.
            "scheduling_policy": "priority",
            "seed": 0,
        }
        if weights == model.source:
            args["revision"] = model.revision
        if resources.gpus_per_engine > 1:
            args["tensor_parallel_size"] = resources.gpus_per_engine
        if resources.kv_cache_mb is not None:
            args["kv_cache_memory_bytes"] = resources.kv_cache_mb << 20
        if current_platform.is_cpu():
            args["enforce_eager"] = True
            args["block_size"] = 32  # the default of 128 caches nothing of the testbed's short prefixes
            # A prompt taken in parts rewinds its request's generator, which a CPU generator cannot do: vLLM dies.
            args["enable_chunked_prefill"] = False
            args["max_num_batched_tokens"] = max(8192, model.max_model_len)
        if isinstance(model, ModelSpec) and model.delimiters.think_start and model.delimiters.think_end:
            marks = model.delimiters  # for vLLM's own thinking budget; requests without one are not touched
            args["skip_tokenizer_init"] = False
            args["reasoning_config"] = {
                "reasoning_start_str": marks.think_start,
                "reasoning_end_str": marks.think_end,
            }
        self._llm: LLM | None = LLM(**{**args, **model.engine_args})
        self._steps = StepLoop(self._llm.llm_engine)
        # What the engine is made of stays; without this every full collection would walk through it.
        gc.collect()
        gc.freeze()
        self._fingerprint = fingerprint(model, resources)
        # Each request has its own parameters, so vLLM need not copy them, which costs as much as scheduling one.
        self._parameters = partial(
            SamplingParams, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True
        )
        self._max_len = model.max_model_len
        self._weights = weights

    def fingerprint(self) -> dict[str, Any]:
        return self._fingerprint

    @property
    def idle(self) -> bool:
        """Whether a session may begin: no other one uses the engine, and it is not closed."""
        return self._llm is not None and self._steps.idle

    def load(self, weights: str) -> None:
        """Put other weights of the same architecture in place, and close the engine if that fails.

        The prefix cache is of the old weights, so it is emptied: it would give wrong tokens.
        """
        if weights == self._weights:
            return
        assert self._llm is not None
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": weights})
            self._llm.apply_model(_repack_embeddings)
            self.forget()
        except BaseException:
            self.close()  # it has some of the new weights, and some of the old
            raise
        self._weights = weights

    async def release(self) -> None:
        if not self._steps.release():
            self.close()

    def close(self) -> None:
        """Free the engine's memory; nothing can be asked of it any more."""
        llm, self._llm = self._llm, None
        if llm is not None:
            self._steps.close()
            # Left to the collector, memory stays as long as anyone holds an error that came from the engine. vLLM's own
            # shutdown ends the process groups of the whole process, with which a reward model's engine works too.
            core = llm.llm_engine.engine_core
            if (at_collection := getattr(core, "_finalizer", None)) is not None:
                at_collection.detach()
            core.engine_core.model_executor.shutdown()
            gc.unfreeze()
            del llm
            gc.collect()

    def forget(self) -> None:
        """Empty the prefix cache. Raises RuntimeError if requests hold parts of it."""
        assert self._llm is not None
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not empty its prefix cache")

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        room = self._max_len - len(prompt_ids)
        if room < 1:
            return Completion((), "context")
        params = self._parameters(
            max_tokens=min(max_tokens, room),
            min_tokens=sampling.min_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            logit_bias=dict.fromkeys(sampling.banned, -100.0) or None,
            thinking_token_budget=sampling.thinking_budget,
            stop_token_ids=list(stop_ids),
            ignore_eos=True,  # an EOS is a stop only where the caller says so
            **dict(sampling.extra),
        )
        output = await self._steps.request({"prompt_token_ids": list(prompt_ids)}, params, priority=-max_tokens)
        got = output.outputs[0]
        ids = tuple(got.token_ids)
        prefilled = len(prompt_ids) - (output.num_cached_tokens or 0)
        if got.finish_reason == "stop":
            return Completion(ids[:-1], "stop", ids[-1], prefilled)
        if got.finish_reason == "length":
            return Completion(ids, "length" if len(ids) >= max_tokens else "context", None, prefilled)
        raise RuntimeError(f"vLLM ended a request with {got.finish_reason!r}")

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        params = self._parameters(
            max_tokens=1,
            temperature=0.0,
            logprob_token_ids=list(token_ids),
        )
        output = await self._steps.request({"prompt_token_ids": list(prompt_ids)}, params)
        found = output.outputs[0].logprobs[0]
        return tuple(found[i].logprob for i in token_ids)
