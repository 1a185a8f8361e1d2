"""What the hub can do to a run: be slow, be closed, serve damaged files or code. One line, and never code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from backbones import hubcalls
from backbones.errors import UserError
from backbones.hubcalls import is_offline, keep_offline
from backbones.load import BackboneRequest, load_backbone
from bench.errors import DataError
from bench.tasks import get_task
from bench.tasks.base import LoadOptions
from tests.helpers.models.model_folders import COMMIT, HUB_ID, ask, save_model


class ReadTimeout(Exception):
    """Named as HTTP libraries name theirs."""


class Answer:
    """An HTTP response, as far as it is looked at."""

    def __init__(self, status: int) -> None:
        self.status_code = status


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = Answer(status)


def wrapped(cause: Exception) -> Exception:
    """An error of the client's own that hides what happened."""
    error = ValueError("cannot find the file and did not reach the hub")
    error.__cause__ = cause
    return error


PASSING = {
    "time-out": (ReadTimeout("slow"), True),
    "reset": (ConnectionResetError("reset"), True),
    "hidden time-out": (wrapped(ReadTimeout("slow")), True),
    "busy": (HttpError(503), True),
    "too many": (HttpError(429), True),
    "forbidden": (HttpError(403), False),
    "no file": (FileNotFoundError("gone"), False),
    "offline": (huggingface_hub.errors.OfflineModeIsEnabled("offline"), False),
}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting; how long it would have been."""
    found: list[float] = []
    monkeypatch.setattr(hubcalls.time, "sleep", found.append)
    monkeypatch.setattr(hubcalls, "_silent", False)
    return found


def failing(error: Exception, times: int) -> Callable[..., Any]:
    calls = iter([error] * times)

    def call(*_: object, **__: object) -> str:
        for found in calls:
            raise found
        return "there"

    return call


@pytest.mark.parametrize("case", PASSING)
def test_what_may_pass_is_tried_again(case: str, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    error, passes = PASSING[case]
    if passes:
        assert hubcalls.retry_call("a model", failing(error, 2)) == "there"
        assert waits == list(hubcalls.WAITS[:2])
        assert len(caplog.messages) == 2
        assert caplog.messages[0].startswith("a model: the hub did not answer (")
    else:
        with pytest.raises(type(error)):
            hubcalls.retry_call("a model", failing(error, 1))
        assert waits == []


def test_a_hub_that_never_answers(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", failing(wrapped(ReadTimeout("slow")), 99))
    with pytest.raises(UserError, match=r"Cannot reach the hub for .*\(ReadTimeout\).*run the same command again"):
        load_backbone(BackboneRequest(HUB_ID))
    assert waits == list(hubcalls.WAITS)


def test_what_can_be_done_without_is_asked_for_once(waits: list[float]) -> None:
    with hubcalls.ask_once(), pytest.raises(ReadTimeout):
        hubcalls.retry_call("data", failing(ReadTimeout("slow"), 1))
    assert waits == []
    assert hubcalls.retry_call("data", failing(ReadTimeout("slow"), 1)) == "there"
    assert waits == [hubcalls.WAITS[0]]


def test_a_hub_that_never_answers_is_waited_for_once(waits: list[float]) -> None:
    for _ in range(3):
        with pytest.raises(ReadTimeout):
            hubcalls.retry_call("data", failing(ReadTimeout("slow"), 99))
    assert waits == list(hubcalls.WAITS)
    assert hubcalls.retry_call("data", failing(ReadTimeout("slow"), 0)) == "there"
    assert hubcalls.retry_call("data", failing(ReadTimeout("slow"), 1)) == "there"
    assert waits == [*hubcalls.WAITS, hubcalls.WAITS[0]]


def test_the_reason_is_the_call_and_not_the_cache() -> None:
    found = ConnectionError("no answer")
    found.__context__ = FileNotFoundError("not cached")
    assert hubcalls.name_cause(found) == "ConnectionError"
    assert hubcalls.name_cause(FileNotFoundError("gone")) == "FileNotFoundError"


def test_a_hub_that_answers_in_the_end(waits: list[float], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ReadTimeout("slow"), ReadTimeout("slow"), *[None] * 9])

    def download(*_: object, **__: object) -> str:
        error = next(answers)
        if error is not None:
            raise error
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_backbone(BackboneRequest(HUB_ID)).source == f"hub:{HUB_ID}"
    assert len(waits) == 2


def test_data_from_a_hub_that_does_not_answer(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", failing(ConnectionError("slow"), 99))
    with pytest.raises(DataError, match=r"not at hand \(the hub does not answer: ConnectionError\).*--hub-root"):
        get_task("imdb").load(LoadOptions())
    assert waits == list(hubcalls.WAITS)


def test_data_that_are_gated_or_gone(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    error = datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub.")
    monkeypatch.setattr(datasets, "load_dataset", failing(error, 1))
    with pytest.raises(DataError, match=r"gated, private or not on the hub: accept its terms at https://.*log in"):
        get_task("imdb").load(LoadOptions())
    assert waits == []


# --------------------------------------------------------------------------- weights and their digest


def cached(snapshot: Path) -> Path:
    """A model in the hub's cache: its weights are a link to a file named by their SHA-256, which is returned."""
    save_model(snapshot)
    weights = snapshot / "model.safetensors"
    content = weights.read_bytes()
    blob = snapshot.parents[1] / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(content)
    weights.unlink()
    weights.symlink_to(blob)
    return blob


def test_weights_are_checked_against_their_digest(hub_cache: Path) -> None:
    blob = cached(hub_cache)
    asked = BackboneRequest(HUB_ID, offline=True, revision=COMMIT)
    assert load_backbone(asked).revision == COMMIT
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1  # safetensors' own parser does not mind
    blob.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged \(its SHA-256 differs\): delete .*run the same command") as caught:
        load_backbone(asked)
    assert "\n" not in str(caught.value)


def test_offline_nothing_is_waited_for(waits: list[float]) -> None:
    with hubcalls.keep_offline(), pytest.raises(ConnectionError):
        hubcalls.retry_call("data", failing(ConnectionError("offline"), 99))
    assert waits == []


# --------------------------------------------------------------------------- code that comes with a model


def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    wanted = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": wanted}))
    loaded = load_backbone(ask(folder))
    assert loaded.encoder.num_layers == 3
    assert loaded.tokenizer("the cat")["input_ids"]
    assert not mark.exists()


def test_a_model_that_is_only_code_is_refused(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    with pytest.raises(UserError) as caught:
        load_backbone(ask(folder))
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("before", [None, "0"])
def test_offline_holds_for_a_while_here_and_in_processes(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if before is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", before)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with keep_offline(False):
        assert (os.environ.get("HF_HUB_OFFLINE"), constants.is_offline_mode()) == (before, False)
    with keep_offline():
        assert (os.environ["HF_HUB_OFFLINE"], constants.is_offline_mode(), is_offline()) == ("1", True, True)
    assert (os.environ.get("HF_HUB_OFFLINE"), constants.is_offline_mode(), is_offline()) == (before, False, False)
