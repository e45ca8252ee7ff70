"""Which encoders there are: their size, what a window costs here and now, whose weights they are, what they need."""

import time
import warnings
from dataclasses import dataclass

import torch

from audiorec.audio import CLIP_SAMPLES
from audiorec.encoders import LEARNED_ENCODERS, PRETRAINED_ENCODERS, kind_of, make_encoder, names
from audiorec.encoders.base import Encoder
from audiorec.encoders.classifier import Classifier
from audiorec.encoders.pretrained_model import ModelReference, open_reference
from audiorec.encoders.vqvae.config import PRESETS
from audiorec.encoders.vqvae.model import VQVAE
from audiorec.progress import Progress, silent

N_WARM_UP = 2  # TorchScript looks at the first two calls, to make those after them faster
N_MEASURED = 3
OF_THE_MODEL = "that of the model"


@dataclass(frozen=True)
class Entry:
    """What is known of an encoder; None where that depends on what it needs and was not given.

    ms: of processor time a window, on one thread, as TorchScript, the best of a few. note: what was measured.
    """

    name: str
    dim: int | None
    params: int | None
    ms: float | None
    licence: str
    needs: str
    note: str = ""


def roster(model: str | None = None, *, measures: bool = True, progress: Progress = silent) -> list[Entry]:
    """All encoders, by name. model: a directory or a hub id, in place of what its encoder is published as.

    measures: otherwise no `ms`, and nothing is made of what is not there. Raises BadModel for a model that no encoder
    can be made of.
    """
    reference = ModelReference.to(model, what="a pretrained model") if model is not None else None
    kind = kind_of(reference.directory) if reference else None

    def entry(name: str) -> Entry:
        needs = needs_of(name)
        if kind and reference and name == kind.name:
            encoder = open_reference(kind, reference)
            return _entry(encoder, encoder.licence, needs, measures, f"{encoder.origin}{_layer(encoder)}")
        if name in PRETRAINED_ENCODERS:
            if not measures:
                return Entry(name, None, None, None, OF_THE_MODEL, needs)
            encoder = PRETRAINED_ENCODERS[name].published()
            note = f"the size of {PRETRAINED_ENCODERS[name].example}, random weights{_layer(encoder)}"
            return _entry(encoder, OF_THE_MODEL, needs, measures, note)
        if name in LEARNED_ENCODERS:
            learned = LEARNED_ENCODERS[name](VQVAE(PRESETS["default"])).eval()
            return _entry(learned, learned.licence, needs, measures, "random weights")
        if name == Classifier.name:
            return Entry(
                name, None, None, None, "that of its base", needs, "costs what its base does, up to the last layer"
            )
        made = make_encoder(name)
        return _entry(made, made.licence, needs, measures)

    listed = progress(names(), total=len(names()), stage="measure", unit="encoder")
    return [entry(name) for name in listed]


def needs_of(name: str) -> str:
    """What an encoder cannot be made without, in words."""
    if name in PRETRAINED_ENCODERS:
        return f"--model, a directory or a hub id such as {PRETRAINED_ENCODERS[name].example}"
    if name == Classifier.name:
        return "--checkpoint of `audiorec train classifier`"
    if name in LEARNED_ENCODERS:
        return "--checkpoint of `audiorec train vqvae`, or it is trained first"
    return "nothing"


def measured_ms(encoder: Encoder) -> float:
    """Milliseconds of processor time that one window takes as TorchScript, on one thread: the best of a few."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            scripted = encoder.eval().scripted()
            window = torch.rand(1, 1, CLIP_SAMPLES, generator=torch.Generator().manual_seed(0)) * 2 - 1
            taken = []
            for _ in range(N_WARM_UP + N_MEASURED):
                start = time.process_time()
                scripted(window)
                taken.append(time.process_time() - start)
    finally:
        torch.set_num_threads(n_threads)
    return 1000 * min(taken[N_WARM_UP:])


def _entry(encoder: Encoder, licence: str, needs: str, measures: bool, note: str = "") -> Entry:
    ms = round(measured_ms(encoder), 1) if measures else None
    return Entry(encoder.name, encoder.dim, encoder.count_parameters(), ms, licence, needs, note)


def _layer(encoder: Encoder) -> str:
    return f", layer {encoder.layer.index} of {encoder.layer.n_layers}" if encoder.layer else ""
