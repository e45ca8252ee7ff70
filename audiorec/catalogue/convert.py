"""A folder of clips to a folder of 16 kHz WAVs and a table of them: on all cores, resumable, refusing file by file."""

import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.audio.decoder import DecodeLimits, DecoderPool
from audiorec.audio.wav import is_converted, wav_path
from audiorec.catalogue import Candidate, Refusal, Scan, scan
from audiorec.catalogue.ledger import Entry, Ledger, stamp_of
from audiorec.errors import BadAudio, BadCatalogue
from audiorec.files import remove_leftovers, replacing, writing_to_disk
from audiorec.files.tsv import read_tsv, tsv_line
from audiorec.metadata import CORE_COLUMNS
from audiorec.metadata.placeholders import fill_artists
from audiorec.parallel import in_parallel
from audiorec.progress import Progress, silent

CLIPS_FILE = "clips.tsv"
REFUSED_FILE = "refused.tsv"
REFUSED_COLUMNS = ("clip_id", "code", "message")
TAG_COLUMNS = ("group", "genre", "date")  # own columns that come first, where any clip has them
DEFAULT_LIMITS = DecodeLimits()

Row = dict[str, str]


@dataclass(frozen=True)
class Conversion:
    """clips: a row a clip in the order of their ids, in `columns`; n_new: files that were not known before."""

    clips: list[Row]
    columns: list[str]
    refusals: list[Refusal]
    n_ignored: int
    n_new: int

    @property
    def sha256s(self) -> list[str]:
        return [clip["sha256"] for clip in self.clips]

    @property
    def durations_s(self) -> list[float]:
        return [float(clip["duration_s"]) for clip in self.clips]

    @property
    def hours(self) -> float:
        return sum(self.durations_s) / 3600


def convert(
    audio_dir: Path,
    wav_dir: Path,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    n_workers: int | None = None,
    placeholder_artists: bool = False,
    progress: Progress = silent,
) -> Conversion:
    """Converts every clip of a folder that was not converted before, and writes `clips.tsv` and `refused.tsv`.

    n_workers: processes that decode, one a core by default. placeholder_artists: make up names where there are none,
    see `placeholders.py`. Killed anywhere, the next call goes on where it stopped.
    Raises BadCatalogue when there is nothing usable, NoSpace when the disk is full; never because of one bad file.
    """
    found = scan(Path(os.path.abspath(audio_dir)))  # the ledger knows files by whole path
    conversion = convert_found(
        found,
        wav_dir,
        limits=limits,
        n_workers=n_workers,
        placeholder_artists=placeholder_artists,
        progress=progress,
    )
    _write_tables(conversion, wav_dir)
    if not conversion.clips:
        raise BadCatalogue(_nothing_usable(conversion))
    return conversion


def convert_found(
    found: Scan,
    wav_dir: Path,
    *,
    limits: DecodeLimits,
    n_workers: int | None,
    placeholder_artists: bool = False,
    progress: Progress,
) -> Conversion:
    """Converts what a scan found, by whole paths, and was not converted before; as `convert`, without its tables.

    Raises NoSpace, and BadSetting where names cannot be made up.
    """
    with writing_to_disk("the converted clips"):
        wav_dir.mkdir(parents=True, exist_ok=True)
    with Ledger(wav_dir, max_s=limits.max_s) as ledger:
        new = [candidate for candidate in found.candidates if not _is_done(candidate, ledger, wav_dir, limits)]
        _convert_all(new, wav_dir, ledger, limits, n_workers or len(os.sched_getaffinity(0)), progress)
        return _assemble(found, ledger, n_new=len(new), placeholder_artists=placeholder_artists)


def _is_done(candidate: Candidate, ledger: Ledger, wav_dir: Path, limits: DecodeLimits) -> bool:
    entry = ledger.entry(candidate.path)
    if entry is None or "refused" in entry:
        return entry is not None
    n_samples: int = entry["n_samples"]
    return n_samples <= limits.max_s * SAMPLE_RATE_HZ and is_converted(wav_path(wav_dir, entry["sha256"]), n_samples)


def _convert_all(
    new: list[Candidate], wav_dir: Path, ledger: Ledger, limits: DecodeLimits, n_workers: int, progress: Progress
) -> None:
    if not new:
        return
    remove_leftovers(wav_dir)
    n_workers = min(n_workers, len(new))
    with DecoderPool(n_workers, limits) as pool:

        def convert_one(candidate: Candidate) -> tuple[list[int], Entry]:
            stamp = stamp_of(candidate.path)
            request = {"path": str(candidate.path), "wav_dir": str(wav_dir)}
            with pool.borrowed() as decoder:
                try:
                    return stamp, decoder.call("convert", request)[0]
                except BadAudio as error:
                    return stamp, {"refused": [error.code, error.message]}

        with closing(in_parallel(convert_one, new, n_workers)) as results:  # none begins once the pool is closed
            for candidate, (stamp, entry) in progress(results, total=len(new), stage="convert", unit="clip"):
                ledger.add(candidate.path, stamp, entry)


def _assemble(found: Scan, ledger: Ledger, n_new: int, placeholder_artists: bool) -> Conversion:
    refusals = list(found.refusals)
    clips: dict[str, Row] = {}
    for candidate in found.candidates:
        entry = ledger.last(candidate.path)
        if "refused" in entry:
            refusals.append(Refusal(candidate.clip_id, *entry["refused"]))
        elif candidate.clip_id in clips:
            message = f"got a second clip with the id {candidate.clip_id}, expected each id once: change one of them"
            refusals.append(Refusal(candidate.clip_id, "duplicate_id", message))
        else:
            clips[candidate.clip_id] = _row(candidate, entry)
    rows = [clips[clip_id] for clip_id in sorted(clips)]
    if placeholder_artists:
        fill_artists(rows)
    refusals.sort(key=lambda refusal: refusal.clip_id)
    return Conversion(rows, [*CORE_COLUMNS, *_own_columns(rows)], refusals, found.n_ignored, n_new)


def _row(candidate: Candidate, entry: Entry) -> Row:
    """The person's own words first, the file's tags where there are none, what was measured above both."""
    said = {name: value for name, value in candidate.fields.items() if value}
    if "label" in said:
        said["label"] = ";".join(filter(None, map(str.strip, said["label"].split(";"))))
    measured = {"sha256": entry["sha256"], "duration_s": f"{entry['n_samples'] / SAMPLE_RATE_HZ:.4f}"}
    return {**entry["tags"], **said, "clip_id": candidate.clip_id, **measured}


def _own_columns(rows: Iterable[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    first = [name for name in TAG_COLUMNS if name in names]
    return first + [name for name in names if name not in CORE_COLUMNS and name not in first]


def _nothing_usable(conversion: Conversion) -> str:
    if not conversion.refusals:
        return f"got a folder without a clip in it ({conversion.n_ignored} other files), expected sound files"
    first = conversion.refusals[0]
    return (
        f"got {len(conversion.refusals)} files, none of them usable, expected sound files; "
        f"the first: {first.clip_id}: {first.message}"
    )


def _write_tables(conversion: Conversion, wav_dir: Path) -> None:
    write_rows(wav_dir / CLIPS_FILE, conversion.columns, conversion.clips)
    write_refused(wav_dir / REFUSED_FILE, conversion.refusals)


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> None:
    """A TSV of these columns, a missing value is empty. At once or not at all."""
    columns = list(columns)
    with replacing(path) as file:
        file.write(tsv_line(columns))
        file.writelines(tsv_line([row.get(name, "") for name in columns]) for row in rows)


def write_refused(path: Path, refusals: Iterable[Refusal]) -> None:
    rows = ({"clip_id": r.clip_id, "code": r.code, "message": r.message} for r in refusals)
    write_rows(path, REFUSED_COLUMNS, rows)


def read_refused(path: Path) -> list[Refusal]:
    """What `write_refused` wrote; nothing where there is no file. Raises BadModelDir for a damaged one."""
    if not path.exists():
        return []
    return [Refusal(row["clip_id"], row["code"], row["message"]) for row in read_tsv(path)]


def read_conversion(wav_dir: Path) -> Conversion:
    """What the last `convert` into this folder wrote. Raises BadCatalogue when there was none."""
    if not (wav_dir / CLIPS_FILE).exists() or not (wav_dir / REFUSED_FILE).exists():
        raise BadCatalogue(f"got {wav_dir.name} without {CLIPS_FILE}, expected converted clips: run `audiorec convert`")
    refusals = read_refused(wav_dir / REFUSED_FILE)
    clips = list(read_tsv(wav_dir / CLIPS_FILE))
    conversion = Conversion(clips, list(clips[0]) if clips else [], refusals, n_ignored=0, n_new=0)
    if not clips:
        raise BadCatalogue(_nothing_usable(conversion))
    return conversion
