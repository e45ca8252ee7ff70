"""Goes on from an encoder on a person's own clips, and says whether that helped: on clips held back for it alone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from audiorec.encoders.pretrained import Base
from audiorec.encoders.shipped import load_base, read_contrast, write_base
from audiorec.errors import BadCheckpoint, BadSetting
from audiorec.files import replacing
from audiorec.progress import Progress, silent
from audiorec.training.checkpoint import LAST_FILE
from audiorec.training.contrast.clips import Clips, from_wavs, held_back
from audiorec.training.contrast.judge import MAX_TESTED, Figures, compare, judged
from audiorec.training.contrast.settings import ContrastSettings, make_settings
from audiorec.training.contrast.train import train
from audiorec.training.loop import Ended, Say, unsaid
from audiorec.training.run import converted

ENCODER_FILE = "base.safetensors"  # what helped
BEGAN_FILE = "began.json"
RESULT_FILE = "result.json"
HELD_BACK = 0.2
WARM = {"learning_rate": 5e-4, "validate_steps": 100}  # of weights that are good already: gently, looking often


@dataclass(frozen=True)
class Adapted:
    """before: of what it began with, or of `base`; after: of what it learnt. path: what `build --checkpoint` takes;
    None when it did not help.
    """

    ended: Ended
    before: Figures
    after: Figures
    path: Path | None
    verdict: str


def adapt(
    audio_dir: Path,
    out_dir: Path,
    given: Mapping[str, Any],
    *,
    config_path: Path | None = None,
    start_from: str | None = None,
    held_back_share: float | None = None,
    resume: bool = False,
    n_threads: int | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
) -> Adapted:
    """given: fields of ContrastSettings, None where nothing was said. audio_dir: clips, converted or not.

    start_from: "base", a checkpoint or a .safetensors file; None: nothing. held_back_share: of the clips, by whole
    groups: nothing is learnt of them, and no checkpoint chosen by them. Raises what `train` does.
    """
    if resume and (start_from is not None or held_back_share is not None):
        raise BadSetting("got --resume with --from or --held-back, expected it alone: a run goes on as it began")
    new = {"from": _whole(start_from or ""), "held_back": held_back_share or HELD_BACK}
    began: dict[str, Any] = _began(out_dir) if resume else new
    start = _start(began["from"])
    settings = _settings(out_dir, given, config_path, start, resume)
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    clips = from_wavs(converted(audio_dir, out_dir, progress=progress))
    began = _on_the_same(clips, began)
    rows, tested = held_back(clips, began["held_back"], seed=settings.seed + 1)
    say(f"{len(tested)} of {len(clips)} clips are held back, to tell at the end whether it helped")
    if not (out_dir / LAST_FILE).exists():
        out_dir.mkdir(parents=True, exist_ok=True)
        _write_json(out_dir / BEGAN_FILE, began)
    ended = train(clips.of(rows), out_dir, settings, start_from=start, resume=resume, say=say)
    after = load_base(ended.best_path)
    figures = compare(start, after, clips, rows, tested, settings)
    n_tested = min(len(tested), MAX_TESTED)
    helped, verdict = judged(*figures, n_tested)
    result = {"before": asdict(figures[0]), "after": asdict(figures[1]), "verdict": verdict, "n_tested": n_tested}
    _write_json(out_dir / RESULT_FILE, result)
    path = out_dir / ENCODER_FILE
    path.unlink(missing_ok=True)
    if helped:
        began["from"] = Path(began["from"]).name  # the file may go to others, who need not know where this one was
        write_base(after, path, {"licence": after.licence, "origin": after.origin, "began": began, **result})
    return Adapted(ended, *figures, path if helped else None, verdict)


def _whole(name: str) -> str:
    """A path that a run can be resumed by from another folder."""
    return str(Path(name).absolute()) if name not in ("", Base.name) else name


def _start(name: str) -> Base | None:
    if not name:
        return None
    return load_base() if name == Base.name else load_base(Path(name))


def _settings(
    out_dir: Path, given: Mapping[str, Any], config_path: Path | None, start: Base | None, resume: bool
) -> ContrastSettings:
    """A resumed run has those it began with, others are refused later; a warm start has the model it starts from."""
    if resume:
        stored = read_contrast(out_dir / LAST_FILE).get("settings", {})
        stored_settings = {name: value for name, value in stored.items() if value is not None}
        return make_settings(given, began=stored_settings, config_path=config_path)
    if start is None:
        return make_settings(given, config_path=config_path)
    settings = make_settings(given, began={**WARM, "model": start.network.config}, config_path=config_path)
    if settings.model != start.network.config:
        raise BadSetting("got a config with a model of another shape than what --from names, expected the same")
    return settings


def _began(out_dir: Path) -> dict[str, Any]:
    try:
        began = json.loads((out_dir / BEGAN_FILE).read_bytes())
        kept = {"from": str(began["from"]), "held_back": float(began["held_back"])}
        return kept | {name: value for name, value in began.items() if name == "clips_sha256"}
    except (OSError, ValueError, KeyError, TypeError):
        raise BadCheckpoint(f"got no whole {BEGAN_FILE}, expected that of a run to resume: begin another") from None


def _on_the_same(clips: Clips, began: dict[str, Any]) -> dict[str, Any]:
    """How a run began, its clips included. Raises BadSetting when they were others: which of them are held back is
    drawn anew, and so it would have learnt from some of them.
    """
    sha256 = clips.sha256()
    if began.get("clips_sha256", sha256) != sha256:
        raise BadSetting(
            f"got {len(clips)} clips that are not those, or not of the labels and groups, that the run began with, "
            "expected the same ones: name the folder as it was, or begin another run"
        )
    return {**began, "clips_sha256": sha256}


def _write_json(path: Path, value: object) -> None:
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")
