"""Trains the network of `base` by contrast, from nothing or on from weights that there are."""

from pathlib import Path

import torch.distributed as dist

from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import read_contrast
from audiorec.errors import BadSetting
from audiorec.training.checkpoint import LAST_FILE, restore
from audiorec.training.contrast.clips import Clips, held_back
from audiorec.training.contrast.learner import ContrastLearner
from audiorec.training.contrast.measure import Measure
from audiorec.training.contrast.settings import ContrastSettings
from audiorec.training.loop import Ended, Say, learn, run_folder, unsaid


def train(
    clips: Clips,
    out_dir: Path,
    settings: ContrastSettings,
    *,
    start_from: Base | None = None,
    resume: bool = False,
    say: Say = unsaid,
) -> Ended:
    """Trains from nothing, from an encoder's weights (start_from; settings.model is its config), or on from where the
    run in out_dir is (resume). Ends and is stopped as `loop.learn` says.

    Raises BadSetting, BadCatalogue, BadCheckpoint, Busy, NoSpace, TrainingFailed.
    """
    if dist.is_torchelastic_launched():
        raise BadSetting("got torchrun, expected one process, for a contrastive training: run its command by itself")
    with run_folder(out_dir, resume=resume) as process:
        rows, held = held_back(clips, settings.validation_share, seed=settings.seed)
        say(f"{len(rows)} clips to learn from, {len(held)} to validate on")
        learner = ContrastLearner(settings, process, clips, rows, Measure.of(clips, held, settings))
        if resume:
            restore(learner.state, read_contrast(out_dir / LAST_FILE))
            say(f"resumed at step {learner.state.step}")
        elif start_from is not None:
            learner.model.start_from(start_from)
            learner.state.facts = {"licence": licence_from(start_from.licence)}
        else:
            learner.start_scale()
        return learn(learner, out_dir, resume=resume, say=say)


def licence_from(licence: str) -> str:
    """Of weights that went on from others, which have this one: theirs holds for what came of them."""
    return licence if licence.endswith(Base.licence) else f"{licence}, and {Base.licence}"
