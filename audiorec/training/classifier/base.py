"""What a classifier begins from: a pretrained model of the wav2vec2 family, with a new head for the labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiorec.encoders.classifier import FAMILIES, ClassifierConfig, new_model
from audiorec.encoders.model_dir import load_model, read_config, read_preprocessor
from audiorec.encoders.wav2vec2 import PREPROCESSOR
from audiorec.hub import local_model
from audiorec.licences import licence_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

WHAT = "a model of raw sound, of the wav2vec2 family"
HEAD_DIM = 256  # what the last layer is projected to


def open_base(source: str, labels: tuple[str, ...], *, is_multi: bool) -> "tuple[ClassifierConfig, PreTrainedModel]":
    """source: a directory or a hub id. A head that the model may have is left out: ours is new, with random weights.

    Raises BadModel for what is no such model, or not all of one.
    """
    directory, config, preprocessor = read_base(source)
    config.add_adapter = False  # transformers has no classifier over one
    config.use_weighted_layer_sum = False  # the head is to sit on the last layer
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = "multi_label_classification" if is_multi else "single_label_classification"
    config.classifier_proj_size = min(HEAD_DIM, config.hidden_size)
    body = load_model(directory, config, WHAT, attention=FAMILIES[config.model_type].attention)
    model = new_model(config.to_dict())
    model.base_model.load_state_dict(body.state_dict())
    name = source if not Path(source).expanduser().exists() else directory.resolve().name
    described = ClassifierConfig(
        model=config.to_dict(),
        sample_rate_hz=preprocessor.get("sampling_rate", 16_000),
        normalises=preprocessor.get("do_normalize", True),
        labels=labels,
        is_multi=is_multi,
        base=name,
        licence=licence_of(directory, name),
    )
    return described, model


def read_base(source: str) -> "tuple[Path, PreTrainedConfig, dict[str, Any]]":
    """(directory, config, settings of its preprocessor) of a base: what can be known without its weights.

    Raises BadModel.
    """
    directory = local_model(source, what=WHAT)
    config = read_config(directory, tuple(FAMILIES), WHAT)
    return directory, config, read_preprocessor(directory, (PREPROCESSOR,), WHAT)


def freeze_front_end(model: "PreTrainedModel") -> None:
    """Leaves its convolutions as they are."""
    freeze = model.freeze_feature_encoder
    assert callable(freeze)
    freeze()
