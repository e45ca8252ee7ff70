"""A small catalogue built by the real pipeline, the service over it in this process, and what its tests share."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from sounds import encoded, noise, tone
from starlette.testclient import TestClient
from starlette.types import Message

from audiorec.api.app import create_app
from audiorec.nearest import Nearest
from audiorec.settings import Settings

JSON = {"Content-Type": "application/json"}
N_CLIPS = 40
ODD_IDS = (  # in place of the first clips' paths
    "a folder/with spaces/clip one.wav",
    "folder/ünïcödé 名前/クリップ.wav",
    "emoji 🎧👩‍🚀.wav",
    "100%.wav",
    "looks%2Fencoded%20.wav",
    "what?.wav?k=3",
    "hash#tag.wav",
    "plus+and&=;,.wav",
    "quo\"te's\\back.wav",
    "tab\tand\nnewline.wav",
    "//two slashes//",
    "cafe\u0301 is not caf\u00e9",
)
ARTISTS = ("Ada", "Björk & Co", "", "Ada", "Çelik; and Sons")
LABELS = ("dog", "cat", "dog;cat", "", "hotdog")


@dataclass(frozen=True)
class Catalogue:
    """audio_dir: the clips, with a labels.csv whose rows are `rows`, as text, in the order of the files."""

    audio_dir: Path
    model_dir: Path
    rows: list[dict[str, str]]

    def sound(self, clip_id: str) -> bytes:
        """The file that became a clip."""
        (path,) = (row["path"] for row in self.rows if row["clip_id"] == clip_id)
        return (self.audio_dir / path).read_bytes()


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    from audiorec.build import build  # and torch, which most test files do without

    folder = tmp_path_factory.mktemp("service")
    audio_dir = folder / "clips"
    rows = [_row(number) for number in range(N_CLIPS)]
    for number, row in enumerate(rows):
        path = audio_dir / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        length_s = 0.2 + 0.02 * number
        sound = tone(length_s, 110 * 1.12**number) + 0.2 * noise(length_s, seed=number % 7)
        path.write_bytes(encoded(sound))
    with (audio_dir / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    built = build(audio_dir, folder / "model", encoder="MeanMel", n_workers=2, baselines=False)
    assert not built.conversion.refusals
    return Catalogue(audio_dir, folder / "model", rows)


def _row(number: int) -> dict[str, str]:
    path = f"{'ab'[number % 2]}/clip {number:02}.wav"
    return {
        "path": path,
        "clip_id": ODD_IDS[number] if number < len(ODD_IDS) else path,
        "label": LABELS[number % len(LABELS)],
        "artist": ARTISTS[number % len(ARTISTS)],
        "title": f"Take\t{number}\nof “many” 🎶" if number % 3 == 0 else f"Take {number}",
        "url": f"https://clips.example/{number}",
        "bpm": "" if number % 8 == 7 else str(60 + number),
        "gain_db": f"{-number / 4}",
        "mood": ("calm", "wild", "")[number % 3],
    }


@pytest.fixture(scope="session")
def nearest(catalogue: Catalogue) -> Nearest:
    """The same release, opened by the library: what the service must agree with."""
    return Nearest(catalogue.model_dir)


@pytest.fixture(scope="session")
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    """The service with every setting at its default."""
    with serving(catalogue) as client:
        yield client


@contextmanager
def serving(catalogue: Catalogue, **settings: Any) -> Iterator[TestClient]:
    """The service in this process. An exception that nothing handles is answered, not raised."""
    app = create_app(Settings.load(model_dir=catalogue.model_dir, **settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, query: Any, path: str = "/nearest", /, **parameters: Any) -> httpx2.Response:
    """POST of JSON: an object, or the text of a body."""
    body = query if isinstance(query, str | bytes) else json.dumps(query)
    return client.post(path, content=body, headers=JSON, params=parameters)


def results_of(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def ids_of(response: httpx2.Response) -> list[str]:
    return [result["clip_id"] for result in results_of(response)]


def refusal(response: httpx2.Response, status: int, code: str) -> str:
    """The message of an error, after a look at its shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return message_of(response.json(), code, response.headers["x-request-id"])


def message_of(body: Any, code: str, request_id: str) -> str:
    """The one shape of errors: exactly these fields, a message that says something and holds no path of the server."""
    assert list(body) == ["error"]
    error = body["error"]
    assert list(error) == ["code", "message", "request_id"]
    assert error["code"] == code, error
    assert error["request_id"] == request_id != ""
    message = error["message"]
    assert 10 < len(message) < 600
    for secret in ("/tmp", str(Path(__file__).parents[1]), "Traceback", "site-packages", ".py"):
        assert secret not in message, message
    assert isinstance(message, str)
    return message


def unit(vector: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(D,) float64 of length 1."""
    vector = np.asarray(vector, np.float64)
    result: np.ndarray[Any, np.dtype[np.float64]] = vector / np.linalg.norm(vector)
    return result


@asynccontextmanager
async def started(catalogue: Catalogue, **settings: Any) -> AsyncIterator[FastAPI]:
    """The application after its start, in the running loop."""
    app = create_app(Settings.load(model_dir=catalogue.model_dir, **settings))
    async with app.router.lifespan_context(app):
        yield app


class Connection:
    """One request by raw ASGI: the test decides when each part of the body arrives, and when the client leaves."""

    def __init__(
        self, app: FastAPI, path: str, headers: dict[str, str], method: str = "POST", query: bytes = b""
    ) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._sent: list[Message] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "server": ("test", 80),
            "client": ("client", 1),
            "state": {},
        }
        self.task = asyncio.create_task(app(scope, self._incoming.get, self._send))

    async def _send(self, message: Message) -> None:
        self._sent.append(message)

    def send(self, body: bytes, *, more: bool = False) -> None:
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def answer(self) -> httpx2.Response:
        await asyncio.wait_for(self.task, 30)
        start, *parts = self._sent
        body = b"".join(part["body"] for part in parts)
        return httpx2.Response(start["status"], headers=start["headers"], content=body)


def children_of(pid: int) -> set[int]:
    """The processes that a process has started and that have not been waited for."""
    children = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                parent_pid = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent_pid) == pid:
                    children.add(int(entry.name))
    return children
