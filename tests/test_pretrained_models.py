"""Directories of pretrained models: what is wrong with one is said in a sentence, and whose it is in the manifest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import edit_json, save_ast, save_wave

from audiorec.encoders import PRETRAINED_ENCODERS, make_encoder
from audiorec.encoders.base import Layer
from audiorec.encoders.model_dir import load_model, read_config, sha256_of_weights, weights_of
from audiorec.encoders.pretrained_model import ModelReference, fingerprint
from audiorec.errors import BadModel, BadSetting
from audiorec.files import sha256_of
from audiorec.licences import is_non_commercial, licence_note, licence_of

Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return save_wave(tmp_path / "model", "wav2vec2")


def cut(name: str, n_bytes: int) -> Damage:
    def damage(path: Path) -> None:
        (path / name).write_bytes((path / name).read_bytes()[:n_bytes])

    return damage


def without(prefix: str) -> Damage:
    """Without some of the weights."""

    def damage(path: Path) -> None:
        kept = {name: value for name, value in load_file(path / WEIGHTS).items() if not name.startswith(prefix)}
        save_file(kept, path / WEIGHTS, metadata={"format": "pt"})

    return damage


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no config": (lambda path: (path / "config.json").unlink(), "with neither config.json nor model_index.json"),
    "half a config": (cut("config.json", 40), "got a config.json in model that is not JSON"),
    "an empty config": (lambda path: (path / "config.json").write_text("[]"), "is no JSON object"),
    "of no type": (
        lambda path: (path / "config.json").write_text("{}"),
        "got model, a model of type 'None', expected a wav2vec2 model, of type wav2vec2",
    ),
    "of another type": (
        lambda path: edit_json(path / "config.json", model_type="bert"),
        "got model, a model of type 'bert', expected a wav2vec2 model, of type wav2vec2: .*--encoder",
    ),
    "a config of nonsense": (
        lambda path: edit_json(path / "config.json", num_hidden_layers="many"),
        r"got a config\.json in model that is not of a wav2vec2 model",
    ),
    "no preprocessor": (
        lambda path: (path / "preprocessor_config.json").unlink(),
        r"got model without a preprocessor_config\.json, expected a wav2vec2 model with all its files",
    ),
    "another's preprocessor": (
        lambda path: edit_json(path / "preprocessor_config.json", feature_extractor_type="ASTFeatureExtractor"),
        "of type 'ASTFeatureExtractor', expected Wav2Vec2FeatureExtractor",
    ),
    "a preprocessor of nonsense": (
        lambda path: edit_json(path / "preprocessor_config.json", sampling_rate="fast"),
        r"got a preprocessor_config\.json in model that cannot be used",
    ),
    "a preprocessor of no rate": (
        lambda path: edit_json(path / "preprocessor_config.json", sampling_rate=1),
        "that cannot be used .a rate of 1 Hz., expected that of a wav2vec2 model",
    ),
    "no weights": (lambda path: (path / WEIGHTS).unlink(), r"without weights, .* with a model\.safetensors"),
    "empty weights": (cut(WEIGHTS, 0), "got weights in model that cannot be read"),
    "truncated weights": (cut(WEIGHTS, 20_000), "got weights in model that cannot be read .*download them again"),
    "some weights": (without("encoder.layers.1."), r"without encoder\.layers\.1\..* and \d+ others"),
    "of another size": (
        lambda path: edit_json(path / "config.json", hidden_size=64),
        "got weights in model that cannot be read",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_broken_directory_is_refused_in_a_sentence(name: str, directory: Path) -> None:
    damage, message = DAMAGES[name]
    damage(directory)
    with pytest.raises(BadModel, match=message) as caught:
        make_encoder("wav2vec2", directory)
    if name != "no config":
        assert str(directory) not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", sorted({"ast", "data2vec", "hubert", "wav2vec2", "wavlm"}))
def test_a_model_of_another_kind_names_both(name: str, tmp_path: Path) -> None:
    other = save_wave(tmp_path / "other", "hubert") if name in ("ast", "wav2vec2") else save_ast(tmp_path / "other")
    found = "hubert" if name in ("ast", "wav2vec2") else "audio-spectrogram-transformer"
    with pytest.raises(BadModel, match=f"of type '{found}', expected an? {name} model, of type {name[:3]}|audio"):
        make_encoder(name, other)


@pytest.mark.parametrize("name", PRETRAINED_ENCODERS)
def test_without_a_model_it_says_which_to_take(name: str) -> None:
    with pytest.raises(BadSetting, match=f"got encoder '{name}' without a model, expected --model .*/"):
        make_encoder(name)


def test_weights_in_the_older_format(directory: Path) -> None:
    before = make_encoder("wav2vec2", directory)
    torch.save(load_file(directory / WEIGHTS), directory / "pytorch_model.bin")
    (directory / WEIGHTS).unlink()
    assert make_encoder("wav2vec2", directory).features_key() == before.features_key()
    assert [path.name for path in weights_of(directory)] == ["pytorch_model.bin"]


def test_weights_that_would_run_code_are_not_read(directory: Path, tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (str(tmp_path / "touched"),)

    (directory / WEIGHTS).unlink()
    torch.save({"weights": Touches()}, directory / "pytorch_model.bin")
    with pytest.raises(BadModel, match="cannot be read"):
        make_encoder("wav2vec2", directory)
    assert not (tmp_path / "touched").exists()


def test_code_that_comes_with_a_model_is_not_run(directory: Path, tmp_path: Path) -> None:
    before = make_encoder("wav2vec2", directory)
    (directory / "own.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')\nclass Own: pass\n")
    edit_json(directory / "config.json", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})
    assert make_encoder("wav2vec2", directory).features_key() == before.features_key()
    assert not (tmp_path / "touched").exists()


def test_a_spectrogram_of_another_size_than_the_model_takes(tmp_path: Path) -> None:
    directory = save_ast(tmp_path / "model")
    edit_json(directory / "preprocessor_config.json", num_mel_bins=64)
    with pytest.raises(BadModel, match=r"cannot be used \(1024 frames of 64 bands for a model of 1024 of 32\)"):
        make_encoder("ast", directory)


def test_weights_in_several_files(directory: Path) -> None:
    config = read_config(directory, ["wav2vec2"], "a wav2vec2 model")
    whole, before = make_encoder("wav2vec2", directory), sha256_of_weights(directory)
    assert before == sha256_of(directory / WEIGHTS)
    load_model(directory, config, "a wav2vec2 model").save_pretrained(directory, max_shard_size="50KB")
    (directory / WEIGHTS).unlink(missing_ok=True)
    assert len(weights_of(directory)) > 1
    assert sha256_of_weights(directory) != before
    assert make_encoder("wav2vec2", directory).features_key() == whole.features_key()


def test_a_fine_tuned_model_is_one_without_its_head(directory: Path) -> None:
    from transformers import Wav2Vec2ForSequenceClassification

    before = make_encoder("wav2vec2", directory)
    Wav2Vec2ForSequenceClassification.from_pretrained(directory, num_labels=3).save_pretrained(directory)
    assert make_encoder("wav2vec2", directory).features_key() == before.features_key()


def test_a_preprocessor_within_a_processor(directory: Path) -> None:
    """As transformers 5 saves those of models that transcribe."""
    before = make_encoder("wav2vec2", directory)
    settings = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").unlink()
    (directory / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    assert make_encoder("wav2vec2", directory).features_key() == before.features_key()


def test_a_reference_is_as_good_as_the_directory(directory: Path, tmp_path: Path) -> None:
    layer = Layer(1, 4, "the best", [0.1, 0.2, 0, 0, 0], [0.1, 0.2, 0, 0, 0])
    path = tmp_path / "wav2vec2.json"
    ModelReference(name="owner/model", directory=directory, layer=layer).write(path)
    encoder = make_encoder("wav2vec2", path)
    assert (encoder.layer, encoder.origin) == (layer, "owner/model")
    assert make_encoder("wav2vec2", directory).origin == "model"
    assert fingerprint(path) == fingerprint(directory) == sha256_of(directory / WEIGHTS)
    directory.rename(tmp_path / "elsewhere")
    with pytest.raises(BadModel, match=r"got no directory .* expected a wav2vec2 model"):
        make_encoder("wav2vec2", path)


@pytest.mark.parametrize("content", ["", "{}", '{"name": 3}', "[1]"])
def test_a_broken_reference(content: str, tmp_path: Path) -> None:
    (tmp_path / "wav2vec2.json").write_text(content)
    with pytest.raises(BadModel, match=r"got wav2vec2\.json that names no model .*build with --model again"):
        make_encoder("wav2vec2", tmp_path / "wav2vec2.json")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [audio]\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: my-own\n---\n", "my-own"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\nlicense: other\n---\n", "unknown"),
        ("---\nlicense: [\n---\n", "unknown"),
        ("# No front matter\nlicense: mit\n", "unknown"),
        ("\xff---", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_that_of_the_card(card: str | None, licence: str, directory: Path) -> None:
    if card is not None:
        (directory / "README.md").write_bytes(card.encode("latin-1"))
    assert make_encoder("wav2vec2", directory).licence == licence


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("m-a-p/MERT-v1-95M", "cc-by-nc-4.0"),
        ("OpenMuQ/MuQ-large-msd-iter", "cc-by-nc-4.0"),
        ("mtg/essentia_discogs", "cc-by-nc-sa-4.0"),
        ("somebody/mertens-birds", "unknown"),
        ("facebook/wav2vec2-base", "unknown"),
    ],
)
def test_families_that_are_not_for_commercial_use_are_known_by_name(name: str, licence: str, tmp_path: Path) -> None:
    assert licence_of(tmp_path, name) == licence
    assert ("not for commercial use" in licence_note(licence, name)) == (licence != "unknown")


def test_whoever_picks_such_a_model_is_told() -> None:
    told = "note: the weights of owner/model are cc-by-nc-4.0: not for commercial use"
    assert licence_note("cc-by-nc-4.0", "owner/model") == told
    assert "says nothing of its licence" in licence_note("unknown", "owner/model")
    assert licence_note("apache-2.0", "owner/model") == ""
    assert is_non_commercial("CC-BY-NC-SA 4.0")
    assert is_non_commercial("Creative Commons Non-Commercial")
    assert not is_non_commercial("mit, apache-2.0")
    assert not is_non_commercial("bsd-3-clause")
