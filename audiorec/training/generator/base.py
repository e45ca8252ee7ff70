"""The generator that is tuned: whether it can be, and its pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiorec.errors import BadModel
from audiorec.generate.families import FAMILIES, kind_of
from audiorec.generate.licence import licence_of
from audiorec.generate.pipelines import open_pipeline
from audiorec.hub import local_model
from audiorec.quoting import quoted

KINDS = ("AudioLDMPipeline", "AudioLDM2Pipeline", "MusicLDMPipeline")  # latents of mel spectrograms, and a UNet


@dataclass(frozen=True)
class Base:
    """name: as a person knows it. pipe: in single precision."""

    name: str
    licence: str
    pipe: Any


def open_base(source: str) -> Base:
    """A pipeline by hub id or directory. Raises BadModel for what is none, and one that has no UNet to tune."""
    directory = local_model(source, what="a generator of AudioLDM, AudioLDM2 or MusicLDM")
    kind = kind_of(directory)
    if kind not in KINDS:
        raise BadModel(
            f"got {quoted(source)}, a {kind}, expected one of {', '.join(KINDS)}: what is tuned is their UNet, "
            "which others do not have"
        )
    name = directory.resolve().name if Path(source).expanduser().exists() else source
    return Base(name, licence_of(directory, FAMILIES[kind].licence), open_pipeline(directory))
