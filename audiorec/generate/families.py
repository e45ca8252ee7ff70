"""The families of models: what each is known for, and what a model's own files say of its rate and lengths.

Defaults are those of the family's pipeline in diffusers or transformers, except AudioLDM's steps: the ten of its
pipeline are for a quick look, its paper takes 200 (Liu et al. 2023, arXiv:2301.12503).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from audiorec.errors import BadModel
from audiorec.quoting import quoted

FAST_STEPS = 20  # enough for DPM-Solver++, Lu et al. 2022, arXiv:2211.01095
MEL_MAX_S = 30.0  # convolutions have no end; what was learnt from 10 s loses its thread

Config = dict[str, Any]


@dataclass(frozen=True)
class Measures:
    """What a model's files say."""

    sample_rate_hz: int
    n_channels: int
    max_s: float
    default_s: float
    max_steps: int | None  # of denoising: as many as it was trained with


@dataclass(frozen=True)
class Family:
    """licence: of the weights that its authors published. index: the file that names the class. measure: reads the
    configurations of a directory; KeyError and the like where they are not what they should be.
    """

    licence: str
    index: str
    default_steps: int | None
    default_guidance: float
    measure: Callable[[Path], Measures]
    takes_negative: bool = True
    presets: Mapping[str, int] = field(default_factory=dict)  # steps by name


def read_config(path: Path) -> Config:
    """Raises BadModel for what is missing or no JSON object."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        name = path.name if path.parent.name in ("", ".") else f"{path.parent.name}/{path.name}"
        raise BadModel(
            f"got a model whose {name} cannot be read ({type(error).__name__}), "
            "expected all of its files, whole: copy it again"
        ) from None
    if not isinstance(config, dict):
        raise BadModel(f"got a model whose {path.name} is {type(config).__name__}, expected an object: copy it again")
    return config


def _mel(model_dir: Path) -> Measures:
    """Models that make a mel spectrogram, and a vocoder that makes it sound."""
    vocoder = read_config(model_dir / "vocoder" / "config.json")
    unet = read_config(model_dir / "unet" / "config.json")
    vae = read_config(model_dir / "vae" / "config.json")
    rate_hz = int(vocoder["sampling_rate"])
    frame_s = prod(vocoder["upsample_rates"]) / rate_hz
    learnt_s = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1) * frame_s
    return Measures(rate_hz, 1, MEL_MAX_S, learnt_s, _max_steps(model_dir))


def _stable_audio(model_dir: Path) -> Measures:
    """Latents of the samples themselves; always of one length, of which the beginning is kept."""
    vae = read_config(model_dir / "vae" / "config.json")
    transformer = read_config(model_dir / "transformer" / "config.json")
    projection = read_config(model_dir / "projection_model" / "config.json")
    rate_hz = int(vae["sampling_rate"])
    window_s = transformer["sample_size"] * prod(vae["downsampling_ratios"]) / rate_hz
    max_s = min(window_s, float(projection["max_value"]))
    return Measures(rate_hz, int(vae["audio_channels"]), max_s, min(10.0, max_s), _max_steps(model_dir))


def _musicgen(model_dir: Path) -> Measures:
    """Codes of a neural codec, one frame after another; the model has learnt from 30 s."""
    config = read_config(model_dir / "config.json")
    rate_hz = int(config["audio_encoder"]["sampling_rate"])
    return Measures(rate_hz, int(config["decoder"].get("audio_channels", 1)), 30.0, 10.0, None)


def _max_steps(model_dir: Path) -> int:
    """As many as fit between the first moment that it was trained for and the last."""
    config = read_config(model_dir / "scheduler" / "scheduler_config.json")
    return int(config["num_train_timesteps"]) - int(config.get("steps_offset", 0))


PIPELINE, MODEL = "model_index.json", "config.json"
FAST = {"fast": FAST_STEPS}
FAMILIES: dict[str, Family] = {  # by the class that the index names
    "AudioLDMPipeline": Family("CC-BY-NC-SA-4.0", PIPELINE, 200, 2.5, _mel, presets=FAST),
    "AudioLDM2Pipeline": Family("CC-BY-NC-SA-4.0", PIPELINE, 200, 3.5, _mel, presets=FAST),
    "MusicLDMPipeline": Family("CC-BY-NC-SA-4.0", PIPELINE, 200, 2.0, _mel, presets=FAST),
    "StableAudioPipeline": Family("Stability AI Community License", PIPELINE, 100, 7.0, _stable_audio),
    "MusicgenForConditionalGeneration": Family("CC-BY-NC-4.0", MODEL, None, 3.0, _musicgen, takes_negative=False),
}


def kind_of(model_dir: Path) -> str:
    """The class that a model directory names, a key of FAMILIES. Raises BadModel."""
    for index in (PIPELINE, MODEL):
        if not (model_dir / index).exists():
            continue
        config = read_config(model_dir / index)
        named = config.get("_class_name") if index == PIPELINE else config.get("architectures")
        name = str(named[0] if isinstance(named, list) and named else named)
        if name in FAMILIES and FAMILIES[name].index == index:
            return name
        raise BadModel(f"got a model of class {quoted(name)}, expected one of {', '.join(FAMILIES)}")
    raise BadModel(f"got a directory with neither {PIPELINE} nor {MODEL}, expected that of a model that makes sounds")


def check_parts(model_dir: Path) -> None:
    """Raises BadModel, naming the part, where the folder of one that a pipeline names is not there."""
    parts = read_config(model_dir / PIPELINE).items()
    for name, described in parts:
        if isinstance(described, list) and described[0] is not None and not (model_dir / name).is_dir():
            raise BadModel(f"got a pipeline without its folder '{name}', expected all of its files: copy it again")


def measure(model_dir: Path, kind: str) -> Measures:
    """Raises BadModel for a configuration that lacks what the family has."""
    try:
        if FAMILIES[kind].index == PIPELINE:
            check_parts(model_dir)
        measures = FAMILIES[kind].measure(model_dir)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise BadModel(
            f"got a {kind} whose configuration cannot be ({type(error).__name__}: {error}), expected that of {kind}: "
            "copy it again"
        ) from None
    return measures
