"""Files without a name, by which processes pass each other bytes."""

import os
import subprocess
import sys
import tempfile

import pytest

from audiorec.files.memory import memory_file, read_content, replace_content


@pytest.fixture(params=["in memory", "on disk"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "on disk":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: pytest.fail("on disk"))


@pytest.mark.usefixtures("_kind")
def test_content_is_replaced_whole() -> None:
    with memory_file() as file:
        for content in (b"long\0\n" * 10_000, b"short", b"", memoryview(b"longer again")):
            replace_content(file, content)
            assert os.fstat(file.fileno()).st_size == len(content)
            assert read_content(file, len(content)) == content


def test_no_more_is_read_than_asked_for_or_there() -> None:
    with memory_file() as file:
        replace_content(file, b"0123456789")
        assert [read_content(file, n) for n in (0, 3, 10, 11, 10_000_000)] == [b"", b"012", *[b"0123456789"] * 3]


def test_the_position_stays() -> None:
    with memory_file() as file:
        replace_content(file, b"0123456789")
        assert file.read(4) == b"0123"
        assert read_content(file, 10) == b"0123456789"
        assert file.read(2) == b"45"


def test_the_system_may_take_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, position: pwrite(descriptor, data[:7], position))
    monkeypatch.setattr(os, "pread", lambda descriptor, n, position: pread(descriptor, min(n, 5), position))
    with memory_file() as file:
        replace_content(file, bytes(range(100)))
        assert read_content(file, 100) == bytes(range(100))


@pytest.mark.usefixtures("_kind")
def test_a_process_that_is_given_the_file_reads_and_writes_it() -> None:
    with memory_file() as file:
        replace_content(file, b"question")
        program = f"import os; os.pwrite({file.fileno()}, os.pread({file.fileno()}, 99, 0).upper(), 0)"
        subprocess.run([sys.executable, "-c", program], check=True, pass_fds=[file.fileno()])
        assert read_content(file, 8) == b"QUESTION"
