"""Where models and tokenizers are, and the digests that stand for them in identities.

Knows them as files; not what is done with them.
"""

from __future__ import annotations

from pathlib import Path

from s1sweep import testbed
from s1sweep.errors import UserError
from s1sweep.identity import tree_sha256
from s1sweep.sources.hub import UNPINNED
from s1sweep.spec import LengthSpec, ModelSpec, ScorerSpec
from s1sweep.spec.base import TESTBED

TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model")
WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


def tokenizer_path(spec: LengthSpec) -> str:
    """A local directory, or the hub id."""
    if spec.tokenizer == TESTBED:
        return str(testbed.BASE)
    path = Path(spec.tokenizer).expanduser()
    if path.is_dir():
        return str(path.absolute())
    if spec.tokenizer.startswith((".", "/", "~")) or spec.tokenizer.count("/") != 1:
        raise UserError(
            f"curation.length.tokenizer={spec.tokenizer!r} is neither `testbed`, a directory, nor a hub id "
            "like owner/name."
        )
    return spec.tokenizer


def tokenizer_digest(spec: LengthSpec) -> str:
    """What stands for a tokenizer: the sha256 of its files, or the hub's name of it."""
    path = Path(tokenizer_path(spec))
    return tree_sha256(path, TOKENIZER) if path.is_dir() else f"{spec.tokenizer}@{spec.revision or UNPINNED}"


def model_path(model: ModelSpec | ScorerSpec, group: str | None = None) -> str:
    """A local directory, or the hub id. Raises UserError, naming the field in its `group`, if it is neither."""
    group = group or _group(model)
    if model.source == TESTBED:
        return str(testbed.PRM if isinstance(model, ScorerSpec) else testbed.BASE)
    if Path(model.source).expanduser().is_dir():
        return str(Path(model.source).expanduser().absolute())
    if model.source.startswith((".", "/", "~")) or model.source.count("/") != 1:
        raise UserError(
            f"{group}.source={model.source!r} is neither `testbed`, a directory, nor a hub id like owner/name."
        )
    return model.source


def model_digest(model: ModelSpec | ScorerSpec) -> str:
    """What stands for the base weights: their sha256, or the hub revision; `run` refuses one that is not pinned."""
    path = Path(model_path(model))
    if path.is_dir():
        return tree_sha256(path, WEIGHTS)
    return f"{model.source}@{model.revision or UNPINNED}"


def _group(model: ModelSpec | ScorerSpec) -> str:
    return "scorer" if isinstance(model, ScorerSpec) else "model"
