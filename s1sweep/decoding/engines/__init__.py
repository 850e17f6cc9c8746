"""Engines that decode: what all of them offer, vLLM in this process, and OpenAI-compatible servers."""

from s1sweep.decoding.engines.protocol import Completion, Engine, Sampling

__all__ = ["Completion", "Engine", "Sampling"]
