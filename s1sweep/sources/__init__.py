"""Pools, models and tasks by name: where they are, and the digests that stand for them in identities."""

from s1sweep.sources.models import model_digest, model_path, tokenizer_digest, tokenizer_path
from s1sweep.sources.pools import held_out, held_out_digest, hub_name, pool_digest, pool_file

__all__ = [
    "held_out", "held_out_digest", "hub_name", "model_digest", "model_path", "pool_digest", "pool_file",
    "tokenizer_digest", "tokenizer_path",
]  # fmt: skip
