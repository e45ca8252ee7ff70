"""Runs, one after the other, over one folder: what is known, what failed, what was killed, where they stop."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from crawl_site import QUICK, Site, mp3, running_site, table

import audiorec.crawl.engine
from audiorec.crawl import Crawled, crawl, plan, refresh_tables
from audiorec.crawl.journal import Journal
from audiorec.crawl.summary import crawl_summary, plan_summary
from audiorec.errors import BadCatalogue, BadSetting, Busy, NoSpace
from audiorec.files import locked


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


def crawled(site: Site, out_dir: Path, **options: Any) -> Crawled:
    return crawl("coub:hot", out_dir, options=replace(QUICK, **site.options, **options), n_decoders=1)


def media_requests(site: Site) -> list[str]:
    return [request.path for request in site.requests if request.path.startswith("/media/")]


def test_what_was_had_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    for number in range(30):
        site.add_coub(f"c{number}", mp3(0.1))
    assert crawled(site, tmp_path / "out").status.n_new == 30
    site.add_coub("new", mp3(0.1))
    run = crawled(site, tmp_path / "out")
    assert (run.status.n_new, run.status.n_known, run.totals.n_clips) == (1, 30, 31)
    assert len(media_requests(site)) == len(set(media_requests(site))) == 31
    rows = table(tmp_path / "out")
    assert len({row["path"] for row in rows}) == len({row["clip_id"] for row in rows}) == 31
    assert all((tmp_path / "out" / row["path"]).is_file() for row in rows)


def test_two_sources_of_one_folder(site: Site, tmp_path: Path) -> None:
    site.add_coub("x", mp3(0.1))
    crawled(site, tmp_path / "out")
    run = crawl("coub:tag/y", tmp_path / "out", options=replace(QUICK, **site.options), n_decoders=1)
    assert (run.status.n_new, run.status.n_known) == (0, 1)


def test_a_failure_is_written_down_and_tried_in_so_many_runs(site: Site, tmp_path: Path) -> None:
    site.add_coub("fine", mp3(0.1))
    site.add_coub("broken", mp3(0.1))
    site.resources["/media/broken_high.mp3"].failures = [500] * 100
    for n_runs in (1, 2, 3):
        run = crawled(site, tmp_path / "out")
        assert run.status.failures["server_error"][0] == 1
        assert not run.is_complete
        (refused,) = table(tmp_path / "out", "refused.tsv")
        assert (refused["clip_id"], refused["code"], refused["n_runs"]) == ("coub:broken", "server_error", str(n_runs))
        assert "got HTTP 500" in refused["message"]
    n_requests = len(media_requests(site))
    run = crawled(site, tmp_path / "out")
    assert (run.status.n_passed_over, len(media_requests(site))) == (1, n_requests)
    site.resources["/media/broken_high.mp3"].failures = []
    assert crawled(site, tmp_path / "out", retry_failed=True).status.n_new == 1
    assert table(tmp_path / "out", "refused.tsv") == []


def test_what_the_source_no_longer_offers_is_still_tried(site: Site, tmp_path: Path) -> None:
    site.add_coub("x", mp3(0.1))
    site.resources["/media/x_high.mp3"].failures = [500] * 3
    crawled(site, tmp_path / "out")
    coub = site.coubs.pop("x")
    site.add_coub("other")
    site.coubs = {"other": site.coubs["other"]}
    site.coubs["x"] = coub  # its page is still there
    run = crawl("coub:hot", tmp_path / "out", options=replace(QUICK, **site.options, n_runs=1), n_decoders=1)
    assert run.status.n_passed_over == 1
    run = crawled(site, tmp_path / "out")
    assert (run.status.n_new, set(run.status.failures)) == (1, {"no_sound"})


def test_what_costs_nothing_is_not_counted_as_a_try(site: Site, tmp_path: Path) -> None:
    site.add("/robots.txt", "User-agent: *\nDisallow: /media/")
    site.add_coub("x", mp3(0.1))
    for _ in range(4):
        assert set(crawled(site, tmp_path / "out").status.failures) == {"robots"}
    assert crawled(site, tmp_path / "out", obey_robots=False).status.n_new == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty"),
        (b"OggS" + bytes(3000), "undecodable"),
        (b"\xff\xd8\xff" + bytes(3000), "picture"),
        (b"<html>not here", "web_page"),
        (b"#EXTM3U\nhttp://example.org/a.mp3", "playlist"),
    ],
)
def test_what_is_no_sound_is_refused(site: Site, tmp_path: Path, body: bytes, code: str) -> None:
    site.add_coub("x", b"-")
    site.resources["/media/x_high.mp3"].body = body
    run = crawled(site, tmp_path / "out")
    assert set(run.status.failures) == {code}
    assert table(tmp_path / "out") == []
    assert list((tmp_path / "out/.crawl/parts").iterdir()) == []


def test_a_cut_off_file_is_gone_on_with_in_the_next_run(site: Site, tmp_path: Path) -> None:
    site.add_coub("x", mp3(20.0))
    site.resources["/media/x_high.mp3"].cut_at = [20_000] * 3
    assert set(crawled(site, tmp_path / "out").status.failures) == {"cut_off"}
    run = crawled(site, tmp_path / "out")
    assert run.status.n_new == 1
    asked = [request.headers.get("Range") for request in site.requests if request.path == "/media/x_high.mp3"]
    assert asked[-1] is not None
    (row,) = table(tmp_path / "out")
    assert (tmp_path / "out" / row["path"]).read_bytes() == site.resources["/media/x_high.mp3"].body


def test_limits_are_of_the_whole_folder(site: Site, tmp_path: Path) -> None:
    for number in range(12):
        site.add_coub(f"c{number}", mp3(1.0))
    for _ in range(2):
        run = crawled(site, tmp_path / "out", max_clips=5)
        assert (run.totals.n_clips, run.stopped) == (5, "--max-clips")
    run = crawled(site, tmp_path / "out", max_hours=7.5 / 3600, n_parallel=1)
    assert (run.totals.n_clips, run.stopped) == (8, "--max-hours")
    run = crawled(site, tmp_path / "out", max_bytes=run.totals.n_bytes + 1, n_parallel=1)
    assert (run.totals.n_clips, run.stopped) == (9, "--max-bytes")
    assert len(media_requests(site)) == 9


def test_since(site: Site, tmp_path: Path) -> None:
    site.add_coub("old", mp3(0.1), published_at="2018-12-31T23:59:59Z")
    site.add_coub("new", mp3(0.1), published_at="2019-01-01T00:00:00Z")
    site.add_coub("undated", mp3(0.1), published_at=None, created_at="lately")
    run = crawled(site, tmp_path / "out", since=date(2019, 1, 1))
    assert (run.status.n_new, run.status.n_passed_over) == (2, 1)
    assert "/media/old_high.mp3" not in media_requests(site)


def test_the_newest_first_are_not_listed_to_the_end(site: Site, tmp_path: Path) -> None:
    for number in range(200):
        site.add_coub(f"c{number}", published_at="2018-01-01T00:00:00Z")
    options = replace(QUICK, **site.options, since=date(2019, 1, 1))
    crawl("coub:channel/x", tmp_path / "out", options=options, n_decoders=1)
    assert sum("/timeline/channel/" in request.path for request in site.requests) == 2


def test_a_look_before_writes_nothing(site: Site, tmp_path: Path) -> None:
    for number in range(30):
        site.add_coub(f"c{number}", mp3(0.1))
    options = replace(QUICK, **site.options)
    looked = plan("coub:hot", tmp_path / "out", options=options)
    assert (looked.n_wanted, len(looked.first)) == (30, 20)
    assert "30 clips to fetch" in plan_summary(looked)
    assert plan("coub:hot", tmp_path / "out", options=replace(options, max_clips=7)).n_wanted == 7
    assert not (tmp_path / "out").exists()
    assert media_requests(site) == []


def test_the_summary(site: Site, tmp_path: Path) -> None:
    site.add_coub("fine", mp3(0.1))
    site.add_coub("silent")
    text = crawl_summary(crawled(site, tmp_path / "out"), tmp_path / "out")
    assert "1 new clips" in text
    assert "1 no_sound, as coub:silent: got no file with sound" in text
    assert f"next: audiorec build {tmp_path / 'out'} MODEL_DIR" in text


def test_progress_is_reported(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiorec.crawl.engine, "TICK_S", 0.01)
    monkeypatch.setattr(audiorec.crawl.engine, "TABLES_S", 0.0)
    for number in range(60):
        site.add_coub(f"c{number}", mp3(0.1))
    seen: list[tuple[int, int | None]] = []
    crawl(
        "coub:hot",
        tmp_path / "out",
        options=replace(QUICK, **site.options),
        n_decoders=1,
        report=lambda status: seen.append((status.n_handled, status.n_expected)),
    )
    assert seen[-1] == (60, 60)
    assert {expected for _, expected in seen} >= {75, 60}  # three pages, until the last is seen


def test_a_folder_of_other_things_is_left_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "clips.tsv").write_text("mine\n")
    with pytest.raises(BadSetting, match=r"got a folder with 'clips.tsv' in it"):
        crawled(site, tmp_path)


def test_one_crawl_at_a_time(site: Site, tmp_path: Path) -> None:
    with locked(tmp_path / "out/.crawl/lock", "x"), pytest.raises(Busy, match="in use by another process"):
        crawled(site, tmp_path / "out")


def test_a_folder_of_another_format(site: Site, tmp_path: Path) -> None:
    (tmp_path / "out/.crawl").mkdir(parents=True)
    (tmp_path / "out/.crawl/journal.jsonl").write_text('{"format": 2}\n')
    with pytest.raises(BadCatalogue, match="got a crawl folder of format 2, expected 1"):
        crawled(site, tmp_path / "out")


def test_a_full_disk_ends_the_run_and_the_next_goes_on(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        site.add_coub(f"c{number}", mp3(0.1))
    finish = audiorec.crawl.engine.Part.finish

    def full(part: Any, target: Path) -> None:
        if len(table_paths(tmp_path / "out")) == 2:
            raise NoSpace("got 'No space left on device' while writing a clip, expected room")
        finish(part, target)

    monkeypatch.setattr(audiorec.crawl.engine.Part, "finish", full)
    with pytest.raises(NoSpace):
        crawled(site, tmp_path / "out", n_parallel=1)
    monkeypatch.undo()
    crawled(site, tmp_path / "out")
    assert len(table(tmp_path / "out")) == len(table_paths(tmp_path / "out")) == 5
    assert len(media_requests(site)) == 5  # the one that was written down had been fetched


def table_paths(out_dir: Path) -> set[Path]:
    return {path for path in (out_dir / "clips").rglob("*") if path.is_file()}


def test_a_file_that_a_person_deleted_has_no_row_and_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    for name in ("a", "b"):
        site.add_coub(name, mp3(0.1))
    crawled(site, tmp_path / "out")
    gone = table(tmp_path / "out")[0]
    (tmp_path / "out" / gone["path"]).unlink()
    assert crawled(site, tmp_path / "out").status.n_known == 2
    assert [row["clip_id"] for row in table(tmp_path / "out")] == [
        {"coub:a": "coub:b", "coub:b": "coub:a"}[gone["clip_id"]]
    ]


def test_a_line_that_was_cut_off_is_lost_and_nothing_else(site: Site, tmp_path: Path) -> None:
    for number in range(3):
        site.add_coub(f"c{number}", mp3(0.1))
    crawled(site, tmp_path / "out")
    journal = tmp_path / "out/.crawl/journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.rindex(b'"row"')])
    run = crawled(site, tmp_path / "out")
    assert (run.status.n_new, run.status.n_known) == (1, 2)
    assert len(table(tmp_path / "out")) == len(table_paths(tmp_path / "out")) == 3


def test_the_journal_keeps_no_more_than_it_needs(site: Site, tmp_path: Path) -> None:
    for number in range(3):
        site.add_coub(f"c{number}", mp3(0.1))
    crawled(site, tmp_path / "out")
    crawled(site, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out/.crawl/journal.jsonl").read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["format", "done", "done", "done"]
    assert Journal(tmp_path / "out").totals.n_clips == 3


KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from crawl_site import QUICK
from audiorec.crawl import crawl
crawl("coub:hot", Path(sys.argv[1]), options=replace(QUICK, coub_api=sys.argv[2], n_parallel=4), n_decoders=1)
"""


def test_killed_anywhere_it_goes_on(site: Site, tmp_path: Path) -> None:
    """SIGKILL after every few clips: in the end each is there once, whole, and hardly anything was fetched twice."""
    out_dir, n_clips = tmp_path / "out", 60
    for number in range(n_clips):
        site.add_coub(f"c{number}", mp3(0.1, 200 + 10 * number))
    command = [sys.executable, "-c", KILLED, str(out_dir), f"{site.url}/api/v2", "x", str(Path(__file__).parent)]
    for n_wanted in (3, 12, 25, 40, 55):
        run = subprocess.Popen(command, start_new_session=True)
        while len(table_paths(out_dir)) < n_wanted and run.poll() is None:
            time.sleep(0.005)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        refresh_tables(out_dir)
        assert len(table(out_dir)) >= n_wanted - 1  # one may be written down, and not have its name yet
    subprocess.run(command, check=True)
    rows = table(out_dir)
    assert sorted(row["clip_id"] for row in rows) == sorted(f"coub:c{number}" for number in range(n_clips))
    assert {out_dir / row["path"] for row in rows} == table_paths(out_dir)
    bodies = {row["permalink"]: (out_dir / row["path"]).read_bytes() for row in rows}
    assert all(body == site.resources[f"/media/{name}_high.mp3"].body for name, body in bodies.items())
    assert len(media_requests(site)) <= n_clips + 5 * 4  # what was under way at a kill
    assert table(out_dir, "refused.tsv") == []


def test_killed_between_the_journal_and_the_name(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add_coub("x", mp3(0.1))
    monkeypatch.setattr(audiorec.crawl.engine.Part, "finish", lambda part, target: None)
    crawled(site, tmp_path / "out")
    assert table_paths(tmp_path / "out") == set()
    monkeypatch.undo()
    run = crawled(site, tmp_path / "out")
    assert (run.status.n_new, run.status.n_known) == (0, 1)
    assert len(table_paths(tmp_path / "out")) == len(table(tmp_path / "out")) == 1
    assert len(media_requests(site)) == 1


def test_stopped_by_hand_the_tables_are_written(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        site.add_coub(f"c{number}", mp3(0.1))
    site.add_coub("endless", mp3(0.1))
    site.resources["/media/endless_high.mp3"].stalls = True
    take = audiorec.crawl.engine.Engine._tick

    async def stop_when_the_rest_is_done(engine: Any) -> None:
        while engine._status.n_new < 5:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        await take(engine)

    monkeypatch.setattr(audiorec.crawl.engine.Engine, "_tick", stop_when_the_rest_is_done)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts with &
    try:
        with pytest.raises(KeyboardInterrupt):
            crawled(site, tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(table(tmp_path / "out")) == 5
