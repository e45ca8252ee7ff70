"""What a release says of itself: `manifest.json`, format 1."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from audiorec.errors import BadModelDir
from audiorec.quoting import quoted

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$")]  # no path, nowhere else


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)  # what a later audiorec adds is passed over


class MadeWith(_Part):
    audiorec: str
    torch: str
    annoy: str
    python: str
    git: str | None = None


class LastStep(_Part):
    """How the last step of an encoder that comes with one was chosen."""

    is_fitted: bool  # on the catalogue, rather than as it comes
    why: str
    n_windows: int = Field(ge=0)  # of the catalogue that it was chosen for


class HeadFacts(_Part):
    """The labels that an encoder tells apart. accuracy, macro_f1: on clips that it did not learn from."""

    labels: list[str] = Field(min_length=2)
    multi_label: bool  # whether a clip can have several
    n_tested: int = Field(ge=0)
    accuracy: float | None = Field(None, ge=0, le=1)
    macro_f1: float | None = Field(None, ge=0, le=1)


class TextFacts(_Part):
    """The text tower beside an encoder whose space texts share.

    max_tokens: of a text. prompt_cosine: the mean between a dozen different prompts; is_collapsed: it is so high that
    the tower hardly tells texts apart.
    """

    dim: int = Field(ge=1)
    params: int = Field(ge=0)
    max_tokens: int = Field(ge=1)
    prompt_cosine: float
    is_collapsed: bool

    @property
    def warning(self) -> str:
        """Empty for a tower that tells texts apart."""
        if not self.is_collapsed:
            return ""
        return (
            "its text encoder hardly tells texts apart: a dozen different prompts have a mean cosine of "
            f"{self.prompt_cosine:.3f}, so that every text finds much the same clips: take another model for texts"
        )


class LayerFacts(_Part):
    """The hidden layer of a pretrained model that gives the vector, from 0, what its first layer takes, to n_layers.

    p5, mean_average_precision: of each in turn, where it was chosen by retrieval.
    """

    index: int = Field(ge=0)
    n_layers: int = Field(ge=0)
    why: str
    p5: list[float] = []
    mean_average_precision: list[float] = []


class EncoderFacts(_Part):
    name: str
    format: str = "torchscript"
    dim: int = Field(ge=1)
    sample_rate_hz: int = Field(ge=1)
    clip_samples: int = Field(ge=1)
    params: int = Field(ge=0)
    licence: str
    origin: str
    checkpoint: str | None = None
    key: str  # equal for two encoders that compute the same
    features_key: str  # the same of what comes before the fitted last step
    fitted_windows: int = Field(ge=0)  # how many windows of the catalogue its last step was fitted on
    last_step: LastStep | None = None  # None for an encoder whose last step must be fitted
    layer: LayerFacts | None = None  # of an encoder that is made of one of a pretrained model's
    companions: list[FileName] = []  # files of a release that belong to the encoder, beside its own
    head: HeadFacts | None = None  # of an encoder that was trained to tell labels apart
    text: TextFacts | None = None  # of an encoder whose space texts share


class IndexFacts(_Part):
    kind: str  # the engine that answers: "annoy", or "exact" where that is as fast
    metric: str = "angular"
    n_trees: int = Field(ge=1)
    search_k: int = Field(ge=1)
    recall_at_10: float = Field(ge=0, le=1)
    us_per_query: float = Field(ge=0)
    tuned_clips: int | None = None  # how many clips n_trees and search_k were chosen for; None: for these


class CatalogueFacts(_Part):
    n_clips: int = Field(ge=1)
    n_windows: int = Field(ge=1)
    n_refused: int = Field(ge=0)
    hours: float = Field(ge=0)


class FileFacts(_Part):
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class LabelScores(_Part):
    n_queries: int = Field(ge=1)
    p5: float
    map: float


class Scores(_Part):
    """As `evaluate.Scores`, where they are explained."""

    hubness: float
    n_queries: int = Field(ge=0)
    precision: dict[str, float] = {}
    mean_average_precision: float = 0.0
    chance: float = 0.0
    per_label: dict[str, LabelScores] = {}


class EncoderScores(Scores):
    name: str


class Evaluation(_Part):
    n_clips: int = Field(ge=0)
    encoder: EncoderScores
    baselines: dict[str, Scores]


class Change(_Part):
    """How a release differs from the one that it was made from, which may be gone since."""

    of: str  # its name
    n_added: int = Field(ge=0)
    n_replaced: int = Field(ge=0)
    n_removed: int = Field(ge=0)


def _checked_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class Manifest(_Part):
    format_version: int
    created_at: Annotated[str, AfterValidator(_checked_time)]
    build_key: str  # equal for two builds of the same clips, encoder and settings
    made_with: MadeWith
    encoder: EncoderFacts
    index: IndexFacts
    catalogue: CatalogueFacts
    evaluation: Evaluation
    files: dict[FileName, FileFacts]
    change: Change | None = None  # None for a release that was built from nothing but clips
    held_back: str | None = None  # why it did not become current when it was published

    def write(self, directory: Path) -> None:
        text = json.dumps(self.model_dump(), indent=1, allow_nan=False)
        (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """Raises BadModelDir for a manifest that is missing, broken, or of a format that this audiorec does not read."""
    try:
        fields = json.loads((directory / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise BadModelDir(f"got no {MANIFEST_FILE} in {directory.name}, expected a release of audiorec") from None
    except OSError as error:
        raise BadModelDir(
            f"got a {MANIFEST_FILE} that cannot be read ({error.strerror}), expected a file and the right to read it: "
            "give it, or copy the release again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadModelDir(
            f"got a {MANIFEST_FILE} that is not JSON ({type(error).__name__}), expected a whole one: "
            "copy the release again, or build it again"
        ) from None
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version != FORMAT_VERSION:
        raise BadModelDir(
            f"got a release of format {version!r}, expected {FORMAT_VERSION}: "
            "build it again with this audiorec, or serve it with the one that made it"
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = quoted(".".join(map(str, first["loc"])))
        raise BadModelDir(f"got a {MANIFEST_FILE} whose {field} is wrong ({first['msg']}): build it again") from None
