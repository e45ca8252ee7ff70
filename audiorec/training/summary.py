"""What a person reads when a training has ended."""

from audiorec.training.vqvae import Trained


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
