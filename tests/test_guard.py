"""What holds a release back: figures that fall by more than they may, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue
from model_dirs import copied, edit_manifest
from typer.main import get_command

from audiorec.cli import app
from audiorec.release.guard import TOLERANCE, Guard
from audiorec.release.manifest import Manifest, read_manifest


@pytest.fixture
def release_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    return copied((catalogue.model_dir / "current").resolve(), tmp_path / "release")


def manifest(release_dir: Path, **figures: Any) -> Manifest:
    """kind, recall, p5, average, n: of the release."""
    names = {
        "kind": "index.kind",
        "recall": "index.recall_at_10",
        "p5": "evaluation.encoder.precision",
        "average": "evaluation.encoder.mean_average_precision",
        "n": "evaluation.encoder.n_queries",
    }
    figures = {"kind": "annoy", "recall": 0.99, "p5": 0.5, "average": 0.5, "n": 10_000, **figures}
    figures["p5"] = {"5": figures["p5"]}
    edit_manifest(release_dir, {names[name]: value for name, value in figures.items()})
    return read_manifest(release_dir)


@pytest.mark.parametrize(
    ("new", "current", "objections"),
    [
        ({}, {}, []),
        ({"recall": 0.9801}, {}, []),
        ({"recall": 0.9799}, {}, ["recall@10 is 0.9799, expected at least 0.9800, as release 0007 has 0.9900"]),
        ({"recall": 0.5, "kind": "exact"}, {}, []),  # what answers misses nothing
        ({"recall": 0.985}, {"kind": "exact", "recall": 0.5}, ["recall@10 is 0.9850, expected at least 0.9900"]),
        ({"p5": 0.481}, {}, []),  # 0.01, and 1 / sqrt(10,000) more
        ({"p5": 0.479}, {}, ["P@5 is 0.4790, expected at least 0.4800, as release 0007 has 0.5000"]),
        ({"average": 0.479}, {}, ["mAP is 0.4790, expected at least 0.4800"]),
        ({"average": 0.1, "p5": 0.1, "recall": 0.1}, {}, ["recall@10", "P@5", "mAP"]),
        ({"p5": 0.391, "n": 100}, {}, []),  # of a hundred clips, 0.1 more
        ({"p5": 0.391}, {"n": 100}, []),
        ({"p5": 0.389, "n": 100}, {}, ["P@5 is 0.3890, expected at least 0.3900"]),
        ({"p5": 0.0, "average": 0.0, "n": 0}, {}, []),  # no label, no figure
        ({"p5": 0.0, "average": 0.0}, {"n": 0}, []),
        ({"p5": 1.0, "average": 1.0, "recall": 1.0}, {}, []),
    ],
)
def test_objections(release_dir: Path, new: dict[str, Any], current: dict[str, Any], objections: list[str]) -> None:
    got = Guard().objections(manifest(release_dir, **new), manifest(release_dir, **current), "0007")
    assert len(got) == len(objections)
    for one, expected in zip(got, objections, strict=True):
        assert one.startswith(expected)


def test_the_tolerance_can_be_told(release_dir: Path) -> None:
    new, current = manifest(release_dir, recall=0.95), manifest(release_dir)
    assert len(Guard(tolerance=0.03).objections(new, current, "x")) == 1
    assert Guard(tolerance=0.05).objections(new, current, "x") == []


def test_the_commands_have_the_same_tolerance() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in ("build", "index", "add", "remove"):
        (option,) = (parameter for parameter in commands[name].params if parameter.name == "tolerance")
        assert option.default == TOLERANCE
