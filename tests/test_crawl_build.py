"""From a crawl, or a list, to a served index: what the source says arrives in the answers."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from crawl_site import QUICK, Site, mp3, running_site
from typer.testing import CliRunner

from audiorec.catalogue import scan
from audiorec.catalogue.convert import convert
from audiorec.cli import app
from audiorec.crawl import crawl
from audiorec.errors import BadCatalogue
from audiorec.files.tsv import read_tsv
from audiorec.nearest import Nearest


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


@pytest.fixture
def crawl_dir(site: Site, tmp_path: Path) -> Path:
    for number in range(6):
        site.add_coub(f"c{number}", mp3(1.0, 150.0 * (number + 1)))
    crawl("coub:hot", tmp_path / "crawl", options=replace(QUICK, **site.options), n_decoders=1)
    return tmp_path / "crawl"


def test_a_crawl_folder_is_a_catalogue(crawl_dir: Path) -> None:
    found = scan(crawl_dir)
    assert {candidate.clip_id for candidate in found.candidates} == {f"coub:c{number}" for number in range(6)}
    assert found.refusals == []
    assert found.candidates[0].fields["artist"] == "Some Channel"
    assert "path" not in found.candidates[0].fields


def test_what_a_person_writes_beside_a_crawl_comes_first(crawl_dir: Path) -> None:
    path = next(row["path"] for row in read_tsv(crawl_dir / "clips.tsv") if row["clip_id"] == "coub:c3")
    (crawl_dir / "labels.csv").write_text(f"path,label\n{path},mine\n")
    fields = {candidate.clip_id: candidate.fields for candidate in scan(crawl_dir).candidates}
    assert (fields["coub:c3"]["label"], fields["coub:c3"]["artist"]) == ("mine", "Some Channel")
    assert fields["coub:c2"]["label"] == "animals-pets"


def test_another_table_of_that_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(mp3(0.2))
    (tmp_path / "clips.tsv").write_text("name\tx\na.mp3\t1\n")
    found = scan(tmp_path)
    assert [candidate.clip_id for candidate in found.candidates] == ["a.mp3"]
    (tmp_path / "clips.tsv").write_text("path\tx\na.mp3\n")
    with pytest.raises(BadCatalogue, match=r"got a clips.tsv that cannot be read .*line 2: got 1 cells, expected 2"):
        scan(tmp_path)


def test_convert_takes_what_the_source_says(crawl_dir: Path, tmp_path: Path) -> None:
    clips = {clip["clip_id"]: clip for clip in convert(crawl_dir, tmp_path / "wav", n_workers=1).clips}
    assert clips["coub:c0"]["url"].endswith("/view/c0")
    assert clips["coub:c0"]["title"] == "Title of c0"
    assert clips["coub:c0"]["views"] == "4134"
    assert float(clips["coub:c0"]["duration_s"]) == pytest.approx(1.0, abs=0.1)


def test_from_a_crawl_to_answers_with_links(crawl_dir: Path, tmp_path: Path) -> None:
    (crawl_dir / "clips.tsv").unlink()  # as if the crawl had been killed before it wrote it
    run = CliRunner().invoke(
        app,
        ["build", str(crawl_dir), str(tmp_path / "model"), "--encoder", "MeanMel", "--no-baselines", "--workers", "1"],
    )
    assert run.exit_code == 0, run.output
    (hit,) = Nearest(tmp_path / "model").search_id("coub:c0", k=1).to_dicts()
    assert hit["url"].endswith(f"/view/{hit['clip_id'].removeprefix('coub:')}")
    assert (hit["artist"], hit["label"]) == ("Some Channel", "animals-pets")
    assert hit["metadata"]["tags"] == "cat, dog;loop"
    assert hit["metadata"]["views"] == 4134


def test_from_a_list_to_answers(tmp_path: Path) -> None:
    """And again with one more in the list: only that one is new."""
    model_dir, listed = tmp_path / "model", tmp_path / "mine.csv"
    lines = ["path,url,title"]
    for number in range(5):
        (tmp_path / f"s{number}.mp3").write_bytes(mp3(1.0, 150.0 * (number + 1)))
        lines.append(f"s{number}.mp3,https://example.org/{number},Title {number}")
    arguments = ["build", str(listed), str(model_dir), "--encoder", "MeanMel", "--no-baselines", "--workers", "1"]
    listed.write_text("\n".join(lines[:-1]))
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "4 new clips" in first.output
    listed.write_text("\n".join(lines))
    second = CliRunner().invoke(app, arguments)
    assert "1 new clips" in second.output
    assert "published release 0002" in second.output
    hits = Nearest(model_dir).search_file(tmp_path / "s4.mp3", k=1).to_dicts()
    assert [(hit["title"], hit["url"]) for hit in hits] == [("Title 4", "https://example.org/4")]


def test_what_a_list_could_not_give_is_told_by_the_exit_code(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp3").write_bytes(mp3(0.5, 100.0 * ord(name)))
    (tmp_path / "mine.m3u").write_text("a.mp3\nb.mp3\nc.mp3\ngone.mp3\n")
    run = CliRunner().invoke(app, ["convert", str(tmp_path / "mine.m3u"), str(tmp_path / "model"), "--workers", "1"])
    assert run.exit_code == 3
    assert "1 not_found, as" in run.output


def test_the_command(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(site.add("/x.mp3", mp3(0.2)))
    arguments = ["crawl", str(tmp_path / "mine.txt"), str(tmp_path / "out")]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 3
    assert "1 private_address, as" in refused.output
    looked = CliRunner().invoke(app, [*arguments, "--allow-private", "--dry-run"])
    assert (looked.exit_code, "1 clips to fetch" in looked.output) == (0, True)
    done = CliRunner().invoke(app, [*arguments, "--allow-private", "--since", "2019-01-01", "--max-clips", "3"])
    assert (done.exit_code, "1 new clips" in done.output) == (0, True)
    wrong = CliRunner().invoke(app, ["crawl", "coub:nowhere", str(tmp_path / "other")])
    assert (wrong.exit_code, "expected one of coub:hot" in wrong.output) == (2, True)


def test_without_its_packages_crawling_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from audiorec.cli import app; app()"
    command = [sys.executable, "-c", code, "crawl", "coub:hot", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    assert "pip install 'audiorec[crawl]'" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_read_is_told_as_such(unprivileged_dir: Path) -> None:
    clips = unprivileged_dir / "closed" / "clips"
    clips.mkdir(parents=True)
    (clips / "a.mp3").write_bytes(mp3(1.0, 440.0))
    for closed in (clips, clips.parent):
        closed.chmod(0o000)
        ended = CliRunner().invoke(app, ["build", str(clips), str(unprivileged_dir / "model")])
        assert ended.exit_code == 3
        assert "cannot be read (Permission denied)" in ended.stderr


@pytest.mark.parametrize("command", ["build", "crawl"])
def test_a_single_sound_is_no_list_of_them(tmp_path: Path, command: str) -> None:
    (tmp_path / "a.mp3").write_bytes(mp3(1.0, 440.0))
    refused = CliRunner().invoke(app, [command, str(tmp_path / "a.mp3"), str(tmp_path / "out")])
    assert refused.exit_code == 2
    assert "got 'a.mp3', a sound, expected a folder of sounds, or a list of them" in refused.output


def test_a_build_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["build", str(tmp_path / "nowhere"), str(tmp_path / "out")])
    assert refused.exit_code == 3
    assert "nowhere, which does not exist, expected a folder of clips" in refused.output.replace("\n", "")
    assert not (tmp_path / "out").exists()
