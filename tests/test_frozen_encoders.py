"""Models of the wav2vec2 family and AST as encoders: equal to transformers' own, layer by layer, eager and exported."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sounds import RATE_HZ, bursts, noise, tone
from tiny_models import WAVE, save_ast, save_wave
from torch import Tensor

from audiorec import export
from audiorec.audio import CLIP_SAMPLES, Waveform, to_clip, windows
from audiorec.audio.decoder import Decoder
from audiorec.encoders import PRETRAINED_ENCODERS
from audiorec.encoders.frozen import EveryLayer, FrozenEncoder
from audiorec.encoders.spectrogram_transformer import AST, KaldiFbank, PatchLayers
from audiorec.encoders.wav2vec2 import Wav2Vec2, WaveFront
from audiorec.errors import BadSetting
from audiorec.export import LoadedEncoder, export_encoder
from audiorec.torchaudio_cpu import torchaudio

N_LAYERS = WAVE["num_hidden_layers"]
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}  # the large ones
SHORT = {"max_length": 500, "time_stride": 10}  # it hears five seconds
KINDS: dict[str, dict[str, Any]] = {
    "wav2vec2": {},
    "wav2vec2 large": STABLE,
    "wav2vec2 with an adapter": {"add_adapter": True},
    "hubert": {},
    "hubert large": STABLE,
    "wavlm": {"preprocessor": {"do_normalize": False}},
    "wavlm large": STABLE,
    "data2vec": {},
    "ast": {},
    "ast that hears less": SHORT,
    "ast of other statistics": {"preprocessor": {"mean": -3.0, "std": 2.0}},
    "ast as it is": {"preprocessor": {"do_normalize": False}},
}


def sounding() -> Tensor:
    """(5, 1, CLIP_SAMPLES) windows of tones, noise, bursts, and one that is almost silent."""
    sounds = [tone(1.0, 220), tone(9.0, 3_000), noise(1.0, 1), bursts(2.0, 3)]
    cut = np.concatenate([windows(to_clip([sound[:, None]], RATE_HZ, max_s=60))[:1] for sound in sounds])
    return torch.from_numpy(np.concatenate([cut, 1e-3 * cut[2:3]]))[:, None]


@pytest.fixture(scope="module", params=KINDS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, path = request.param.split()[0], tmp_path_factory.mktemp("models") / request.param
    return save_ast(path, **KINDS[request.param]) if kind == "ast" else save_wave(path, kind, **KINDS[request.param])


@pytest.fixture(scope="module")
def kind(directory: Path) -> type[FrozenEncoder]:
    found = PRETRAINED_ENCODERS[directory.name.split()[0]]
    assert issubclass(found, FrozenEncoder)
    return found


def by_transformers(directory: Path, waveform: Tensor) -> list[Tensor]:
    """(N, T, dim) of each layer, the last one with the norm that comes after it: their preprocessor, their model."""
    from transformers import AutoFeatureExtractor, AutoModel

    prepare = AutoFeatureExtractor.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory).eval()
    model.adapter = None
    inputs = prepare(list(waveform[:, 0].numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def pooled(hidden: Tensor, encoder: FrozenEncoder) -> Tensor:
    if not isinstance(encoder, AST):
        return hidden.mean(1)
    layers = encoder.hidden
    assert isinstance(layers, PatchLayers)
    grid = hidden[:, 2:].unflatten(1, (-1, layers.n_patches))  # type: ignore[no-untyped-call]
    mean: Tensor = grid[:, :, : layers.n_pooled].mean((1, 2))
    return mean


def test_every_layer_is_that_of_transformers(directory: Path, kind: type[FrozenEncoder]) -> None:
    expected = by_transformers(directory, sounding())
    assert len(expected) == N_LAYERS + 1
    n_parameters = []
    for index, hidden in enumerate(expected):
        encoder = kind.open(directory, index)
        assert isinstance(encoder, FrozenEncoder)
        with torch.no_grad():
            features, mean = encoder.features(sounding()), pooled(hidden, encoder)
        assert F.cosine_similarity(features, mean).min() > 0.9999
        torch.testing.assert_close(features, mean, rtol=1e-3, atol=1e-3 * float(mean.std()))
        assert float((features[0] - features[2]).norm()) > 0.01 * float(mean.norm(dim=1).mean()), (
            "all sound alike to it"
        )
        n_parameters.append(encoder.count_parameters())
    assert n_parameters == sorted(set(n_parameters)), "a layer above the one that is used costs nothing"


def test_all_layers_at_once(directory: Path, kind: type[FrozenEncoder]) -> None:
    every = EveryLayer(kind, directory)
    with torch.no_grad():
        parts = every.features(sounding()).split(WAVE["hidden_size"], dim=1)
        assert len(parts) == N_LAYERS + 1
        for index, part in enumerate(parts):
            torch.testing.assert_close(part, kind.open(directory, index).features(sounding()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("index", [1, N_LAYERS])
def test_the_file_computes_what_the_encoder_does(
    index: int, directory: Path, kind: type[FrozenEncoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PARITY_BATCHES", (1, 3))
    encoder = kind.open(directory, index)
    with torch.no_grad():
        encoder.fit(encoder.features(sounding()))
    assert export_encoder(encoder, tmp_path / "encoder.pt") < 1e-5
    loaded = LoadedEncoder(tmp_path / "encoder.pt")
    for n in (1, 2, 5):
        with torch.no_grad():
            expected = encoder(sounding()[:n]).numpy()
        np.testing.assert_allclose(loaded.encode(sounding()[:n, 0].numpy()), expected, atol=1e-4)
    assert loaded.dim == encoder.dim == WAVE["hidden_size"]


def test_on_real_sounds_too(directory: Path, kind: type[FrozenEncoder], shared: Path, decoder: Decoder) -> None:
    encoder = kind.open(directory, 2)
    assert isinstance(encoder, FrozenEncoder)
    for name in ("stereo_24bit_44k.wav", "tabla.opus"):
        cut = torch.from_numpy(windows(decoder.decode(shared / "formats/good" / name)))[:2, None]
        with torch.no_grad():
            features = encoder.features(cut)
        assert F.cosine_similarity(features, pooled(by_transformers(directory, cut)[2], encoder)).min() > 0.999, name


@pytest.mark.parametrize("normalises", [True, False])
def test_the_waveform_is_normalised_where_the_model_wants_that(normalises: bool) -> None:
    heard = WaveFront(16_000, normalises)(0.1 * sounding() + 0.01)
    if normalises:
        torch.testing.assert_close(heard.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(heard[:4].std(1), torch.ones(4), atol=1e-3, rtol=0)
    else:
        torch.testing.assert_close(heard, 0.1 * sounding()[:, 0] + 0.01)


def test_silence_has_a_vector(directory: Path, kind: type[FrozenEncoder]) -> None:
    with torch.no_grad():
        vector = kind.open(directory)(torch.zeros(1, 1, CLIP_SAMPLES))
    assert float(vector.norm()) == pytest.approx(1, abs=1e-4)


def test_an_untold_layer_is_the_one_in_the_middle(directory: Path, kind: type[FrozenEncoder]) -> None:
    layer = kind.open(directory).layer
    assert layer is not None
    assert (layer.index, layer.n_layers, layer.why) == (N_LAYERS // 2, N_LAYERS, "the one in the middle")


@pytest.mark.parametrize("index", [-1, N_LAYERS + 1])
def test_a_layer_that_is_not_there(index: int, tmp_path: Path) -> None:
    save_wave(tmp_path, "wav2vec2")
    with pytest.raises(BadSetting, match=f"got layer {index}, expected 0 to {N_LAYERS} for this model"):
        Wav2Vec2.open(tmp_path, index)


def test_keys_tell_models_layers_and_normalisation_apart(tmp_path: Path) -> None:
    one = save_wave(tmp_path / "one", "wav2vec2")
    other = save_wave(tmp_path / "other", "wav2vec2", preprocessor={"do_normalize": False})
    slow = save_wave(tmp_path / "slow", "wav2vec2", preprocessor={"sampling_rate": 8_000})
    keys = [Wav2Vec2.open(path, index).features_key() for path in (one, other, slow) for index in (0, 1, 2)]
    assert len(set(keys)) == len(keys)
    encoder = Wav2Vec2.open(one, 1)
    encoder.fit(torch.randn(40, WAVE["hidden_size"], generator=torch.Generator().manual_seed(0)))
    assert encoder.features_key() == keys[1]
    assert encoder.key() != Wav2Vec2.open(one, 1).key()


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_a_model_of_another_rate_hears_the_same_sound(
    rate_hz: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PARITY_BATCHES", (1, 3))
    save_wave(tmp_path, "hubert", preprocessor={"sampling_rate": rate_hz})
    encoder = PRETRAINED_ENCODERS["hubert"].open(tmp_path)
    assert isinstance(encoder, FrozenEncoder)
    n_samples = round(CLIP_SAMPLES * rate_hz / 16_000)
    phase = torch.arange(CLIP_SAMPLES) * (2 * torch.pi * 440 / 16_000)
    heard = encoder.pre(torch.sin(phase)[None, None])
    assert heard.shape == (1, n_samples)
    expected = 2**0.5 * torch.sin(torch.arange(n_samples) * (2 * torch.pi * 440 / rate_hz))
    torch.testing.assert_close(heard[0, 1000:-1000], expected[1000:-1000], atol=1e-2, rtol=0)
    assert export_encoder(encoder, tmp_path / "encoder.pt") < 1e-5


def test_a_large_one_is_compared_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = LoadedEncoder.encode

    def recorded(self: LoadedEncoder, cut: Waveform) -> Waveform:
        seen.append(len(cut))
        return encode(self, cut)

    monkeypatch.setattr(LoadedEncoder, "encode", recorded)
    monkeypatch.setattr(export, "LARGE_PARAMETERS", 1_000)
    export_encoder(Wav2Vec2.open(save_wave(tmp_path / "model", "wav2vec2"), 0), tmp_path / "encoder.pt")
    assert seen == [2, *export.LARGE_PARITY_BATCHES]


@pytest.mark.parametrize("n_mels", [32, 128])
def test_the_filter_bank_is_kaldis(n_mels: int) -> None:
    waveform = sounding()[:, 0]
    own = KaldiFbank(n_mels, 16_000)(waveform)
    for mine, sound in zip(own, waveform, strict=True):
        theirs = torchaudio.compliance.kaldi.fbank(sound[None], window_type="hanning", num_mel_bins=n_mels)
        torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=1e-3)


def test_patches_after_the_end_of_the_sound_are_not_pooled(tmp_path: Path) -> None:
    hidden = AST.parts(save_ast(tmp_path / "long"))[1]
    assert isinstance(hidden, PatchLayers)
    assert (hidden.n_patches, hidden.n_pooled) == (64, 51)  # 818 frames of 1024, in steps of 16
    hidden = AST.parts(save_ast(tmp_path / "short", **SHORT))[1]
    assert isinstance(hidden, PatchLayers)
    assert hidden.n_pooled == hidden.n_patches == 49
