"""An encoder fitted on a catalogue, and kept while it still fits."""

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from sounds import RATE_HZ, bursts, encoded, noise, tone

from audiorec.audio import Pcm
from audiorec.audio.wav import convert_file, read_wav
from audiorec.encoders import make_encoder
from audiorec.errors import BadAudio, BadSetting
from audiorec.export import LoadedEncoder
from audiorec.fit import ENCODER_FILE, FACTS_FILE, EagerEncoder, FittedEncoder, fit_encoder, read_fitted


@pytest.fixture(scope="module")
def wavs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of converted clips, a window each, and their names."""
    folder = tmp_path_factory.mktemp("wavs")
    sounds = (
        [tone(0.5, 300 * (i + 1)) for i in range(3)]
        + [noise(0.5, i) for i in range(3)]
        + [bursts(0.5, i) for i in range(3)]
    )
    sha256s = []
    for sound in sounds:
        (folder / "source").write_bytes(encoded(sound, RATE_HZ))
        sha256s.append(convert_file(folder / "source", folder, max_s=60)["sha256"])
    return folder, sha256s


@pytest.fixture(autouse=True)
def _quick_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_export.py` shows that it compares in earnest."""
    monkeypatch.setattr("audiorec.export.PARITY_BATCHES", (1,))


class Fit(Protocol):
    def __call__(self, n: int, kept: FittedEncoder | None = None, *, name: str = "MeanMel") -> FittedEncoder: ...


@pytest.fixture
def fit(wavs: tuple[Path, list[str]], tmp_path: Path) -> Fit:
    """fit(n): fits on the first n clips."""
    wav_dir, sha256s = wavs
    features_dir, encoder_dir = tmp_path / "features", tmp_path / "encoder"

    def run(n: int, kept: FittedEncoder | None = None, *, name: str = "MeanMel") -> FittedEncoder:
        return fit_encoder(
            name, sha256s[:n], wav_dir=wav_dir, features_dir=features_dir, encoder_dir=encoder_dir, kept=kept
        )

    return run


def test_it_is_fitted_on_the_catalogue_and_exported(fit: Fit, wavs: tuple[Path, list[str]], tmp_path: Path) -> None:
    fitted = fit(4)
    assert fitted.path == tmp_path / "encoder" / ENCODER_FILE
    assert (fitted.facts.name, fitted.facts.dim, fitted.facts.fitted_windows) == ("MeanMel", 160, 4)
    assert (fitted.facts.sample_rate_hz, fitted.facts.clip_samples) == (16_000, 131_072)
    by_hand = EagerEncoder(make_encoder("MeanMel"))
    cut = np.concatenate(
        [np.resize(read_wav(wavs[0], name) / np.float32(32_767), (1, 131_072)) for name in wavs[1][:4]]
    )
    features = by_hand.features(cut.astype(np.float32))
    by_hand.fit(features)
    assert by_hand.encoder.key() == fitted.facts.key
    np.testing.assert_allclose(
        LoadedEncoder(fitted.path).encode(cut.astype(np.float32)), by_hand.post(features), atol=1e-5
    )


@pytest.mark.parametrize(
    ("n", "is_kept"), [(4, True), (5, True), (8, True), (9, False), (3, True), (2, True), (1, False)]
)
def test_it_is_kept_until_the_catalogue_has_doubled_or_halved(n: int, is_kept: bool, fit: Fit) -> None:
    first = fit(4)
    again = fit(n, first)
    assert (again is first) is is_kept
    assert again.facts.fitted_windows == (4 if is_kept else n)
    assert (again.facts.key == first.facts.key) is is_kept
    assert again.facts.features_key == first.facts.features_key


def test_without_one_to_keep_it_is_fitted_anew(fit: Fit) -> None:
    first = fit(4).facts
    assert fit(5).facts.key != first.key
    assert fit(4).facts == first


def test_another_encoder_takes_its_place(fit: Fit) -> None:
    first = fit(4)
    second = fit(4, first, name="MFCC")
    assert (second.facts.name, second.facts.dim) == ("MFCC", 80)
    assert fit(4, second).facts == first.facts


def test_an_unknown_encoder(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"got encoder 'CLAP', expected one of .*MFCC"):
        fit(4, name="CLAP")
    assert not list(tmp_path.iterdir())


def test_features_are_computed_once(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(wav_dir: Path, sha256: str) -> Pcm:
        read.append(sha256)
        return read_wav(wav_dir, sha256)

    monkeypatch.setattr("audiorec.fit.read_wav", counting)
    for n, n_read in ((3, 3), (3, 3), (5, 5), (2, 5)):
        fit(n)
        assert len(read) == n_read


def test_a_clip_that_counts_twice_is_read_once(wavs: tuple[Path, list[str]], tmp_path: Path) -> None:
    wav_dir, sha256s = wavs
    twice = sha256s[:2] * 2
    fitted = fit_encoder("MeanMel", twice, wav_dir=wav_dir, features_dir=tmp_path / "f", encoder_dir=tmp_path / "e")
    assert fitted.facts.fitted_windows == 4
    (lines,) = (tmp_path / "f").rglob("features.jsonl")
    assert len(lines.read_text().splitlines()) == 2


@pytest.mark.parametrize("damage", ["encoder missing", "encoder cut", "facts missing", "facts cut", "facts of another"])
def test_a_damaged_export_is_made_again(damage: str, fit: Fit, tmp_path: Path) -> None:
    fitted = fit(4)
    facts_path = tmp_path / "encoder" / FACTS_FILE
    path = fitted.path if damage.startswith("encoder") else facts_path
    whole = path.read_bytes()
    if damage.endswith("missing"):
        path.unlink()
    elif damage.endswith("cut"):
        path.write_bytes(whole[:-9])
    else:
        path.write_text(json.dumps({"sha256": "0" * 64, "facts": json.loads(whole)["facts"]}))
    assert read_fitted(tmp_path / "encoder") is None
    assert fit(4) == fitted == read_fitted(tmp_path / "encoder")


def test_what_was_fitted_can_be_read_again(fit: Fit, tmp_path: Path) -> None:
    assert read_fitted(tmp_path / "encoder") is None
    assert read_fitted(fit(2).path.parent) == fit(2)


def test_a_converted_clip_that_has_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="run `audiorec convert` again"):
        fit_encoder("MeanMel", ["0" * 64], wav_dir=tmp_path, features_dir=tmp_path, encoder_dir=tmp_path)


def test_a_large_catalogue_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiorec.fit.MAX_FIT_WINDOWS", 1_000)
    seen: list[int] = []
    encoder = make_encoder("MFCC")
    monkeypatch.setattr(encoder, "fit", lambda features: seen.append(len(features)))
    eager = EagerEncoder(encoder)
    eager.fit(np.zeros((1_000, 80), np.float32))
    eager.fit(np.zeros((5_000, 80), np.float32))
    assert seen == [1_000, 1_000]


def test_of_a_large_catalogue_not_all_features_are_read(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiorec.fit.MAX_FIT_WINDOWS", 3)
    seen: list[int] = []
    unchanged = EagerEncoder.fit

    def fit_and_tell(self: EagerEncoder, features: np.ndarray) -> None:  # type: ignore[type-arg]
        seen.append(len(features))
        unchanged(self, features)

    monkeypatch.setattr(EagerEncoder, "fit", fit_and_tell)
    assert fit(9).facts.fitted_windows == 9
    assert seen == [3]


def test_one_that_comes_fitted_is_fitted_where_that_helps(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = make_encoder("base").key()
    few = fit(4, name="base")
    assert few.facts.key == shipped
    assert few.facts.fitted_windows == 0
    assert few.facts.last_step is not None
    monkeypatch.setattr("audiorec.fit.last_step.MIN_WINDOWS", 4)
    monkeypatch.setattr("audiorec.fit.last_step._is_better", lambda after, before: True)
    assert fit(8, few, name="base") is few, "twice as many clips are not more than twice"
    fitted = fit(9, few, name="base").facts
    assert fitted.key != shipped
    assert fitted.features_key == few.facts.features_key
    assert fitted.fitted_windows == 9
    assert fitted.last_step is not None
    assert fitted.last_step.is_fitted
    monkeypatch.setattr("audiorec.fit.last_step._is_better", lambda after, before: False)
    again = fit(9, name="base").facts
    assert again.key == shipped
    assert again.fitted_windows == 0
