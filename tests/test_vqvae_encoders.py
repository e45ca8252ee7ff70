"""The encoders of a VQ-VAE: bags by hand, TorchScript against eager, whitening, and a build with a checkpoint."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import make_clips
from torch import Tensor
from trainings import TINY, make_wavs, one_thread, settings

from audiorec.audio import CLIP_SAMPLES
from audiorec.audio.wav import read_wav
from audiorec.build import build, index_step
from audiorec.embed import embed
from audiorec.encoders import ENCODERS, LEARNED_ENCODERS, make_encoder
from audiorec.encoders.bag_vqvae import bag
from audiorec.encoders.base import Encoder
from audiorec.encoders.vqvae.config import PRESETS
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.encoders.whiten import Whiten
from audiorec.errors import AudiorecError, BadCheckpoint, BadSetting
from audiorec.export import PARITY_TOLERANCE, LoadedEncoder, export_encoder
from audiorec.release import open_release
from audiorec.training.vqvae import train


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vqvae")
    return train(make_wavs(place / "wav"), place / "run", settings()).best_path


def sounds(n: int, seed: int = 0) -> Tensor:
    """(n, 1, CLIP_SAMPLES): chords and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(CLIP_SAMPLES) / 16_000
    made = [np.sin(2 * np.pi * rng.uniform(80, 4000) * time) * rng.uniform() for _ in range(n)]
    made = [sound + rng.uniform(0.001, 0.3) * rng.standard_normal(CLIP_SAMPLES) for sound in made]
    return torch.from_numpy(np.stack(made).clip(-1, 1).astype(np.float32))[:, None]


@pytest.fixture(scope="module", params=sorted(LEARNED_ENCODERS))
def encoder(request: pytest.FixtureRequest, checkpoint: Path) -> Encoder:
    encoder = make_encoder(request.param, checkpoint)
    with torch.no_grad():
        encoder.fit(encoder.features(sounds(24)))
    return encoder


@pytest.mark.parametrize("n", [1, 3, 16])
def test_vectors_are_finite_and_of_length_one(n: int, encoder: Encoder) -> None:
    with torch.no_grad():
        vectors = encoder(sounds(n, seed=1))
    assert vectors.shape == (n, encoder.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(n), atol=1e-5, rtol=0)


def test_scripted_equals_eager(encoder: Encoder, tmp_path: Path) -> None:
    assert export_encoder(encoder, tmp_path / "encoder.pt") <= PARITY_TOLERANCE
    waveforms = sounds(5, seed=2)
    with torch.no_grad():
        eager = encoder(waveforms).numpy()
    loaded = LoadedEncoder(tmp_path / "encoder.pt")
    np.testing.assert_allclose(loaded.encode(waveforms[:, 0].numpy()), eager, atol=1e-5)
    one_by_one = np.concatenate([loaded.encode(waveform.numpy()) for waveform in waveforms])
    np.testing.assert_allclose(one_by_one, eager, atol=1e-5)


@pytest.mark.parametrize(("name", "preset"), [("BagTopVQVAE", "reference"), ("BagBottomVQVAE", "default")])
def test_presets_can_be_exported(name: str, preset: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = LEARNED_ENCODERS[name](VQVAE(PRESETS[preset])).eval()
    assert export_encoder(encoder, tmp_path / "encoder.pt") <= PARITY_TOLERANCE


def test_bag_by_hand() -> None:
    codes = torch.tensor([[[[0, 2, 2]], [[5, 5, 5]]], [[[1, 1, 1]], [[3, 4, 5]]]])  # (2, 2, 1, 3): two books of three
    expected = torch.tensor([[1, 0, 2, 0, 0, 3], [0, 3, 0, 1, 1, 1]]) / 6
    torch.testing.assert_close(bag(codes, 6), expected)


def test_bags_are_counts_of_codes(checkpoint: Path) -> None:
    waveforms = sounds(3)
    with torch.no_grad():
        for name, level, n_codes in (("BagTopVQVAE", 0, 8), ("BagBottomVQVAE", 1, 16)):
            encoder = make_encoder(name, checkpoint)
            features = encoder.features(waveforms)
            model = VQVAE(TINY)
            model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
            codes = model.eval().encode(encoder.pre(waveforms))[level].codes
            expected = torch.stack([torch.bincount(row.reshape(-1), minlength=n_codes) for row in codes])
            torch.testing.assert_close(features, expected / expected.sum(dim=1, keepdim=True))


def test_mean_over_frequency_keeps_time(checkpoint: Path) -> None:
    encoder = make_encoder("MeanFreqTopVQVAE", checkpoint)
    waveforms = sounds(2)
    with torch.no_grad():
        features = encoder.features(waveforms)
        _, top = encoder.top(encoder.pre(waveforms))
    assert features.shape[1] == TINY.code_dim * TINY.top_grid((80, 257))[1]
    torch.testing.assert_close(features.reshape(2, TINY.code_dim, -1), top.words.mean(dim=2))


def test_an_encoder_holds_no_decoder(checkpoint: Path) -> None:
    n_parameters = {name: make_encoder(name, checkpoint).count_parameters() for name in LEARNED_ENCODERS}
    whole = sum(p.numel() for p in VQVAE(TINY).parameters())
    assert n_parameters["BagTopVQVAE"] < n_parameters["BagBottomVQVAE"] < whole


def test_features_do_not_change_by_fitting_and_keys_say_so(encoder: Encoder, checkpoint: Path) -> None:
    fresh = make_encoder(encoder.name, checkpoint)
    assert fresh.features_key() == encoder.features_key()
    assert fresh.key() != encoder.key()
    with torch.no_grad():
        assert torch.equal(fresh.features(sounds(2)), encoder.features(sounds(2)))
    torch.manual_seed(5)
    assert LEARNED_ENCODERS[encoder.name](VQVAE(TINY)).features_key() != encoder.features_key()


def test_whitening_evens_out_what_varies() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4000, 6, generator=generator) * torch.tensor([9.0, 3.0, 1.0, 1.0, 0.1, 0.0]) + 5
    whiten = Whiten(6, 3)
    whiten.fit(features)
    turned = (features - whiten.mean) @ whiten.projection
    covariance = torch.cov(turned.T)
    variances = torch.tensor([81.0, 9.0, 1.0])
    torch.testing.assert_close(covariance.diagonal(), variances / (variances + variances.mean()), atol=0.05, rtol=0)
    assert float((covariance - covariance.diagonal().diag()).abs().max()) < 1e-3


@pytest.mark.parametrize("n", [1, 2, 5])
def test_whitening_of_fewer_windows_than_dimensions(n: int) -> None:
    whiten, features = Whiten(20, 10), torch.rand(n, 20, generator=torch.Generator().manual_seed(0))
    whiten.fit(features)
    torch.testing.assert_close(whiten(features).norm(dim=1), torch.ones(n))


def test_whitening_where_nothing_varies() -> None:
    whiten, features = Whiten(20, 10), torch.full((7, 20), 0.3)
    whiten.fit(features)
    torch.testing.assert_close(whiten(features).norm(dim=1), torch.ones(7))


def test_a_learned_encoder_without_checkpoint_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"BagTopVQVAE' without a checkpoint.*audiorec train vqvae"):
        make_encoder("BagTopVQVAE")


def test_an_unknown_name_lists_them_all() -> None:
    with pytest.raises(BadSetting) as caught:
        make_encoder("BagMiddleVQVAE")
    assert all(name in caught.value.message for name in (*ENCODERS, *LEARNED_ENCODERS, "BagMiddleVQVAE"))


def test_build_with_a_checkpoint_and_again_without(checkpoint: Path, tmp_path: Path) -> None:
    clips, model_dir = make_clips(tmp_path / "clips"), tmp_path / "model"
    built = build(clips, model_dir, encoder="BagBottomVQVAE", checkpoint_path=checkpoint, n_workers=1)
    assert built.published
    facts = built.manifest.encoder
    assert (facts.name, len(facts.checkpoint or ""), facts.dim) == ("BagBottomVQVAE", 64, 16)
    again = build(clips, model_dir, encoder="BagBottomVQVAE", n_workers=1)
    assert not again.published
    assert not index_step(model_dir).published
    release = open_release(model_dir, verify=True)
    encoder = LoadedEncoder(release.directory / "encoder.pt")
    for row, clip in enumerate(built.conversion.clips):
        vector = embed(read_wav(model_dir / "work" / "wav", clip["sha256"]), encoder).vector
        np.testing.assert_allclose(vector, release.embeddings[row], atol=1e-4)


def test_another_checkpoint_makes_another_release(checkpoint: Path, tmp_path: Path) -> None:
    clips, model_dir = make_clips(tmp_path / "clips"), tmp_path / "model"
    build(clips, model_dir, encoder="BagTopVQVAE", checkpoint_path=checkpoint, n_workers=1, baselines=False)
    other = train(make_wavs(tmp_path / "wav"), tmp_path / "run", settings(seed=1)).best_path
    built = build(clips, model_dir, encoder="BagTopVQVAE", checkpoint_path=other, n_workers=1, baselines=False)
    assert built.published
    assert built.release_dir.name == "0002"


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\3\4 nearly"])
def test_a_broken_checkpoint_stops_a_build_before_it_begins(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "some.pt").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"some\.pt"):
        build(tmp_path / "clips", tmp_path / "model", encoder="BagTopVQVAE", checkpoint_path=tmp_path / "some.pt")
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_for_an_encoder_that_learns_nothing_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="MFCC, which learns nothing"):
        build(tmp_path / "clips", tmp_path / "model", encoder="MFCC", checkpoint_path=checkpoint)


def test_too_few_clips_to_train_on_demand(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips")
    with pytest.raises(AudiorecError, match="got 6 clips of 6 groups, expected at least 8"):
        build(clips, tmp_path / "model", encoder="BagTopVQVAE", train_minutes=0.01, n_workers=1)
