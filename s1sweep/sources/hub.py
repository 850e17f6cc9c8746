"""The Hugging Face hub: a name's commit, a repository's files at a commit, files put there. Knows no spec.

Imports late. What was fetched once is found again without a network. HF_ENDPOINT, HF_HOME, HF_TOKEN and
HF_HUB_OFFLINE are heeded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from s1sweep.errors import UserError

Kind = Literal["model", "tokenizer", "dataset"]
UNPINNED = "unpinned"
# Weights as safetensors only: other formats run code when they are loaded.
PATTERNS: dict[Kind, list[str]] = {
    "model": ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"],
    "tokenizer": ["tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.jinja", "*.model"],
    "dataset": ["*.parquet", "*.jsonl", "*.jsonl.gz", "*.json", "*.csv", "*.arrow", "README.md"],
}


def content(name: str, revision: str | None, subset: str | None, split: str | None) -> str:
    """What stands for a part of a data set in identities."""
    return f"{name}@{revision or UNPINNED}/{subset or 'default'}/{split}"


def commit(kind: Kind, name: str, revision: str | None = None) -> str:
    """The commit that a branch or tag (`main` if None) is at now. Raises UserError if the hub does not say."""
    try:
        from huggingface_hub import HfApi

        found = HfApi().repo_info(name, repo_type=_repository(kind), revision=revision).sha
    except Exception as error:
        raise _unreachable(kind, name, revision, error) from error
    assert found is not None
    return str(found)


def snapshot(kind: Kind, name: str, revision: str | None) -> Path:
    """The folder of a repository's files, fetched if they are not here. Raises UserError if they cannot be."""
    try:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(name, repo_type=_repository(kind), revision=revision, allow_patterns=PATTERNS[kind])
        )
    except Exception as error:  # of a dozen types, from half a dozen packages; all mean the same to a user
        raise _unreachable(kind, name, revision, error) from error


def here(kind: Kind, name: str, revision: str | None) -> Path | None:
    """The folder of a repository that was fetched before; None where there is none, or not all. Asks no network."""
    try:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                name,
                repo_type=_repository(kind),
                revision=revision,
                allow_patterns=PATTERNS[kind],
                local_files_only=True,
            )
        )
    except Exception:  # of several types, all of which say that it is not here
        return None


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def has_token() -> bool:
    try:
        from huggingface_hub import get_token
    except ImportError:
        return False
    return get_token() is not None


def dataset_rows(name: str, revision: str | None, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
    """The rows of a data set's split, in order, streamed. Raises UserError if it cannot be fetched or has no such part.

    Files are fetched at exactly the revision and read from there: asked for a name without a network, `datasets` would
    take the newest copy it has, whatever its revision.
    """
    import datasets

    folder = snapshot("dataset", name, revision)
    try:
        yield from datasets.load_dataset(str(folder), subset, split=split, streaming=True)
    except (ValueError, FileNotFoundError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"The data set {name!r} at revision {revision} has no readable subset {subset!r}, split {split!r}: {error}"
        ) from error


def upload(name: str, files: Mapping[str, Path | bytes], private: bool, message: str) -> str:
    """Put files into a model repository, which is made if it is not there, in one commit; the commit's address.

    Raises UserError if the hub refuses, and where `private` is wanted of a repository that is public.
    """
    try:
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi()
        api.create_repo(name, private=private or None, exist_ok=True)
        public = private and not api.repo_info(name).private
        operations = [CommitOperationAdd(path, source) for path, source in files.items()]
        done = None if public else api.create_commit(name, operations, commit_message=message)
    except Exception as error:  # of a dozen types, as above
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"Could not push to {name!r} ({reason}). Give OWNER/NAME that your token may write to, and the token in "
            "HF_TOKEN or by `hf auth login`."
        ) from error
    if done is None:
        raise UserError(f"{name!r} is there and public, so --private was not met and nothing was pushed.")
    return str(done.commit_url)


def _repository(kind: Kind) -> str:
    return "dataset" if kind == "dataset" else "model"


def size(folder: Path) -> int:
    """Bytes of the files in a folder, links followed."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _unreachable(kind: Kind, name: str, revision: str | None, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"The {kind} {name!r} at revision {revision or 'main'} is not here and could not be fetched ({reason}). "
        "Where there is a network run `s1sweep prefetch` with the same overrides; for a gated repository give HF_TOKEN."
    )
