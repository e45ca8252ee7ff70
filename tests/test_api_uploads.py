"""Uploaded sounds: every form they come in, one recipe whatever the door, and all that can go wrong on the way."""

import asyncio
import gc
import json
import logging
import os
import random
import re
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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
from sounds import BAD, RATE_HZ, bursts, encoded, noise, silent_flac, tone
from starlette.testclient import TestClient
from waiting import wait_until

from audiorec.api.schemas import Answer, EmbeddingAnswer
from audiorec.api.upload_jobs import Job
from audiorec.api.uploads import QUICKLY_HASHED_BYTES
from audiorec.audio import CLIP_SAMPLES
from audiorec.audio import decoder as decoder_module
from audiorec.audio.decode import decode
from audiorec.build import build
from audiorec.embed import embed
from audiorec.export import LoadedEncoder
from audiorec.nearest import Nearest, embed_file
from audiorec.release import ENCODER_FILE, open_release

ID = "b/clip 21.wav"
WAV = {"Content-Type": "audio/wav"}
BOUNDARY = "a-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
MAX_DISTANCE = 1e-4  # in cosine, between one door and another


@pytest.fixture(scope="module")
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    """Every sound takes the whole way, however often it comes."""
    with serving(catalogue, upload_cache_mb=0) as client:
        yield client


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
        with serving(catalogue, encode_queue=2) as client, ThreadPoolExecutor(2) as pool, held_decoding.until_left():
            waiting = [pool.submit(post_raw, client, catalogue.sound(clip_id)) for clip_id in (ID, ODD_IDS[0])]
            wait_until(lambda: in_progress(client) == 2)
            for post in (post_raw, post_form):
                response = post(client, encoded(tone(0.3)))
                assert "got more than 2 uploads and texts at once" in refusal(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
            assert len(results_of(ask(client, {"clip_id": ID}))) == 10  # searches go on
            held_decoding.end()
            assert [ids_of(request.result())[0] for request in waiting] == [ID, ODD_IDS[0]]
            assert ids_of(post_raw(client, catalogue.sound(ID)))[0] == ID
            assert in_progress(client) == 0

    @pytest.mark.parametrize(("last_s", "retry_after_s"), [(0.02, "1"), (6.5, "7"), (1e4, "60")])
    def test_who_is_refused_is_told_how_long_the_last_one_took(
        self, catalogue: Catalogue, held_decoding: "HeldDecoding", last_s: float, retry_after_s: str
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=1) as app:
                waiting = Connection(app, "/nearest", WAV)
                waiting.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                app.state.service.uploads._last_s = last_s
                refused = Connection(app, "/nearest", WAV)
                refused.send(encoded(tone(0.3)))
                assert (await refused.answer()).headers["retry-after"] == retry_after_s
                held_decoding.end()
                await waiting.answer()
                assert 0 < app.state.service.uploads._last_s < 30

        with held_decoding.until_left():
            asyncio.run(scenario())


class TestEqualSounds:
    def test_at_once_they_are_one_job(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        sound = catalogue.sound(ID)
        with serving(catalogue, encode_queue=1) as client, ThreadPoolExecutor(5) as pool, held_decoding.until_left():
            before = cache_counts(client)
            posts = [post_raw, post_form, post_raw, post_form, post_raw]
            waiting = [pool.submit(post, client, sound, k=k) for k, post in enumerate(posts, start=1)]
            wait_until(lambda: cache_counts(client)["shared"] - before["shared"] == 4)
            assert in_progress(client) == 1
            held_decoding.end()
            assert [ids_of(request.result())[0] for request in waiting] == [ID] * 5
            assert [len(results_of(request.result())) for request in waiting] == [1, 2, 3, 4, 5]
            assert held_decoding.n_begun == 1
            assert cache_counts(client)["miss"] - before["miss"] == 1

    def test_at_once_they_are_refused_together(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        silence = encoded(np.zeros(8_000, np.float32))
        with serving(catalogue) as client, ThreadPoolExecutor(3) as pool, held_decoding.until_left():
            shared = cache_counts(client)["shared"]
            waiting = [pool.submit(post_raw, client, silence) for _ in range(3)]
            wait_until(lambda: cache_counts(client)["shared"] == shared + 2)
            held_decoding.end()
            for request in waiting:
                assert "got silence" in refusal(request.result(), 422, "silent")
            assert held_decoding.n_begun == 1
            refusal(post_raw(client, silence), 422, "silent")
            assert held_decoding.n_begun == 2  # what was wrong is not kept

    def test_without_a_cache_each_is_its_own(self, client: TestClient, held_decoding: "HeldDecoding") -> None:
        with ThreadPoolExecutor(3) as pool, held_decoding.until_left():
            waiting = [pool.submit(post_raw, client, encoded(tone(0.3))) for _ in range(3)]
            wait_until(lambda: in_progress(client) == 3)
            held_decoding.end()
            assert len({tuple(ids_of(request.result())) for request in waiting}) == 1
            assert held_decoding.n_begun == 3

    def test_a_sound_of_late_is_known(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        held_decoding.end()
        sound, large = catalogue.sound(ID), encoded(noise(30.0))
        assert len(large) > QUICKLY_HASHED_BYTES
        with serving(catalogue) as client:
            first, first_large = (
                vector_of(post_raw(client, sound, "/embed")),
                vector_of(post_raw(client, large, "/embed")),
            )
            hits = cache_counts(client)["hit"]
            assert vector_of(post_form(client, sound, "/embed")) == first
            assert vector_of(post_raw(client, large, "/embed")) == first_large
            answer = post_raw(client, sound, k=3, exclude=ID).json()
            assert answer["query"] == {"kind": "sound", "n_windows": 1, "duration_s": 0.62}
            assert answer["results"] == results_of(ask(client, {"embedding": first}, k=3, exclude=ID))
            assert held_decoding.n_begun == 2
            assert cache_counts(client)["hit"] == hits + 3
            assert vector_of(post_raw(client, sound[:-2] + b"\1\1", "/embed")) != first
            assert held_decoding.n_begun == 3

    def test_another_encoder_knows_none_of_them(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        held_decoding.end()

        async def scenario() -> None:
            async with started(catalogue) as app:
                uploads, release = app.state.service.uploads, open_release(catalogue.model_dir)
                same, other = open_release(catalogue.model_dir), open_release(catalogue.model_dir)
                facts = other.manifest.files[ENCODER_FILE].model_copy(update={"sha256": "0" * 64})
                other.manifest = other.manifest.model_copy(
                    update={"files": {**other.manifest.files, ENCODER_FILE: facts}}
                )
                for asked, n_begun in ((release, 1), (same, 1), (other, 2), (other, 2), (release, 2)):
                    await uploads.embed(catalogue.sound(ID), asked, nobody_left)
                    assert held_decoding.n_begun == n_begun

        asyncio.run(scenario())


class TestEncoding:
    """The encoder is held at its first call; what comes meanwhile waits."""

    def test_what_waits_is_encoded_together(self, catalogue: Catalogue, held_encoder: "HeldEncoder") -> None:
        sounds = [encoded(bursts(0.3, seed)) for seed in range(6)] + [encoded(bursts(17.0, 9))]
        expected = [held_encoder.alone(catalogue, sound) for sound in sounds]

        async def scenario() -> None:
            async with started(catalogue, encode_batch=4) as app:
                connections = await held_encoder.with_waiting(app, sounds)
                held_encoder.end()
                for connection, vector in zip(connections, expected, strict=True):
                    assert np.dot(vector_of(await connection.answer()), vector) >= 1 - MAX_DISTANCE
                assert held_encoder.batches == [1, 4, 3]

        with held_encoder.until_left():
            asyncio.run(scenario())

    def test_nothing_waits_for_company(self, catalogue: Catalogue, held_encoder: "HeldEncoder") -> None:
        held_encoder.end()
        with serving(catalogue, encode_batch=16) as client:
            for seed in range(3):
                results_of(post_raw(client, encoded(bursts(0.3, seed))))
        assert held_encoder.batches == [1, 1, 1]

    def test_a_long_clip_does_not_hold_up_the_others(self, catalogue: Catalogue, held_encoder: "HeldEncoder") -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_batch=1) as app:
                long, short = await held_encoder.with_waiting(app, [encoded(noise(60.0)), encoded(tone(0.3))])
                held_encoder.end(n_calls=2)
                await short.answer()
                assert not long.task.done()
                held_encoder.end()
                assert (await long.answer()).json()["query"]["n_windows"] == 7
                assert held_encoder.batches == [1] * 8

        with held_encoder.until_left():
            asyncio.run(scenario())

    def test_windows_that_are_silent_are_left_out(self, catalogue: Catalogue, held_encoder: "HeldEncoder") -> None:
        held_encoder.end()
        pcm = np.zeros(5 * CLIP_SAMPLES, np.float32)
        pcm[:1_000], pcm[-1_000:] = noise(0.0625), noise(0.0625, 1)
        expected = held_encoder.alone(catalogue, encoded(pcm))
        for encode_batch in (1, 2, 3, 5):
            with serving(catalogue, encode_batch=encode_batch) as client:
                response = post_raw(client, encoded(pcm), "/embed")
                assert np.dot(vector_of(response), expected) >= 1 - MAX_DISTANCE
                assert response.json()["query"]["n_windows"] == 5
        assert held_encoder.batches == [1] * 6 + [2]

    def test_an_encoder_that_fails_does_so_for_those_in_it(
        self, catalogue: Catalogue, held_encoder: "HeldEncoder", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_batch=4) as app:
                connections = await held_encoder.with_waiting(app, [encoded(tone(0.3, hz)) for hz in (200, 300, 400)])
                with monkeypatch.context() as patch:
                    patch.setattr(HeldEncoder, "encode", lambda *_: 1 / 0)
                    held_encoder.end()
                    assert [(await connection.answer()).status_code for connection in connections] == [200, 500, 500]
                await still_works(app)

        with held_encoder.until_left():
            asyncio.run(scenario())

    def test_a_service_that_stops_leaves_nobody_waiting(
        self, catalogue: Catalogue, held_encoder: "HeldEncoder"
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue) as app:
                connections = await held_encoder.with_waiting(app, [encoded(tone(0.3, hz)) for hz in (200, 300, 400)])
                app.state.service.uploads.close()
                for connection in connections:
                    assert "while the service stops" in refusal(await connection.answer(), 503, "not_ready")
                held_encoder.end()

        with held_encoder.until_left():
            asyncio.run(scenario())

    def test_two_releases_are_not_mixed(self, catalogue: Catalogue, held_encoder: "HeldEncoder") -> None:
        """In the middle of a swap."""

        async def scenario() -> None:
            async with started(catalogue, upload_cache_mb=0) as app:
                uploads, one, other = app.state.service.uploads, *(open_release(catalogue.model_dir) for _ in range(2))
                asked = []
                for number, release in enumerate((one, one, one, other, one)):
                    sound = encoded(tone(0.3, 200 + 100 * number))
                    asked.append(asyncio.create_task(uploads.embed(sound, release, nobody_left)))
                    await eventually(lambda n=number: held_encoder.batches == [1] and held_encoder.n_waiting(app) == n)
                held_encoder.end()
                await asyncio.gather(*asked)
                assert held_encoder.batches == [1, 2, 1, 1]

        with held_encoder.until_left():
            asyncio.run(scenario())


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
                await still_works(app)

        asyncio.run(scenario())

    def test_while_they_wait_for_their_turn(self, catalogue: Catalogue, held_decoding: "HeldDecoding") -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=2) as app:
                first, second = (Connection(app, "/nearest", WAV) for _ in range(2))
                first.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                second.send(encoded(tone(0.3)))
                await settled()
                second.leave()
                assert (await second.answer()).status_code == 499  # and its place is free
                held_decoding.end()
                assert ids_of(await first.answer())[0] == ID
                assert held_decoding.n_begun == 1  # nothing was decoded for the one who left
                await still_works(app)

        with held_decoding.until_left():
            asyncio.run(scenario())

    def test_while_their_sound_is_decoded(
        self, catalogue: Catalogue, held_decoding: "HeldDecoding", held_encoder: "HeldEncoder"
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=1) as app:
                connection = Connection(app, "/nearest", WAV)
                connection.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                connection.leave()
                assert (await connection.answer()).status_code == 499
                held_decoding.end()
                held_encoder.end()
                await eventually(lambda: not app.state.service.uploads._under_way)
                assert held_encoder.batches == []
                await still_works(app)

        with held_decoding.until_left(), held_encoder.until_left():
            asyncio.run(scenario())

    def test_while_a_child_decodes_their_sound(self, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoder_module, "RESTART_S", 0.0)

        async def scenario() -> None:
            before = children_of(os.getpid())
            async with started(catalogue, encode_queue=1) as app:
                await still_works(app)
                (decoder_pid,) = children_of(os.getpid()) - before
                os.kill(decoder_pid, signal.SIGSTOP)
                connection = Connection(app, "/nearest", WAV)
                connection.send(flac())
                await eventually(lambda: len(app.state.service.uploads._under_way) == 1)
                connection.leave()
                assert (await connection.answer()).status_code == 499
                await eventually(lambda: decoder_pid not in children_of(os.getpid()))
                await eventually(lambda: not app.state.service.uploads._under_way)
                await still_works(app)

        asyncio.run(scenario())

    def test_while_their_sound_is_encoded(self, catalogue: Catalogue, held_encoder: "HeldEncoder") -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=1, encode_batch=1) as app:
                connection = Connection(app, "/nearest", WAV)
                connection.send(encoded(noise(40.0)))
                await eventually(lambda: len(held_encoder.batches) == 1)
                connection.leave()
                assert (await connection.answer()).status_code == 499
                held_encoder.end()
                await eventually(lambda: not app.state.service.uploads._under_way)
                assert held_encoder.batches == [1]  # of 5 windows
                await still_works(app)

        with held_encoder.until_left():
            asyncio.run(scenario())

    def test_one_who_leaves_takes_nothing_from_another(
        self, catalogue: Catalogue, held_decoding: "HeldDecoding"
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=1) as app:
                first, second = (Connection(app, "/nearest", WAV) for _ in range(2))
                for connection in (first, second):
                    connection.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                first.leave()
                assert (await first.answer()).status_code == 499
                held_decoding.end()
                assert ids_of(await second.answer())[0] == ID
                assert held_decoding.n_begun == 1
                await still_works(app)

        with held_decoding.until_left():
            asyncio.run(scenario())

    def test_who_comes_after_all_have_left_begins_anew(
        self, catalogue: Catalogue, held_decoding: "HeldDecoding"
    ) -> None:
        async def scenario() -> None:
            async with started(catalogue, encode_queue=2) as app:
                first, second = (Connection(app, "/nearest", WAV) for _ in range(2))
                first.send(catalogue.sound(ID))
                await eventually(lambda: held_decoding.n_begun == 1)
                first.leave()
                assert (await first.answer()).status_code == 499
                second.send(catalogue.sound(ID))
                await settled()
                held_decoding.end()
                assert ids_of(await second.answer())[0] == ID
                assert held_decoding.n_begun == 2
                await still_works(app)

        with held_decoding.until_left():
            asyncio.run(scenario())

    def test_a_request_that_is_cancelled_frees_its_place(
        self, catalogue: Catalogue, held_decoding: "HeldDecoding"
    ) -> None:
        """As uvicorn does with those that outlast its patience when it stops."""

        async def scenario() -> None:
            async with started(catalogue, encode_queue=2) as app:
                first, second = (Connection(app, "/nearest", WAV) for _ in range(2))
                first.send(catalogue.sound(ID))
                second.send(encoded(tone(0.3)))
                await eventually(lambda: held_decoding.n_begun == 1)
                for connection in (first, second):
                    connection.task.cancel()
                    await asyncio.wait([connection.task])
                held_decoding.end()
                await eventually(lambda: not app.state.service.uploads._under_way)
                assert held_decoding.n_begun == 1
                await still_works(app)

        with held_decoding.until_left():
            asyncio.run(scenario())


class TestDecoders:
    def test_a_plain_wav_needs_none(self, catalogue: Catalogue) -> None:
        before = children_of(os.getpid())
        with serving(catalogue) as client:
            assert ids_of(post_raw(client, catalogue.sound(ID)))[0] == ID
            assert children_of(os.getpid()) == before

    def test_one_that_is_killed_while_it_is_idle_is_replaced(self, catalogue: Catalogue) -> None:
        with decoding_by_one(catalogue) as (client, decoder_pid):
            os.kill(decoder_pid, signal.SIGKILL)
            # Not by /proc: its first thread may be a zombie while others still end, and then it cannot be waited for.
            wait_until(lambda: os.waitid(os.P_PID, decoder_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
            assert len(ids_of(post_raw(client, flac()))) == 10

    def test_one_that_is_killed_under_an_upload_costs_that_upload(self, catalogue: Catalogue) -> None:
        with decoding_by_one(catalogue) as (client, decoder_pid), ThreadPoolExecutor(1) as pool:
            os.kill(decoder_pid, signal.SIGSTOP)
            request = pool.submit(post_raw, client, flac())
            wait_until(lambda: in_progress(client) == 1)
            os.kill(decoder_pid, signal.SIGKILL)
            assert "made the decoder stop" in refusal(request.result(), 422, "decoder_crashed")
            assert len(ids_of(post_raw(client, flac()))) == 10
            assert in_progress(client) == 0

    def test_one_that_takes_too_long_is_ended(self, catalogue: Catalogue) -> None:
        with decoding_by_one(catalogue, decode_wall_s=2.0) as (client, decoder_pid):
            os.kill(decoder_pid, signal.SIGSTOP)
            assert "more than 2 s to decode" in refusal(post_raw(client, flac()), 422, "decode_timeout")
            assert len(ids_of(post_raw(client, flac()))) == 10

    @pytest.mark.parametrize(
        ("limit", "code"),
        [
            ({"decode_memory_bytes": 2**29}, "too_large"),
            ({"decode_cpu_s": 1, "decode_memory_bytes": 2**34}, "decode_timeout"),
            ({"max_upload_s": 600.0}, "too_long"),
        ],
    )
    def test_what_a_sound_may_cost_is_bounded(self, catalogue: Catalogue, limit: dict[str, Any], code: str) -> None:
        with decoding_by_one(catalogue, **{"max_upload_s": 86_400.0, **limit}) as (client, _):
            refusal(post_raw(client, silent_flac(86_000, length_known=False)), 422, code)
            assert len(ids_of(post_raw(client, flac()))) == 10

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
    with serving(Catalogue(shared / "formats" / "good", model_dir, []), upload_cache_mb=0) as client:
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
        decode = Job.decode

        def held(*arguments: Any) -> None:
            self.n_begun += 1
            assert self._may_end.wait(30)
            decode(*arguments)

        monkeypatch.setattr(Job, "decode", held)

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


class HeldEncoder:
    """Every call of an encoder waits in its thread until `end` lets it go. batches: how many windows each was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self._may_go = threading.Semaphore(0)
        self._encode = encode = LoadedEncoder.encode

        def held(encoder: LoadedEncoder, windows: Any) -> Any:
            is_loading = "dim" not in encoder.__dict__
            return encode(encoder, windows) if is_loading else self.encode(encoder, windows)

        monkeypatch.setattr(LoadedEncoder, "encode", held)

    def encode(self, encoder: LoadedEncoder, windows: Any) -> Any:
        self.batches.append(len(windows))
        assert self._may_go.acquire(timeout=30)
        return self._encode(encoder, windows)

    def end(self, n_calls: int = 1_000) -> None:
        self._may_go.release(n_calls)

    @contextmanager
    def until_left(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.end()

    def alone(self, catalogue: Catalogue, sound: bytes) -> Any:
        """The vector of a sound without any service: (D,)."""
        release = open_release(catalogue.model_dir)
        encoder = SimpleNamespace(dim=release.dim, n_labels=0, outputs=partial(self._encode, release.encoder))
        return embed(decode(sound, max_s=600), encoder).vector

    async def with_waiting(self, app: FastAPI, sounds: list[bytes]) -> list[Connection]:
        """POST /embed of each; the first is in the encoder, the others wait for it, in this order."""
        connections = [Connection(app, "/embed", WAV) for _ in sounds]
        for number, (connection, sound) in enumerate(zip(connections, sounds, strict=True)):
            connection.send(sound)
            await eventually(lambda n=number: len(self.batches) == 1 and self.n_waiting(app) == n)
        return connections

    def n_waiting(self, app: FastAPI) -> int:
        return len(app.state.service.uploads._threads._decoded)


@pytest.fixture
def held_encoder(monkeypatch: pytest.MonkeyPatch) -> HeldEncoder:
    return HeldEncoder(monkeypatch)


async def nobody_left() -> bool:
    return False


def flac() -> bytes:
    """A sound that a child must decode."""
    return encoded(bursts(0.7), RATE_HZ, "FLAC")


@contextmanager
def decoding_by_one(catalogue: Catalogue, **settings: Any) -> Iterator[tuple[TestClient, int]]:
    """The service, and the process that decodes its uploads."""
    before = children_of(os.getpid())
    with serving(catalogue, upload_cache_mb=0, **settings) as client:
        results_of(post_raw(client, flac()))
        (decoder_pid,) = children_of(os.getpid()) - before
        yield client, decoder_pid


def in_progress(client: TestClient) -> float:
    (line,) = (line for line in client.get("/metrics").text.splitlines() if line.startswith("audiorec_uploads_in_"))
    return float(line.split()[1])


def cache_counts(client: TestClient) -> dict[str, float]:
    counts = re.findall(
        r'^audiorec_upload_cache_total{result="(\w+)"} (\S+)$', client.get("/metrics").text, re.MULTILINE
    )
    return {result: float(count) for result, count in counts}


async def eventually(condition: Any) -> None:
    await asyncio.wait_for(asyncio.to_thread(wait_until, condition), 30)


async def settled() -> None:
    """Until every task waits for something that has not happened."""
    for _ in range(50):
        await asyncio.sleep(0)


async def still_works(app: Any) -> None:
    """As many uploads as the queue holds are answered, by a child each: no place was lost."""
    connections = [Connection(app, "/nearest", WAV) for _ in range(app.state.service.settings.encode_queue)]
    for number, connection in enumerate(connections):
        connection.send(encoded(tone(0.3, 200 + number), RATE_HZ, "FLAC"))
    for connection in connections:
        assert len(ids_of(await connection.answer())) == 10
