"""What every encoder promises, and what the baselines compute."""

import warnings

import numpy as np
import pytest
import torch
from sounds import RATE_HZ, bursts, noise, tone
from torch import Tensor

from audiorec.audio import CLIP_SAMPLES, Waveform, to_clip, windows
from audiorec.audio.mel import HOP_SAMPLES, LOG_FLOOR, N_FFT, N_MELS, LogMel
from audiorec.embed import BATCH_WINDOWS, clip_vector, embed, in_batches
from audiorec.encoders import BASELINES, DEFAULT_ENCODER, ENCODERS, make_encoder, names
from audiorec.encoders.base import Encoder, Standardise
from audiorec.errors import BadSetting
from audiorec.fit import EagerEncoder

SOUNDS = [tone(1.0, 220), tone(2.0, 3_000), noise(1.0, 1), noise(3.0, 2, peak=0.01), bursts(2.0, 3), bursts(9.0, 4)]


def batch(n: int) -> Tensor:
    """(n, 1, CLIP_SAMPLES): windows of different sounds."""
    cut = np.concatenate([windows(to_clip([sound[:, None]], RATE_HZ, max_s=60)) for sound in SOUNDS])
    return torch.from_numpy(np.resize(cut, (n, 1, CLIP_SAMPLES)))


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return make_encoder(request.param)


@pytest.fixture(scope="module")
def fitted(encoder: Encoder) -> Encoder:
    made = make_encoder(encoder.name)
    with torch.no_grad():
        made.fit(made.features(batch(6)))
    return made


@pytest.mark.parametrize("n", [1, 3, 16])
def test_vectors_are_finite_and_of_length_one(n: int, encoder: Encoder, fitted: Encoder) -> None:
    for made in (encoder, fitted):
        with torch.no_grad():
            vectors = made(batch(n))
        assert vectors.shape == (n, made.dim)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(n), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "waveform",
    [
        pytest.param(torch.zeros(CLIP_SAMPLES), id="silence"),
        pytest.param(torch.ones(CLIP_SAMPLES), id="offset"),
        pytest.param(torch.sign(torch.sin(torch.arange(CLIP_SAMPLES) * 0.3)), id="square wave"),
        pytest.param(torch.eye(1, CLIP_SAMPLES)[0], id="one click"),
        pytest.param(torch.full((CLIP_SAMPLES,), 1e-30), id="denormal"),
    ],
)
def test_nothing_breaks_at_the_edges(waveform: Tensor, fitted: Encoder) -> None:
    with torch.no_grad():
        vector = fitted(waveform[None, None])
    assert torch.isfinite(vector).all()
    assert vector.norm().item() == pytest.approx(1, abs=1e-5)


def test_a_window_s_vector_does_not_depend_on_its_batch(fitted: Encoder) -> None:
    with torch.no_grad():
        together = fitted(batch(16))
        alone = torch.cat([fitted(window[None]) for window in batch(16)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_pre_core_and_post_can_be_called_alone(fitted: Encoder) -> None:
    with torch.no_grad():
        in_steps = fitted.post(fitted.core(fitted.pre(batch(3))))
        torch.testing.assert_close(in_steps, fitted(batch(3)), atol=0, rtol=0)


def test_fitting_standardises_each_feature(fitted: Encoder) -> None:
    with torch.no_grad():
        features = fitted.features(batch(6)).double()
    standardise = fitted.standardise
    assert isinstance(standardise, Standardise)
    standard = (features - standardise.mean) * standardise.scale
    deviation, mean = torch.std_mean(standard, dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-3, rtol=0)


def test_keys_tell_what_is_computed(encoder: Encoder, fitted: Encoder) -> None:
    again = make_encoder(encoder.name)
    assert again.key() == encoder.key() != fitted.key()
    assert again.features_key() == encoder.features_key() == fitted.features_key()
    assert encoder.key().startswith(f"{encoder.name}-")
    assert len({make_encoder(name).features_key() for name in ENCODERS}) == len(ENCODERS)


def test_a_new_version_has_new_keys(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (encoder.key(), encoder.features_key())
    monkeypatch.setattr(type(encoder), "version", encoder.version + 1)
    assert encoder.key() != before[0]
    assert encoder.features_key() != before[1]


def test_the_facts_of_an_encoder(encoder: Encoder) -> None:
    assert ENCODERS[encoder.name] is type(encoder)
    assert encoder.count_parameters() == 0, "the baselines are fitted, not trained"
    assert not encoder.training
    assert encoder.licence == "Apache-2.0"
    assert {DEFAULT_ENCODER, *BASELINES} <= set(names())


@pytest.mark.parametrize("name", ["", "mfcc", "VGGish"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(BadSetting, match=f"got encoder '{name}', expected one of ") as unknown:
        make_encoder(name)
    assert set(ENCODERS) <= set(unknown.value.message.partition("one of ")[2].split(", "))


def test_the_nearest_is_the_one_that_sounds_alike(fitted: Encoder) -> None:
    pairs = [tone(2.0, 220), tone(2.0, 222), tone(2.0, 3_000), tone(1.7, 3_050), noise(2.0, 10), noise(1.9, 11)]
    cut = np.concatenate([windows(to_clip([sound[:, None]], RATE_HZ, max_s=9)) for sound in pairs])
    with torch.no_grad():
        vectors = fitted(torch.from_numpy(cut)[:, None])
    similarity = (vectors @ vectors.T).fill_diagonal_(-1)
    assert similarity.argmax(dim=1).tolist() == [1, 0, 3, 2, 5, 4]


@pytest.mark.parametrize("hz", [100, 440, 1_000, 4_000, 7_500])
def test_a_tone_is_loudest_in_its_own_mel_band(hz: float) -> None:
    with torch.no_grad():
        log_mel = LogMel()(torch.from_numpy(np.resize(tone(8.0, hz), (1, 1, CLIP_SAMPLES))))
    assert log_mel.shape == (1, N_MELS, 1 + CLIP_SAMPLES // HOP_SAMPLES)
    top_mel = 2595 * np.log10(1 + 8_000 / 700)
    band = 2595 * np.log10(1 + hz / 700) / top_mel * (N_MELS + 1) - 1
    assert log_mel[0].mean(dim=1).argmax().item() == pytest.approx(band, abs=1)


def test_log_mel_is_the_logarithm_of_power() -> None:
    loud = batch(1)
    with torch.no_grad():
        difference = LogMel()(loud) - LogMel()(loud / 2)
        silence = LogMel()(torch.zeros(1, 1, CLIP_SAMPLES))
    audible = LogMel()(loud / 2) > np.log(LOG_FLOOR) + 8
    torch.testing.assert_close(difference[audible].mean(), torch.tensor(np.log(4.0)).float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(silence, torch.full_like(silence, float(np.log(LOG_FLOOR))))


def test_log_mel_is_what_numpy_makes_of_it() -> None:
    waveform = batch(3)[2, 0].numpy().astype(np.float64)
    frame = waveform[HOP_SAMPLES * 10 - N_FFT // 2 :][:N_FFT]
    power = np.abs(np.fft.rfft(frame * np.hanning(N_FFT + 1)[:-1])) ** 2
    mel_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), N_MELS + 2) / 2595) - 1)
    hz = np.arange(N_FFT // 2 + 1) * RATE_HZ / N_FFT
    rising = (hz - mel_hz[:-2, None]) / np.diff(mel_hz)[:-1, None]
    falling = (mel_hz[2:, None] - hz) / np.diff(mel_hz)[1:, None]
    expected = np.log(np.maximum(0, np.minimum(rising, falling)) @ power + LOG_FLOOR)
    with torch.no_grad():
        log_mel = LogMel()(torch.from_numpy(waveform).float()[None, None])[0, :, 10]
    np.testing.assert_allclose(log_mel.numpy(), expected, atol=2e-3)


def test_a_feature_that_never_varies_has_no_say() -> None:
    standardise = Standardise(3)
    standardise.fit(torch.tensor([[1.0, 7.0, -2.0], [3.0, 7.0, -1.0], [5.0, 7.0, 6.0]]))
    assert standardise.scale[1] == 0
    vectors = standardise(torch.tensor([[1.0, 7.0, 2.0], [1.0, -900.0, 2.0]]))
    torch.testing.assert_close(vectors[0], vectors[1], atol=0, rtol=0)


@pytest.mark.parametrize("n", [1, 5])
def test_a_catalogue_of_one_sound_keeps_its_direction(n: int) -> None:
    standardise = Standardise(4)
    feature = torch.tensor([[3.0, -4.0, 0.0, 12.0]])
    standardise.fit(feature.repeat(n, 1))
    torch.testing.assert_close(standardise(feature), feature / 13)


class Sums:
    """A toy encoder: (sum of the first half, of the second half) as a direction."""

    dim = 2
    n_labels = 0

    def __init__(self) -> None:
        self.batches: list[int] = []

    def outputs(self, cut: Waveform) -> Waveform:
        self.batches.append(len(cut))
        halves = cut.reshape(len(cut), 2, -1).sum(axis=2, dtype=np.float64)
        vectors: Waveform = (halves / np.linalg.norm(halves, axis=1, keepdims=True)).astype(np.float32)
        return vectors


def test_a_clip_s_vector_is_the_mean_of_its_windows_that_sound() -> None:
    pcm = np.zeros(3 * CLIP_SAMPLES, np.int16)
    pcm[: CLIP_SAMPLES // 2] = 30_000  # window 0 points along the first axis, window 1 is silent
    pcm[-CLIP_SAMPLES // 2 :] = 15_000  # window 2 along the second
    embedding = embed(pcm, Sums())
    np.testing.assert_allclose(embedding.window_vectors, [[1, 0], [0, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(embedding.vector, [0.5**0.5, 0.5**0.5], atol=1e-6)
    assert embedding.duration_s == 3 * 8.192
    assert embedding.vector.dtype == embedding.window_vectors.dtype == np.float32


def test_long_clips_are_encoded_a_few_windows_at_a_time() -> None:
    encoder = Sums()
    embed(np.full((2 * BATCH_WINDOWS + 1) * CLIP_SAMPLES, 20_000, np.int16), encoder)
    assert encoder.batches == [BATCH_WINDOWS, BATCH_WINDOWS, 1]
    rows = np.arange(33, dtype=np.float32)
    np.testing.assert_array_equal(in_batches(lambda x: 2 * x, rows), 2 * rows)


def test_the_scores_of_labels_are_the_mean_over_the_windows_that_sound() -> None:
    class Labelled(Sums):
        n_labels = 1

        def outputs(self, cut: Waveform) -> Waveform:
            return np.concatenate([super().outputs(cut), cut[:, :1]], axis=1)

    pcm = np.zeros(3 * CLIP_SAMPLES, np.int16)
    pcm[: CLIP_SAMPLES // 2], pcm[-CLIP_SAMPLES:] = 32_767, 16_384
    embedding = embed(pcm, Labelled())
    assert embedding.label_scores is not None
    np.testing.assert_allclose(embedding.label_scores, [0.75], atol=1e-4)
    assert embed(pcm, Sums()).label_scores is None


def test_windows_that_cancel_out_still_have_a_direction() -> None:
    opposite = np.array([[0.6, 0.8], [-0.6, -0.8]], np.float32)
    np.testing.assert_array_equal(clip_vector(opposite), opposite[0])


def test_repeating_a_clip_does_not_change_its_vector(fitted: Encoder) -> None:
    """A clip of half a window's length repeats to fill one: twice as much of it is the same window."""
    eager = EagerEncoder(fitted)

    class AsWindowEncoder:
        dim = eager.dim
        n_labels = 0

        def outputs(self, cut: Waveform) -> Waveform:
            return eager.post(eager.features(cut))

    pcm = to_clip([bursts(4.096)[:, None]], RATE_HZ, max_s=60)
    once, twice = embed(pcm, AsWindowEncoder()), embed(np.tile(pcm, 2), AsWindowEncoder())
    np.testing.assert_allclose(once.vector, twice.vector, atol=1e-6)


def test_encoding_warns_of_nothing(fitted: Encoder) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        fitted(batch(1))
