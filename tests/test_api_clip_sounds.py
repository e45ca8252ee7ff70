"""The sounds of clips, as the files that they were made from; and that no other file can be had this way."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from api_fixtures import ODD_IDS, Catalogue, refusal, serving
from starlette.testclient import TestClient

from audiorec.api.clip_files import MEDIA_TYPES, ClipFiles
from audiorec.api.keys import create_key
from audiorec.errors import BadSetting, MissingSound

ID = "b/clip 21.wav"
OTHER_ID = "a/clip 20.wav"


@pytest.fixture(scope="module")
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    with serving(catalogue, clips_dir=catalogue.audio_dir) as client:
        yield client


@pytest.fixture
def folder(catalogue: Catalogue, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(catalogue.audio_dir, tmp_path / "clips"))


def path_of(clip_id: str) -> str:
    return f"/clips/{clip_id}/sound"


class TestTheFile:
    def test_as_it_is(self, client: TestClient, catalogue: Catalogue) -> None:
        response = client.get(path_of(ID))
        assert response.status_code == 200
        assert response.content == catalogue.sound(ID)
        assert response.headers["content-type"] == "audio/wav"
        assert response.headers["content-disposition"] == "inline"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["cache-control"] == "private, no-cache"

    @pytest.mark.parametrize("clip_id", [one for one in ODD_IDS if "%2F" not in one])  # TestClient decodes twice
    def test_of_an_id_that_only_a_table_knows(self, client: TestClient, catalogue: Catalogue, clip_id: str) -> None:
        assert client.get(path_of(quote(clip_id))).content == catalogue.sound(clip_id)

    @pytest.mark.parametrize(
        ("wanted", "first", "end"), [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=-10", -10, None)]
    )
    def test_a_part_of_it(
        self, client: TestClient, catalogue: Catalogue, wanted: str, first: int, end: int | None
    ) -> None:
        whole = catalogue.sound(ID)
        response = client.get(path_of(ID), headers={"Range": wanted})
        assert response.status_code == 206
        assert response.content == whole[first:end]
        begin = first % len(whole)
        last = begin + len(response.content) - 1
        assert response.headers["content-range"] == f"bytes {begin}-{last}/{len(whole)}"

    def test_no_part_of_it(self, client: TestClient, catalogue: Catalogue) -> None:
        response = client.get(path_of(ID), headers={"Range": "bytes=99999999-"})
        n_bytes = len(catalogue.sound(ID))
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (416, "no_such_part")
        assert (
            f"got the range 'bytes=99999999-', expected one that begins before the end of {n_bytes:,} bytes"
            in (error["message"])
        )
        assert response.headers["content-range"] == f"bytes */{n_bytes}"

    def test_head(self, client: TestClient) -> None:
        response = client.head(path_of(ID))
        assert response.status_code == 200
        assert response.headers["content-length"] == client.get(path_of(ID)).headers["content-length"]

    @pytest.mark.parametrize("headers", [{}, {"Range": "bytes=100-"}])
    def test_head_reads_nothing_of_it(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
    ) -> None:
        expected = client.get(path_of(ID), headers=headers)
        monkeypatch.setattr("audiorec.api.ranges._blocks", lambda *_: pytest.fail("a file was read for its head"))
        response = client.head(path_of(ID), headers=headers)
        assert response.status_code == expected.status_code
        for name in ("content-length", "content-range", "content-type", "etag", "accept-ranges"):
            assert response.headers.get(name) == expected.headers.get(name)

    def test_by_its_tag_until_it_changes(self, catalogue: Catalogue, folder: Path) -> None:
        with serving(catalogue, clips_dir=folder) as client:
            tag = client.get(path_of(ID)).headers["etag"]
            assert client.get(path_of(ID), headers={"If-None-Match": tag}).status_code == 304
            (folder / ID).write_bytes(b"another")
            response = client.get(path_of(ID), headers={"If-None-Match": tag, "Range": "bytes=0-2", "If-Range": tag})
            assert (response.status_code, response.content) == (200, b"another")

    @pytest.mark.parametrize("name", ["mp3", "FLAC", "ogg", "m4a", "webm", "aiff"])
    def test_its_media_type_is_by_its_extension(self, folder: Path, name: str) -> None:
        (folder / f"clip.{name}").write_bytes(b"x")
        found = ClipFiles(folder).open(f"clip.{name}")
        found.file.close()
        assert found.media_type == MEDIA_TYPES[f".{name.lower()}"]
        assert found.media_type.startswith(("audio/", "video/"))


class TestRefusals:
    @pytest.mark.parametrize(
        "clip_id",
        [
            "nope",
            "b/clip%2022.wav",
            "labels.csv",
            "..%2f..%2fetc%2fpasswd",
            "a",
            "%00",
        ],
    )
    def test_ids_that_are_not_in_the_catalogue(self, client: TestClient, clip_id: str) -> None:
        refusal(client.get(path_of(clip_id)), 404, "unknown_clip")

    @pytest.mark.parametrize(
        "clip_id", ["../outside.wav", "a/../../outside.wav", "/etc/passwd", "", ".", "..", "a\0.wav", "x" * 5_000, "a"]
    )
    def test_ids_that_lead_out_of_the_folder_or_to_no_file(self, folder: Path, clip_id: str) -> None:
        (folder.parent / "outside.wav").write_bytes(b"secret")
        with pytest.raises(MissingSound):
            ClipFiles(folder).open(clip_id)

    def test_links_that_lead_out_of_the_folder(self, folder: Path) -> None:
        (folder.parent / "outside.wav").write_bytes(b"secret")
        (folder / "link.wav").symlink_to(folder.parent / "outside.wav")
        (folder / "up").symlink_to(folder.parent)
        (folder / "circle.wav").symlink_to("circle.wav")
        (folder / "inside.wav").symlink_to(folder / ID)
        files = ClipFiles(folder)
        for clip_id in ("link.wav", "up/outside.wav", "circle.wav"):
            with pytest.raises(MissingSound):
                files.open(clip_id)
        with files.open("inside.wav").file as file:
            assert file.read() == (folder / ID).read_bytes()

    def test_paths_of_a_table_that_lead_out_of_the_folder(self, folder: Path) -> None:
        (folder.parent / "outside.wav").write_bytes(b"secret")
        with (folder / "labels.csv").open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["../outside.wav", "a clip"])
        with pytest.raises(MissingSound):
            ClipFiles(folder).open("a clip")

    @pytest.mark.parametrize("name", ["page.html", "clip.svg", "labels.csv", "no extension"])
    def test_what_is_no_sound(self, folder: Path, name: str) -> None:
        (folder / name).write_text("<script>")
        with pytest.raises(MissingSound):
            ClipFiles(folder).open(name)

    def test_pipes_and_folders(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe.wav")
        (folder / "folder.wav").mkdir()
        for name in ("pipe.wav", "folder.wav"):
            with pytest.raises(MissingSound):
                ClipFiles(folder).open(name)

    def test_a_file_that_vanished(self, catalogue: Catalogue, folder: Path) -> None:
        with serving(catalogue, clips_dir=folder) as client:
            (folder / ID).unlink()
            assert "expected one that is" in refusal(client.get(path_of(ID)), 404, "missing_sound")
            assert client.get(path_of(OTHER_ID)).status_code == 200

    def test_without_the_setting(self, catalogue: Catalogue) -> None:
        with serving(catalogue) as client:
            assert "--clips-dir" in refusal(client.get(path_of(ID)), 404, "sounds_not_configured")
            refusal(client.get(path_of("nope")), 404, "unknown_clip")
            assert client.get("/model").json()["has_sounds"] is False

    def test_a_folder_that_is_not_there_stops_the_start(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with (
            pytest.raises(BadSetting, match="'nowhere' for AUDIOREC_CLIPS_DIR"),
            serving(catalogue, clips_dir=tmp_path / "nowhere"),
        ):
            pass


class TestTables:
    def test_one_that_changes_is_read_again_and_a_broken_one_says_nothing(self, folder: Path) -> None:
        files, odd = ClipFiles(folder), ODD_IDS[0]
        files.open(odd).file.close()
        (folder / "labels.csv").write_text(f"path,clip_id\n{ID},mine\n")
        files.open("mine").file.close()
        with pytest.raises(MissingSound):
            files.open(odd)
        (folder / "labels.csv").write_bytes(b"\xff\xfe nonsense")
        files.open(ID).file.close()

    def test_of_a_crawl(self, folder: Path) -> None:
        (folder / "labels.csv").unlink()
        (folder / "clips.tsv").write_text(f"path\tclip_id\turl\n{ID}\tcoub-1\t\n")
        with ClipFiles(folder).open("coub-1").file as file:
            assert file.read() == (folder / ID).read_bytes()


def test_model_says_that_there_are_sounds(client: TestClient) -> None:
    assert client.get("/model").json()["has_sounds"] is True


def test_keys(catalogue: Catalogue, tmp_path: Path) -> None:
    keys_file = tmp_path / "keys.json"
    keys: dict[str, Any] = {scope: create_key(keys_file, scope, [scope]) for scope in ("read", "generate")}
    with serving(catalogue, clips_dir=catalogue.audio_dir, keys_file=keys_file) as client:
        refusal(client.get(path_of(ID)), 401, "missing_key")
        refusal(client.get(path_of(ID), headers={"X-API-Key": keys["generate"]}), 403, "missing_scope")
        assert client.get(path_of(ID), headers={"X-API-Key": keys["read"]}).content == catalogue.sound(ID)


def test_an_id_that_ends_as_the_route_does_is_still_a_clip(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    from audiorec.build import build

    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "clip_id"], [ID, "take/sound"]])
    build(folder, tmp_path / "model", encoder="MeanMel", n_workers=1, baselines=False)
    with serving(Catalogue(folder, tmp_path / "model", []), clips_dir=folder) as client:
        assert client.get("/clips/take/sound").json()["clip"]["clip_id"] == "take/sound"
        assert client.get(path_of("take/sound")).content == (folder / ID).read_bytes()
        refusal(client.get(path_of("other")), 404, "unknown_clip")
