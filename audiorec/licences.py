"""What the weights of a pretrained model may be used for: what its card says, or what is known of its family."""

from pathlib import Path

CARD_FILE = "README.md"
UNKNOWN = "unknown"
FAMILIES = {  # by a part of the name: published for research, not for commercial use, as their authors' cards say
    "MERT": "cc-by-nc-4.0",  # m-a-p/MERT-v1-95M
    "MuQ": "cc-by-nc-4.0",  # OpenMuQ/MuQ-large-msd-iter
    "Essentia": "cc-by-nc-sa-4.0",  # essentia.upf.edu/models
}


def licence_of(directory: Path, source: str) -> str:
    """As the card of a model says it, in its front matter; "unknown" where nothing does.

    source: what the model is called, a hub id or the directory's name.
    """
    said = _card(directory).get("license_name") or _card(directory).get("license")
    if isinstance(said, list):
        said = ", ".join(map(str, said))
    return str(said) if said and said != "other" else family_licence(source) or UNKNOWN


def family_licence(name: str) -> str | None:
    words = name.lower().replace("_", "-").replace("/", "-").replace(".", "-").split("-")
    return next((licence for family, licence in FAMILIES.items() if family.lower() in words), None)


def licence_note(licence: str, name: str) -> str:
    """What a person who picks this model is to hear; empty when there is nothing to say."""
    if is_non_commercial(licence):
        return f"note: the weights of {name} are {licence}: not for commercial use"
    if licence == UNKNOWN:
        return f"note: {name} says nothing of its licence: see where it was published what it may be used for"
    return ""


def is_non_commercial(licence: str) -> bool:
    words = licence.lower().replace("_", "-").replace(" ", "-").split("-")
    return "nc" in words or "noncommercial" in words or "non-commercial" in licence.lower()


def _card(directory: Path) -> dict[str, object]:
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(directory / CARD_FILE) or {}
    except Exception:  # no card, or one whose front matter is no YAML: it says nothing
        return {}
