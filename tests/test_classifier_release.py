"""A trained classifier from its checkpoint to answers: build, serve, classify, and a catalogue that changes."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_fixtures import Catalogue, ask, refusal, results_of, serving
from model_dirs import copied, edit_manifest, flipped, vouch_for
from sounds import bursts, encoded, noise, tone
from starlette.testclient import TestClient
from tiny_models import save_wave
from trainings import one_thread
from typer.testing import CliRunner

from audiorec.audio import sounding, windows
from audiorec.audio.decode import decode
from audiorec.build import build
from audiorec.classify import classify_clip, classify_file
from audiorec.cli import app
from audiorec.encoders.classifier import load_classifier
from audiorec.errors import BadCheckpoint, BadModelDir, BadQuery, BadSetting, UnknownClip
from audiorec.metadata.predictions import Labels
from audiorec.nearest import Nearest
from audiorec.publishing.edit import add, remove
from audiorec.release import open_release
from audiorec.training.classifier.train import train

LONG = "burst/02.wav"  # two windows and a half
SOUND = {"Content-Type": "audio/wav"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def clips_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "clips"
    for i in range(18):
        label = ("tone", "noise", "burst")[i % 3]
        path = folder / label / f"{i:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound_of(label, 21.0 if i == 2 else 0.3 + 0.1 * i, i))
    return folder


def sound_of(label: str, seconds: float, seed: int) -> bytes:
    made = {"tone": lambda: tone(seconds, 110.0 * (seed + 1)), "noise": lambda: noise(seconds, seed)}
    return encoded(made.get(label, lambda: bursts(seconds, seed))())


@pytest.fixture(scope="module")
def run_dir(clips_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    base = save_wave(folder / "base", "wav2vec2", num_hidden_layers=2)
    given = {"base": str(base), "epochs": 2, "batch_size": 4, "crop_samples": 2**13, "learning_rate": 1e-3}
    train(clips_dir, folder / "run", given)
    return folder / "run"


@pytest.fixture(scope="module")
def model_dir(clips_dir: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    built = build(clips_dir, folder, encoder="classifier", checkpoint_path=run_dir, layer=1, n_workers=1)
    assert built.published
    return folder


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    with serving(Catalogue(model_dir, model_dir, [])) as client:
        yield client


def scores(answer: dict[str, Any]) -> list[float]:
    """By the name of the label."""
    return [one["score"] for one in sorted(answer["labels"], key=lambda one: str(one["label"]))]


class TestRelease:
    def test_the_manifest_says_what_it_is(self, model_dir: Path) -> None:
        release = open_release(model_dir, verify=True)
        facts = release.manifest.encoder
        assert facts.head is not None
        assert (facts.head.labels, facts.head.multi_label) == (["burst", "noise", "tone"], False)
        assert facts.head.n_tested > 0
        assert (facts.companions, "label_scores.npy" in release.manifest.files) == (["classifier.pt"], True)
        assert facts.layer is not None
        assert (facts.layer.index, facts.layer.n_layers) == (1, 2)

    def test_vectors_are_the_mean_of_the_layer_that_was_named(self, model_dir: Path, run_dir: Path) -> None:
        encoder = load_classifier(model_dir / "work" / "classifier.pt")
        body = load_classifier(run_dir).hidden.model.eval()
        x = torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0)).clamp_(-1, 1)
        with torch.no_grad():
            hidden = body(encoder.pre(x), output_hidden_states=True).hidden_states
            torch.testing.assert_close(encoder.features(x)[:, :32], hidden[1].mean(dim=1), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(encoder.features(x)[:, 32:], hidden[2].mean(dim=1), atol=1e-5, rtol=1e-4)

    def test_scores_of_clips_are_the_mean_over_their_windows(self, model_dir: Path, clips_dir: Path) -> None:
        release = open_release(model_dir)
        cut = windows(decode(clips_dir / LONG, max_s=60))
        cut = cut[sounding(cut)]
        assert len(cut) > 1
        expected = release.encoder.outputs(cut)[:, release.dim :].mean(axis=0)
        assert release.predictions is not None
        np.testing.assert_allclose(release.predictions.scores[release.metadata.row_of(LONG)], expected, atol=1e-3)
        assert expected.sum() == pytest.approx(1, abs=1e-4)

    def test_building_again_changes_nothing_without_the_checkpoint_too(self, model_dir: Path, clips_dir: Path) -> None:
        assert not build(clips_dir, model_dir, encoder="classifier", n_workers=1).published

    def test_another_checkpoint_is_another_encoder(self, model_dir: Path, run_dir: Path, tmp_path: Path) -> None:
        stored = torch.load(run_dir / "best.pt", weights_only=True)
        stored["model"]["classifier.bias"] += 1
        torch.save(stored, tmp_path / "other.pt")
        one, other = load_classifier(run_dir), load_classifier(tmp_path / "other.pt")
        assert one.features_key() != other.features_key()
        assert one.features_key() == load_classifier(run_dir / "best.pt").features_key()

    def test_adding_and_removing_keep_the_head(self, model_dir: Path, clips_dir: Path, tmp_path: Path) -> None:
        mine = tmp_path / "model"
        shutil.copytree(model_dir, mine, symlinks=True, ignore=shutil.ignore_patterns("work"))
        (tmp_path / "more" / "tone").mkdir(parents=True)
        (tmp_path / "more" / "tone" / "new.wav").write_bytes(sound_of("tone", 20.0, 40))
        shutil.copy(clips_dir / LONG, tmp_path / "more" / "again.wav")  # the same sound under another id
        add(mine, [tmp_path / "more"], n_workers=1)
        remove(mine, ["noise/01.wav"])
        before, after = open_release(model_dir), open_release(mine, verify=True)
        assert after.name == "0003"
        found = classify_file(tmp_path / "more" / "tone" / "new.wav", after)
        new, again, long = (classify_clip(clip_id, after).to_json() for clip_id in ("tone/new.wav", "again.wav", LONG))
        np.testing.assert_allclose(scores(new), scores(found.to_json()), atol=2e-3)
        np.testing.assert_allclose(scores(again), scores(long), atol=2e-3)
        for clip_id in ("tone/00.wav", LONG):
            assert classify_clip(clip_id, after) == classify_clip(clip_id, before)
        with pytest.raises(UnknownClip):
            classify_clip("noise/01.wav", after)
        files = [release / "classifier.pt" for release in (mine / "versions").iterdir()]
        assert len({path.stat().st_ino for path in files}) == 1

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            pytest.param(flipped("classifier.pt"), "SHA-256", id="a bit of the head"),
            pytest.param(flipped("label_scores.npy"), r"label_scores\.npy", id="a bit of the scores"),
            pytest.param(lambda release: (release / "classifier.pt").unlink(), r"without classifier\.pt", id="no head"),
            pytest.param(
                lambda release: (release / "classifier.pt").write_bytes(b"x"), r"classifier\.pt of 1 bytes", id="short"
            ),
        ],
    )
    def test_a_damaged_head_is_found(
        self, damage: Callable[[Path], None], message: str, model_dir: Path, tmp_path: Path
    ) -> None:
        mine = copied(model_dir, tmp_path / "model")
        damage(mine / "versions" / "0001")
        with pytest.raises(BadModelDir, match=message):
            open_release(mine, verify=True)

    def test_a_head_that_hashes_vouch_for_is_still_tried(self, model_dir: Path, tmp_path: Path) -> None:
        mine = copied(model_dir, tmp_path / "model")
        release_dir = mine / "versions" / "0001"
        (release_dir / "classifier.pt").write_bytes(b"no TorchScript")
        vouch_for(release_dir)
        with pytest.raises(BadModelDir, match=r"classification head classifier\.pt that TorchScript cannot run"):
            _ = open_release(mine).encoder

    def test_a_head_of_other_labels_than_the_manifest(self, model_dir: Path, tmp_path: Path) -> None:
        mine = copied(model_dir, tmp_path / "model")
        edit_manifest(mine / "versions" / "0001", {"encoder.head.labels": ["a", "b"]})
        with pytest.raises(BadModelDir, match=r"label_scores\.npy"):
            open_release(mine)

    def test_a_manifest_that_does_not_name_the_head(self, model_dir: Path, tmp_path: Path) -> None:
        mine = copied(model_dir, tmp_path / "model")
        release_dir = mine / "versions" / "0001"
        files = json.loads((release_dir / "manifest.json").read_text())["files"]
        edit_manifest(release_dir, {"files": {name: file for name, file in files.items() if name != "classifier.pt"}})
        with pytest.raises(BadModelDir, match=r"does not name classifier\.pt"):
            open_release(mine)


class TestBadCheckpoints:
    def test_none(self, clips_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="train it by `audiorec train classifier`"):
            build(clips_dir, tmp_path / "model", encoder="classifier")
        assert not (tmp_path / "model" / "work" / "wav").exists()

    def test_a_folder_without_a_run(self, clips_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        with pytest.raises(BadCheckpoint, match=r"got no file best\.pt"):
            build(clips_dir, tmp_path / "model", encoder="classifier", checkpoint_path=tmp_path / "run")

    def test_a_layer_that_is_not_there(self, clips_dir: Path, run_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="got layer 3, expected 0 to 2"):
            build(clips_dir, tmp_path / "model", encoder="classifier", checkpoint_path=run_dir, layer=3)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param({"format": "audiorec-vqvae"}, "of another program", id="kind"),
            pytest.param({"config": {}}, "without a whole config", id="config"),
            pytest.param({"model": {}}, "not of its config", id="weights"),
        ],
    )
    def test_one_that_contradicts_itself(
        self, change: dict[str, Any], message: str, run_dir: Path, tmp_path: Path
    ) -> None:
        torch.save({**torch.load(run_dir / "best.pt", weights_only=True), **change}, tmp_path / "best.pt")
        with pytest.raises(BadCheckpoint, match=message):
            load_classifier(tmp_path)


class TestService:
    def test_a_clip(self, client: TestClient, model_dir: Path) -> None:
        answer = ask(client, {"clip_id": "tone/00.wav"}, "/classify").json()
        assert list(answer) == ["predicted_label", "labels", "label", "query", "release", "took_ms"]
        assert answer["labels"][0]["label"] == answer["predicted_label"]
        assert answer["label"] == "tone"
        assert answer["query"] == {"kind": "clip_id"}
        assert sum(scores(answer)) == pytest.approx(1, abs=2e-3)
        assert answer["labels"] == classify_clip("tone/00.wav", open_release(model_dir)).labels

    @pytest.mark.parametrize("name", ["tone/00.wav", LONG])
    def test_a_sound_is_heard_as_the_clip_that_it_became(
        self, name: str, client: TestClient, clips_dir: Path, model_dir: Path
    ) -> None:
        sound = (clips_dir / name).read_bytes()
        answer = client.post("/classify", content=sound, headers=SOUND).json()
        assert answer["query"]["kind"] == "sound"
        stored = ask(client, {"clip_id": name}, "/classify").json()
        np.testing.assert_allclose(scores(answer), scores(stored), atol=2e-3)
        form = client.post("/classify", files={"file": ("a.wav", sound, "audio/wav")}).json()
        assert form["labels"] == answer["labels"]
        assert classify_file(clips_dir / name, model_dir).labels == answer["labels"]

    def test_neighbours_carry_what_is_predicted_apart_from_their_label(self, client: TestClient) -> None:
        for result in results_of(ask(client, {"clip_id": "tone/00.wav", "k": 5})):
            found = ask(client, {"clip_id": result["clip_id"]}, "/classify").json()
            assert result["predicted_label"] == found["predicted_label"]
            assert result["label"] == result["clip_id"].split("/")[0]
        clip = client.get("/clips/tone/00.wav").json()["clip"]
        assert clip["predicted_label"] == ask(client, {"clip_id": "tone/00.wav"}, "/classify").json()["predicted_label"]

    def test_the_library_says_it_too(self, model_dir: Path) -> None:
        (first, *_) = Nearest(model_dir).search_id("tone/00.wav", k=2)
        assert first.predicted_label in ("burst", "noise", "tone")

    def test_what_is_wrong(self, client: TestClient) -> None:
        assert "unknown" in refusal(ask(client, {"clip_id": "x", "k": 3}, "/classify"), 422, "bad_query")
        refusal(ask(client, {"clip_id": "none"}, "/classify"), 404, "unknown_clip")
        assert "clip_id" in refusal(ask(client, {}, "/classify"), 422, "bad_query")
        refusal(client.post("/classify", content=b"no sound", headers=SOUND), 422, "text")
        refusal(client.post("/classify", content=b"", headers=SOUND), 422, "empty")
        refusal(client.post("/classify", content=b"x", headers={"Content-Type": "text/plain"}), 415, "unsupported_body")
        assert "expected none" in refusal(client.post("/classify?k=3", content=b"x", headers=SOUND), 422, "bad_query")

    def test_a_release_without_a_classifier_says_how_to_get_one(self, catalogue: Catalogue) -> None:
        with serving(catalogue) as plain:
            clip_id = catalogue.rows[0]["clip_id"]
            message = refusal(ask(plain, {"clip_id": clip_id}, "/classify"), 422, "no_classifier")
            assert "audiorec train classifier" in message
            refusal(plain.post("/classify", content=b"x", headers=SOUND), 422, "no_classifier")
            assert "predicted_label" not in results_of(ask(plain, {"clip_id": clip_id}))[0]
        with pytest.raises(BadQuery, match="MeanMel has no classifier"):
            classify_file(catalogue.audio_dir / catalogue.rows[0]["path"], catalogue.model_dir)

    def test_the_documentation_has_an_example_that_works(self, client: TestClient) -> None:
        operation = client.get("/openapi.json").json()["paths"]["/classify"]["post"]
        bodies = operation["requestBody"]["content"]
        assert {"application/json", "multipart/form-data", "audio/*"} <= bodies.keys()
        answer = ask(client, bodies["application/json"]["example"], "/classify")
        assert answer.status_code == 200
        assert "200" in operation["responses"]

    def test_the_command(self, model_dir: Path, clips_dir: Path) -> None:
        shown = CliRunner().invoke(app, ["classify", str(model_dir), str(clips_dir / LONG)])
        assert (shown.exit_code, "predicted: " in shown.output) == (0, True)
        given = CliRunner().invoke(app, ["classify", str(model_dir), "--id", LONG, "--json"])
        answer = json.loads(given.output)
        assert answer["labels"][0]["label"] == answer["predicted_label"]
        assert CliRunner().invoke(app, ["classify", str(model_dir)]).exit_code == 2
        assert CliRunner().invoke(app, ["classify", str(model_dir), "--id", "none"]).exit_code == 4
        report = CliRunner().invoke(app, ["inspect", str(model_dir)]).output
        assert "classifier: 3 labels: accuracy" in report


def test_of_several_labels_all_that_are_likely_are_predicted() -> None:
    labels = Labels(("a", "b", "c"), is_multi=True)
    assert labels.predicted(np.array([0.6, 0.2, 0.9])) == "c;a"
    assert labels.predicted(np.array([0.1, 0.2, 0.3])) == ""
    assert Labels(("a", "b"), is_multi=False).predicted(np.array([0.4, 0.3])) == "a"
