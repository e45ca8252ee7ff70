"""Under which licence a generator's weights are: what its card says, else what is known of its family."""

from pathlib import Path

from audiorec import licences


def licence_of(model_dir: Path, family_licence: str) -> str:
    """family_licence: of the weights that the family's authors published, for a model without a card that says."""
    said = licences.licence_of(model_dir, "")
    if said != licences.UNKNOWN:
        return said
    return f"{family_licence}, as the family's published weights: this model has no card that says"
