"""The child process that decodes: whatever becomes of it, the next call works and nothing is left behind."""

import gc
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import RATE_HZ, bursts, encoded, noise, silent_flac, tone

from audiorec.audio import decoder as decoder_module
from audiorec.audio import decoder_child
from audiorec.audio.decode import decode
from audiorec.audio.decoder import DecodeLimits, Decoder, DecoderPool, GivenUpError
from audiorec.errors import AudiorecError, BadAudio, NoSpace, NotReady

SOUND = encoded(bursts(1.0))
PATIENCE_S = 20


@pytest.fixture
def fresh() -> Iterator[Callable[..., Decoder]]:
    """Makes decoders, and closes them."""
    made: list[Decoder] = []

    def make(**limits: Any) -> Decoder:
        made.append(Decoder(DecodeLimits(**limits)))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


def until(condition: Callable[[], object]) -> None:
    """Waits for what another process is about to do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain"
        time.sleep(0.01)


def children() -> set[int]:
    """The numbers of this process's children, the zombies too."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return {pid for pid in pids if state_of(pid)[1] == os.getpid()}


def state_of(pid: int) -> tuple[str, int]:
    """A process's state, "Z" for a zombie and "" when it is gone, and its parent."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return state, int(parent)


def is_gone(pid: int) -> bool:
    return state_of(pid)[0] in ("", "Z")


def assert_works(decoder: Decoder) -> None:
    np.testing.assert_array_equal(decoder.decode(SOUND), decode(SOUND, max_s=60))


def test_a_path_and_its_bytes_are_one_clip(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "sound with\nnewline, ünïcode and \udcff.wav"
    path.write_bytes(SOUND)
    np.testing.assert_array_equal(decoder.decode(path), decode(SOUND, max_s=60))
    assert_works(decoder)


def test_a_refusal_keeps_its_code_and_message(decoder: Decoder) -> None:
    with pytest.raises(BadAudio, match=r"got silence .* above -80 dB") as refused:
        decoder.decode(encoded(np.zeros(1_000, np.float32)))
    assert refused.value.code == "silent"
    assert_works(decoder)


@pytest.mark.parametrize("name", ["missing.wav", "."])
def test_a_path_that_cannot_be_read(name: str, decoder: Decoder, tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match=r"cannot be read \((No such file|Is a directory)") as refused:
        decoder.decode(tmp_path / name)
    assert refused.value.code == "unreadable"
    assert str(tmp_path) not in refused.value.message


def test_the_child_is_kept_from_call_to_call(fresh: Callable[..., Decoder]) -> None:
    before = children()
    decoder = fresh()
    assert children() == before, "it is started when it is first needed"
    assert_works(decoder)
    first = children() - before
    assert_works(decoder)
    assert children() - before == first
    assert len(first) == 1


KILLED = -signal.SIGKILL


def says(**answer: Any) -> str:
    """A child that answers so, whatever it is asked, and waits."""
    return f"print({json.dumps(answer)!r}, flush=True); input(); input()"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        pytest.param("import os; os._exit(3)", 3, id="exits at once"),
        pytest.param("import os; os.read(0, 9); os._exit(0)", 0, id="exits in the middle"),
        pytest.param("import os; os.kill(os.getpid(), 11)", -signal.SIGSEGV, id="segfault"),
        pytest.param("import os; os.abort()", -signal.SIGABRT, id="abort"),
        pytest.param("raise RuntimeError('unheard')", 1, id="exception"),
        pytest.param("print('hello', flush=True); input(); input()", KILLED, id="garbage"),
        pytest.param(r"import os; os.write(1, b'\xff\xfe\n'); input(); input()", KILLED, id="not UTF-8"),
        pytest.param("import os; os.write(1, b'{\"n_bytes\": 10}')", 0, id="half a line"),
        pytest.param("import os; os.write(1, b'{\"n_bytes\": 10}\\nabc')", 0, id="more than a line"),
        pytest.param(f"import os; os.write(1, b'x' * {2**20 + 1}); input(); input()", KILLED, id="endless line"),
        pytest.param("print('[]', flush=True); input(); input()", KILLED, id="no object"),
        pytest.param("print('{}', flush=True); input(); input()", KILLED, id="no length"),
        pytest.param(says(n_bytes="10"), KILLED, id="length of text"),
        pytest.param(says(n_bytes=-2), KILLED, id="negative length"),
        pytest.param(says(n_bytes=9.5), KILLED, id="length of half a byte"),
        pytest.param(says(n_bytes=9), KILLED, id="half a sample"),
        pytest.param(says(n_bytes=10_000_002), KILLED, id="more samples than there are"),
        pytest.param(says(n_bytes=2 * 3_600 * RATE_HZ + 2), KILLED, id="more samples than allowed"),
        pytest.param(
            says(n_bytes=0, refused={"kind": "SystemExit", "code": "", "message": ""}), KILLED, id="an odd refusal"
        ),
        pytest.param(says(n_bytes=0, refused="no"), KILLED, id="no refusal"),
    ],
)
def test_a_child_that_dies_is_replaced(
    program: str, status: int, fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(decoder_module, "CHILD", program)
        with pytest.raises(BadAudio, match="made the decoder stop") as refused:
            decoder.decode(bytes(10_000_000))  # more than a pipe holds
    assert refused.value.code == "decoder_crashed"
    if "exit" not in program:  # it may have been killed before it came to that
        assert f"(status {status})" in refused.value.message
    assert_works(decoder)


def test_a_child_that_was_killed_between_calls_is_nobodys_fault(fresh: Callable[..., Decoder]) -> None:
    decoder, before = fresh(), children()
    assert_works(decoder)
    (pid,) = children() - before
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert_works(decoder)


def test_a_child_that_is_killed_at_work_is_replaced(fresh: Callable[..., Decoder]) -> None:
    decoder, before = fresh(max_s=1e6), children()
    assert_works(decoder)
    (pid,) = children() - before
    bomb = silent_flac(36_000, length_known=False)
    killer = threading.Timer(0.1, os.kill, [pid, signal.SIGKILL])
    killer.start()
    with pytest.raises(BadAudio, match=rf"status -{signal.SIGKILL.value}\)") as refused:
        decoder.decode(bomb)
    killer.join()
    assert refused.value.code == "decoder_crashed"
    assert_works(decoder)


def test_the_clock_ends_a_child(fresh: Callable[..., Decoder]) -> None:
    decoder = fresh(max_s=1e6, wall_s=0.5)
    with pytest.raises(BadAudio, match=r"takes more than 0\.5 s to decode") as refused:
        decoder.decode(silent_flac(36_000, length_known=False))
    assert refused.value.code == "decode_timeout"
    decoder.limits = DecodeLimits()
    assert_works(decoder)


def test_the_processor_limit_ends_a_child(fresh: Callable[..., Decoder]) -> None:
    decoder = fresh(max_s=1e6, cpu_s=0)  # a second is always added
    with pytest.raises(BadAudio, match="takes more than 0 s of processor time") as refused:
        decoder.decode(silent_flac(36_000, length_known=False))
    assert refused.value.code == "decode_timeout"
    assert_works(decoder)


def test_the_processor_limit_counts_from_the_start_of_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class AfterAnHour:
        ru_utime, ru_stime = 3_600.7, 10.0

    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrusage", lambda _: AfterAnHour)
    monkeypatch.setattr(resource, "setrlimit", lambda which, values: limits.append((which, values)))
    decoder_child._allow_cpu(5)
    (which, (soft_s, _)) = limits[0]
    assert which == resource.RLIMIT_CPU
    assert 3_610.7 + 5 <= soft_s <= 3_610.7 + 7


def test_the_memory_limit_refuses_and_the_child_lives(fresh: Callable[..., Decoder]) -> None:
    decoder, before = fresh(max_s=1e6, memory_bytes=320 * 2**20), children()
    assert_works(decoder)
    first = children() - before
    with pytest.raises(BadAudio, match="needs more memory than allowed") as refused:
        decoder.decode(silent_flac(36_000, length_known=False))
    assert refused.value.code == "too_large"
    assert_works(decoder)
    assert children() - before == first


def test_the_clock_ends_a_child_that_speaks_without_end(
    fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = fresh(wall_s=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(decoder_module, "CHILD", "import time\nwhile True: print(end='x', flush=True); time.sleep(0.01)")
        with pytest.raises(BadAudio, match=r"takes more than 0\.5 s to decode"):
            decoder.decode(SOUND)
    decoder.limits = DecodeLimits()
    assert_works(decoder)


def test_a_file_that_nobody_wants_any_more_is_given_up(
    fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "RESTART_S", 0.3)
    decoder, before = fresh(max_s=1e6), children()
    assert_works(decoder)
    (pid,) = children() - before
    start = time.monotonic()
    with pytest.raises(GivenUpError):
        decoder.decode(silent_flac(36_000, length_known=False), lambda: time.monotonic() < start + 0.4)
    assert time.monotonic() >= start + 0.4
    assert is_gone(pid)
    assert_works(decoder)


def test_what_is_decoded_sooner_than_a_child_would_start_is_not_given_up(
    fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "RESTART_S", 1e6)
    decoder, before = fresh(), children()
    for _ in range(2):
        np.testing.assert_array_equal(decoder.decode(SOUND, lambda: False), decode(SOUND, max_s=60))
    assert len(children() - before) == 1


def test_an_interrupted_call_leaves_no_answer_for_the_next(
    fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    decoder = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(json, "loads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoder.decode(encoded(noise(2.0)))
    assert_works(decoder)


def test_nothing_is_left_behind(fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    before, descriptors = children(), set(os.listdir("/proc/self/fd"))
    decoder = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(decoder_module, "CHILD", "import os; os.abort()")
        for _ in range(3):
            with pytest.raises(BadAudio):
                decoder.decode(bytes(10_000_000))
    assert_works(decoder)
    decoder.close()
    decoder.close()
    assert children() == before
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_a_closed_decoder_starts_no_child(fresh: Callable[..., Decoder]) -> None:
    decoder, before = fresh(), children()
    decoder.close()
    with pytest.raises(NotReady, match="a decoder that is closed"):
        decoder.decode(SOUND)
    assert children() == before


def test_closing_ends_a_call_without_blaming_its_file(fresh: Callable[..., Decoder]) -> None:
    decoder, before = fresh(max_s=1e6), children()
    assert_works(decoder)
    bomb = silent_flac(36_000, length_known=False)
    closer = threading.Timer(0.1, decoder.close)
    closer.start()
    with pytest.raises(NotReady, match="a decoder that is closed"):
        decoder.decode(bomb)
    closer.join()
    assert children() == before


@pytest.fixture
def stuck_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of ffmpeg, a program that writes its number to a file and sleeps. Returns the file."""
    (tmp_path / "ffmpeg").write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\nexec sleep 60\n"
    )
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "pid"


def test_ffmpeg_is_ended_with_the_child_when_time_is_up(fresh: Callable[..., Decoder], stuck_ffmpeg: Path) -> None:
    decoder = fresh(wall_s=3.0)
    with pytest.raises(BadAudio, match="takes more than 3 s") as refused:
        decoder.decode(bytes(1_000))
    assert refused.value.code == "decode_timeout"
    until(lambda: is_gone(int(stuck_ffmpeg.read_text())))
    assert_works(decoder)


def test_ffmpeg_is_ended_with_a_child_that_crashes(fresh: Callable[..., Decoder], stuck_ffmpeg: Path) -> None:
    decoder, before = fresh(), children()
    assert_works(decoder)
    (pid,) = children() - before

    def crash() -> None:
        until(stuck_ffmpeg.exists)
        os.kill(pid, signal.SIGSEGV)

    with ThreadPoolExecutor(1) as thread:
        crashed = thread.submit(crash)
        with pytest.raises(BadAudio, match=rf"status -{signal.SIGSEGV.value}\)"):
            decoder.decode(bytes(1_000))
        crashed.result()
    until(lambda: is_gone(int(stuck_ffmpeg.read_text())))


PARENT = """
import sys, threading, time
from audiorec.audio.decoder import DecodeLimits, Decoder
decoder = Decoder(DecodeLimits(max_s=1e6))
sound = open(sys.argv[1], "rb").read()
decoder.decode(sound)
if sys.argv[2] == "busy":
    threading.Thread(target=decoder.decode, args=[bytes(1000)]).start()
print(decoder._child.process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_child_ends_with_its_parent(state: str, tmp_path: Path, stuck_ffmpeg: Path) -> None:
    (tmp_path / "sound").write_bytes(SOUND)
    command = [sys.executable, "-c", PARENT, str(tmp_path / "sound"), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if state == "busy":
            until(stuck_ffmpeg.exists)
        assert not is_gone(pid)
        parent.kill()
    until(lambda: is_gone(pid))
    if state == "busy":
        until(lambda: is_gone(int(stuck_ffmpeg.read_text())))


def test_modules_in_the_current_folder_are_not_taken(
    fresh: Callable[..., Decoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "numpy", "soundfile", "struct"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the person, not of ours')")
    (tmp_path / "sound.wav").write_bytes(SOUND)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(fresh().decode(Path("sound.wav")), decode(SOUND, max_s=60))


def test_a_library_that_prints_does_not_speak_for_the_child(
    fresh: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = "import os, audiorec.audio.decode as d, audiorec.audio.decoder_child as c; " + (
        "c.decode = lambda *a, **k: (os.write(1, b'{}\\n'), print('[mp3] hello', flush=True), d.decode(*a, **k))[-1]; "
    )
    paths, child = decoder_module.CHILD.split("; from ")
    monkeypatch.setattr(decoder_module, "CHILD", f"{paths}; {noisy} from {child}")
    assert_works(fresh())


@pytest.mark.parametrize(
    ("error", "kind"),
    [(NoSpace("full"), NoSpace), (BadAudio("odd", code="odd"), BadAudio), (MemoryError(), BadAudio)],
)
def test_what_an_operation_raises_becomes_an_answer(
    error: Exception, kind: type[AudiorecError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(decoder_child, "decode", raises)
    answer, pcm = decoder_child.answer_to({"operation": "decode"}, io.BytesIO(SOUND), DecodeLimits())
    assert (answer["refused"]["kind"], len(pcm)) == (kind.__name__, 0)
    assert decoder_module.ERRORS[kind.__name__] is kind


def test_sounds_of_any_size_follow_each_other(decoder: Decoder) -> None:
    """What a longer one leaves in the shared file is not heard in a shorter one."""
    for length_s in (0.5, 9.0, 0.02, 300.0, 0.5, 1.0):
        sound = encoded(noise(length_s, round(10 * length_s)), RATE_HZ, "AIFF")
        np.testing.assert_array_equal(decoder.decode(sound), decode(sound, max_s=600))


def test_little_of_a_long_sound_stays_in_memory(fresh: Callable[..., Decoder]) -> None:
    decoder = fresh()
    assert len(decoder.decode(encoded(noise(150.0), RATE_HZ, "AIFF"))) == 150 * RATE_HZ
    assert decoder._child is not None
    assert os.fstat(decoder._child._shared.fileno()).st_size <= decoder_module.KEPT_BYTES


def test_a_pool_serves_more_threads_than_it_has_children() -> None:
    sounds = {hz: encoded(tone(0.5, hz)) for hz in range(200, 1_000, 50)}
    before = children()
    with DecoderPool(2, DecodeLimits()) as pool, ThreadPoolExecutor(8) as threads:

        def one(hz: int) -> int:
            with pool.borrowed() as decoder:
                spectrum = np.abs(np.fft.rfft(decoder.decode(sounds[hz])))
            return round(spectrum.argmax() * RATE_HZ / 8_000)

        assert list(threads.map(one, sounds)) == list(sounds)
        assert len(children() - before) == 2
    assert children() == before


def test_a_child_that_fails_goes_back_to_the_pool() -> None:
    with DecoderPool(1, DecodeLimits()) as pool:
        for _ in range(3):
            with pytest.raises(BadAudio, match="empty file"), pool.borrowed() as decoder:
                decoder.decode(b"")
        with pool.borrowed() as decoder:
            assert_works(decoder)
