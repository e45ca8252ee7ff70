"""Metadata: what is written is what is read, and whatever else lies in the directory is refused in a sentence."""

import json
import random
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiorec.errors import AudiorecError, BadCatalogue, BadModelDir, UnknownClip
from audiorec.metadata import (
    CORE_COLUMNS,
    METADATA_FILES,
    Cell,
    Metadata,
    clip_ids,
    escape_cell,
    read_tsv,
    split_labels,
    unescape_cell,
    write_metadata,
)
from audiorec.metadata.columns import Codes, Numbers, Texts

TRICKY = [
    "a/b/c d.wav",
    "tab\there",
    "line\nbreak",
    "\r\n",
    "back\\slash",
    "\\t",
    "\\\\n\\",
    "quo\"te's",
    "emoji 🎧👩‍🚀",
    "caf\u00e9",
    "cafe\u0301",
    "\u2028\x85\x0b\x00",
    " ",
    "\ufeffbom",
]
TEXTS = st.text() | st.sampled_from(TRICKY)


def opened(directory: Path, rows: Iterable[Mapping[str, Cell]], own_columns: tuple[str, ...] = ()) -> Metadata:
    directory.mkdir(exist_ok=True)
    write_metadata(directory, rows, own_columns)
    return Metadata.open(directory)


def simple_rows(n_rows: int) -> list[dict[str, Cell]]:
    return [
        {"clip_id": f"clip {row}", "artist": f"artist {row % 3}" if row % 4 else "", "label": "x;y", "bpm": row}
        for row in range(n_rows)
    ]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_metadata(tmp_path, simple_rows(20), ["bpm"])
    return tmp_path


class TestText:
    @given(st.text())
    def test_any_text_fits_into_a_cell(self, text: str) -> None:
        cell = escape_cell(text)
        assert unescape_cell(cell) == text
        assert not set(cell) & {"\t", "\n", "\r"}

    def test_the_escapes(self) -> None:
        assert escape_cell("a\tb\nc\rd\\e") == r"a\tb\nc\rd\\e"

    @pytest.mark.parametrize("cell", [r"a\x", "\\", r"\\" + "\\", "\\\n"])
    def test_an_escape_that_is_never_written_is_refused(self, cell: str) -> None:
        with pytest.raises(BadModelDir, match="escape"):
            unescape_cell(cell)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "line 1.*cut off"),
            (b"a\tb\n1\t2", "line 2.*cut off"),
            (b"a\tb\n1\t2\n3\n", "line 3: got 1 cells, expected 2"),
            (b"a\tb\n1\t2\t3\n", "line 2: got 3 cells, expected 2"),
            (b"a\tb\n1\t\xff\n", "line 2: not UTF-8"),
            (b"a\tb\n1\t\\q\n", r"line 2: .*\\q"),
            (b"a\ta\n1\t2\n", "twice"),
        ],
    )
    def test_a_broken_table_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "x.tsv").write_bytes(content)
        with pytest.raises(BadModelDir, match=f"x.tsv.*{message}"):
            list(read_tsv(tmp_path / "x.tsv"))

    def test_a_missing_table_is_refused_without_its_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BadModelDir, match=r"x\.tsv cannot be read") as caught:
            list(read_tsv(tmp_path / "x.tsv"))
        assert str(tmp_path) not in caught.value.message

    @pytest.mark.parametrize(
        ("cell", "labels"), [("", []), ("dog", ["dog"]), ("dog;cat", ["dog", "cat"]), (";dog;;", ["dog"])]
    )
    def test_labels(self, cell: str, labels: list[str]) -> None:
        assert split_labels(cell) == labels


class TestRoundTrip:
    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.fixed_dictionaries(
                dict.fromkeys(CORE_COLUMNS, TEXTS)
                | {
                    "clip_id": st.text(min_size=1) | st.sampled_from(TRICKY),
                    "duration_s": st.none() | st.floats(min_value=0, allow_infinity=False),
                    "mood": TEXTS.map("mood {}".format),  # never a number
                    "count": st.none() | st.integers(-(2**63), 2**63 - 1),
                    "gain": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                    "always\tgiven": st.integers(0, 3),
                }
            ),
            min_size=1,
            max_size=12,
            unique_by=lambda row: row["clip_id"],
        )
    )
    def test_what_is_written_is_read_back(self, rows: list[dict[str, Any]]) -> None:
        own_columns = ("mood", "count", "gain", "always\tgiven")
        for name in ("count", "gain"):  # a column without a single number is one of text
            if all(row[name] is None for row in rows):
                rows[0][name] = 1 if name == "count" else 1.5
        with tempfile.TemporaryDirectory() as directory:
            metadata = opened(Path(directory), rows, own_columns)
            metadata.verify()
            answers = metadata.rows(range(len(rows)))
            lines = list(read_tsv(Path(directory, "metadata.tsv")))
            assert [metadata.row_of(row["clip_id"]) for row in rows] == list(range(len(rows)))
        assert metadata.own_columns == own_columns
        assert metadata.columns == (*CORE_COLUMNS, *own_columns)
        assert [answer | answer["metadata"] for answer in answers] == [
            row | {"metadata": answer["metadata"]} for row, answer in zip(rows, answers, strict=True)
        ]
        assert lines == [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in rows]

    def test_the_shape_of_an_answer(self, tmp_path: Path) -> None:
        written = (
            "a.wav",
            "https://x/a",
            "A",
            "Ann",
            "First",
            "dog;cat",
            1.25,
            "CC0-1.0",
            "ab",
            "field",
            "son",
            "1999",
            2,
        )
        own_columns = ("genre", "year", "gain")
        row: dict[str, Any] = dict(zip((*CORE_COLUMNS, *own_columns), written, strict=True))
        metadata = opened(tmp_path, [row, {"clip_id": "b.wav", "gain": 0.5}], own_columns)
        first, second = metadata.rows([0, 1])
        assert list(first) == ["clip_id", "url", "title", "artist", "label", "metadata"]
        assert first == {
            "clip_id": "a.wav",
            "url": "https://x/a",
            "title": "A",
            "artist": "Ann",
            "label": "dog;cat",
            "metadata": {
                "album": "First",
                "duration_s": 1.25,
                "license": "CC0-1.0",
                "sha256": "ab",
                "source": "field",
                "genre": "son",
                "year": 1999,
                "gain": 2.0,
            },
        }
        nothing = dict.fromkeys(first["metadata"], "")
        assert second["metadata"] == nothing | {"duration_s": None, "year": None, "gain": 0.5}
        json.dumps([first, second], allow_nan=False)
        assert metadata.row(1) == second
        assert metadata.clip_id(1) == "b.wav"
        assert len(metadata) == 2
        assert metadata.rows([]) == []

    def test_rows_come_in_the_order_asked_for_and_as_often(self, release: Path) -> None:
        metadata = Metadata.open(release)
        wanted = [7, 3, 7, 19, 0]
        assert [row["clip_id"] for row in metadata.rows(wanted)] == [f"clip {row}" for row in wanted]
        assert metadata.rows(np.array(wanted)) == metadata.rows(wanted)

    @pytest.mark.parametrize("rows", [[-1], [20], [0, 20], [3, -1]])
    def test_a_row_that_is_not_there_is_an_error(self, release: Path, rows: list[int]) -> None:
        with pytest.raises(IndexError, match="catalogue of 20 clips"):
            Metadata.open(release).rows(rows)

    def test_a_column_of_more_values_than_are_cached(self, tmp_path: Path) -> None:
        names = [f"{row * 7919 % 3000:04} ünique" for row in range(3000)]
        metadata = opened(tmp_path, ({"clip_id": str(row), "artist": name} for row, name in enumerate(names)))
        artists = metadata.column("artist")
        assert isinstance(artists, Codes)
        assert isinstance(artists.values, Texts)
        assert list(artists.values) == sorted(names)
        assert [row["artist"] for row in metadata.rows(range(3000))] == names
        assert [artists.code_of(name) for name in sorted(names)] == list(range(3000))
        assert [artists.code_of(name) for name in ("", "0000", "1500 ünique\x00", "~")] == [None] * 4

    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (["1", "-2", "0"], [1, -2, 0]),
            (["1", "", "3"], [1, None, 3]),
            (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
            (["1", "2.5"], [1.0, 2.5]),
            (["3.50", "1e-05", "2E3", "-0.5"], [3.5, 1e-05, 2000.0, -0.5]),
            ([1, 2.5, None], [1.0, 2.5, None]),
            (["", ""], ["", ""]),
            (["1", "n/a"], ["1", "n/a"]),
            (["007", "1"], ["007", "1"]),
            (["+1"], ["+1"]),
            (["1."], ["1."]),
            ([".5"], [".5"]),
            (["1_000"], ["1_000"]),
            ([" 1"], [" 1"]),
            (["1\n"], ["1\n"]),
            (["٣"], ["٣"]),
            (["0x10"], ["0x10"]),
            (["nan", "inf"], ["nan", "inf"]),
            (["1e999"], ["1e999"]),
            (["9223372036854775808"], ["9223372036854775808"]),
            (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
            (["1" * 5000], ["1" * 5000]),
        ],
    )
    def test_own_columns_are_numbers_only_when_nothing_is_lost(
        self, tmp_path: Path, cells: list[Cell], expected: list[Any]
    ) -> None:
        metadata = opened(tmp_path, ({"clip_id": str(row), "own": cell} for row, cell in enumerate(cells)), ("own",))
        got = [row["metadata"]["own"] for row in metadata.rows(range(len(cells)))]
        assert got == expected
        assert [type(cell) for cell in got] == [type(cell) for cell in expected]
        assert isinstance(metadata.column("own"), Numbers) is not any(isinstance(cell, str) for cell in expected)
        metadata.verify()

    def test_groups_are_artists_and_an_unknown_artist_is_alone(self, tmp_path: Path) -> None:
        artists = ["Bo", "", "Al", "Bo", "", "Al", "Cy"]
        metadata = opened(tmp_path, [{"clip_id": str(row), "artist": name} for row, name in enumerate(artists)])
        groups = metadata.groups.tolist()
        assert metadata.groups.dtype == np.int32
        for a, first in enumerate(artists):
            for b, second in enumerate(artists):
                assert (groups[a] == groups[b]) is (a == b or first == second != ""), (a, b)


class TestClipIds:
    @pytest.mark.parametrize("clip_id", ["clip", "clip 20", "CLIP 1", "", "clip 1\n", "\ud800", "../clip 1"])
    def test_an_unknown_id(self, release: Path, clip_id: str) -> None:
        metadata = Metadata.open(release)
        assert metadata.find(clip_id) is None
        with pytest.raises(
            UnknownClip, match=r"got the clip id .*, expected one of the 20 clips of this catalogue"
        ) as caught:
            metadata.row_of(clip_id)
        assert repr(clip_id) in caught.value.message
        caught.value.message.encode()

    def test_a_long_unknown_id_is_shortened(self, release: Path) -> None:
        with pytest.raises(UnknownClip, match=r"'xxx.*…xxx.*yy'") as caught:
            Metadata.open(release).row_of("x" * 10**6 + "yy")
        assert len(caught.value.message) < 200

    def test_the_hash_is_the_same_for_ever(self) -> None:
        assert clip_ids.hash_of("kick.wav") == 4564115324725490678
        assert clip_ids.hash_of("é 🎧") == 11359398078711470147

    def test_ids_whose_hashes_collide(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clip_ids, "hash_of", lambda clip_id: len(clip_id) // 2)
        ids = ["a", "b", "cc", "dd", "ee", "ffff"]
        metadata = opened(tmp_path, [{"clip_id": clip_id} for clip_id in ids])
        assert [metadata.row_of(clip_id) for clip_id in ids] == list(range(6))
        assert [metadata.find(clip_id) for clip_id in ("c", "ff", "gggg", "g" * 100)] == [None] * 4
        metadata.verify()
        with pytest.raises(BadCatalogue, match="got 1 clip ids more than once, one is 'cc'"):
            write_metadata(tmp_path, [{"clip_id": clip_id} for clip_id in [*ids, "cc"]])


class TestBadCatalogue:
    @pytest.mark.parametrize(
        ("rows", "own_columns", "message"),
        [
            ([], (), "no clips"),
            ([{"clip_id": ""}], (), "empty clip_id"),
            ([{"title": "x"}], (), "empty clip_id"),
            ([{"clip_id": "a"}, {"clip_id": "b"}, {"clip_id": "a"}], (), "'a'"),
            ([{"clip_id": "t\t🎧"}] * 3, (), "got 1 clip ids more than once.*'t.t🎧'"),
            ([{"clip_id": "a", "duration_s": -1}], (), "'-1' as duration_s of clip 'a'"),
            ([{"clip_id": "a", "duration_s": float("nan")}], (), "'nan' as duration_s"),
            ([{"clip_id": "a", "duration_s": float("inf")}], (), "'inf' as duration_s"),
            ([{"clip_id": "a", "duration_s": "long"}], (), "'long' as duration_s"),
            ([{"clip_id": "a\udcff"}], (), r"'a\\udcff' that is not Unicode"),
            ([{"clip_id": "a", "title": "\ud83d", "url": "\ude00"}], (), "clip 'a' that is not Unicode"),
            ([{"clip_id": "a"}], ("url",), "'url'"),
            ([{"clip_id": "a"}], ("x", "x"), "'x'"),
            ([{"clip_id": "a"}], ("",), "''"),
        ],
    )
    def test_is_refused(
        self, tmp_path: Path, rows: list[dict[str, Cell]], own_columns: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(BadCatalogue, match=message) as caught:
            write_metadata(tmp_path, rows, own_columns)
        caught.value.message.encode()
        assert not (tmp_path / "metadata.arrow").exists()

    def test_a_cell_without_a_column_is_a_fault_of_ours(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="genre"):
            write_metadata(tmp_path, [{"clip_id": "a", "genre": "x"}])


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _cut_last(content: bytes) -> bytes:
    return content[:-1]


def _of_another_catalogue(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        write_metadata(Path(directory), simple_rows(21), ["bpm"])
        return Path(directory, name).read_bytes()


class TestBadModelDir:
    @pytest.mark.parametrize("name", METADATA_FILES)
    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda _content: None, id="missing"),
            pytest.param(lambda _content: b"", id="empty"),
            pytest.param(_cut, id="truncated"),
            pytest.param(_cut_last, id="one byte short"),
            pytest.param(lambda content: b"\x00" * len(content), id="zeros"),
            pytest.param(lambda content: random.Random(0).randbytes(len(content)), id="noise"),
            pytest.param(lambda _content: b"PK\x03\x04", id="foreign"),
            pytest.param("another", id="of another catalogue"),
        ],
    )
    def test_each_file(self, release: Path, name: str, damage: Callable[[bytes], bytes | None] | str) -> None:
        path = release / name
        content = _of_another_catalogue(name) if isinstance(damage, str) else damage(path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        use = Metadata.open(release).verify if name == "metadata.tsv" else lambda: Metadata.open(release)
        with pytest.raises(BadModelDir) as caught:
            use()
        assert name in caught.value.message or damage == "another"
        assert str(release) not in caught.value.message

    def test_a_directory_in_the_place_of_a_file(self, release: Path) -> None:
        for name in METADATA_FILES[1:]:
            (release / name).rename(release / "aside")
            (release / name).mkdir()
            with pytest.raises(BadModelDir, match=name):
                Metadata.open(release)
            (release / name).rmdir()
            (release / "aside").rename(release / name)
        Metadata.open(release).verify()

    @pytest.mark.parametrize(
        ("name", "array", "message"),
        [
            ("clip_ids.npy", np.zeros((2, 19), np.uint64), r"\(2, 19\), expected uint64 \(2, 20\)"),
            ("clip_ids.npy", np.zeros((2, 20), np.int64), "int64 .*expected uint64"),
            ("clip_ids.npy", np.full((2, 20), 20, np.uint64), "row 20, expected rows below 20"),
            ("clip_ids.npy", np.full((2, 20), 2**64 - 1, np.uint64), "row 18446744073709551615"),
            ("groups.npy", np.zeros(19, np.int32), r"\(19,\), expected int32 \(20,\)"),
            ("groups.npy", np.zeros((20, 1), np.int32), r"\(20, 1\), expected"),
            ("groups.npy", np.zeros(20, np.float32), "float32"),
            ("groups.npy", np.array([object()] * 20), "groups.npy"),
        ],
    )
    def test_arrays_of_another_shape(self, release: Path, name: str, array: Any, message: str) -> None:
        np.save(release / name, array)
        with pytest.raises(BadModelDir, match=message):
            Metadata.open(release)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda batch: [batch.slice(0, 10), batch.slice(10)], "2 record batches, expected 1"),
            (lambda batch: [batch.slice(0, 0)], "0 rows"),
            (lambda batch: [batch.drop_columns(["sha256"])], "has the columns .*expected first .*sha256"),
            (lambda batch: [batch.select(["url", "clip_id", *batch.schema.names[2:]])], "expected first clip_id, url"),
            (lambda batch: [batch.append_column("bpm", batch["bpm"])], "twice"),
            (lambda batch: [batch.append_column("x", pa.array([True] * 20))], "type bool"),
            (lambda batch: [batch.append_column("x", pa.array(["x"] * 20))], "type string"),
            (lambda batch: [batch.append_column("x", pa.array(["x"] * 19 + [None], pa.large_string()))], "1 nulls"),
            (lambda batch: [batch.append_column("x", _codes_with_a_null_value())], "type dictionary"),
            (lambda batch: [batch.set_column(6, "duration_s", batch["clip_id"])], "duration_s as large_string"),
            (lambda batch: [batch.set_column(3, "artist", batch["clip_id"])], "artist as large_string"),
            (lambda batch: [batch.set_column(0, "clip_id", batch["artist"])], "clip_id as dictionary"),
        ],
    )
    def test_a_foreign_arrow_file(self, release: Path, change: Callable[[Any], list[Any]], message: str) -> None:
        _rewrite_arrow(release, change)
        with pytest.raises(BadModelDir, match=message):
            Metadata.open(release)

    @pytest.mark.parametrize("offset", [2**40, -1])
    def test_text_that_would_end_elsewhere(self, release: Path, offset: int) -> None:
        path = release / "metadata.arrow"
        content = path.read_bytes()
        offsets = np.cumsum([0, *(len(f"clip {row}") for row in range(20))])
        assert content.count(offsets.tobytes()) == 1
        path.unlink()
        path.write_bytes(content.replace(offsets.tobytes(), np.append(offsets[:-1], offset).tobytes()))
        with pytest.raises(BadModelDir, match=r"metadata\.arrow"):
            Metadata.open(release)

    @pytest.mark.parametrize(
        ("name", "before", "after", "message"),
        [
            ("metadata.tsv", b"clip 7", b"clip_7", "metadata.tsv"),
            ("metadata.tsv", b"clip 19", b"clip 18", "metadata.tsv"),
            ("metadata.tsv", b"\t7\n", b"\t8\n", "metadata.tsv"),
            ("metadata.tsv", b"\t7\n", b"\tx\n", "metadata.tsv"),
            ("metadata.tsv", b"\t7\n", b"\t\n", "metadata.tsv"),
            ("metadata.tsv", b"title", b"titel", "metadata.tsv"),
            ("metadata.arrow", b"clip 7", b"clip_7", "clip_ids.npy"),
            ("metadata.arrow", b"clip 7", b"clip 6", "'clip 6'"),
            ("metadata.arrow", b"clip 7", b"clip \xff", "damaged"),
            ("metadata.arrow", b"artist 1", b"artist 0", "values of artist out of order"),
            ("metadata.arrow", b"artist 2", b"artist 3", "metadata.tsv"),
            ("metadata.arrow", np.arange(20).tobytes(), np.arange(1, 21).tobytes(), "metadata.tsv"),
        ],
    )
    def test_verify_finds_a_change(self, release: Path, name: str, before: bytes, after: bytes, message: str) -> None:
        Metadata.open(release).verify()
        content = (release / name).read_bytes()
        assert content.count(before) == 1
        (release / name).unlink()
        (release / name).write_bytes(content.replace(before, after))
        metadata = Metadata.open(release)
        with pytest.raises(BadModelDir, match=message):
            metadata.verify()

    def test_verify_finds_rows_too_many_and_too_few(self, release: Path) -> None:
        path = release / "metadata.tsv"
        lines = path.read_bytes().splitlines(keepends=True)
        for changed in ([*lines, lines[-1]], lines[:-1], lines[:1]):
            path.write_bytes(b"".join(changed))
            with pytest.raises(BadModelDir, match=r"metadata\.tsv"):
                Metadata.open(release).verify()

    def test_verify_finds_arrays_of_other_contents(self, release: Path) -> None:
        for name in ("clip_ids.npy", "groups.npy"):
            array = np.load(release / name)
            np.save(release / name, array[..., ::-1].copy())
            with pytest.raises(BadModelDir, match=f"{name} does not belong"):
                Metadata.open(release).verify()
            np.save(release / name, array)
        Metadata.open(release).verify()

    def test_text_that_turns_out_to_be_damaged(self, release: Path) -> None:
        path = release / "metadata.arrow"
        content = path.read_bytes().replace(b"clip 7", b"clip \xff")
        path.unlink()
        path.write_bytes(content)
        metadata = Metadata.open(release)
        for ask in (lambda: metadata.rows([7]), lambda: metadata.clip_id(7), lambda: metadata.row_of("clip 7")):
            with pytest.raises(BadModelDir, match="damaged"):
                ask()
        assert metadata.row(6)["clip_id"] == "clip 6"

    def test_no_damage_ends_the_process(self, release: Path) -> None:
        """In a process of its own, since that is what is at stake."""
        done = subprocess.run([sys.executable, __file__, str(release)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        n_opened, n_refused = map(int, done.stdout.split())
        assert n_opened > 50
        assert n_refused > 50


class TestMemory:
    def test_does_not_grow_with_the_catalogue(self, tmp_path: Path) -> None:
        held = [self._held_bytes(tmp_path / str(n_rows), n_rows) for n_rows in (2_000, 2_000, 40_000)]
        assert held[2] < held[1] + 20_000

    @staticmethod
    def _held_bytes(directory: Path, n_rows: int) -> int:
        """What an open catalogue keeps on the heap, after a few questions; every text in it is distinct."""
        directory.mkdir(exist_ok=True)
        names = [*CORE_COLUMNS[:6], *CORE_COLUMNS[7:], "own"]
        rows = ({name: f"{name} {row}" for name in names} | {"duration_s": row, "n": row} for row in range(n_rows))
        write_metadata(directory, rows, ("own", "n"))
        tracemalloc.start()
        try:
            metadata = Metadata.open(directory)
            metadata.rows([metadata.row_of(f"clip_id {row}") for row in range(0, n_rows, n_rows // 20)])
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    def test_imports_nothing_heavy(self, release: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from audiorec.metadata.filters import evaluate, parse_filter;"
            "from audiorec.metadata import Metadata; metadata = Metadata.open(Path(sys.argv[1]));"
            "metadata.rows([1, 2]);"
            "evaluate(parse_filter({'label': 'x', 'title': ['a', 'b'], 'url': '', 'bpm': {'gt': 2}}), metadata);"
            "print(sorted({'torch', 'pandas', 'transformers'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", program, str(release)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def _codes_with_a_null_value() -> Any:
    values = pa.array(["x", None], pa.large_string())
    return pa.DictionaryArray.from_arrays(pa.array([0, 1] * 10, pa.int32()), values)


def _rewrite_arrow(directory: Path, change: Callable[[Any], list[Any]]) -> None:
    path = directory / "metadata.arrow"
    with pa.ipc.open_file(path.read_bytes()) as reader:
        batches = change(reader.get_batch(0))
    with pa.ipc.new_file(str(path), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _damage_at_random(directory: Path, n_times: int = 500) -> None:
    """Flip bytes of each mapped file, then use it: prints how many were opened and how many refused."""
    from audiorec.metadata.filters import evaluate, parse_filter

    chance = random.Random(0)
    originals = {name: (directory / name).read_bytes() for name in METADATA_FILES[1:]}
    n_opened = n_refused = 0
    for _ in range(n_times):
        name = chance.choice([*originals, "metadata.arrow"])
        content = bytearray(originals[name])
        for _ in range(chance.choice([1, 2, 8])):
            content[chance.randrange(len(content))] = chance.choice([0, 1, 127, 128, 255])
        (directory / name).unlink()
        (directory / name).write_bytes(content)
        try:
            metadata = Metadata.open(directory)
            n_opened += 1
            metadata.find("clip 7")
            evaluate(parse_filter({"label": "x", "artist": "artist 1", "bpm": {"gt": 3}}), metadata)
            metadata.rows(range(len(metadata)))
            metadata.verify()
        except AudiorecError:
            n_refused += 1
        (directory / name).write_bytes(originals[name])
    print(n_opened, n_refused)


if __name__ == "__main__":
    _damage_at_random(Path(sys.argv[1]))
