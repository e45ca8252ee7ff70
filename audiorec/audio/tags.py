"""What a file says of itself: artist, title, album, genre and date from its tags."""

from pathlib import Path

from tinytag import TinyTag

TAG_FIELDS = {"artist": "artist", "title": "title", "album": "album", "genre": "genre", "date": "year"}
MAX_TAG_CHARACTERS = 1_000


def read_tags(path: Path) -> dict[str, str]:
    """Only what is there; {} for a file without tags, or with broken ones (they never refuse a clip)."""
    try:
        tag = TinyTag.get(path, tags=True, duration=False)
    except Exception:  # a parser of hostile files, and a missing tag is no loss
        return {}
    values = {ours: str(getattr(tag, theirs) or "").strip()[:MAX_TAG_CHARACTERS] for ours, theirs in TAG_FIELDS.items()}
    return {name: value for name, value in values.items() if value}
