"""What a person reads when a training has ended."""

from typing import TYPE_CHECKING

from audiorec.training.vqvae import Trained

if TYPE_CHECKING:
    from audiorec.training.contrast.adapt import Adapted
    from audiorec.training.generator.tune import Tuned


def training_summary(trained: Trained) -> str:
    figures, lines = trained.figures, []
    lines.append(
        f"{trained.n_steps} steps in {trained.seconds / 60:.1f} minutes, validation loss {figures['loss']:.4f}"
    )
    for level in ("top", "bottom"):
        usage, perplexity = figures[f"{level}_usage"], figures[f"{level}_perplexity"]
        warning = "; COLLAPSED: too few to tell clips apart" if level in trained.collapsed else ""
        lines.append(f"{level} codes: {usage:.0%} in use, perplexity {perplexity:.0f}{warning}")
    if not trained.has_board:
        lines.append("no TensorBoard is installed, so there are no pictures and sounds: pip install tensorboard")
    lines.append(f"next: audiorec build AUDIO_DIR MODEL_DIR --encoder BagBottomVQVAE --checkpoint {trained.best_path}")
    return "\n".join(lines)


def adapted_summary(adapted: "Adapted") -> str:
    """What it changed, and what to do with it, which may be nothing."""
    ended, before, after = adapted.ended, adapted.before, adapted.after
    lines = [f"{ended.n_steps} steps in {ended.seconds / 60:.1f} minutes"]
    for name, one, other in (
        ("P@5", before.p5, after.p5),
        ("mAP", before.map, after.map),
        ("a clip by its disturbed copy, MRR", before.mrr, after.mrr),
        ("hubness", before.hubness, after.hubness),
    ):
        if one is not None and other is not None:
            lines.append(f"{name}: {one:.3f} before, {other:.3f} after")
    lines.append(adapted.verdict)
    if adapted.path is not None:
        lines.append(f"next: audiorec build AUDIO_DIR MODEL_DIR --checkpoint {adapted.path}")
    return "\n".join(lines)


def tuned_summary(tuned: "Tuned") -> str:
    """What the adapter changed, where it is, and how it is used, or that it had better not be."""
    ended, path = tuned.ended, tuned.path
    lines = [f"{ended.n_steps} steps in {ended.seconds / 60:.1f} minutes", tuned.judged.verdict, f"adapter: {path}"]
    if not ended.has_board:
        lines.append("no TensorBoard is installed, so there are no sounds to hear: pip install tensorboard")
    if tuned.judged.helped:
        lines.append(
            f'next: audiorec generate "..." --model BASE --adapters {path.parent} --adapter {path.stem} -o out.wav'
        )
    return "\n".join(lines)
