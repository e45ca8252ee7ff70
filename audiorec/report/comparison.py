"""What the command line shows of a comparison of two releases."""

from collections.abc import Sequence
from typing import Any

from audiorec.compare import Comparison, Differing, Side
from audiorec.evaluate import DEPTHS
from audiorec.report import table

N_SHOWN = 10  # neighbours of a query


def comparison_report(compared: Comparison) -> str:
    """Agreement first, then retrieval side by side, then where they differ most."""
    a, b, k = compared.a, compared.b, compared.k
    sides = [(name, s.path, s.release, s.encoder, s.dim, s.n_clips, s.n_only) for name, s in (("A", a), ("B", b))]
    lines = [
        table(("", "model directory", "release", "encoder", "dimensions", "clips", "not compared"), sides),
        "",
        f"{compared.n_shared:,} clips are in both"
        + (f"; {compared.n_changed:,} more have the same id and another sound" if compared.n_changed else ""),
        *([f"{compared.n_unknown:,} of the queries are not among them"] if compared.n_unknown else []),
        f"neighbours: {compared.overlap:.1%} of the {k} nearest are the same (at random {compared.chance:.1%}), "
        f"mean Jaccard {compared.jaccard:.3f}; the nearest is the same for {compared.same_nearest:.1%}; "
        f"{compared.n_queries:,} queries",
        "",
        _retrieval(a, b),
    ]
    if compared.most_differing:
        lines += ["", "the queries that differ most:", *map(_differing, compared.most_differing)]
    return "\n".join(lines)


def _retrieval(a: Side, b: Side) -> str:
    if not a.scores.n_queries:
        return (
            f"no retrieval figures: they need a label that two clips share (hubness A {a.scores.hubness:.2f}, "
            f"B {b.scores.hubness:.2f}); --queries names a table with labels"
        )
    of_a, of_b = (
        [
            *(side.scores.precision[str(depth)] for depth in DEPTHS),
            side.scores.mean_average_precision,
            side.scores.hubness,
        ]
        for side in (a, b)
    )
    rows: list[Sequence[Any]] = [
        (f"A {a.encoder}", *of_a),
        (f"B {b.encoder}", *of_b),
        ("B - A", *(f"{other - one:+.3f}" for one, other in zip(of_a, of_b, strict=True))),
        ("random order", *[a.scores.chance] * len(DEPTHS), "", ""),
    ]
    header = ("neighbours by label", *(f"P@{depth}" for depth in DEPTHS), "mAP", "hubness")
    note = f"{a.scores.n_queries:,} queries; a difference under {a.scores.n_queries**-0.5:.3f} may be chance"
    return f"{table(header, rows)}\n{note}"


def _differing(one: Differing) -> str:
    """Those that both give are marked."""
    both = set(one.a) & set(one.b)
    ranks = list(zip(one.a, one.b, strict=True))[:N_SHOWN]
    rows = [(rank, _marked(a, both), _marked(b, both)) for rank, (a, b) in enumerate(ranks, start=1)]
    return f"\n{one.clip_id} ({one.overlap:.0%} the same)\n{table(('rank', 'A', 'B'), rows)}"


def _marked(clip_id: str, both: set[str]) -> str:
    return f"* {clip_id}" if clip_id in both else f"  {clip_id}"
