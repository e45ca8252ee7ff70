"""Recordings whose licence lets a shipped model learn from them: CC0, CC-BY and CC-BY-SA, credited."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from audiorec.audio import SAMPLE_RATE_HZ, Pcm
from audiorec.audio.decoder import DecodeLimits, Decoder
from audiorec.catalogue import LABELS_FILE, read_labels
from audiorec.errors import BadAudio, BadSetting
from audiorec.training.corpus.clip import Clip, to_pcm
from audiorec.training.corpus.words import WORDS, word_label

EXCERPT_S = 8.192
MAX_EXCERPTS = 24
MAX_FILE_S = 3600.0
_FREE = re.compile(r"\(?cc[ -]?(0|by([ -]sa)?)\b(?!-[a-z])", re.IGNORECASE)
# a word that begins with NC or ND is bound, whatever is written to it: "NC4.0", "NCSA", "_NC"
_BOUND = re.compile(r"(?<![a-z])(n[cd]|non)|commercial|no.?deriv|sampling|personal|reserved|gpl|unknown", re.IGNORECASE)
# what the sets call what the rest of the corpus calls otherwise; names that say nothing become none
NAMES = {
    **{str(digit): word_label(word) for digit, word in enumerate(WORDS[:10])},
    "bd": "kick", "sn": "snare", "hat": "closed hat", "cor_anglais": "english horn", "guitar": "nylon guitar",
    "double_bass": "double bass", "sax": "saxophone", "bird": "bird song", "ocean": "sea", "organ": "church organ",
    "piano": "grand piano", "misc": "", "mehackit": "", "song": "", "game_music": "",
}  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """A row of a `labels.csv`."""

    path: Path
    set_name: str
    label: str
    group: str
    artist: str
    licence: str
    source: str


def is_free(licence: str) -> bool:
    """Whether a model that learnt from it may be shipped: CC0, CC-BY, CC-BY-SA, and nothing that restricts it."""
    return bool(_FREE.match(licence.strip())) and not _BOUND.search(licence)


def recordings(data_dir: Path) -> list[Recording]:
    """The free rows of every `*/labels.csv`, in a fixed order. Raises BadSetting where there is no table at all."""
    tables = sorted(data_dir.glob(f"*/{LABELS_FILE}"))
    if not tables:
        raise BadSetting(f"got {data_dir}, expected a folder of sets, each with a {LABELS_FILE}")
    return [
        Recording(
            path,
            table.parent.name,
            NAMES.get(row.get("label", ""), row.get("label", "")).replace("_", " "),
            row.get("group", "") or path.name,
            row.get("artist", ""),
            row["license"],
            row.get("source", ""),
        )
        for table in tables
        for path, row in sorted(read_labels(table).items())
        if is_free(row.get("license", ""))
    ]


def clips(rows: Iterable[Recording]) -> Iterator[Clip]:
    """Each recording, long ones as excerpts that do not overlap; what cannot be decoded is left out."""
    decoder = Decoder(DecodeLimits(max_s=MAX_FILE_S))
    try:
        for row in rows:
            try:
                pcm = decoder.decode(row.path)
            except BadAudio:
                continue
            yield from _excerpts(pcm, row)
    finally:
        decoder.close()


def _excerpts(pcm: Pcm, row: Recording) -> Iterator[Clip]:
    step = round(EXCERPT_S * SAMPLE_RATE_HZ)
    starts = [0] if len(pcm) < 1.5 * step else list(range(0, len(pcm) - step + 1, step))
    stride = -(-len(starts) // MAX_EXCERPTS)
    for start in starts[::stride]:
        part = to_pcm(pcm[start : start + step] if len(starts) > 1 else pcm)
        if part is not None:
            yield Clip(
                part,
                label=row.label,
                instance=f"{row.set_name}/{row.group}/{row.label}",
                take=row.artist,
                licence=row.licence,
                credit=f"{row.artist or 'unknown'}, {row.source or row.set_name}",
            )
