"""Models by name: directories as they are, ids from the hub's cache or the hub, and a word about all that fails."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from audiorec import hub
from audiorec.errors import BadModel
from audiorec.hub import local_model, wanted_files

WHAT = "a wav2vec2 model"
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that is nowhere unless a test says where."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    return tmp_path / "cache"


def in_cache(cache: Path, model_id: str) -> Path:
    """As the hub's own library keeps one."""
    folder = cache / f"models--{model_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / SHA
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(SHA)
    (snapshot / "config.json").write_text("{}")
    return snapshot


@pytest.mark.parametrize("name", hub.MODEL_FILES)
def test_a_directory_is_itself(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner/model").mkdir(parents=True)
    (tmp_path / "owner/model" / name).write_text("{}")
    assert local_model(str(tmp_path / "owner/model"), what=WHAT) == tmp_path / "owner/model"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_from_hub", None)  # whoever asked it would fail
    for source in ("owner/model", "./owner/model", "~/owner/model"):
        assert local_model(source, what=WHAT).resolve() == tmp_path / "owner/model"


@pytest.mark.parametrize("source", ["/nowhere/model", "./model", "../model", "~/model", "~nobody-at-all/model"])
def test_a_path_is_never_asked_of_the_hub(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_from_hub", None)
    with pytest.raises(BadModel, match=f"got no directory '{source}', expected {WHAT}"):
        local_model(source, what=WHAT)


def test_what_is_no_directory_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        BadModel, match=r"got a file '.*model\.safetensors', expected the directory of a wav2vec2 model"
    ):
        local_model(str(tmp_path / "model.safetensors"), what=WHAT)
    with pytest.raises(BadModel, match=r"with neither config\.json nor model_index\.json, expected a wav2vec2 model"):
        local_model(str(tmp_path), what=WHAT)


@pytest.mark.parametrize(
    "source", ["", "a b", "a/b/c", "owner/na..me", "x" * 200, "x/" * 3_000, "/" + "x" * 3_000, "a\0b", "./a\0b"]
)
def test_what_is_no_id_either(source: str) -> None:
    with pytest.raises(BadModel):
        local_model(source, what=WHAT)


def test_a_hub_that_refuses() -> None:
    with pytest.raises(BadModel, match=r"127\.0\.0\.1:1 cannot be reached.*hf download owner/model --local-dir DIR"):
        local_model("owner/model", what=WHAT)


def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection, and that is all it does."""
    monkeypatch.setattr(hub, "WAIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(BadModel, match=r"cannot be reached .*Time.*Pass a directory instead"):
            local_model("owner/model", what=WHAT)


def test_a_name_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for one waits longer than any limit on HTTP."""
    released = threading.Event()
    monkeypatch.setattr(hub, "WAIT_S", 0.2)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: released.wait(60))
    start = time.monotonic()
    try:
        with pytest.raises(BadModel, match=r"TimeoutError: no answer within 0\.2 s"):
            local_model("owner/model", what=WHAT)
        assert time.monotonic() - start < 30
    finally:
        released.set()


def test_what_is_in_the_cache_needs_no_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = in_cache(cache, "owner/model")
    assert local_model("owner/model", what=WHAT) == snapshot
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert local_model("owner/model", what=WHAT) == snapshot


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)
    with pytest.raises(BadModel, match="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE"):
        local_model("owner/model", what=WHAT)


class Hub(http.server.BaseHTTPRequestHandler):
    """So much of the hub's interface as a download needs: one repository, and no others."""

    FILES = {  # noqa: RUF012
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same again",
        "tf_model.h5": b"and again",
    }
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/api/models/owner/model/tree"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": SHA} for name, content in self.FILES.items()
            ]
            self._answer(200, json.dumps(entries).encode())
        elif self.path.startswith("/api/models/owner/model"):
            siblings = [{"rfilename": name} for name in self.FILES]
            self._answer(200, json.dumps({"id": "owner/model", "sha": SHA, "siblings": siblings}).encode())
        elif (name := self.path.rpartition("/")[2]) in self.FILES and self.path.startswith("/owner/model/resolve/"):
            self._answer(200, self.FILES[name])
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        facts = {"Content-Length": str(len(body)), "ETag": f'"{hash(body)}"', "X-Repo-Commit": SHA, **(headers or {})}
        for name, value in facts.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub with one model. Returns what it is asked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    Hub.asked.clear()
    yield Hub.asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download(served: list[str], cache: Path) -> None:
    path = local_model("owner/model", what=WHAT)
    assert path.is_relative_to(cache)
    assert {file.name for file in path.iterdir()} == {"config.json", "model.safetensors"}
    assert (path / "model.safetensors").read_bytes() == b"weights"


def test_a_model_that_the_hub_does_not_have(served: list[str]) -> None:
    with pytest.raises(BadModel, match=r"got 'owner/other', expected a wav2vec2 model.*hf auth login"):
        local_model("owner/other", what=WHAT)


def test_a_download_that_stops(served: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopping(*_: object, **__: object) -> str:
        raise ConnectionError("reset by peer")

    monkeypatch.setattr("huggingface_hub.snapshot_download", stopping)
    with pytest.raises(BadModel, match=r"only a part of 'owner/model' .*reset by peer.*goes on where it stopped"):
        local_model("owner/model", what=WHAT)


def test_which_files_a_model_is_loaded_from() -> None:
    small = ["config.json", "README.md", "tokenizer/vocab.json"]
    assert wanted_files([*small, "pytorch_model.bin", "tf_model.h5"]) == [*small, "pytorch_model.bin"]
    split = ["unet/model.safetensors", "unet/model.bin", "vae/model.bin", "flax_model.msgpack"]
    assert wanted_files(split) == ["unet/model.safetensors", "vae/model.bin"]
