"""What the command line shows: results as plain text tables."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiorec.evaluate import DEPTHS
from audiorec.licences import FAMILIES, UNKNOWN, licence_note
from audiorec.metadata.placeholders import PLACEHOLDER_COLUMN, is_placeholder
from audiorec.quoting import harmless

if TYPE_CHECKING:  # a table of neighbours must not wait for torch
    from audiorec.build import Built
    from audiorec.catalogue.convert import Conversion
    from audiorec.encoders.roster import Entry
    from audiorec.publishing.edit import Edited
    from audiorec.publishing.lifecycle import Listed, Pruned
    from audiorec.release import Release
    from audiorec.release.manifest import EncoderFacts, Evaluation, Manifest

LENGTH_EDGES_S = (0.5, 1, 2, 4, 8, 16, 32, 64, 300)
BAR_CHARACTERS = 30
N_LABELS_SHOWN = 30
N_REFUSED_SHOWN = 20
RELEASE_COLUMNS = (
    *("release", "created", "made by", "encoder", "clips", "MB", "own MB"),
    *("recall@10", "P@5", "mAP", ""),
)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as they need to be; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else harmless(str(value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True


def conversion_summary(conversion: "Conversion") -> str:
    """Clips in, what was refused and why, and how long the clips are."""
    lines = [
        f"{len(conversion.clips):,} clips ({conversion.hours:.2f} hours), {conversion.n_new:,} of the files new; "
        f"{len(conversion.refusals):,} refused, {conversion.n_ignored:,} other files passed over"
    ]
    n_made_up = sum(map(is_placeholder, conversion.clips))
    if n_made_up:
        lines.append(f"{n_made_up:,} artists are made up, as {PLACEHOLDER_COLUMN} says; they count for nothing")
    if conversion.refusals:
        by_code = Counter(refusal.code for refusal in conversion.refusals)
        first = {refusal.code: refusal.clip_id for refusal in reversed(conversion.refusals)}
        rows = [(code, count, first[code]) for code, count in by_code.most_common()]
        lines += ["", table(("refused as", "clips", "the first"), rows)]
    lines += ["", length_histogram(conversion.durations_s)]
    return "\n".join(lines)


def length_histogram(durations_s: Sequence[float]) -> str:
    counts = Counter(sum(duration >= edge for edge in LENGTH_EDGES_S) for duration in durations_s)
    names = [f"< {LENGTH_EDGES_S[0]:g} s"]
    names += [f"{low:g} - {high:g} s" for low, high in itertools.pairwise(LENGTH_EDGES_S)]
    names.append(f">= {LENGTH_EDGES_S[-1]:g} s")
    most = max(counts.values(), default=1)
    rows = [
        (name, counts[i], "#" * -(-counts[i] * BAR_CHARACTERS // most)) for i, name in enumerate(names) if counts[i]
    ]
    return table(("length", "clips", ""), rows)


def summary(built: "Built", model_dir: Path) -> str:
    """The end of a build: what came in, what it cost, how good it is, and what to do next."""
    manifest, name = built.manifest, built.release_dir.name
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in built.seconds.items())
    what = f"{'published' if built.published else 'nothing new:'} release {name}"
    if not built.published and not built.held_back:
        what += " is current"
    lines = [
        conversion_summary(built.conversion),
        "",
        f"{what}: {manifest.encoder.name}, {manifest.encoder.dim} dimensions, "
        f"{manifest.catalogue.n_windows:,} windows ({stages})",
        *layer_lines(manifest.encoder),
        *last_step_lines(manifest.encoder),
        *text_lines(manifest.encoder),
        index_line(manifest.index.model_dump()),
        "",
        scores_table(manifest.evaluation),
    ]
    if built.conversion.refusals:
        lines += ["", f"refused clips, with reasons: {built.release_dir / 'refused.tsv'}"]
    lines += ["", f"next: audiorec serve {model_dir}", f"      audiorec nearest {model_dir} SOUND_FILE"]
    if manifest.encoder.text is not None:
        lines.append(f'      audiorec nearest {model_dir} --text "rain on a tin roof"')
    return "\n".join(lines)


def layer_lines(facts: "EncoderFacts") -> list[str]:
    """Of an encoder that is made of a pretrained model: of which, and what it is of that."""
    if facts.layer is None:
        return []
    return [f"layer {facts.layer.index} of {facts.layer.n_layers} of {harmless(facts.origin)}: {facts.layer.why}"]


def last_step_lines(facts: "EncoderFacts") -> list[str]:
    """Of an encoder that comes with a last step: which one it has, and why."""
    return [f"last step: {harmless(facts.last_step.why)}"] if facts.last_step else []


def text_lines(facts: "EncoderFacts") -> list[str]:
    """Of an encoder whose space texts share: that they can be looked for, and whether that is of use."""
    if facts.text is None:
        return []
    if facts.text.is_collapsed:
        return [f"warning: {facts.text.warning}"]
    return [
        f"search by text: {facts.text.params:,} parameters, {facts.text.max_tokens} tokens; "
        f"mean cosine of a dozen different prompts {facts.text.prompt_cosine:.2f}"
    ]


def index_line(facts: Mapping[str, Any]) -> str:
    """facts: of a manifest, whose figures are the Annoy index's whichever answers; or of what was measured anew."""
    trees = f"{facts['n_trees']} trees, search_k {facts['search_k']}" if "n_trees" in facts else ""
    figures = f"recall@10 {facts['recall_at_10']:.4f}, {facts['us_per_query']:.0f} microseconds a query"
    if trees and facts["kind"] == "exact":
        return f"index: exact answers, as fast here; Annoy ({trees}): {figures}"
    return f"index: {facts['kind']} answers{trees and f' ({trees})'}, {figures}"


def scores_table(evaluation: "Evaluation") -> str:
    """The encoder beside the baselines. Without labels there is no retrieval to show."""
    encoder = evaluation.encoder
    if not encoder.n_queries:
        return (
            f"no retrieval figures: they need a label that two clips share (hubness {encoder.hubness:.2f}); "
            "put clips into a folder a label, or a labels.csv beside them"
        )
    scored = [(encoder.name, encoder), *((f"{name} (baseline)", s) for name, s in evaluation.baselines.items())]
    rows: list[Sequence[Any]] = [
        (name, *(s.precision.get(str(depth), "") for depth in DEPTHS), s.mean_average_precision, s.hubness)
        for name, s in scored
    ]
    rows.append(("random order", *[encoder.chance] * len(DEPTHS), "", ""))
    header = ("neighbours by label", *(f"P@{depth}" for depth in DEPTHS), "mAP", "hubness")
    left_out = f"{encoder.n_queries:,} queries; a clip's own group and artist are left out"
    return f"{table(header, rows)}\n{left_out}"


def evaluation_report(evaluation: "Evaluation", index: Mapping[str, Any]) -> str:
    lines = [scores_table(evaluation), ""]
    per_label = evaluation.encoder.per_label
    if per_label:
        worst_first = sorted(per_label.items(), key=lambda item: item[1].p5)
        rows = [(label, s.n_queries, s.p5, s.map) for label, s in worst_first[:N_LABELS_SHOWN]]
        lines += [table(("label", "clips", "P@5", "mAP"), rows)]
        if len(per_label) > N_LABELS_SHOWN:
            lines.append(f"... and {len(per_label) - N_LABELS_SHOWN} better labels: --json has all")
        lines.append("")
    beside = f"exact search {index['exact_us_per_query']:.0f}; {index['n_queries']:,} queries"
    return "\n".join([*lines, f"{index_line(index)} ({beside})"])


def neighbours_table(results: Iterable[Mapping[str, Any]]) -> str:
    rows = [(r["rank"], r["similarity"], r["clip_id"], r["label"], r["artist"], r["title"]) for r in results]
    if not rows:
        return "no clip passes the conditions: a wider filter, or fewer clips left out, may find some"
    header = ("rank", "similarity", "clip", "label", "artist", "title")
    empty = {i for i in range(len(header)) if all(row[i] == "" for row in rows)}
    kept = [i for i in range(len(header)) if i not in empty]
    return table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])


def head_lines(facts: "EncoderFacts") -> list[str]:
    """How well an encoder tells labels apart, if it was trained to."""
    head = facts.head
    if head is None:
        return []
    several = ", several a clip" if head.multi_label else ""
    measured = ""
    if head.accuracy is not None and head.macro_f1 is not None:
        measured = f": accuracy {head.accuracy:.3f}, macro F1 {head.macro_f1:.3f} on {head.n_tested:,} clips held back"
    return [f"classifier: {len(head.labels)} labels{several}{measured}"]


def labels_table(predicted: str, labels: Sequence[Mapping[str, Any]]) -> str:
    """What a classifier says of a sound: its labels, the likeliest first."""
    rows = [(one["label"], f"{one['score']:.3f}") for one in labels[:N_LABELS_SHOWN]]
    lines = [f"predicted: {harmless(predicted) or 'none'}", "", table(("label", "score"), rows)]
    if len(labels) > N_LABELS_SHOWN:
        lines.append(f"... and {len(labels) - N_LABELS_SHOWN} less likely labels: --json has all")
    return "\n".join(lines)


def release_report(release: "Release", *, verified: bool) -> str:
    manifest = release.manifest
    encoder, catalogue = manifest.encoder, manifest.catalogue
    made = ", ".join(f"{name} {value}" for name, value in manifest.made_with.model_dump().items() if value)
    how = "every byte verified" if verified else "opened and checked; --verify compares every hash"
    sizes = [(name, f"{facts.bytes:,}", facts.sha256[:12]) for name, facts in manifest.files.items()]
    lines = [
        f"release {release.name} of {manifest.created_at}: {how}",
        f"made with {made}",
        f"encoder: {encoder.name}, {encoder.dim} dimensions, {encoder.params:,} parameters, licence {encoder.licence}, "
        f"from {harmless(encoder.origin)}",
        *layer_lines(encoder),
        *last_step_lines(encoder),
        *text_lines(encoder),
        *head_lines(encoder),
        index_line(manifest.index.model_dump()),
        f"catalogue: {catalogue.n_clips:,} clips, {catalogue.n_windows:,} windows, {catalogue.hours:.2f} hours, "
        f"{catalogue.n_refused:,} refused",
        f"columns: {harmless(', '.join(release.metadata.columns))}",
        *([f"made from release {_made_by(manifest)}"] if manifest.change else []),
        *([f"held back when it was published: {harmless(manifest.held_back)}"] if manifest.held_back else []),
        "",
        scores_table(manifest.evaluation),
        "",
        table(("file", "bytes", "SHA-256"), sizes),
    ]
    return "\n".join(lines)


def encoders_table(listed: Sequence["Entry"]) -> str:
    """A row an encoder, and under it what else there is to say of them."""
    header = ("encoder", "dim", "parameters", "ms a window", "licence", "needs")
    rows = [
        (one.name, _known(one.dim), _known(one.params, ","), _known(one.ms, ".1f"), one.licence, one.needs)
        for one in listed
    ]
    lines = [table(header, rows), ""]
    if any(one.ms is not None for one in listed):
        lines.append(
            "ms: processor time of 8.192 s of sound, as TorchScript on one thread, measured now on this machine"
        )
    lines += [f"{one.name}: {one.note}" for one in listed if one.note]
    lines += [note for one in listed if (note := licence_note(one.licence, one.name)) and one.licence != UNKNOWN]
    lines.append(f"weights of {', '.join(FAMILIES)} are not for commercial use; a build says so of any model")
    return "\n".join(lines)


def _known(value: float | None, form: str = "") -> str:
    return "" if value is None else format(value, form)


def edit_summary(edited: "Edited") -> str:
    """The end of `add` or `remove`: what became of the clips, one by one where it was not what was asked for."""
    manifest, name = edited.published.manifest, edited.published.release_dir.name
    counts: dict[str, Sequence[object]] = {
        "added": edited.added,
        "replaced": edited.replaced,
        "removed": edited.removed,
        "as they were": edited.unchanged,
        "refused": edited.refusals,
        "unknown": edited.unknown,
    }
    lines = ["clips: " + (", ".join(f"{len(ids):,} {what}" for what, ids in counts.items() if ids) or "none")]
    refused = [(refusal.clip_id, refusal.code, refusal.message) for refusal in edited.refusals]
    refused += [(clip_id, "unknown_clip", "got an id that the catalogue does not have") for clip_id in edited.unknown]
    if refused:
        lines += ["", table(("clip", "code", "why"), refused[:N_REFUSED_SHOWN])]
        if len(refused) > N_REFUSED_SHOWN:
            lines.append(f"... and {len(refused) - N_REFUSED_SHOWN:,} more: --json has all")
        lines.append("")
    if not edited.published.new:
        state = "" if edited.published.held_back else " is current"
        return "\n".join([*lines, f"nothing new: release {name}{state}"])
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in edited.seconds.items())
    lines.append(f"published release {name}: {manifest.catalogue.n_clips:,} clips ({stages})")
    lines.append(index_line(manifest.index.model_dump()))
    scores = manifest.evaluation.encoder
    if scores.n_queries:
        p5, average = scores.precision["5"], scores.mean_average_precision
        lines.append(f"neighbours by label: P@5 {p5:.3f}, mAP {average:.3f}, {scores.n_queries:,} queries")
    return "\n".join(lines)


def releases_table(listed: Sequence["Listed"]) -> str:
    """A row a release, oldest first."""
    return "\n".join([table(RELEASE_COLUMNS, [_release_row(one) for one in listed]), *_release_notes(listed)])


def _release_row(one: "Listed") -> Sequence[Any]:
    sizes = (f"{one.n_bytes / 1e6:.1f}", f"{one.n_own_bytes / 1e6:.1f}")
    state = ", ".join(word for word, is_so in (("current", one.current), ("held", one.held)) if is_so)
    if one.manifest is None:
        return (one.name, "", "", "", "", *sizes, "", "", "", state)
    manifest, scores = one.manifest, one.manifest.evaluation.encoder
    created = datetime.fromisoformat(manifest.created_at).strftime("%Y-%m-%d %H:%M")
    retrieval = (scores.precision.get("5", ""), scores.mean_average_precision) if scores.n_queries else ("", "")
    facts = (created, _made_by(manifest), manifest.encoder.name, manifest.catalogue.n_clips)
    return (one.name, *facts, *sizes, manifest.index.recall_at_10, *retrieval, state)


def _made_by(manifest: "Manifest") -> str:
    """The release that it was made from, and how many clips were added, replaced and removed: "0003 +12 ~1 -2"."""
    change = manifest.change
    if change is None:
        return "build"
    counts = {"+": change.n_added, "~": change.n_replaced, "-": change.n_removed}
    return " ".join([change.of, *(f"{sign}{count}" for sign, count in counts.items() if count)])


def _release_notes(listed: Sequence["Listed"]) -> list[str]:
    """What does not fit into a row."""
    notes = [f"{one.name}: {one.problem}" for one in listed if one.problem]
    held_back = ((one.name, one.manifest.held_back) for one in listed if one.manifest and not one.current)
    return notes + [f"{name} was held back: {why}" for name, why in held_back if why]


def prune_summary(pruned: "Pruned") -> str:
    deleted, megabytes = ", ".join(pruned.deleted) or "nothing", pruned.n_bytes / 1e6
    lines = [f"deleted {deleted}: {megabytes:.1f} MB; kept {', '.join(pruned.kept)}"]
    if pruned.held:
        lines.append(f"not deleted, as a process holds them: {', '.join(pruned.held)}")
    return "\n".join(lines)
