"""Model folders in the hub's layout: fetching them, what must be in them, and what identifies it.

Weights are read from safetensors alone; pickled weights and code that comes with a model are never
loaded. transformers gives an empty tokenizer for a folder without vocabulary, so that is checked here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from backbones.errors import BackboneError
from backbones.hubcalls import name_cause, retry_call

COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# any one of these makes a tokenizer
_VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("spiece.model",), ("spm.model",), ("vocab.json", "merges.txt"))
_TOKENIZER_FILES = (
    *(name for names in _VOCABULARIES for name in names),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)


def fetch_snapshot(hub_id: str, revision: str, *, offline: bool, weights: bool) -> Path:
    """Return the local folder of ``hub_id`` at ``revision``, downloaded where it has to be.

    Configuration and tokenizer only, unless ``weights``. A pinned commit that is complete in the cache is
    used without asking the hub. Raises a UserError, one line, for whatever keeps it from being had.
    """
    import huggingface_hub
    from huggingface_hub import errors

    patterns = ["config.json", *_TOKENIZER_FILES, *(("model*.safetensors", _INDEX) if weights else ())]

    def fetch(local: bool) -> Path:
        found = huggingface_hub.snapshot_download(
            hub_id, revision=revision, allow_patterns=patterns, local_files_only=local
        )
        return Path(found)

    if offline or COMMIT.fullmatch(revision):
        try:
            folder = fetch(local=True)
            wanted = (_WEIGHTS, _INDEX) if weights else ("config.json",)
            if (folder / "config.json").is_file() and any((folder / name).is_file() for name in wanted):
                return folder
        except (OSError, ValueError):
            pass  # not in the cache, or not all of it
        if offline:
            raise BackboneError(
                f"{hub_id}@{revision} is not completely in the local cache and offline mode forbids a download: "
                "fetch it once online, or put it into a mirror (--hub-root)."
            )
    try:
        return retry_call(f"{hub_id}@{revision}", lambda: fetch(local=False))
    except errors.GatedRepoError as error:
        raise BackboneError(
            f"{hub_id} is gated on the hub: accept its terms at https://huggingface.co/{hub_id} and log in "
            "(`hf auth login` or HF_TOKEN), or put its files into a mirror (--hub-root)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BackboneError(f"There is no model '{hub_id}' on the hub, or it is private.") from error
    except errors.RevisionNotFoundError as error:
        raise BackboneError(f"{hub_id} has no revision '{revision}' on the hub.") from error
    except Exception as error:  # network libraries raise many unrelated types; all mean the same to the user
        raise BackboneError(
            f"Cannot reach the hub for {hub_id} ({name_cause(error)}): check the network and run the same command "
            "again, which goes on with what was downloaded, or use a mirror (--hub-root)."
        ) from error


def read_json(folder: Path, name: str) -> dict[str, object]:
    """Return the content of a model folder's JSON file. Raises a UserError where there is none or it is no object."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BackboneError(f"{folder} has no {name}: it is not a model folder.") from error
    except (OSError, ValueError) as error:
        raise BackboneError(f"{folder / name} cannot be read: {take_first_line(error)}") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{folder / name} does not hold a JSON object.")
    return content


def list_weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a model folder, one or several shards.

    Raises a UserError for a folder without weights, with pickled ones only, or with missing shards.
    """
    if (folder / _WEIGHTS).is_file():
        return (folder / _WEIGHTS,)
    if (folder / _INDEX).is_file():
        shards = read_json(folder, _INDEX).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        absent = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if absent or not names:
            raise BackboneError(f"{folder / _INDEX} names shards that are not there: {', '.join(absent) or 'none'}.")
        return tuple(folder / name for name in names)
    if any((folder / name).is_file() for name in _PICKLED):
        raise BackboneError(
            f"{folder} has pickled weights only ({_PICKLED[0]}), which are never loaded: convert them to {_WEIGHTS}."
        )
    raise BackboneError(
        f"{folder} has no weights: put {_WEIGHTS} there, or train from random weights with --init scratch."
    )


def list_weights(folder: Path) -> frozenset[str] | None:
    """Return the names of the tensors in a model folder's weights; None where these are not there or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        names: set[str] = set()
        for path in list_weight_files(folder):
            with safe_open(path, framework="numpy") as file:
                names.update(file.keys())
    except (BackboneError, OSError, SafetensorError):  # whoever loads them says so
        return None
    return frozenset(names)


def check_weights(folder: Path) -> None:
    """Raise :class:`BackboneError` for weights in the hub's cache that are not what was published.

    The cache keeps a large file under the name of its SHA-256; other folders make no such promise.
    """
    for path in list_weight_files(folder):
        blob = path.resolve()
        if _SHA256.fullmatch(blob.name) and digest_contents((blob,))[blob.name] != blob.name:
            raise BackboneError(
                f"{path.name} of {folder.parents[1].name} in the hub's cache is damaged (its SHA-256 differs): "
                f"delete {blob} and run the same command again."
            )


def list_tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """Return the tokenizer's files of a model folder. Raises a UserError where no vocabulary is among them."""
    if not any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES):
        known = ", ".join(" + ".join(names) for names in _VOCABULARIES)
        raise BackboneError(f"{folder} has no tokenizer: one of {known} is needed.")
    return tuple(folder / name for name in _TOKENIZER_FILES if (folder / name).is_file())


def digest_contents(files: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file's content by file name."""
    digests = {}
    for path in files:
        stat = path.stat()
        digests[path.name] = _file_digest(path, stat.st_size, stat.st_mtime_ns)
    return digests


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, modified: int) -> str:
    # size and time are there for the cache: a file that was replaced is read again
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def take_first_line(error: BaseException) -> str:
    """Return an exception's message cut to its first line, for messages that must be one."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
