"""What a folder of clips says: its files, its `labels.csv`, and whatever else people keep in such folders."""

import os
import socket
from pathlib import Path

import pytest

from audiorec.catalogue import Scan, scan, scan_all
from audiorec.errors import BadCatalogue


def fill(folder: Path, *names: str, labels: str | bytes | None = None) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"RIFF")
    if labels is not None:
        (folder / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    return folder


def ids(found: Scan) -> list[str]:
    return [candidate.clip_id for candidate in found.candidates]


def fields(found: Scan) -> dict[str, dict[str, str]]:
    return {candidate.clip_id: candidate.fields for candidate in found.candidates}


def codes(found: Scan) -> dict[str, str]:
    assert all(refusal.message.startswith("got ") for refusal in found.refusals)
    return {refusal.clip_id: refusal.code for refusal in found.refusals}


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert scan(tmp_path) == Scan()


@pytest.mark.parametrize(("name", "why"), [("missing", "does not exist"), ("clip.wav", "is not a folder")])
def test_a_catalogue_is_a_folder(name: str, why: str, tmp_path: Path) -> None:
    fill(tmp_path, "clip.wav")
    with pytest.raises(BadCatalogue, match=f"got .*{name}, which {why}, expected a folder of clips"):
        scan(tmp_path / name)


def test_a_clip_is_named_by_its_path_and_labelled_by_its_first_folder(tmp_path: Path) -> None:
    found = scan(fill(tmp_path, "loose.wav", "dogs/rex.wav", "dogs/small/fifi.wav", "cats/tom.ogg"))
    assert fields(found) == {
        "cats/tom.ogg": {"label": "cats"},
        "dogs/rex.wav": {"label": "dogs"},
        "dogs/small/fifi.wav": {"label": "dogs"},
        "loose.wav": {},
    }
    assert [candidate.path for candidate in found.candidates] == [tmp_path / name for name in ids(found)]
    assert ids(found) == sorted(ids(found))


@pytest.mark.parametrize(
    "name", ["with space.wav", "new\nline.wav", "tab\t.wav", "名前.wav", "e\u0301.wav", "'\"\\.wav", "-x"]
)
def test_any_name_that_can_be_written_down_is_an_id(name: str, tmp_path: Path) -> None:
    assert ids(scan(fill(tmp_path, name))) == [name]


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    found = scan(fill(tmp_path, os.fsdecode(b"caf\xe9.wav"), "good.wav"))
    assert ids(found) == ["good.wav"]
    assert codes(found) == {"caf\\xe9.wav": "bad_name"}


def test_an_id_of_more_than_a_thousand_characters(tmp_path: Path) -> None:
    folders = "/".join(["d" * 199] * 4)
    found = scan(fill(tmp_path, f"{folders}/{'c' * 200}", f"{folders}/{'c' * 201}"))
    assert [len(clip_id) for clip_id in ids(found)] == [1000]
    assert found.refusals[0].code == "bad_name"
    assert "got a clip id of 1001 characters, expected at most 1000" in found.refusals[0].message


def test_labels_csv_with_columns_of_its_own(tmp_path: Path) -> None:
    table = (
        "\ufeffpath,label, artist ,mood,\r\n"
        'a.wav,dog;wolf,"Smith, J.",  calm ,left over\r\n'
        '"sub/b, c.wav",cat,"two\r\nlines\tand ""quotes""",\r\n'
        "\r\n"
        "short.wav,bird\r\n"
        "long.wav,fish,X,wet,,,surplus\r\n"
    )
    found = scan(fill(tmp_path, "a.wav", "sub/b, c.wav", "short.wav", "long.wav", "sub/unlisted.wav", labels=table))
    assert fields(found) == {
        "a.wav": {"label": "dog;wolf", "artist": "Smith, J.", "mood": "calm"},
        "long.wav": {"label": "fish", "artist": "X", "mood": "wet"},
        "short.wav": {"label": "bird", "artist": "", "mood": ""},
        "sub/b, c.wav": {"label": "cat", "artist": 'two\r\nlines\tand "quotes"', "mood": ""},
        "sub/unlisted.wav": {"label": "sub"},
    }
    assert (found.refusals, found.n_ignored) == ([], 1)


def test_labels_csv_at_any_level_is_relative_to_itself(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", "in/a.wav", "in/b.wav", labels="path,label\na.wav,outer\nin/a.wav,outer\nin/b.wav,outer\n")
    fill(tmp_path / "in", labels="path,label\na.wav,inner\n")
    assert fields(scan(tmp_path)) == {
        "a.wav": {"label": "outer"},
        "in/a.wav": {"label": "inner"},  # the nearer one knows better
        "in/b.wav": {"label": "outer"},
    }


def test_clip_ids_can_be_given_and_are_taken_as_they_are(tmp_path: Path) -> None:
    table = "path,clip_id\na.wav,one/ü 1\nb.wav,\nc.wav,one/ü 1\n"
    assert ids(scan(fill(tmp_path, "a.wav", "b.wav", "c.wav", labels=table))) == ["one/ü 1", "b.wav", "one/ü 1"]


@pytest.mark.parametrize("written", ["./a.wav", "sub/../a.wav", "sub//.././a.wav", "{folder}/a.wav"])
def test_a_path_may_be_written_in_other_ways(written: str, tmp_path: Path) -> None:
    table = f"path,label\n{written.format(folder=tmp_path)},x\n"
    assert fields(scan(fill(tmp_path, "a.wav", labels=table))) == {"a.wav": {"label": "x"}}


@pytest.mark.parametrize("written", ["../secret.wav", "/etc/hostname", "sub/../../secret.wav"])
def test_a_path_out_of_the_folder_is_not_followed(written: str, tmp_path: Path) -> None:
    fill(tmp_path, "secret.wav")
    found = scan(fill(tmp_path / "clips", "a.wav", labels=f"path,label\n{written},x\n"))
    assert ids(found) == ["a.wav"]
    assert list(codes(found).values()) == ["missing_file"]


@pytest.mark.parametrize("listed", ["gone.wav", ".hidden.wav", "folder", ""])
def test_a_row_without_a_file(listed: str, tmp_path: Path) -> None:
    table = f"path,clip_id\n{listed},the id\na.wav,\n"
    found = scan(fill(tmp_path, "a.wav", ".hidden.wav", "folder/b.wav", labels=table))
    assert ids(found) == ["a.wav", "folder/b.wav"]
    assert codes(found) == {"the id": "missing_file"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("file,label\na.wav,x\n", r"columns file, label, expected one named path", id="no path column"),
        pytest.param("", r"columns \(none\), expected one named path", id="empty"),
        pytest.param("path;label\na.wav;x\n", r"columns path;label, expected one named path", id="semicolons"),
        pytest.param("path,label\na.wav,x\nb.wav,y\n./a.wav,z\n", "got line 4 .* that line 2 has", id="a path twice"),
        pytest.param("path,label\na.wav,café\n".encode("latin-1"), "not UTF-8 CSV .*0xe9", id="Latin-1"),
        pytest.param("path,label\na.wav,x\n".encode("utf-16"), "not UTF-8 CSV .*0xff", id="UTF-16"),
        pytest.param('path,label\na.wav,"never closed\n', "not UTF-8 CSV .*unexpected end", id="open quote"),
        pytest.param('path,label\n"a.wav"x,y\n', "not UTF-8 CSV .*expected after", id="text after a quote"),
        pytest.param(f"path,label\na.wav,{'x' * 200_000}\n", "field larger than field limit", id="a cell of 200 kB"),
    ],
)
def test_a_table_that_cannot_be_used(table: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadCatalogue, match=message):
        scan(fill(tmp_path, "a.wav", "b.wav", labels=table))


def test_a_table_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(BadCatalogue, match=r"labels\.csv that is not a file"):
        scan(tmp_path)


def test_a_table_whose_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").symlink_to("nowhere.csv")
    with pytest.raises(BadCatalogue, match=r"labels\.csv that is not a file"):
        scan(tmp_path)


def test_hidden_files_and_sidecars_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", ".DS_Store", "._a.wav", "cover.JPG", "notes.txt", "list.m3u8", "no_extension")
    fill(tmp_path, ".git/config", ".git/sound.wav", "album/.nomedia", "album/b.wav")
    found = scan(tmp_path)
    assert ids(found) == ["a.wav", "album/b.wav", "no_extension"]
    assert (found.n_ignored, found.refusals) == (6, [])


def test_a_sidecar_that_is_listed_is_a_clip(tmp_path: Path) -> None:
    assert ids(scan(fill(tmp_path, "sound.txt", "notes.txt", labels="path\nsound.txt\n"))) == ["sound.txt"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    fill(tmp_path, "outside/o.wav")
    clips = fill(tmp_path / "clips", "a.wav", "dir/b.wav")
    (clips / "again.wav").symlink_to("a.wav")
    (clips / "dir/up").symlink_to(clips)
    (clips / "dir/self").symlink_to(".")
    (clips / "else").symlink_to(tmp_path / "outside")
    (clips / "else too").symlink_to(tmp_path / "outside")
    (clips / "nowhere.wav").symlink_to("gone.wav")
    (clips / "round.wav").symlink_to("round.wav")
    found = scan(clips)
    assert ids(found) == ["a.wav", "again.wav", "dir/b.wav", "else/o.wav"]
    assert codes(found) == {"nowhere.wav": "unreadable", "round.wav": "unreadable"}


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "null.wav").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.wav"))
        found = scan(fill(tmp_path, "a.wav"))
    assert ids(found) == ["a.wav"]
    assert codes(found) == dict.fromkeys(["null.wav", "pipe.wav", "socket.wav"], "not_a_file")


def test_folders_that_may_not_be_read(unprivileged_dir: Path) -> None:
    fill(unprivileged_dir, "a.wav", "closed/b.wav", "names only/c.wav", "names only/deep/d.wav")
    (unprivileged_dir / "closed").chmod(0o000)
    (unprivileged_dir / "names only").chmod(0o400)
    found = scan(unprivileged_dir)
    assert ids(found) == ["a.wav"]
    assert codes(found) == dict.fromkeys(["closed", "names only/c.wav", "names only/deep"], "unreadable")


def test_a_catalogue_that_may_not_be_read(unprivileged_dir: Path) -> None:
    (fill(unprivileged_dir / "clips", "a.wav")).chmod(0o000)
    assert codes(scan(unprivileged_dir / "clips")) == {".": "unreadable"}


def test_a_catalogue_in_a_folder_that_may_not_be_entered(unprivileged_dir: Path) -> None:
    fill(unprivileged_dir, "closed/clips/a.wav")
    (unprivileged_dir / "closed").chmod(0o000)
    clips = unprivileged_dir / "closed" / "clips"
    with pytest.raises(BadCatalogue, match=f"got {clips}, which cannot be read .Permission denied., expected a folder"):
        scan(clips)
    with pytest.raises(BadCatalogue, match=f"got {clips}, which cannot be read .Permission denied., expected a clip"):
        scan_all([clips])


def test_folders_and_files_together(tmp_path: Path) -> None:
    fill(tmp_path / "one", "dogs/rex.wav", "notes.txt", labels="path,title\ndogs/rex.wav,Rex\ngone.wav,Gone\n")
    fill(tmp_path / "two", "tom.wav", "kit.wav", labels="path,label\ntom.wav,cat\ngone.wav,x\n")
    found = scan_all([tmp_path / "one", tmp_path / "two" / "tom.wav", tmp_path / "two" / "kit.wav"])
    assert fields(found) == {"dogs/rex.wav": {"title": "Rex"}, "kit.wav": {}, "tom.wav": {"label": "cat"}}
    assert ids(found) == sorted(ids(found))
    assert codes(found) == {"gone.wav": "missing_file"}  # of the whole folder; of the other nobody asked for it
    assert found.n_ignored == 2  # the notes, and the table


def test_a_file_named_twice_is_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.wav", "in/b.wav")
    monkeypatch.chdir(tmp_path)
    found = scan_all([Path("a.wav"), tmp_path / "a.wav", tmp_path, Path("in/../a.wav"), Path("in/b.wav")])
    assert ids(found) == ["a.wav", "b.wav", "in/b.wav"]
    assert all(candidate.path.is_absolute() for candidate in found.candidates)


def test_a_file_that_was_crawled_has_its_row(tmp_path: Path) -> None:
    (fill(tmp_path, "a.wav") / "clips.tsv").write_text("path\tclip_id\ttitle\na.wav\tcoub:1\tFirst\n")
    assert fields(scan_all([tmp_path / "a.wav"])) == {"coub:1": {"clip_id": "coub:1", "title": "First"}}
    fill(tmp_path, labels="path,title\na.wav,Mine\n")
    assert fields(scan_all([tmp_path / "a.wav"])) == {"coub:1": {"clip_id": "coub:1", "title": "Mine"}}


def test_a_path_where_there_is_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadCatalogue, match=r"got \S+/no\.wav, which does not exist, expected a clip or a folder of"):
        scan_all([fill(tmp_path, "a.wav") / "a.wav", tmp_path / "no.wav"])
