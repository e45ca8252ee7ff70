"""Which layer of a pretrained model gives the vector: the one that retrieves best, found in one pass."""

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import save_wave
from torch import Tensor, nn

from audiorec.audio import FULL_SCALE, SAMPLE_RATE_HZ, Pcm
from audiorec.audio.wav import wav_path
from audiorec.encoders.base import Layer
from audiorec.encoders.frozen import Front, FrozenEncoder, HiddenLayers
from audiorec.encoders.wav2vec2 import Wav2Vec2
from audiorec.evaluate import Scores
from audiorec.features import FeatureStore
from audiorec.fit import EagerEncoder, features_of_catalogue, layer_choice
from audiorec.fit.layer_choice import best_layer, choose_layer, count_queries, sample_of

N_CLIPS = 60
N_LABELS = 3
DIM = 6


class PlainFront(Front):
    identity = "plain"

    def forward(self, waveform: Tensor) -> Tensor:
        return waveform[:, 0]


class PlainLayers(nn.Module):
    """Of three layers, the first tells how loud a sound is, the second what it is like, and the third nothing."""

    n_layers = 3
    dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.kept: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        slopes = torch.stack([torch.diff(x, n=n).square().mean(1).log() for n in range(DIM)], 1)
        nothing = torch.ones(len(x), DIM) + torch.frac(1e4 * slopes)
        layers = [slopes[:, :1].expand(-1, DIM) + 1e-3 * nothing, nothing, slopes - slopes[:, :1], nothing]
        return torch.cat(layers, 1) if self.kept is None else layers[self.kept]

    def keep(self, layer: int) -> None:
        self.kept = layer


class Plain(FrozenEncoder):
    name = "plain"

    @classmethod
    def parts(cls, directory: Path) -> tuple[Front, HiddenLayers]:
        return PlainFront(), PlainLayers()  # type: ignore[return-value]


def coloured(label: int, seed: int) -> Pcm:
    """(16,000,) noise, the more even the higher the label."""
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal(16_000)
    for _ in range(label):
        sound = np.convolve(sound, [0.5, 0.5], "same")
    pcm: Pcm = (rng.uniform(0.2, 1) * sound / np.abs(sound).max() * FULL_SCALE).astype(np.int16)
    return pcm


@pytest.fixture(scope="module")
def wav_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wav")
    for i in range(N_CLIPS):
        path = wav_path(folder, f"{i:064x}")
        path.parent.mkdir(exist_ok=True)
        with wave.open(str(path), "wb") as wav:
            wav.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
            wav.writeframes(coloured(i % N_LABELS, i).tobytes())
    return folder


def clips(n: int = N_CLIPS) -> list[dict[str, str]]:
    return [{"sha256": f"{i:064x}", "label": str(i % N_LABELS), "duration_s": "1.0"} for i in range(n)]


def chosen(rows: Sequence[dict[str, str]], wav_dir: Path, features_dir: Path) -> Layer:
    return choose_layer(Plain, Path(), rows, wav_dir=wav_dir, features_dir=features_dir)


def test_the_layer_that_retrieves_best_is_chosen(wav_dir: Path, tmp_path: Path) -> None:
    layer = chosen(clips(), wav_dir, tmp_path)
    assert (layer.index, layer.n_layers) == (2, 3)
    assert len(layer.p5) == len(layer.mean_average_precision) == 4
    assert layer.p5[2] == max(layer.p5) > layer.p5[1] + 0.2
    for figure in (f"{layer.p5[2]:.3f}", f"{layer.p5[3]:.3f}", f"{layer.p5[1]:.3f}", "60 clips"):
        assert figure in layer.why


def test_what_was_computed_of_it_is_kept_and_of_the_others_not(
    wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = chosen(clips(), wav_dir, tmp_path)
    encoder = Plain.open(Path(), layer.index)
    assert [path.name for path in tmp_path.iterdir()] == [encoder.features_key()]
    monkeypatch.setattr(PlainLayers, "forward", lambda _, x: torch.full((len(x), DIM), torch.nan))
    sha256s = [clip["sha256"] for clip in clips()]
    with FeatureStore(tmp_path / encoder.features_key(), DIM) as store:
        assert all(sha256 in store for sha256 in sha256s)
        assert np.isfinite(store.of(sha256s)).all()


def test_what_is_kept_is_what_the_encoder_would_compute(wav_dir: Path, tmp_path: Path) -> None:
    directory = save_wave(tmp_path / "model", "wav2vec2", num_hidden_layers=2)
    layer = choose_layer(Wav2Vec2, directory, clips(), wav_dir=wav_dir, features_dir=tmp_path / "features")
    encoder = Wav2Vec2.open(directory, layer.index)
    sha256s = [clip["sha256"] for clip in clips()]
    eager = EagerEncoder(encoder)
    with (
        features_of_catalogue(eager, sha256s, wav_dir, tmp_path / "features") as kept,
        features_of_catalogue(eager, sha256s, wav_dir, tmp_path / "anew") as anew,
    ):
        np.testing.assert_allclose(kept.of(sha256s), anew.of(sha256s), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [clips(49), [{**clip, "label": ""} for clip in clips()], []], ids=len)
def test_without_enough_labels_it_is_the_middle(
    rows: list[dict[str, str]], wav_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainLayers, "forward", None)  # nothing is computed for it
    layer = chosen(rows, wav_dir, tmp_path)
    assert (layer.index, layer.n_layers, layer.p5) == (1, 3, [])
    assert "too few to choose by" in layer.why
    assert not list(tmp_path.iterdir())


def test_a_large_catalogue_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_choice, "MAX_WINDOWS", 20)
    rows = clips()
    assert len(sample_of(rows)) == 20
    assert sample_of(rows) == sorted(sample_of(rows), key=lambda clip: clip["sha256"])
    long = [{**clip, "duration_s": "81.92"} for clip in rows]
    assert len(sample_of(long)) == 2
    assert len(sample_of([{**clip, "label": clip["label"] if i < 7 else ""} for i, clip in enumerate(rows)])) == 7


def test_a_query_needs_another_clip_of_its_label() -> None:
    assert count_queries(clips()) == N_CLIPS
    assert count_queries([{**clip, "label": str(i)} for i, clip in enumerate(clips())]) == 0
    assert count_queries([{**clip, "group": "one"} for clip in clips()]) == 0
    assert count_queries([{**clip, "label": "one"} for clip in clips()]) == 0, "whatever the layer, all are right"


def test_among_equals_the_fastest() -> None:
    scores = [Scores(0, 60, {"5": p5}, 0.1, 0.1, {}) for p5 in (0.1, 0.3, 0.3)]
    assert best_layer(scores, 60).index == 1
