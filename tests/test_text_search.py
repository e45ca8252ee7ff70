"""Search by text, from the build of a catalogue to the answer: library, command line, service, and what goes wrong."""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_fixtures import Catalogue, ask, ids_of, message_of, refusal, results_of, serving
from model_dirs import copied, edit_manifest, flipped, make_current_anyway, tree_state, vouch_for
from sounds import bursts, encoded, make_clips, tone
from starlette.testclient import TestClient
from tiny_clap import DIM, MAX_TOKENS, save_clap
from typer.testing import CliRunner
from waiting import wait_until

from audiorec import embed_texts
from audiorec.api.schemas import Answer, BatchAnswer
from audiorec.build import Built, build
from audiorec.cli import app
from audiorec.errors import BadModelDir, BadQuery
from audiorec.nearest import Nearest
from audiorec.publishing.edit import add, remove
from audiorec.publishing.lifecycle import prune
from audiorec.release import make_current, open_release
from audiorec.report import release_report, summary
from audiorec.text import TEXT_ENCODER_FILE, TEXT_FILES, TOKENIZER_FILE
from audiorec.text_encoder import LoadedTextEncoder

TEXT = "rain on a tin roof"
WAV = {"Content-Type": "audio/wav"}
BAD_TEXTS = {
    "": "got a text with nothing in it that can be read",
    " \t\n": "got a text with nothing in it that can be read",
    "x" * 10_000: "got a text of 10,000 characters, expected at most 1,000",
    "rain\x00": r"got a text with a control character in it (U+0000)",
    "\x1b[2J": r"got a text with a control character in it (U+001B)",
    "x" * MAX_TOKENS: f"got a text of {MAX_TOKENS + 2} tokens, expected at most {MAX_TOKENS}",
}
NAMES = ("empty", "white space", "10,000 characters", "a zero", "an escape", "too many tokens")


def built(clips: Path, model_dir: Path, model: Path) -> Built:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("audiorec.export.PARITY_BATCHES", (1,))
        return build(clips, model_dir, encoder="clap", model=str(model), n_workers=1, baselines=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clips`, a CLAP in `clap`, and what a build made of them in `model`."""
    place = tmp_path_factory.mktemp("texts")
    make_clips(place / "clips")
    built(place / "clips", place / "model", save_clap(place / "clap"))
    return place


@pytest.fixture(scope="module")
def nearest(place: Path) -> Nearest:
    return Nearest(place / "model")


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    """Every text takes the whole way, however often it comes."""
    with serving(of(place / "model"), text_cache_mb=0) as client:
        yield client


@pytest.fixture
def model_dir(place: Path, tmp_path: Path) -> Path:
    return copied(place / "model", tmp_path / "model")


def of(model_dir: Path) -> Catalogue:
    return Catalogue(model_dir, model_dir, [])


def by_hand(nearest: Nearest, vector: Any) -> list[str]:
    cosines = nearest.release.embeddings @ np.asarray(vector)
    return [nearest.release.metadata.clip_id(row) for row in np.argsort(-cosines, kind="stable")]


class TestBuilt:
    def test_the_text_tower_is_a_part_of_the_release(self, place: Path) -> None:
        release = open_release(place / "model", verify=True)
        facts = release.manifest.encoder
        assert (facts.name, facts.dim, facts.origin, facts.fitted_windows) == ("clap", DIM, "clap", 0)
        assert facts.last_step is None
        assert facts.companions == list(TEXT_FILES)
        assert facts.text is not None
        assert (facts.text.dim, facts.text.max_tokens, facts.text.is_collapsed) == (DIM, MAX_TOKENS, False)
        assert set(TEXT_FILES) <= release.manifest.files.keys()
        assert "search by text: " in release_report(release, verified=True)
        assert json.loads((release.directory / "manifest.json").read_text())["encoder"]["text"]["dim"] == DIM

    def test_building_again_changes_nothing(self, place: Path, caplog: pytest.LogCaptureFixture) -> None:
        before = tree_state(place / "model" / "versions")
        again = built(place / "clips", place / "model", place / "clap")
        assert (again.published, again.release_dir.name) == (False, "0001")
        assert tree_state(place / "model" / "versions") == before
        assert '--text "rain on a tin roof"' in summary(again, place / "model")
        assert not caplog.records

    def test_with_another_text_tower_it_is_another_release_and_a_collapsed_one_is_warned_of(
        self, place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model_dir = Path(shutil.copytree(place / "model", tmp_path / "model", symlinks=True))
        with caplog.at_level(logging.WARNING, "audiorec"):
            other = built(place / "clips", model_dir, save_clap(tmp_path / "clap", collapsed=True))
        warning = "its text encoder hardly tells texts apart: a dozen different prompts have a mean cosine of 1.000"
        assert [record.message for record in caplog.records if warning in record.message]
        assert other.published
        assert other.manifest.encoder.text is not None
        assert other.manifest.encoder.text.is_collapsed
        assert f"warning: {warning}" in summary(other, model_dir)
        assert f"warning: {warning}" in release_report(open_release(model_dir / "versions/0002"), verified=False)

    def test_what_is_half_exported_is_exported_again(self, place: Path, tmp_path: Path) -> None:
        model_dir = Path(shutil.copytree(place / "model", tmp_path / "model", symlinks=True))
        exported = model_dir / "work" / "encoder"
        for name in TEXT_FILES:
            (exported / name).write_bytes(b"half")
        (model_dir / "current").unlink()
        shutil.rmtree(model_dir / "versions")
        assert built(place / "clips", model_dir, place / "clap").published
        assert len(Nearest(model_dir).search_text(TEXT, k=1)) == 1


class TestEdited:
    def test_adding_and_removing_keep_the_text_tower_once_on_the_disk(self, place: Path, tmp_path: Path) -> None:
        model_dir = Path(shutil.copytree(place / "model", tmp_path / "model", symlinks=True))
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "new.wav").write_bytes(encoded(bursts(1.0, 9)))
        edited = add(model_dir, [tmp_path / "more"], n_workers=1)
        assert (edited.added, edited.published.is_current) == (["new.wav"], True)
        removed = remove(model_dir, ["tones/low.wav"])
        assert removed.published.release_dir.name == "0003"
        versions = model_dir / "versions"
        for name in TEXT_FILES:
            assert len({(versions / release / name).stat().st_ino for release in ("0001", "0002", "0003")}) == 1
        prune(model_dir, 1)
        release = open_release(model_dir, verify=True)
        assert release.name == "0003"
        assert release.manifest.encoder.text == open_release(place / "model").manifest.encoder.text
        found = [clip.clip_id for clip in Nearest(release).search_text(TEXT)]
        assert found == by_hand(Nearest(release), embed_texts([TEXT], release)[0])
        assert "new.wav" in found
        assert "tones/low.wav" not in found


class TestLibrary:
    def test_the_nearest_to_a_text(self, nearest: Nearest, place: Path) -> None:
        (vector,) = embed_texts([TEXT], place / "model")
        assert (vector.shape, vector.dtype) == ((DIM,), np.float32)
        found = nearest.search_text(f"  {TEXT.replace(' ', chr(10))} ")
        assert [clip.clip_id for clip in found] == by_hand(nearest, vector)
        assert found[0].similarity == pytest.approx(float((nearest.release.embeddings @ vector).max()), abs=1e-5)
        assert len(nearest.search_text(TEXT, k=2, filter={"label": "noises"})) == 2
        assert nearest.embed_texts([]).shape == (0, DIM)

    def test_texts_differ(self, nearest: Nearest) -> None:
        vectors = nearest.embed_texts(["jazz", "a dog", "🎧👩‍🚀"])
        assert (vectors @ vectors.T)[np.triu_indices(3, 1)].max() < 0.99

    @pytest.mark.parametrize(("text", "sentence"), [*BAD_TEXTS.items(), ("a\ud83d", "got a text with half of a char")])
    def test_one_that_cannot_be_looked_for(self, nearest: Nearest, text: str, sentence: str) -> None:
        with pytest.raises(BadQuery) as raised:
            nearest.search_text(text)
        assert raised.value.message.startswith(sentence)

    def test_a_release_without_a_text_encoder(self, catalogue: Catalogue) -> None:
        with pytest.raises(BadQuery, match=r"MeanMel has no text encoder: .*with --encoder clap") as raised:
            Nearest(catalogue.model_dir).search_text(TEXT)
        assert raised.value.code == "no_text_encoder"


class TestCommandLine:
    def test_nearest_to_a_text(self, place: Path, nearest: Nearest) -> None:
        done = CliRunner().invoke(app, ["nearest", str(place / "model"), "--text", TEXT, "-k", "3", "--json"])
        assert done.exit_code == 0, done.output
        results = json.loads(done.stdout)["results"]
        assert [result["clip_id"] for result in results] == by_hand(nearest, nearest.embed_texts([TEXT])[0])[:3]

    @pytest.mark.parametrize("text", ["", "rain\x07", "\udcff"])
    def test_one_that_cannot_be_looked_for(self, place: Path, text: str) -> None:
        done = CliRunner().invoke(app, ["nearest", str(place / "model"), "--text", text])
        assert done.exit_code == 4
        assert "error: got a text with " in done.output

    def test_a_release_without_a_text_encoder(self, catalogue: Catalogue) -> None:
        done = CliRunner().invoke(app, ["nearest", str(catalogue.model_dir), "--text", TEXT])
        assert done.exit_code == 4
        assert "MeanMel has no text encoder" in done.output

    def test_a_text_and_something_else(self, place: Path) -> None:
        done = CliRunner().invoke(app, ["nearest", str(place / "model"), "--text", TEXT, "--id", "tones/low.wav"])
        assert done.exit_code == 2
        assert "exactly one of" in done.output


class TestService:
    def test_the_nearest_to_a_text(self, client: TestClient, nearest: Nearest) -> None:
        response = ask(client, {"text": TEXT})
        body = response.json()
        Answer.model_validate(body, strict=True)
        assert body["query"] == {"kind": "text"}
        assert ids_of(response) == by_hand(nearest, nearest.embed_texts([TEXT])[0])
        assert results_of(response)[0]["similarity"] == pytest.approx(nearest.search_text(TEXT)[0].similarity, abs=1e-5)

    def test_options(self, client: TestClient) -> None:
        first, *_ = everything = ids_of(ask(client, {"text": TEXT}))
        assert ids_of(ask(client, {"text": TEXT, "k": 2})) == ids_of(ask(client, {"text": TEXT}, k=2)) == everything[:2]
        assert ids_of(ask(client, {"text": TEXT, "exclude": [first]})) == everything[1:]
        tones = [clip_id for clip_id in everything if clip_id.startswith("tones")]
        assert ids_of(ask(client, {"text": TEXT, "filter": {"label": "tones"}})) == tones

    @pytest.mark.parametrize(("text", "sentence"), BAD_TEXTS.items(), ids=NAMES)
    def test_one_that_cannot_be_looked_for(self, client: TestClient, text: str, sentence: str) -> None:
        assert refusal(ask(client, {"text": text}), 422, "bad_query").startswith(sentence)

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ('{"text": "half \\ud83d"}', "not JSON"),
            (b'{"text": "\xff\xfe"}', "not JSON"),
            ('{"text": 5}', "got 5 for text"),
            ('{"text": ["rain"]}', 'got ["rain"] for text'),
            ('{"text": "rain", "clip_id": "tones/low.wav"}', "got clip_id and text, expected exactly one of"),
            ('{"text": "rain", "embedding": [1]}', "got embedding and text, expected exactly one of"),
            ('{"text": "", "embedding": [1]}', "got embedding and text, expected exactly one of"),
            ('{"text": "rain", "k": 0}', "got k = 0"),
            ('{"text": "rain", "filter": {"nope": 1}}', "nope"),
            ('{"text": null}', "got none of them"),
        ],
    )
    def test_a_query_that_is_wrong(self, client: TestClient, body: str, sentence: str) -> None:
        assert sentence in refusal(ask(client, body), 422, "bad_query")

    def test_how_long_a_text_may_be_is_a_setting(self, place: Path) -> None:
        with serving(of(place / "model"), max_text_chars=5) as client:
            assert len(results_of(ask(client, {"text": "jazz!"}))) == 6
            assert "6 characters, expected at most 5" in refusal(ask(client, {"text": "jazz!!"}), 422, "bad_query")
            query = client.get("/openapi.json").json()["components"]["schemas"]["NearestQuery"]
            assert query["properties"]["text"]["maxLength"] == 5

    def test_a_batch(self, client: TestClient) -> None:
        queries: list[Any] = [
            {"text": TEXT, "k": 3},
            {"text": ""},
            {"clip_id": "tones/low.wav"},
            {"text": "x" * MAX_TOKENS},
            {"text": "jazz", "clip_id": "tones/low.wav"},
            {"text": "jazz", "k": 0},
            {"text": 7},
            {"text": "jazz"},
            {"text": TEXT},
        ]
        response = ask(client, {"queries": queries}, "/nearest/batch")
        BatchAnswer.model_validate(response.json(), strict=True)
        for place, (query, answer) in enumerate(zip(queries, response.json()["answers"], strict=True)):
            alone = ask(client, query)
            if place in (0, 2, 7, 8):
                assert answer["query"] == alone.json()["query"]
                for one, other in zip(answer["results"], results_of(alone), strict=True):
                    assert one["similarity"] == pytest.approx(other["similarity"], abs=1e-5)
                    assert one["clip_id"] == other["clip_id"]
            else:
                request_id = response.headers["x-request-id"]
                assert message_of(answer, "bad_query", request_id) == refusal(alone, 422, "bad_query")

    def test_more_texts_than_the_encoder_is_given_at_once(self, client: TestClient) -> None:
        texts = [f"rain {number}" for number in range(40)]
        queries = [{"text": text, "k": 1} for text in texts]
        answers = ask(client, {"queries": queries}, "/nearest/batch").json()["answers"]
        for text, answer in list(zip(texts, answers, strict=True))[::13]:
            similarity = results_of(ask(client, {"text": text, "k": 1}))[0]["similarity"]
            assert answer["results"][0]["similarity"] == pytest.approx(similarity, abs=1e-5)

    def test_what_is_said_of_it(self, client: TestClient, catalogue: Catalogue) -> None:
        assert client.get("/model").json()["encoder"]["text"]["max_tokens"] == MAX_TOKENS
        post = client.get("/openapi.json").json()["paths"]["/nearest"]["post"]
        example = post["requestBody"]["content"]["application/json"]["examples"]["text"]["value"]
        assert len(results_of(ask(client, example))) == 5
        with serving(catalogue) as without:
            assert without.get("/model").json()["encoder"]["text"] is None
            document = without.get("/openapi.json").json()
            examples = document["paths"]["/nearest"]["post"]["requestBody"]["content"]["application/json"]["examples"]
            assert "text" not in examples
            text = document["components"]["schemas"]["NearestQuery"]["properties"]["text"]
            assert text["description"] == "answered 422: MeanMel has no text encoder"
            message = refusal(ask(without, {"text": TEXT}), 422, "no_text_encoder")
            assert message.endswith("or build the catalogue with --encoder clap, which has one")
            refusal(ask(without, {"text": "x" * 20_000}), 422, "no_text_encoder")

    def test_the_encoder_can_be_loaded_at_the_start(self, place: Path) -> None:
        with serving(of(place / "model"), warm=True) as client:
            loaded = client.app.state.service.opened.release.__dict__  # type: ignore[attr-defined]
            assert {"encoder", "text_encoder"} <= loaded.keys()


def counts(client: TestClient, series: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{series} "))


def cached(client: TestClient) -> list[float]:
    return [counts(client, f'audiorec_text_cache_total{{result="{result}"}}') for result in ("hit", "shared", "miss")]


class TestCache:
    def test_a_text_of_late_is_known(self, place: Path, held: "HeldTexts") -> None:
        held.end()
        with serving(of(place / "model")) as client:
            before, encoded_before = cached(client), counts(client, 'audiorec_stage_seconds_count{stage="encode"}')
            first = ids_of(ask(client, {"text": TEXT}))
            assert ids_of(ask(client, {"text": f" {TEXT}\n"})) == first
            body = {"queries": [{"text": TEXT}, {"text": ""}, {"text": TEXT}]}
            answers = ask(client, body, "/nearest/batch").json()["answers"]
            assert [result["clip_id"] for result in answers[2]["results"]] == first
            assert held.batches == [1]
            assert np.subtract(cached(client), before).tolist() == [2, 0, 1]
            assert counts(client, 'audiorec_stage_seconds_count{stage="encode"}') == encoded_before + 1
            ask(client, {"text": TEXT.capitalize()})
            ask(client, {"queries": [{"text": TEXT}, {"text": "jazz"}, {"text": "jazz"}]}, "/nearest/batch")
            assert held.batches == [1, 1, 1]

    def test_without_one_every_text_is_encoded(self, client: TestClient, held: "HeldTexts") -> None:
        held.end()
        for _ in range(2):
            ask(client, {"text": TEXT})
        assert held.batches == [1, 1]


class TestQueue:
    def test_equal_texts_at_once_are_one_job(self, place: Path, held: "HeldTexts") -> None:
        with serving(of(place / "model"), encode_queue=1) as client, ThreadPoolExecutor(4) as pool, held.until_left():
            shared = cached(client)[1]
            waiting = [pool.submit(ask, client, {"text": TEXT, "k": k}) for k in (1, 2, 3, 4)]
            wait_until(lambda: cached(client)[1] == shared + 3)
            held.end()
            assert [len(results_of(request.result())) for request in waiting] == [1, 2, 3, 4]
            assert held.batches == [1]

    def test_texts_and_uploads_share_it(self, place: Path, held: "HeldTexts") -> None:
        sound = encoded(tone(0.3))
        with serving(of(place / "model"), encode_queue=2) as client, ThreadPoolExecutor(4) as pool, held.until_left():
            waiting = [pool.submit(ask, client, {"text": TEXT})]
            wait_until(lambda: held.batches == [1])
            waiting.append(pool.submit(client.post, "/nearest", content=sound, headers=WAV))
            wait_until(lambda: counts(client, "audiorec_uploads_in_progress") == 2)
            many = {"queries": [{"text": "jazz"}, {"clip_id": "tones/low.wav"}]}
            for response in (
                ask(client, {"text": "jazz"}),
                ask(client, many, "/nearest/batch"),
                client.post("/nearest", content=encoded(tone(0.4)), headers=WAV),
            ):
                assert "got more than 2 uploads and texts at once" in refusal(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
            assert len(results_of(ask(client, {"clip_id": "tones/low.wav"}))) == 5  # searches go on
            assert client.get("/health").status_code == 200
            held.end()
            assert [len(results_of(request.result())) for request in waiting] == [6, 6]
            assert len(results_of(ask(client, {"text": "jazz"}))) == 6
            assert counts(client, "audiorec_uploads_in_progress") == counts(client, "audiorec_uploads_queued") == 0

    def test_those_that_wait_are_encoded_together(self, place: Path, held: "HeldTexts") -> None:
        with serving(of(place / "model")) as client, ThreadPoolExecutor(6) as pool, held.until_left():
            waiting = [pool.submit(ask, client, {"text": "first"})]
            wait_until(lambda: held.batches == [1])
            waiting += [pool.submit(ask, client, {"text": text}) for text in ("a", "b", "x" * MAX_TOKENS, "c")]
            wait_until(lambda: counts(client, "audiorec_uploads_queued") == 4)
            held.end()
            codes = [request.result().status_code for request in waiting]
            assert codes == [200, 200, 200, 422, 200]
            assert held.batches == [1, 3]

    def test_a_fault_is_of_those_who_asked(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("out of memory")

        with serving(of(place / "model")) as client:
            results_of(ask(client, {"text": "jazz"}))
            with monkeypatch.context() as broken:
                broken.setattr(LoadedTextEncoder, "encode_tokens", fail)
                refusal(ask(client, {"text": TEXT}), 500, "internal")
            assert len(results_of(ask(client, {"text": TEXT}))) == 6
            assert counts(client, "audiorec_uploads_in_progress") == 0


class HeldTexts:
    """Every call of the text encoder waits until `end`. batches: how many texts each was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self._may_end = threading.Event()
        check, encode_tokens = LoadedTextEncoder._check, LoadedTextEncoder.encode_tokens

        def checked(encoder: LoadedTextEncoder) -> None:
            with monkeypatch.context() as loading:
                loading.setattr(LoadedTextEncoder, "encode_tokens", encode_tokens)
                check(encoder)

        def held(encoder: LoadedTextEncoder, tokens: Any) -> Any:
            self.batches.append(len(tokens))
            assert self._may_end.wait(60)
            return encode_tokens(encoder, tokens)

        monkeypatch.setattr(LoadedTextEncoder, "_check", checked)
        monkeypatch.setattr(LoadedTextEncoder, "encode_tokens", held)

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
def held(monkeypatch: pytest.MonkeyPatch) -> HeldTexts:
    return HeldTexts(monkeypatch)


def without(name: str) -> Callable[[Path], None]:
    return lambda release: (release / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda release: os.truncate(release / name, 100)


def unnamed(release: Path) -> None:
    files = json.loads((release / "manifest.json").read_text())["files"]
    edit_manifest(release, {"files": {name: facts for name, facts in files.items() if name != TOKENIZER_FILE}})


def of_another_dim(release: Path) -> None:
    edit_manifest(release, {"encoder.text.dim": DIM + 1})


class TestDamaged:
    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            (without(TEXT_ENCODER_FILE), r"got a release without text_encoder\.pt, expected [\d,]+ bytes of it"),
            (without(TOKENIZER_FILE), r"got a release without tokenizer\.json"),
            (cut(TEXT_ENCODER_FILE), r"got text_encoder\.pt of 100 bytes, expected"),
            (unnamed, r"got a manifest that does not name tokenizer\.json, expected all files of a release"),
            (of_another_dim, r"got a text encoder of 25 dimensions, expected 24 as of the encoder"),
        ],
    )
    def test_is_not_opened(self, model_dir: Path, damage: Callable[[Path], None], sentence: str) -> None:
        damage(model_dir / "versions/0001")
        with pytest.raises(BadModelDir, match=sentence):
            open_release(model_dir)

    @pytest.mark.parametrize("name", TEXT_FILES)
    def test_a_flipped_bit_is_found_by_who_looks_at_all(self, model_dir: Path, name: str) -> None:
        flipped(name)(model_dir / "versions/0001")
        open_release(model_dir)
        with pytest.raises(BadModelDir, match=rf"got {name} with SHA-256"):
            open_release(model_dir, verify=True)

    @pytest.mark.parametrize("name", TEXT_FILES)
    def test_one_that_says_it_is_whole_answers_all_but_texts(self, model_dir: Path, name: str) -> None:
        release = model_dir / "versions/0001"
        (release / name).write_bytes(b"nothing of the kind")
        vouch_for(release)
        with serving(of(model_dir)) as client:
            assert f"got a file {name}" in refusal(ask(client, {"text": TEXT}), 503, "bad_model_dir")
            assert len(results_of(ask(client, {"clip_id": "tones/low.wav"}))) == 5
            response = client.post("/nearest", content=encoded(tone(0.3)), headers=WAV)
            assert len(results_of(response)) == 6
        with pytest.raises(BadModelDir, match=f"got a file {name}"):
            Nearest(model_dir).search_text(TEXT)


class TestSwap:
    def test_to_a_release_with_the_same_encoder_it_is_not_loaded_twice(self, model_dir: Path) -> None:
        shutil.copytree(model_dir / "versions/0001", model_dir / "versions/0002")
        with serving(of(model_dir), swap_poll_s=0.05) as client:
            service = client.app.state.service  # type: ignore[attr-defined]
            results_of(ask(client, {"text": TEXT}))
            loaded = service.opened.release.text_encoder
            make_current(model_dir, "0002")
            wait_until(lambda: service.opened.release.name == "0002")
            assert service.opened.release.__dict__["text_encoder"] is loaded
            assert ask(client, {"text": TEXT}).json()["release"] == "0002"

    def test_to_one_without_a_text_encoder_and_back(self, model_dir: Path, catalogue: Catalogue) -> None:
        shutil.copytree(catalogue.model_dir / "current", model_dir / "versions/0002")
        with serving(of(model_dir), swap_poll_s=0.05) as client:
            service = client.app.state.service  # type: ignore[attr-defined]
            results_of(ask(client, {"text": TEXT}))
            make_current_anyway(model_dir, "0002")
            wait_until(lambda: service.opened.release.name == "0002")
            refusal(ask(client, {"text": TEXT}), 422, "no_text_encoder")
            make_current_anyway(model_dir, "0001")
            wait_until(lambda: service.opened.release.name == "0001")
            assert len(results_of(ask(client, {"text": TEXT}))) == 6


PROGRAM = """
import json, sys
from starlette.testclient import TestClient
from audiorec.api.app import create_app

def heavy():
    return sorted({"torch", "tokenizers", "transformers", "huggingface_hub", "diffusers"} & sys.modules.keys())

with TestClient(create_app()) as client:
    assert client.post("/nearest", json={"clip_id": "tones/low.wav"}).status_code == 200
    assert client.get("/openapi.json").status_code == client.get("/model").status_code == 200
    assert client.post("/nearest", json={"text": ""}).status_code == 422
    assert not heavy(), heavy()
    answer = client.post("/nearest", json={"text": "rain on a tin roof"})
    print(json.dumps([heavy(), [result["clip_id"] for result in answer.json()["results"]]]))
"""


def test_a_text_needs_torch_and_tokenizers_and_nothing_else_does(place: Path, nearest: Nearest) -> None:
    environment = {"AUDIOREC_MODEL_DIR": str(place / "model"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120, text=True)
    assert done.returncode == 0, done.stderr
    heavy, found = json.loads(done.stdout)
    assert heavy == ["tokenizers", "torch"]
    assert found == by_hand(nearest, nearest.embed_texts([TEXT])[0])
