"""The files in which workers count: all of their room is taken before it is needed, and given back when they die."""

import errno
import logging
import os
from pathlib import Path

import pytest
from api_fixtures import Catalogue
from prometheus_client.mmap_dict import MmapedDict
from servers import running
from uvicorn.config import STARTUP_FAILURE
from waiting import wait_until

from audiorec.api import metric_files
from audiorec.api.metric_files import ROOM_BYTES, give_back_room, make_room
from audiorec.api.serve import create_worker
from audiorec.errors import NoSpace

PATHS = (
    "/model",
    "/docs",
    "/openapi.json",
    "/clips/x",
    "/nope",
    "/embed",
    "/nearest/batch",
    "/",
    "/health",
    "/metrics",
)


def n_used_bytes(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[:4], "little")


def values_in(path: Path) -> list[float]:
    return [value for _, value, *_ in MmapedDict.read_all_values_from_file(str(path))]  # type: ignore[no-untyped-call]


def count_in(path: Path) -> None:
    counts = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    counts.write_value("a", 5.0, 0.0)  # type: ignore[no-untyped-call]
    counts.close()  # type: ignore[no-untyped-call]


def test_a_service_needs_no_more_room_than_it_took(catalogue: Catalogue, tmp_path: Path) -> None:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0"]
    with running(tmp_path, command) as server:
        server.wait_until_ready()
        for path in PATHS:
            server.get(path)
            for body in (b"{", b'{"k": 0}', b'{"clip_id": "x"}'):
                server.nearest(body)
            server.nearest(b"x", "audio/wav")
        files = {path.name: path for path in tmp_path.glob("tmp/*/*.db")}
        assert set(files) == {f"{kind}_{server.process.pid}.db" for kind in ROOM_BYTES}
        for name, path in files.items():
            status = path.stat()
            assert status.st_blocks * 512 >= status.st_size == ROOM_BYTES[name.rpartition("_")[0]]
            assert 8 < n_used_bytes(path) <= status.st_size / 2


def test_room_is_taken_whole_and_can_be_counted_in(tmp_path: Path) -> None:
    make_room(tmp_path)
    path = tmp_path / f"counter_{os.getpid()}.db"
    assert values_in(path) == []  # who is asked for the metrics before anything was counted
    count_in(path)
    assert path.stat().st_size == ROOM_BYTES["counter"]
    assert values_in(path) == [5.0]


def test_of_a_dead_worker_stays_what_it_counted(tmp_path: Path) -> None:
    make_room(tmp_path)
    path = tmp_path / f"counter_{os.getpid()}.db"
    count_in(path)
    for _ in range(2):
        give_back_room(tmp_path, os.getpid())
        assert list(tmp_path.iterdir()) == [path]  # no gauges, and no histogram: nothing was in it
        assert path.stat().st_size < 100
        assert values_in(path) == [5.0]


def test_a_dead_worker_gives_its_room_back(catalogue: Catalogue, tmp_path: Path) -> None:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0", "--workers", "2"]
    with running(tmp_path, command) as server:
        server.wait_until_ready()
        wait_until(lambda: server.log.count("serving release") == 2, lambda: server.log)
        victim = min(int(path.stem.rpartition("_")[2]) for path in tmp_path.glob("tmp/*/histogram_*.db"))
        os.kill(victim, 9)
        wait_until(lambda: not list(tmp_path.glob(f"tmp/*/gauge_*_{victim}.db")))
        wait_until(lambda: server.log.count("serving release") == 3, lambda: server.log)
        assert sum(path.stat().st_size for path in tmp_path.glob(f"tmp/*/*_{victim}.db")) < sum(ROOM_BYTES.values()) / 4


def test_without_room_a_worker_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metric_files.os, "posix_fallocate", fail)
    with pytest.raises(NoSpace, match="while writing the files in which workers count"):
        make_room(tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit) as ended:
        create_worker()
    assert ended.value.code == STARTUP_FAILURE
    [message] = caplog.messages
    assert message.startswith("cannot serve: got 'No space left on device' while writing the files in which workers")
