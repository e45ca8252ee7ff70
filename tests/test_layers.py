"""Imports point downwards, and what is heavy is imported where it is needed."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import audiorec

PACKAGE = Path(audiorec.__file__).parent
LAYERS = {  # from the top; a module may import from its own layer and from those below. A package is one entry.
    "edge": "cli commands terminal api report benchmark proving testing random_audioldm",
    "domain": "nearest classify remeasure compare recommend jobs",
    "offline": "build publishing fit catalogue crawl training samples",
    "artefact": "release export generate",
    "parts": "encoders index metadata features embed evaluate text_encoder",
    "signal": "audio",
    "leaf": "errors rate settings text hub licences files parallel progress quoting commit torchaudio_cpu json_log",
}
RANKS = {name: rank for rank, names in enumerate(reversed(LAYERS.values())) for name in names.split()}
LAZY = {  # what a module imports inside a function, or only for the type checker, from above itself
    ("audiorec", "audiorec.errors"),
    ("audiorec", "audiorec.nearest"),
    ("audiorec", "audiorec.release"),
    ("audiorec.index", "audiorec.index.annoy"),
    ("audiorec.index", "audiorec.index.exact"),
}
HEAVY = ("torch", "torchaudio", "transformers", "diffusers", "pandas")

Imports = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Path by dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("audiorec", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Every module that an import statement names, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            module = node.module or ""
            members = [f"{module}.{alias.name}" for alias in node.names]
            yield from (member if member in known else module for member in members)


@pytest.fixture(scope="module")
def imports() -> Imports:
    known = modules()
    return {name: set(imported_by(path, known)) for name, path in known.items()}


def unit(module: str) -> str:
    """What stands for a module in the table: "index" for audiorec.index.annoy."""
    return module.partition(".")[2].partition(".")[0]


def upward(imports: Imports) -> list[str]:
    ours = ((importer, imported) for importer, names in imports.items() for imported in names)
    return [
        f"{importer} imports {imported}"
        for importer, imported in ours
        if unit(importer) and unit(imported) and imported.startswith("audiorec.")
        if RANKS[unit(importer)] < RANKS[unit(imported)] and (importer, imported) not in LAZY
    ]


def in_circles(imports: Imports) -> list[str]:
    edges = {
        importer: {name for name in names if name in imports and (importer, name) not in LAZY}
        for importer, names in imports.items()
    }
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_every_module_has_a_layer(imports: Imports) -> None:
    units = {unit(module) for module in imports} - {""}
    assert units - RANKS.keys() == set(), "give it a layer in LAYERS"
    assert RANKS.keys() - units == set(), "LAYERS names what is not there"
    assert len(RANKS) == len(list(chain(*(names.split() for names in LAYERS.values()))))


def test_imports_point_downwards(imports: Imports) -> None:
    assert upward(imports) == []


def test_imports_do_not_run_in_circles(imports: Imports) -> None:
    assert in_circles(imports) == []


def test_the_package_itself_imports_nothing_when_it_is_imported(imports: Imports) -> None:
    assert {name for name in imports["audiorec"] if name.startswith("audiorec.")} <= {name for _, name in LAZY}
    assert loaded_by("audiorec", "audiorec.errors", "audiorec.nearest", "numpy") == ""


def test_exceptions_are_still_needed(imports: Imports) -> None:
    assert {(importer, name) for importer, name in LAZY if name not in imports[importer]} == set()


def test_an_edge_upwards_or_a_circle_would_be_seen() -> None:
    assert upward({"audiorec.audio": {"audiorec.nearest", "numpy"}}) == ["audiorec.audio imports audiorec.nearest"]
    assert upward({"audiorec.nearest": {"audiorec.audio"}, "audiorec.index.exact": {"audiorec.index"}}) == []
    circle = in_circles({"audiorec.audio.wav": {"audiorec.audio.tags"}, "audiorec.audio.tags": {"audiorec.audio.wav"}})
    assert set(circle) == {"audiorec.audio.wav", "audiorec.audio.tags"}


@pytest.mark.parametrize(
    ("package", "importers"),
    [
        ("annoy", {"audiorec.index.annoy"}),
        ("torchaudio", {"audiorec.torchaudio_cpu"}),
        (
            "soundfile",
            {
                "audiorec.api.generation.audio",
                "audiorec.jobs.recommender",
                "audiorec.audio.decode",
                "audiorec.generate.sound",
                "audiorec.samples.encoding",
                "audiorec.proving",
            },
        ),
        ("soxr", {"audiorec.audio", "audiorec.generate.sound"}),
        ("tinytag", {"audiorec.audio.tags"}),
    ],
)
def test_a_package_with_one_importer(package: str, importers: set[str], imports: Imports) -> None:
    found = {name for name, names in imports.items() if any(f"{one}.".startswith(f"{package}.") for one in names)}
    assert found == importers


def loaded_by(module: str, *names: str) -> str:
    """Which of these are imported along with a module, in a new interpreter."""
    program = f"import {module}, sys; print(*(name for name in {names!r} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "module",
    ["nearest", "release", "api.app", "cli", "audio.decoder_child", "catalogue.convert", "samples", "publishing.edit"],
)
def test_what_answers_and_converts_needs_no_torch(module: str) -> None:
    assert loaded_by(f"audiorec.{module}", *HEAVY) == ""


def test_what_encodes_does() -> None:
    assert loaded_by("audiorec.export", *HEAVY[:2]) == "torch torchaudio"
