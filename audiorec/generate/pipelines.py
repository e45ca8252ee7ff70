"""Models from their directories through the loaders of diffusers and transformers, made to work with these versions.

AudioLDM and StableAudio work as they are. AudioLDM2 needs a language model with methods that its published class,
GPT2Model, has lost. MusicLDM takes what CLAP's `get_text_features` returns for a tensor, which it was.
"""

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from audiorec.errors import BadModel
from audiorec.generate.families import FAMILIES, PIPELINE, check_parts, kind_of, read_config

if TYPE_CHECKING:
    import torch

LIBRARIES = ("diffusers", "transformers")
UNKNOWN_WEIGHTS = "newly initialized"  # in what either library says of weights that no file has
logger = logging.getLogger(__name__)


def open_pipeline(directory: Path, *, device: str = "cpu", dtype: "torch.dtype | None" = None) -> Any:
    """A pipeline of diffusers, of the class that its index names. dtype: float32 unless said. Raises BadModel."""
    kind = kind_of(directory)
    if FAMILIES[kind].index != PIPELINE:
        raise BadModel(f"got a {kind} of transformers, expected a pipeline of diffusers")
    check_parts(directory)
    with _loading(directory, kind):
        import diffusers

        _check_scheduler(directory)
        parts: dict[str, Any] = {}
        if kind == "AudioLDM2Pipeline":
            from transformers import GPT2LMHeadModel

            folder = directory / "language_model"
            parts["language_model"] = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype, local_files_only=True)
        pipe = getattr(diffusers, kind).from_pretrained(directory, torch_dtype=dtype, local_files_only=True, **parts)
        if kind == "MusicLDMPipeline":
            _return_tensors(pipe.text_encoder)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(device)


def open_musicgen(directory: Path, *, device: str = "cpu", dtype: "torch.dtype | None" = None) -> tuple[Any, Any]:
    """(model, tokenizer) of transformers. Raises BadModel."""
    with _loading(directory, "MusicgenForConditionalGeneration"):
        from transformers import AutoTokenizer, MusicgenForConditionalGeneration

        model = MusicgenForConditionalGeneration.from_pretrained(directory, dtype=dtype, local_files_only=True)
        return cast(Any, model).to(device).eval(), AutoTokenizer.from_pretrained(directory, local_files_only=True)


def _return_tensors(clap: Any) -> None:
    """Lets CLAP return the features of a text as older versions of transformers did."""
    features = clap.get_text_features

    def get_text_features(*args: Any, **named: Any) -> Any:
        found = features(*args, **named)
        return getattr(found, "pooler_output", found)

    clap.get_text_features = get_text_features


def _check_scheduler(directory: Path) -> None:
    """The one of Stable Audio Open draws its noise from a package of its own."""
    name = str(read_config(directory / "scheduler" / "scheduler_config.json").get("_class_name"))
    if name == "CosineDPMSolverMultistepScheduler" and importlib.util.find_spec("torchsde") is None:
        raise BadModel(f"got a model with a {name}, which needs torchsde: pip install 'audiorec[stable-audio]'")


@contextmanager
def _loading(directory: Path, kind: str) -> Iterator[None]:
    """Without the libraries' bars and notices; what they raise, whatever it is, becomes BadModel.

    Weights that are in no file would be random numbers: an error where diffusers misses them, whose names are exact;
    a warning where transformers does, which knows some by other names.
    """
    import audiorec.torchaudio_cpu  # noqa: F401  # before the two that import torchaudio

    complaints = _Complaints()
    with warnings.catch_warnings(), complaints.collected():
        warnings.simplefilter("ignore")
        try:
            yield
        except BadModel:
            raise
        except Exception as error:
            complaints.check(directory, kind)  # what is missing says more than what failed for it
            raise BadModel(
                f"got a {kind} that cannot be loaded ({type(error).__name__}: {_short(str(error), directory)}), "
                "expected all of its files, whole: copy it again"
            ) from error
    complaints.check(directory, kind)


def _short(text: str, directory: Path) -> str:
    """On one line, without the path of the model, and without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(plain.replace(str(directory), directory.name).split())[:200]


class _Complaints(logging.Handler):
    """What the two libraries log while they load, kept from the screen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.of_missing_weights: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if UNKNOWN_WEIGHTS in (text := record.getMessage()):
            self.of_missing_weights.append((record.name.partition(".")[0], text))

    def check(self, directory: Path, kind: str) -> None:
        """Raises BadModel for weights that diffusers misses."""
        for library, text in self.of_missing_weights:
            if library == "diffusers":
                raise BadModel(
                    f"got a {kind} that lacks weights ({_short(text, directory)}), expected all of them: copy it again"
                )
            logger.warning("%s may lack weights, and sound like noise: %s", kind, _short(text, directory))

    @contextmanager
    def collected(self) -> Iterator[None]:
        from diffusers.utils import logging as of_diffusers
        from transformers.utils import logging as of_transformers

        loggers = [of.get_logger(name) for of, name in zip((of_diffusers, of_transformers), LIBRARIES, strict=True)]
        before = [(each.handlers, each.propagate, each.level) for each in loggers]
        bars = [(of, of.is_progress_bar_enabled()) for of in (of_diffusers, of_transformers)]
        for each in loggers:
            each.handlers, each.propagate = [self], False
            each.setLevel(logging.WARNING)  # whatever else in this process has told it
        for of, _ in bars:
            of.disable_progress_bar()
        try:
            yield
        finally:
            for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
                each.handlers, each.propagate = handlers, propagate
                each.setLevel(level)
            for of, shown in bars:
                if shown:
                    of.enable_progress_bar()
