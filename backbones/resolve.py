"""From the name of a backbone to its files, configuration and identity, without loading a weight."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from backbones.catalog import BACKBONES, Init
from backbones.config import apply_overrides, find_model_type, use_common_names
from backbones.errors import BackboneError, UserError
from backbones.folders import (
    COMMIT,
    check_weights,
    digest_contents,
    digest_json,
    fetch_snapshot,
    list_tokenizer_files,
    list_weight_files,
    read_json,
)
from backbones.names import expand_home, make_unknown_error

ATTENTION = ("sdpa", "eager")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# written by whatever saved the config, without bearing on the model
_VOLATILE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")


@dataclass(frozen=True)
class BackboneRequest:
    """What backbone is asked for.

    ``name`` is a catalog name, a hub id ("org/name") or a folder. ``init`` "scratch" takes configuration and
    tokenizer only, "finetuned" the checkpoint's classifier too; demo backbones are always from scratch.
    ``overrides`` are configuration fields (see :func:`backbones.config.apply_overrides`). ``hub_root`` is a local
    mirror, ``<hub_root>/models/<hub id>``, that is looked at first. ``revision`` replaces the catalog's pin.
    ``attention`` is "sdpa" or "eager".
    """

    name: str
    init: Init = "pretrained"
    overrides: Mapping[str, object] = field(default_factory=dict)
    hub_root: Path | None = None
    offline: bool = False
    revision: str | None = None
    attention: str = "sdpa"


@dataclass(frozen=True)
class Resolved:
    """A request whose files are found.

    ``name`` is the request's; of a folder, the last part of its path, so that one folder has one name.
    ``folder`` is None for a demo backbone. ``config`` has the field names that model types share. ``revision`` is the
    hub commit, or the start of the content's digest.
    ``digest`` (SHA-256, hex) identifies everything about the backbone that can change a prediction, apart from the
    seed of a scratch initialisation and the attention kernel. ``source`` says where from, without paths.
    """

    name: str
    init: Init
    model_type: str
    config: Mapping[str, object]
    folder: Path | None
    revision: str
    digest: str
    source: str
    warnings: tuple[str, ...] = ()


def resolve_backbone(request: BackboneRequest, *, weights: bool = False) -> Resolved:
    """Find what ``request`` names; from the hub only configuration and tokenizer, unless ``weights``.

    Raises a UserError, one line, for anything that keeps the backbone from being had.
    """
    if request.init not in get_args(Init):
        raise make_unknown_error("init", request.init, get_args(Init))
    if request.attention not in ATTENTION:
        raise make_unknown_error("attention", request.attention, ATTENTION)
    named = BACKBONES.get(request.name)
    if named is not None and named.hub_id is None:
        kind, config = named.model_type, apply_overrides(named.config, request.overrides, named.model_type, False)
        digest = digest_json({"init": "scratch", "model_type": kind, "config": config, "tokenizer": "words"})
        return Resolved(named.name, "scratch", kind, config, None, digest[:16], digest, f"catalog:{named.name}")
    hub_id = named.hub_id if named else request.name if _HUB_ID.fullmatch(request.name) else None
    found = _find_folder(request, hub_id)
    if found is not None:
        return _read_folder(request, *found)
    if hub_id is None:
        raise _not_found(request.name)
    revision, wanted = request.revision or (named.revision if named else "main"), request.init != "scratch"
    folder = fetch_snapshot(hub_id, revision, offline=request.offline, weights=weights and wanted)
    if weights and wanted:
        check_weights(folder)
    # a branch name moves; the cache files a snapshot under the commit it was
    commit = folder.name if COMMIT.fullmatch(folder.name) else revision
    return _read_folder(request, folder, f"hub:{hub_id}", {"hub": hub_id, "commit": commit})


def _find_folder(request: BackboneRequest, hub_id: str | None) -> tuple[Path, str] | None:
    """Return the folder on this machine that has the files, and where it is from; None where the hub must be asked."""
    if hub_id is not None and request.hub_root is not None:
        mirrored = request.hub_root / "models" / hub_id
        if mirrored.is_dir():
            return mirrored, f"mirror:{hub_id}"
    named = BACKBONES.get(request.name)
    if named is not None:
        carried = find_package_folder(named.package) if named.package and request.revision is None else None
        return None if carried is None else (carried, f"package:{named.package}")
    path = expand_home(request.name)
    # pathlib fails on names that no folder can have
    return (path, f"folder:{path.resolve().name}") if os.path.isdir(path) else None


def _read_folder(request: BackboneRequest, folder: Path, source: str, commit: Mapping[str, str] = {}) -> Resolved:
    """Say what a folder holds; ``commit`` fixes the content of a hub's, so that no weights are needed to know it."""
    raw, pretrained = read_json(folder, "config.json"), request.init != "scratch"
    model_type = find_model_type(raw, commit.get("hub", str(folder)), pretrained)
    config = apply_overrides(use_common_names(raw, model_type), request.overrides, model_type, pretrained)
    if request.init == "finetuned" and "num_hidden_layers" in request.overrides:
        there = use_common_names(raw, model_type).get("num_hidden_layers", config["num_hidden_layers"])
        if config["num_hidden_layers"] != there:
            raise BackboneError(
                f"The classifier of {source} reads layer {there}: without it, take --init pretrained for its first "
                f"{config['num_hidden_layers']} layers."
            )
    tokenizer, content = list_tokenizer_files(folder), dict[str, object](commit)
    if not commit:
        weights = digest_contents(list_weight_files(folder)) if pretrained else {}
        content = {"tokenizer": digest_contents(tokenizer), "weights": weights}
    revision = commit.get("commit") or digest_json(content)[:16]
    shape = {key: value for key, value in config.items() if key not in _VOLATILE}
    digest = digest_json({"init": request.init, "model_type": model_type, "config": shape, **content})
    name = request.name
    if source.startswith("folder:"):
        name = folder.resolve().name  # however the path is spelled
    warnings: tuple[str, ...] = ()
    if "auto_map" in raw:
        warnings = (
            f"{source} brings code of its own (auto_map in config.json), which is never run: its model is "
            f"transformers' own {model_type}",
        )
    if not commit and request.revision is not None:
        warnings += (f"Revision '{request.revision}' was not checked: {source} is a folder, which has no revisions.",)
    return Resolved(name, request.init, model_type, config, folder, revision, digest, source, warnings)


def find_package_folder(package: str) -> Path | None:
    """Return the folder of an installed package's files, ``importable/sub/folder``, without importing the package."""
    name, _, below = package.partition("/")
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / below
    return folder if folder.is_dir() else None


def _not_found(name: str) -> UserError:
    separators = {os.sep, os.altsep or os.sep, "/"}
    if name.startswith(("~", ".")) or any(mark in name for mark in separators):
        path = expand_home(name)
        why = f"{name} is not a folder." if os.path.exists(path) else f"There is no folder {name}."
        return BackboneError(
            f"{why} Give one that a model was saved to, a hub id, or a name from `bench list backbones`."
        )
    return make_unknown_error("backbone", name, BACKBONES)
