"""Uploaded sounds: every form they come in, one recipe whatever the door, and all that can go wrong on the way."""

import asyncio
import gc
import json
import logging
import os
import random
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from api_fixtures import (
    JSON,
    ODD_IDS,
    Catalogue,
    Connection,
    ask,
    children_of,
    ids_of,
    message_of,
    refusal,
    results_of,
    serving,
    started,
)
from fastapi import FastAPI
from sounds import BAD, bursts, encoded, noise, tone
from starlette.testclient import TestClient

from audiorec.api.schemas import Answer, EmbeddingAnswer
from audiorec.api.uploads import Uploads
from audiorec.build import build
from audiorec.nearest import Nearest, embed_file

ID = "b/clip 21.wav"
WAV = {"Content-Type": "audio/wav"}
BOUNDARY = "a-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
MAX_DISTANCE = 1e-4  # in cosine, between one door and another


def post_raw(client: TestClient, sound: bytes, path: str = "/nearest", **parameters: Any) -> httpx2.Response:
    return client.post(path, content=sound, headers=WAV, params=parameters)


def post_form(client: TestClient, sound: bytes, path: str = "/nearest", **parameters: Any) -> httpx2.Response:
    return client.post(path, files={"file": ("a song.wav", sound)}, params=parameters)


def part(content: bytes, disposition: str = 'form-data; name="file"; filename="a.wav"') -> bytes:
    return b"--%s\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), disposition.encode(), content)


END = f"--{BOUNDARY}--\r\n".encode()


def vector_of(response: httpx2.Response) -> list[float]:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert list(answer) == ["embedding", "query", "release", "took_ms"]
    EmbeddingAnswer.model_validate(answer, strict=True)
    vector: list[float] = answer["embedding"]
    return vector


class TestForms:
    @pytest.mark.parametrize("clip_id", [ID, *ODD_IDS[:2]])
    def test_a_clip_of_the_catalogue_finds_itself_by_every_door(
        self, client: TestClient, nearest: Nearest, catalogue: Catalogue, clip_id: str
    ) -> None:
        sound = catalogue.sound(clip_id)
        raw, form = post_raw(client, sound), post_form(client, sound)
        first = results_of(raw)[0]
        assert first["clip_id"] == clip_id
        assert first["similarity"] >= 1 - MAX_DISTANCE
        assert results_of(raw) == results_of(form)
        vector = vector_of(post_form(client, sound, "/embed"))
        assert vector == vector_of(post_raw(client, sound, "/embed"))
        assert len(vector) == nearest.release.dim
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        assert results_of(ask(client, {"embedding": vector})) == results_of(raw)
        assert np.dot(vector, nearest.release.embeddings[nearest.release.metadata.row_of(clip_id)]) >= 1 - MAX_DISTANCE

    def test_the_answer_says_what_was_heard(self, client: TestClient) -> None:
        answer = post_form(client, encoded(bursts(21.0, 5))).json()
        assert list(answer) == ["results", "query", "release", "took_ms"]
        assert answer["query"] == {"kind": "sound", "n_windows": 3, "duration_s": 21.0}
        assert len(answer["results"]) == 10
        Answer.model_validate(answer, strict=True)
        assert post_form(client, encoded(tone(0.25)), "/embed").json()["query"] == {
            "kind": "sound",
            "n_windows": 1,
            "duration_s": 0.25,
        }

    @pytest.mark.parametrize(
        "media_type",
        [
            "audio/wav",
            "audio/x-nonsense",
            "AUDIO/MPEG",
            "video/mp4",
            "application/octet-stream",
            "audio/ogg; codecs=opus",
        ],
    )
    def test_the_media_type_of_a_raw_sound_is_not_believed(
        self, client: TestClient, catalogue: Catalogue, media_type: str
    ) -> None:
        response = client.post("/nearest", content=catalogue.sound(ID), headers={"Content-Type": media_type})
        assert ids_of(response)[0] == ID

    def test_options_stand_in_the_query_string(
        self, client: TestClient, nearest: Nearest, catalogue: Catalogue
    ) -> None:
        sound = catalogue.sound(ID)
        wanted = {"label": ["dog", "cat"], "bpm": {"gte": 62}}
        options: dict[str, Any] = {"k": 7, "exclude": [ID, ODD_IDS[3]], "max_per_artist": 2}
        parameters = {**options, "filter": json.dumps(wanted)}
        vector = vector_of(post_raw(client, sound, "/embed"))
        expected = nearest.search(vector, filter=wanted, **options).to_dicts()
        assert len(expected) == 7
        assert results_of(post_raw(client, sound, **parameters)) == expected
        assert results_of(post_form(client, sound, **parameters)) == expected

    def test_wrong_options_are_refused_before_the_sound_is_read(self, client: TestClient) -> None:
        for parameters in ({"k": 0}, {"filter": '{"nope": 1}'}, {"max_per_artist": 0}):
            refusal(post_raw(client, b"no sound at all", **parameters), 422, "bad_query")

    def test_a_field_of_any_file_name(self, client: TestClient, catalogue: Catalogue) -> None:
        for name in ("", "../../etc/passwd", "名前 🎧.wav", 'a"b;c.wav', "x" * 2_000):
            response = client.post("/nearest", files={"file": (name or "-", catalogue.sound(ID), "text/plain")})
            assert ids_of(response)[0] == ID
        body = part(catalogue.sound(ID), 'form-data; name="file"; filename=""') + END
        assert ids_of(client.post("/nearest", content=body, headers=FORM))[0] == ID

    def test_a_form_larger_than_what_is_kept_in_memory_elsewhere(self, client: TestClient) -> None:
        sound = encoded(noise(120.0))
        assert len(sound) > 3 * 2**20
        assert post_form(client, sound).json()["query"]["duration_s"] == 120.0


class TestBadForms:
    @pytest.mark.parametrize("path", ["/nearest", "/embed"])
    @pytest.mark.parametrize(
        ("body", "fragment"),
        [
            (b"", "no whole field in it"),
            (END, "no whole field in it"),
            (b"garbage", "cannot be read"),
            (part(b"x", 'form-data; name="file"') + END, "text in the field 'file'"),
            (part(b"x", 'form-data; name="sound"; filename="a.wav"') + END, "got the form field 'sound'"),
            (part(b"x", 'form-data; name="k"') + END, "got the form field 'k', expected 'file' alone"),
            (part(b"x") + part(b"5", 'form-data; name="k"') + END, "got the form field 'k', expected 'file' alone"),
            (part(b"x") + part(b"x") + END, "two files"),
            (part(b"x", 'form-data; name="a"') * 30 + END, "got the form field 'a'"),
            (part(b"x", f'form-data; name="file"; filename="{"a" * 9_000}"') + END, "Maximum header size exceeded"),
            (b"--" + BOUNDARY.encode() + b"\r\nA: b" * 99 + b"\r\n\r\nx\r\n" + END, "Maximum header count exceeded"),
            (part(b"x" * 2**21, 'form-data; name="k"') + END, "got the form field 'k'"),
            (part(b"x", 'form-data; filename="a.wav"') + END, "got the form field ''"),
            (b"--%s\r\n\r\nx\r\n" % BOUNDARY.encode() + END, "got the form field ''"),
            (part(b"x") + b"--%s\r\n\r\nx\r\n" % BOUNDARY.encode() + END, "got the form field ''"),
            (b"--" + BOUNDARY.encode() + b"\nContent-Disposition: x\n\nx\n", "cannot be read"),
        ],
    )
    def test_refused(self, client: TestClient, path: str, body: bytes, fragment: str) -> None:
        assert fragment in refusal(client.post(path, content=body, headers=FORM), 422, "bad_query")

    @pytest.mark.parametrize(
        "media_type",
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 500],
    )
    def test_without_a_boundary_that_can_be_one(self, client: TestClient, media_type: str) -> None:
        response = client.post("/nearest", content=part(b"x") + END, headers={"Content-Type": media_type})
        assert "form" in refusal(response, 422, "bad_query")

    def test_truncated_anywhere(self, client: TestClient, catalogue: Catalogue) -> None:
        sound = catalogue.sound(ID)
        whole = part(sound) + END
        n_end = len(END) - 4  # without "--\r\n" the field is whole, and the form is still not
        cuts = [*range(1, 90), 1_000, len(whole) // 2, *range(len(whole) - n_end - 6, len(whole) - n_end + 1)]
        for cut in cuts:
            response = client.post("/nearest", content=whole[:cut], headers=FORM)
            if response.status_code == 200:
                assert cut >= len(part(sound)) + len(BOUNDARY)
            else:
                assert "got a form" in refusal(response, 422, "bad_query"), cut

    def test_damaged_anywhere(self, client: TestClient) -> None:
        rng = random.Random(0)
        sound = encoded(tone(0.05))
        whole = part(sound) + END
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                position = rng.choice([rng.randrange(len(whole)), rng.randrange(80), len(whole) - rng.randint(1, 20)])
                damaged[position : position + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 3))
            response = client.post("/nearest", content=bytes(damaged), headers=FORM)
            assert response.status_code in (200, 422)
            if response.status_code == 422:
                message_of(response.json(), response.json()["error"]["code"], response.headers["x-request-id"])

    def test_an_empty_upload(self, client: TestClient) -> None:
        for path in ("/nearest", "/embed"):
            assert "got an empty upload" in refusal(post_raw(client, b"", path), 422, "empty")
            assert "got an empty upload" in refusal(post_form(client, b"", path), 422, "empty")


class TestLimits:
    def test_a_body_over_the_limit_with_its_length_declared_is_refused_unread(self, catalogue: Catalogue) -> None:
        async def scenario() -> None:
            async with started(catalogue) as app:
                for path, headers in (("/nearest", WAV), ("/nearest", FORM), ("/embed", WAV), ("/nearest/batch", {})):
                    lengths = {"Content-Length": "33554433", "Content-Type": "application/json"} | headers
                    connection = Connection(app, path, lengths)  # and not one byte comes
                    message = refusal(await connection.answer(), 413, "body_too_large")
                    assert message == "got a body of 33,554,433 bytes or more, expected at most 33,554,432"

        asyncio.run(scenario())

    @pytest.mark.parametrize("headers", [WAV, FORM, {**WAV, "Content-Length": "10"}], ids=["raw", "form", "lying"])
    def test_a_body_over_the_limit_is_refused_as_it_arrives(
        self, catalogue: Catalogue, headers: dict[str, str]
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue, max_body_bytes=100_000) as app:
                connection = Connection(app, "/nearest", headers)
                connection.send(part(b"x" * 50_000), more=True)
                connection.send(b"x" * 60_000, more=True)  # and never the end
                assert "expected at most 100,000" in refusal(await connection.answer(), 413, "body_too_large")

        asyncio.run(scenario())

    def test_a_body_of_exactly_the_limit_is_read(self, catalogue: Catalogue) -> None:
        sound = catalogue.sound(ID)
        for limit, status in ((len(sound), 200), (len(sound) - 1, 413)):
            with serving(catalogue, max_body_bytes=limit) as client:
                assert post_raw(client, sound).status_code == status

    def test_all_bodies_together_are_bounded(self, catalogue: Catalogue) -> None:
        async def scenario() -> None:
            async with started(catalogue, max_bodies_bytes=2**20) as app:
                first, second = (Connection(app, "/nearest", WAV) for _ in range(2))
                first.send(bytes(700_000), more=True)
                await settled()
                second.send(bytes(700_000), more=True)
                response = await second.answer()
                assert "more uploads at once than fit into memory" in refusal(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
                third = Connection(app, "/nearest", WAV)  # what the second held is free again
                third.send(catalogue.sound(ID))
                assert ids_of(await third.answer())[0] == ID
                first.leave()
                assert (await first.answer()).status_code == 499
                fourth = Connection(app, "/nearest", WAV)  # and what the first held
                fourth.send(bytes(700_000), more=True)
                fourth.send(b"")
                refusal(await fourth.answer(), 422, "undecodable")

        asyncio.run(scenario())

    @pytest.mark.parametrize("leave_early", [False, True])
    def test_a_body_is_freed_with_its_request(self, catalogue: Catalogue, leave_early: bool) -> None:
        """At once: what waits for the garbage collector counts as free, and is not."""
        sound = b"no sound" * 2**18
        json_body = b'{"clip_id": "%s"}' % (b"x" * 2**20)

        async def ask_all(app: FastAPI) -> None:
            for body, headers in ((sound, WAV), (part(sound) + END, FORM), (json_body, JSON)):
                connection = Connection(app, "/nearest", headers)
                connection.send(body[: 2**20], more=True)
                connection.leave() if leave_early else connection.send(body[2**20 :])
                assert (await connection.answer()).status_code in ((499,) if leave_early else (404, 422))

        async def scenario() -> None:
            async with started(catalogue) as app:
                await ask_all(app)
                gc.collect()
                gc.disable()
                tracemalloc.start()
                await ask_all(app)
                assert tracemalloc.get_traced_memory()[1] > 2**20
                # the thread that decoded may hold its sound for a moment longer
                await eventually(lambda: tracemalloc.get_traced_memory()[0] < 2**18)

        try:
            asyncio.run(scenario())
        finally:
            tracemalloc.stop()
            gc.enable()

    def test_seconds_of_sound_are_bounded(self, catalogue: Catalogue) -> None:
        with serving(catalogue, max_upload_s=1.5) as client:
            assert len(results_of(post_raw(client, encoded(tone(1.4))))) == 10
            assert "expected at most 1.5 s" in refusal(post_raw(client, encoded(tone(4.0))), 422, "too_long")

    def test_uploads_at_once_are_bounded(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        sound = catalogue.sound(ID)
        with serving(catalogue, encode_queue=2) as client, ThreadPoolExecutor(2) as pool, held_decoding.until_left():
            waiting = [pool.submit(post_raw, client, sound) for _ in range(2)]
            wait_until(lambda: in_progress(client) == 2)
            for post in (post_raw, post_form):
                response = post(client, sound)
                assert "got more than 2 uploads at once" in refusal(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
            assert len(results_of(ask(client, {"clip_id": ID}))) == 10  # searches go on
            held_decoding.end()
            assert [ids_of(request.result())[0] for request in waiting] == [ID, ID]
            assert ids_of(post_raw(client, sound))[0] == ID
            assert in_progress(client) == 0


class TestClientsWhoLeave:
    """Nobody reads these answers. What counts is that nothing is logged, held or done for nobody."""

    @pytest.fixture(autouse=True)
    def _silence(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        yield
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    @pytest.mark.parametrize("headers", [WAV, FORM, {"Content-Type": "application/json"}], ids=["raw", "form", "JSON"])
    def test_in_the_middle_of_a_body(self, catalogue: Catalogue, headers: dict[str, str]) -> None:
        async def scenario() -> None:
            async with started(catalogue) as app:
                for n_parts in range(3):
                    connection = Connection(app, "/nearest", headers)
                    for sent in (part(b"x" * 9)[:-5], b"more of it")[:n_parts]:
                        connection.send(sent, more=True)
                    connection.leave()
                    assert (await connection.answer()).status_code == 499
                await still_works(app, catalogue)

        asyncio.run(scenario())

    def test_while_they_wait_for_their_turn(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=2) as app:
                first, second = (Connection(app, "/nearest", WAV) for _ in range(2))
                first.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                second.send(catalogue.sound(ID))
                await settled()
                second.leave()
                held_decoding.end()
                assert ids_of(await first.answer())[0] == ID
                assert (await second.answer()).status_code == 499
                assert held_decoding.n_begun == 1  # nothing was decoded for the one who left
                await still_works(app, catalogue)

        with held_decoding.until_left():
            asyncio.run(scenario())

    def test_while_their_sound_is_decoded(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        encoded_for: list[Any] = []

        async def scenario() -> None:
            async with started(catalogue, encode_queue=1) as app:
                app.state.service.uploads._encode = lambda *arguments: encoded_for.append(arguments)
                connection = Connection(app, "/nearest", WAV)
                connection.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                connection.leave()
                held_decoding.end()
                assert (await connection.answer()).status_code == 499
                assert encoded_for == []
                del app.state.service.uploads._encode
                await still_works(app, catalogue)

        with held_decoding.until_left():
            asyncio.run(scenario())

    def test_while_their_sound_is_encoded(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, may_end = threading.Event(), threading.Event()
        encode = Uploads._encode

        def held_encode(*arguments: Any) -> Any:
            begun.set()
            assert may_end.wait(30)
            return encode(*arguments)

        async def scenario() -> None:
            async with started(catalogue, encode_queue=1) as app:
                connection = Connection(app, "/nearest", WAV)
                connection.send(catalogue.sound(ID))
                await eventually(begun.is_set)
                connection.leave()
                may_end.set()
                await connection.answer()
                await still_works(app, catalogue)

        monkeypatch.setattr(Uploads, "_encode", held_encode)
        asyncio.run(scenario())


class TestDecoders:
    def test_one_that_is_killed_while_it_is_idle_is_replaced(self, catalogue: Catalogue) -> None:
        with decoding_by_one(catalogue) as (client, decoder_pid):
            os.kill(decoder_pid, signal.SIGKILL)
            # Not by /proc: its first thread may be a zombie while others still end, and then it cannot be waited for.
            wait_until(lambda: os.waitid(os.P_PID, decoder_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
            assert ids_of(post_raw(client, catalogue.sound(ID)))[0] == ID

    def test_one_that_is_killed_under_an_upload_costs_that_upload(self, catalogue: Catalogue) -> None:
        sound = catalogue.sound(ID)
        with decoding_by_one(catalogue) as (client, decoder_pid), ThreadPoolExecutor(1) as pool:
            os.kill(decoder_pid, signal.SIGSTOP)
            request = pool.submit(post_raw, client, sound)
            wait_until(lambda: in_progress(client) == 1)
            os.kill(decoder_pid, signal.SIGKILL)
            assert "made the decoder stop" in refusal(request.result(), 422, "decoder_crashed")
            assert ids_of(post_raw(client, sound))[0] == ID
            assert in_progress(client) == 0

    def test_one_that_takes_too_long_is_ended(self, catalogue: Catalogue) -> None:
        sound = catalogue.sound(ID)
        with decoding_by_one(catalogue, decode_wall_s=2.0) as (client, decoder_pid):
            os.kill(decoder_pid, signal.SIGSTOP)
            assert "more than 2 s to decode" in refusal(post_raw(client, sound), 422, "decode_timeout")
            assert ids_of(post_raw(client, sound))[0] == ID

    def test_none_is_left_after_the_service(self, catalogue: Catalogue) -> None:
        with decoding_by_one(catalogue) as (_, decoder_pid):
            assert decoder_pid in children_of(os.getpid())
        assert decoder_pid not in children_of(os.getpid())


@pytest.fixture(scope="module")
def good(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Nearest]]:
    """A service whose catalogue is the folder of good files itself."""
    model_dir = tmp_path_factory.mktemp("formats") / "model"
    built = build(shared / "formats" / "good", model_dir, encoder="MeanMel", n_workers=2, baselines=False)
    assert not built.conversion.refusals
    with serving(Catalogue(shared / "formats" / "good", model_dir, [])) as client:
        yield client, Nearest(model_dir)


class TestRealFiles:
    def test_good_ones_give_one_vector_by_every_door(self, good: tuple[TestClient, Nearest], shared: Path) -> None:
        client, nearest = good
        paths = sorted((shared / "formats" / "good").iterdir())
        assert len(paths) == len(nearest.release.embeddings) >= 14
        for path in paths:
            sound = path.read_bytes()
            of_build = nearest.release.embeddings[nearest.release.metadata.row_of(path.name)]
            for vector in (vector_of(post_form(client, sound, "/embed")), embed_file(path, nearest.release).vector):
                assert np.dot(vector, of_build) >= 1 - MAX_DISTANCE, path.name
            first = results_of(post_raw(client, sound, k=1))[0]
            assert (first["clip_id"], first["similarity"] >= 1 - MAX_DISTANCE) == (path.name, True)

    @pytest.mark.parametrize(("name", "code"), BAD.items())
    def test_bad_ones_are_refused_for_their_own_reason(
        self, client: TestClient, shared: Path, name: str, code: str
    ) -> None:
        sound = (shared / "formats" / "bad" / name).read_bytes()
        for path in ("/nearest", "/embed"):
            raw, form = (refusal(post(client, sound, path), 422, code) for post in (post_raw, post_form))
            assert raw == form
            assert raw.startswith("got ")

    def test_every_bad_one_has_its_reason_here(self, shared: Path) -> None:
        assert {path.name for path in (shared / "formats" / "bad").iterdir()} == BAD.keys()


class HeldDecoding:
    """Every decoding waits in its thread until `end`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_begun = 0
        self._may_end = threading.Event()
        decode = Uploads._decode

        def held(*arguments: Any) -> Any:
            self.n_begun += 1
            assert self._may_end.wait(30)
            return decode(*arguments)

        monkeypatch.setattr(Uploads, "_decode", held)

    def end(self) -> None:
        self._may_end.set()

    @contextmanager
    def until_left(self) -> Iterator[None]:
        """A test that fails in between does not wait for its threads."""
        try:
            yield
        finally:
            self.end()


@pytest.fixture
def held_decoding(monkeypatch: pytest.MonkeyPatch) -> HeldDecoding:
    return HeldDecoding(monkeypatch)


@contextmanager
def decoding_by_one(catalogue: Catalogue, **settings: Any) -> Iterator[tuple[TestClient, int]]:
    """The service, and the process that decodes its uploads."""
    before = children_of(os.getpid())
    with serving(catalogue, **settings) as client:
        results_of(post_raw(client, catalogue.sound(ID)))
        (decoder_pid,) = children_of(os.getpid()) - before
        yield client, decoder_pid


def in_progress(client: TestClient) -> float:
    (line,) = (line for line in client.get("/metrics").text.splitlines() if line.startswith("audiorec_uploads_in_"))
    return float(line.split()[1])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def eventually(condition: Any) -> None:
    await asyncio.wait_for(asyncio.to_thread(wait_until, condition), 30)


async def settled() -> None:
    """Until every task waits for something that has not happened."""
    for _ in range(50):
        await asyncio.sleep(0)


async def still_works(app: Any, catalogue: Catalogue) -> None:
    """As many uploads as the queue holds are answered: no place was lost."""
    n_places = app.state.service.settings.encode_queue
    connections = [Connection(app, "/nearest", WAV) for _ in range(n_places)]
    for connection in connections:
        connection.send(catalogue.sound(ID))
    for connection in connections:
        assert ids_of(await connection.answer())[0] == ID
