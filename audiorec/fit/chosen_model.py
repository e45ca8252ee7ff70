"""The pretrained model that a build uses: one that is named now, or the one of the last build; and its layer."""

from collections.abc import Mapping, Sequence

from audiorec.encoders import PRETRAINED_ENCODERS
from audiorec.encoders.classifier import Classifier
from audiorec.encoders.frozen import NAMED, FrozenEncoder
from audiorec.encoders.pretrained_model import ModelReference, no_model
from audiorec.errors import BadSetting
from audiorec.files import writing_to_disk
from audiorec.fit.layer_choice import choose_layer
from audiorec.hub import local_model
from audiorec.licences import licence_note, licence_of
from audiorec.progress import Progress
from audiorec.publishing.workplace import Workplace
from audiorec.training.loop import Say


def named_model(
    work: Workplace, encoder: str, model: str | None, layer: int | None, *, refit: bool, say: Say
) -> ModelReference | None:
    """What an encoder is to be made of, opened once: every fault of it is found before an hour of converting.

    model: a directory or a hub id, downloaded now; None for the one of the last build. layer: None for one that is to
    be chosen, or was for this model; refit: chosen anew. say: hears what its licence forbids. Returns None for an
    encoder that is made of no model. Raises BadSetting, BadModel.
    """
    kind = PRETRAINED_ENCODERS.get(encoder)
    if kind is None:
        if model is not None or (layer is not None and encoder != Classifier.name):
            raise BadSetting(
                f"got a {'layer' if model is None else 'model'} for {encoder}, which is made of no model, expected it "
                f"for one of {', '.join(PRETRAINED_ENCODERS)}: name that by --encoder, or leave it out"
            )
        return None
    if layer is not None and not kind.has_layers:
        raise BadSetting(f"got layer {layer} for {encoder}, expected none: its model says what its vector is")
    reference = kept = _kept(work, encoder)
    if model is not None:
        named = ModelReference.to(model, what=kind.what())
        if kept is None or kept.directory != named.directory:
            reference = named
    if reference is None:
        raise no_model(kind)
    opened = kind.open(local_model(str(reference.directory), what=kind.what()), layer).layer
    if note := licence_note(licence_of(reference.directory, reference.name), reference.name):
        say(note)
    if layer is not None:
        return reference.model_copy(update={"layer": opened})
    before = reference.layer
    stays = before is None or (opened and before.n_layers == opened.n_layers and not (refit and before.why != NAMED))
    return reference if stays else reference.model_copy(update={"layer": None})


def keep_model(work: Workplace, encoder: str, reference: ModelReference | None) -> None:
    """For this build and the next. Raises NoSpace."""
    if reference is not None and reference != _kept(work, encoder):
        with writing_to_disk("the name of the model"):
            work.model_path(encoder).parent.mkdir(exist_ok=True)
        reference.write(work.model_path(encoder))


def settle_layer(work: Workplace, encoder: str, clips: Sequence[Mapping[str, str]], progress: Progress) -> None:
    """Chooses the layer of a model that has some, where that has not been done. clips: rows of `metadata.tsv`."""
    kind, reference = PRETRAINED_ENCODERS.get(encoder), _kept(work, encoder)
    if reference is None or reference.layer or kind is None or not issubclass(kind, FrozenEncoder):
        return
    directory = local_model(str(reference.directory), what=kind.what())
    with work.timed("choose the layer"):
        layer = choose_layer(
            kind, directory, clips, wav_dir=work.wav_dir, features_dir=work.features_dir, progress=progress
        )
    reference.model_copy(update={"layer": layer}).write(work.model_path(encoder))


def _kept(work: Workplace, encoder: str) -> ModelReference | None:
    path = work.model_path(encoder)
    return ModelReference.of(path) if path.exists() else None
