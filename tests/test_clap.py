"""CLAP as an encoder: both towers compute what transformers computes, as files too; a model that is none is refused."""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr
import torch
from sounds import RATE_HZ, bursts, noise, tone
from tiny_clap import DIM, MAX_TOKENS, save_clap
from tiny_models import edit_json, save_wave

from audiorec.audio import CLIP_SAMPLES, Waveform, to_clip, windows
from audiorec.audio.decoder import Decoder
from audiorec.encoders import make_encoder
from audiorec.encoders.clap import CLAP
from audiorec.encoders.text_tower import PROMPTS
from audiorec.errors import BadModel, BadModelDir, BadQuery
from audiorec.export import PARITY_TOLERANCE, LoadedEncoder, export_encoder
from audiorec.text import TEXT_ENCODER_FILE, TEXT_ENCODERS, TEXT_FILES, TOKENIZER_FILE
from audiorec.text_encoder import LoadedTextEncoder

Array = npt.NDArray[np.float32]

KINDS: dict[str, dict[str, Any]] = {"unfused": {}, "fused": {"fused": True}}
TEXTS = ("rain on a tin roof", "jazz", "an emoji 🎧👩‍🚀 and ünïcödé 名前", "x", "a dog barking far away " * 3)


@pytest.fixture(scope="module", params=sorted(KINDS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap") / "model", **KINDS[request.param])


@pytest.fixture(scope="module")
def clap(model: Path) -> CLAP:
    encoder = make_encoder("clap", model)
    assert isinstance(encoder, CLAP)
    return encoder


@pytest.fixture(scope="module")
def exported(clap: CLAP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both towers."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("audiorec.export.PARITY_BATCHES", (1, 3))  # more of them are asked below
        assert abs(export_encoder(clap, folder / "encoder.pt")) <= PARITY_TOLERANCE
    assert clap.write_companions(folder) == list(TEXT_FILES)
    return folder


def loaded(folder: Path, dim: int = DIM) -> LoadedTextEncoder:
    return LoadedTextEncoder(folder, dim=dim, max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def unfused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap") / "model")


@pytest.fixture(scope="module")
def text_files(unfused: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the text tower alone."""
    folder = tmp_path_factory.mktemp("text")
    make_encoder("clap", unfused).write_companions(folder)
    return folder


@pytest.fixture
def copy(unfused: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unfused, tmp_path / "model"))


def by_transformers(model: Path, cut: Waveform) -> Array:
    """What a person gets who loads the sound at 48 kHz and asks the library, a window at a time: (N, dim)."""
    from transformers import ClapModel, ClapProcessor

    processor, eager = ClapProcessor.from_pretrained(model), ClapModel.from_pretrained(model).eval()
    rows = []
    for window in cut:
        at_48_khz = soxr.resample(window, RATE_HZ, 48_000)
        inputs = processor.feature_extractor(at_48_khz, sampling_rate=48_000, return_tensors="pt")
        with torch.no_grad():
            rows.append(eager.get_audio_features(**inputs).pooler_output[0].numpy())
    return np.stack(rows)


def texts_by_transformers(model: Path, texts: Sequence[str]) -> Array:
    from transformers import AutoTokenizer, ClapModel

    inputs = AutoTokenizer.from_pretrained(model)(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        vectors: Array = ClapModel.from_pretrained(model).eval().get_text_features(**inputs).pooler_output.numpy()
    return vectors


def cosines(one: Array, other: Array) -> Array:
    products: Array = np.einsum("nd,nd->n", one, other)
    return products


def synthetic() -> Waveform:
    """(5, CLIP_SAMPLES)"""
    sounds = [tone(1.0, 220), tone(2.0, 3_000), noise(0.3, 1), bursts(12.5, 4)]
    return np.concatenate([windows(to_clip([sound[:, None]], RATE_HZ, max_s=60)) for sound in sounds])


class TestSounds:
    def test_real_ones_have_the_vectors_that_transformers_gives_them(
        self, clap: CLAP, exported: Path, model: Path, shared: Path, decoder: Decoder
    ) -> None:
        paths = [next(shared.glob(f"{folder}/**/*.opus")) for folder in ("animals", "music", "philharmonia")]
        paths += [shared / "formats/good/stereo_24bit_44k.wav", shared / "formats/good/mono_8bit_8k.wav"]
        cut = np.concatenate([windows(decoder.decode(path))[:1] for path in paths])
        expected, got = by_transformers(model, cut), LoadedEncoder(exported / "encoder.pt").encode(cut)
        assert cosines(got, expected).min() > 0.999
        assert cosines(expected[:-1], expected[1:]).max() < 0.999  # the test can tell sounds apart

    def test_the_file_computes_the_same_in_batches_of_any_size(self, exported: Path, model: Path) -> None:
        cut, encoder = synthetic(), LoadedEncoder(exported / "encoder.pt")
        alone = np.concatenate([encoder.encode(window[None]) for window in cut])
        for n in (1, 2, 5):
            np.testing.assert_allclose(encoder.encode(cut[:n]), alone[:n], atol=1e-5)
        assert cosines(alone, by_transformers(model, cut)).min() > 0.999

    def test_the_log_mel_is_that_of_the_extractor(self, clap: CLAP, model: Path) -> None:
        from transformers import ClapFeatureExtractor

        window = synthetic()[2]
        with torch.no_grad():
            got = clap.pre(torch.from_numpy(window)[None, None])[0].numpy()
        extractor = ClapFeatureExtractor.from_pretrained(model)
        at_48_khz = soxr.resample(window, RATE_HZ, 48_000)
        expected = extractor(at_48_khz, sampling_rate=48_000, return_tensors="np")["input_features"][0]
        assert got.shape == expected.shape == (4 if clap.front.is_fused else 1, 1001, 64)
        assert np.abs(got - expected).mean() < 0.3  # dB, of 100

    def test_shapes_and_facts(self, clap: CLAP) -> None:
        assert (clap.dim, clap.licence, clap.origin) == (DIM, "unknown", "model")
        assert clap.fitted == ()
        assert clap.features_key() == clap.key()
        with torch.no_grad():
            vectors = clap(torch.randn(2, 1, CLIP_SAMPLES))
        np.testing.assert_allclose(vectors.norm(dim=1), 1, atol=1e-5)


class TestPadding:
    """Of a model that hears 20 s: a window has to be repeated, or the rest of it is silence."""

    @pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
    def test_is_that_of_the_extractor(self, padding: str, tmp_path: Path) -> None:
        from transformers import ClapFeatureExtractor

        settings = {"padding": padding, "max_length_s": 20, "truncation": "rand_trunc"}
        front = make_encoder("clap", save_clap(tmp_path / "model", **settings)).pre
        extractor, window = ClapFeatureExtractor(**settings), synthetic()[0]
        expected = extractor(soxr.resample(window, RATE_HZ, 48_000), sampling_rate=48_000)["input_features"][0]
        with torch.no_grad():
            got = front(torch.from_numpy(window)[None, None])[0].numpy()
        assert got.shape == expected.shape
        assert np.abs(got - expected).mean() < 0.3


class TestTexts:
    def test_they_have_the_vectors_that_transformers_gives_them(self, exported: Path, model: Path) -> None:
        expected = texts_by_transformers(model, TEXTS)
        encoder = loaded(exported)
        assert cosines(encoder.encode(TEXTS), expected).min() > 1 - 1e-5
        assert cosines(expected[:-1], expected[1:]).max() < 0.99

    def test_alone_and_in_batches_of_any_size(self, exported: Path) -> None:
        encoder = loaded(exported)
        many = [f"{text} {number}" for number in range(8) for text in TEXTS]
        alone = np.concatenate([encoder.encode([text]) for text in many])
        np.testing.assert_allclose(encoder.encode(many), alone, atol=1e-5)
        assert encoder.encode([]).shape == (0, DIM)

    def test_as_many_tokens_as_the_tower_takes_and_no_more(self, exported: Path, model: Path) -> None:
        encoder = loaded(exported)
        longest = "x" * (MAX_TOKENS - 2)  # a token each, and two at the ends
        assert len(encoder.tokens(longest)) == MAX_TOKENS
        assert cosines(encoder.encode([longest]), texts_by_transformers(model, [longest])).min() > 1 - 1e-5
        with pytest.raises(BadQuery, match=rf"got a text of {MAX_TOKENS + 1} tokens, expected at most {MAX_TOKENS}"):
            encoder.encode(["x", longest + "x"])

    def test_a_text_may_hold_what_a_tokenizer_means_something_by(self, text_files: Path) -> None:
        assert np.isfinite(loaded(text_files).encode(["<pad>", "a </s> <s> b", "<mask>"])).all()

    def test_the_tower_of_the_registry_has_one(self) -> None:
        from audiorec.encoders import PRETRAINED_ENCODERS
        from audiorec.encoders.base import Encoder

        with_text = [name for name, kind in PRETRAINED_ENCODERS.items() if kind.text_facts is not Encoder.text_facts]
        assert tuple(with_text) == TEXT_ENCODERS

    def test_the_older_files_of_a_tokenizer(self, copy: Path, text_files: Path, tmp_path: Path) -> None:
        tokenizer = json.loads((copy / "tokenizer.json").read_text())["model"]
        (copy / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["merges"]]
        (copy / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
        (copy / "tokenizer.json").unlink()
        make_encoder("clap", copy).write_companions(tmp_path)
        old, new = loaded(tmp_path), loaded(text_files)
        assert [old.tokens(text) for text in TEXTS] == [new.tokens(text) for text in TEXTS]


class TestCollapsed:
    def test_a_tower_that_tells_texts_apart(self, unfused: Path) -> None:
        facts = make_encoder("clap", unfused).text_facts()
        assert facts is not None
        assert facts["prompt_cosine"] < 0.5
        assert facts | {"prompt_cosine": 0} == {
            "dim": DIM,
            "params": facts["params"],
            "max_tokens": MAX_TOKENS,
            "prompt_cosine": 0,
            "is_collapsed": False,
        }

    def test_one_that_does_not(self, tmp_path: Path) -> None:
        facts = make_encoder("clap", save_clap(tmp_path / "model", collapsed=True)).text_facts()
        assert facts is not None
        assert facts["prompt_cosine"] > 0.999
        assert facts["is_collapsed"]

    def test_there_are_a_dozen_prompts(self) -> None:
        assert len(set(PROMPTS)) == 12


class TestKeys:
    def test_equal_models_have_equal_keys(self, unfused: Path, copy: Path) -> None:
        assert make_encoder("clap", unfused).key() == make_encoder("clap", copy).key()

    def test_another_text_tower_or_tokenizer_is_another_encoder(self, unfused: Path, copy: Path) -> None:
        from transformers import ClapModel

        key = make_encoder("clap", unfused).key()
        model = ClapModel.from_pretrained(copy)
        with torch.no_grad():
            model.text_projection.linear2.bias.add_(1)
        model.save_pretrained(copy)
        assert make_encoder("clap", copy).key() != key
        shutil.copytree(unfused, copy, dirs_exist_ok=True)
        assert make_encoder("clap", copy).key() == key
        tokenizer = json.loads((copy / "tokenizer.json").read_text())
        tokenizer["model"]["merges"].pop()
        (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
        assert make_encoder("clap", copy).key() != key


def cut_tokenizer(model: Path) -> None:
    content = (model / "tokenizer.json").read_bytes()
    (model / "tokenizer.json").write_bytes(content[: len(content) // 2])


def without_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


def of_a_larger_tokenizer(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"word{number}": 269 + number for number in range(100)}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


def unfused_preprocessor(model: Path) -> None:
    edit_json(model / "preprocessor_config.json", truncation="fusion")


def hears_five_seconds(model: Path) -> None:
    edit_json(model / "preprocessor_config.json", max_length_s=5, nb_max_samples=240_000)


def other_truncation(model: Path) -> None:
    edit_json(model / "preprocessor_config.json", truncation="middle")


def no_number(model: Path) -> None:
    edit_json(model / "preprocessor_config.json", hop_length="long", fft_window_size=None)


def without_preprocessor(model: Path) -> None:
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").unlink()


class TestBadModels:
    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            (without_tokenizer, r"got model without a tokenizer, expected a clap model with a tokenizer\.json"),
            (cut_tokenizer, r"got a tokenizer in model that cannot be read \(.*\), expected that of a clap model"),
            (of_a_larger_tokenizer, r"got a tokenizer of 369 tokens in model, expected at most 300, for which"),
            (unfused_preprocessor, r"with a preprocessor of truncation 'fusion', expected 'rand_trunc' for this model"),
            (hears_five_seconds, r"a preprocessor in model of 5 s and truncation 'rand_trunc', expected at least 8"),
            (other_truncation, r"of 10 s and truncation 'middle', expected at least 8\.192 s, and fusion or rand"),
            (no_number, r"got a preprocessor in model that cannot be used \(TypeError\)"),
            (without_preprocessor, r"got model without a preprocessor_config\.json, expected a clap model"),
        ],
    )
    def test_is_refused_in_a_sentence(self, copy: Path, damage: Callable[[Path], None], sentence: str) -> None:
        damage(copy)
        with pytest.raises(BadModel, match=sentence):
            make_encoder("clap", copy)

    def test_of_another_kind(self, tmp_path: Path) -> None:
        with pytest.raises(BadModel, match="a model of type 'wav2vec2', expected a clap model, of type clap"):
            make_encoder("clap", save_wave(tmp_path / "model", "wav2vec2"))


def script_of_another_dim(folder: Path) -> None:
    class Other(torch.nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(torch.ones(ids.shape[0], 25), dim=1)

    save(Other(), folder)


def script_of_no_direction(folder: Path) -> None:
    class Other(torch.nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.zeros(ids.shape[0], 24)

    save(Other(), folder)


def script_of_few_words(folder: Path) -> None:
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(100, DIM)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.words(ids)[:, 0], dim=1)

    save(Other(), folder)


def save(module: torch.nn.Module, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), folder / TEXT_ENCODER_FILE)


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def filled(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def halved(name: str) -> Callable[[Path], None]:
    def halve(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return halve


class TestBadFiles:
    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            (gone(TEXT_ENCODER_FILE), r"got a file text_encoder\.pt that TorchScript cannot run"),
            (filled(TEXT_ENCODER_FILE, b"text"), r"got a file text_encoder\.pt that TorchScript cannot run"),
            (halved(TEXT_ENCODER_FILE), r"got a file text_encoder\.pt that TorchScript cannot run"),
            (script_of_another_dim, r"cannot run \(it has 25 dimensions, the manifest says 24\)"),
            (script_of_no_direction, r"cannot run \(got float32 \(2, 24\) of norm 0 from 2 texts\)"),
            (script_of_few_words, r"cannot run \(.*index out of range"),
            (gone(TOKENIZER_FILE), r"got a file tokenizer\.json that is no tokenizer \(No such file or directory\)"),
            (filled(TOKENIZER_FILE, b""), r"got a file tokenizer\.json that is no tokenizer"),
            (filled(TOKENIZER_FILE, b"\xff\xfe"), r"got a file tokenizer\.json that is no tokenizer"),
            (filled(TOKENIZER_FILE, b'{"model": 1}'), r"got a file tokenizer\.json that is no tokenizer"),
            (halved(TOKENIZER_FILE), r"got a file tokenizer\.json that is no tokenizer"),
        ],
    )
    def test_is_refused_in_a_sentence(
        self, text_files: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
    ) -> None:
        folder = Path(shutil.copytree(text_files, tmp_path / "files"))
        loaded(folder)
        damage(folder)
        with pytest.raises(BadModelDir, match=sentence) as raised:
            loaded(folder)
        assert str(tmp_path) not in raised.value.message
