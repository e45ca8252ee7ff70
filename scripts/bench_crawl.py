"""A crawl of 2,000 clips from a server on this machine, beside its two halves; then the same crawl, killed.

The server answers as Coub does. One half is a bare download with the same number of requests at once, the other the
decoding of the files on all cores, as the crawl checks them. Killed, the crawl is ended by SIGKILL at times chosen by
chance, and in the end every clip must be there once, byte for byte.
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import soundfile
from aiohttp import web

from audiorec.audio.decoder import DecodeLimits, DecoderPool
from audiorec.benchmark import rendered
from audiorec.crawl import CrawlOptions, crawl
from audiorec.files.tsv import read_tsv
from audiorec.parallel import in_parallel

N_SOUNDS = 20  # different ones; the clips differ by a tag before them
CLIP_S = 10.0
PER_PAGE = 25
N_PARALLEL = 8
QUICK = {"allow_private": True, "requests_per_s": 1e6, "n_per_host": N_PARALLEL, "n_parallel": N_PARALLEL}


def make_sounds() -> list[bytes]:
    """MP3s of noise that fades, in stereo at 44.1 kHz."""
    sounds = []
    for seed in range(N_SOUNDS):
        noise = np.random.default_rng(seed).standard_normal((int(CLIP_S * 44_100), 2)).astype(np.float32) / 8
        file = io.BytesIO()
        soundfile.write(file, noise * np.linspace(1, 0.1, len(noise), dtype=np.float32)[:, None], 44_100, format="MP3")
        sounds.append(file.getvalue())
    return sounds


def body_of(sounds: list[bytes], number: int) -> bytes:
    """An ID3 tag that names the clip, and the sound."""
    text = f"\x00clip {number}".encode()
    frame = b"TIT2" + len(text).to_bytes(4, "big") + b"\x00\x00" + text
    return b"ID3\x03\x00\x00" + len(frame).to_bytes(4, "big") + frame + sounds[number % len(sounds)]


def serve(n_clips: int) -> None:
    """Until killed. Says its port on standard output."""
    sounds, asked = make_sounds(), Counter[str]()

    async def answer(request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        if request.path.startswith("/media/"):
            asked[name] += 1
            return web.Response(body=body_of(sounds, int(name)), headers={"ETag": f'"{name}"'})
        if request.path.startswith("/api/v2/coubs/"):
            return web.json_response(coub(f"{request.scheme}://{request.host}", int(name.removeprefix("c"))))
        if request.path == "/asked":
            return web.json_response(asked)
        if not request.path.startswith("/api/"):
            raise web.HTTPNotFound
        page = int(request.query["page"])
        numbers = range((page - 1) * PER_PAGE, min(page * PER_PAGE, n_clips))
        coubs = [coub(f"{request.scheme}://{request.host}", number) for number in numbers]
        return web.json_response({"page": page, "total_pages": -(-n_clips // PER_PAGE), "coubs": coubs})

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def coub(url: str, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "permalink": f"c{number}",
        "title": f"Clip {number}",
        "published_at": "2019-02-12T16:33:32Z",
        "channel": {"title": f"Channel {number % 50}", "permalink": f"channel-{number % 50}"},
        "tags": [{"title": f"tag {tag}"} for tag in range(8)],
        "categories": [{"permalink": "music", "title": "Music"}],
        "views_count": number,
        "file_versions": {"html5": {"audio": {"high": {"url": f"{url}/media/{number}"}}}},
    }


@contextmanager
def served(n_clips: int) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", "--clips", str(n_clips)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def start_crawl(url: str, out_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--crawl", url, str(out_dir)], start_new_session=True)


class Memory:
    """The most that a process and its children hold, looked at ten times a second: main process, and all by PSS."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.main_mb = self.all_mb = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            with suppress(psutil.Error):
                self.main_mb = max(self.main_mb, self._process.memory_info().rss / 1e6)
                self.all_mb = max(self.all_mb, sum(map(_pss_mb, [self._process, *self._process.children()])))

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def _pss_mb(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.memory_full_info().pss) / 1e6
    return 0.0


def bare_download(url: str, n_clips: int, out_dir: Path) -> float:
    """Seconds."""
    out_dir.mkdir()
    remaining = iter(range(n_clips))

    async def fetch(session: aiohttp.ClientSession) -> None:
        for number in remaining:
            async with session.get(f"{url}/media/{number}") as response:
                with (out_dir / str(number)).open("wb") as file:
                    async for block in response.content.iter_chunked(2**16):
                        file.write(block)

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(fetch(session) for _ in range(N_PARALLEL)))

    began = time.perf_counter()
    asyncio.run(run())
    return time.perf_counter() - began


def bare_decoding(folder: Path) -> float:
    """Seconds."""
    began = time.perf_counter()
    n_decoders = len(os.sched_getaffinity(0))
    with DecoderPool(n_decoders, DecodeLimits()) as pool:

        def measure(path: Path) -> None:
            with pool.borrowed() as decoder:
                decoder.call("measure", {"path": str(path)})

        for _ in in_parallel(measure, folder.iterdir(), n_decoders):
            pass
    return time.perf_counter() - began


def whole_crawl(url: str, n_clips: int, out_dir: Path) -> dict[str, Any]:
    began = time.perf_counter()
    run = start_crawl(url, out_dir)
    memory = Memory(run.pid)
    assert run.wait() == 0
    seconds = time.perf_counter() - began
    memory.end()
    n_bytes = sum(path.stat().st_size for path in (out_dir / "clips").rglob("*.mp3"))
    return {
        "clips/s": n_clips / seconds,
        "MB/s": n_bytes / 1e6 / seconds,
        "main process, MB": memory.main_mb,
        "with its decoders, MB (PSS)": memory.all_mb,
    }


def killed_crawl(url: str, n_clips: int, out_dir: Path, n_kills: int, seconds: float) -> dict[str, Any]:
    """seconds: what the whole crawl takes, by which the kills are spread."""
    rng = random.Random(0)
    n_killed = 0
    for _ in range(n_kills):
        run = start_crawl(url, out_dir)
        with suppress(subprocess.TimeoutExpired):
            run.wait(seconds / (n_kills + 2) * rng.uniform(0.5, 1.2))
        if run.poll() is None:  # not one that has ended by itself, being quicker than the first
            os.killpg(run.pid, signal.SIGKILL)
            n_killed += 1
        run.wait()
    assert start_crawl(url, out_dir).wait() == 0
    sounds = make_sounds()
    wanted = {f"coub:c{number}": hashlib.sha256(body_of(sounds, number)).digest() for number in range(n_clips)}
    rows = list(read_tsv(out_dir / "clips.tsv"))
    found = {row["clip_id"]: hashlib.sha256((out_dir / row["path"]).read_bytes()).digest() for row in rows}
    return {
        "kills": n_killed,
        "clips": len(rows),
        "lost or damaged": sum(found.get(clip_id) != digest for clip_id, digest in wanted.items()),
        "doubled": len(rows) - len(found) + sum(1 for _ in (out_dir / "clips").rglob("*.mp3")) - len(rows),
        "refused": sum(1 for _ in read_tsv(out_dir / "refused.tsv")),
    }


def n_requests(url: str) -> int:
    async def ask() -> int:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/asked") as response:
            return sum(json.loads(await response.read()).values())

    return asyncio.run(ask())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--crawl", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.clips)
    elif arguments.crawl:
        url, out_dir = arguments.crawl
        crawl("coub:hot", Path(out_dir), options=CrawlOptions(coub_api=f"{url}/api/v2", **QUICK))
    else:
        with tempfile.TemporaryDirectory() as folder, served(arguments.clips) as url:
            download_s = bare_download(url, arguments.clips, Path(folder) / "bare")
            decoding_s = bare_decoding(Path(folder) / "bare")
            crawled = whole_crawl(url, arguments.clips, Path(folder) / "crawl")
            crawled["download alone, clips/s"] = arguments.clips / download_s
            crawled["decoding alone, clips/s"] = arguments.clips / decoding_s
            crawled["crawl to both, one after the other"] = (
                crawled["clips/s"] * (download_s + decoding_s) / arguments.clips
            )
            before = n_requests(url)
            seconds = arguments.clips / crawled["clips/s"]
            killed = killed_crawl(url, arguments.clips, Path(folder) / "killed", arguments.kills, seconds)
            killed["files asked for"] = n_requests(url) - before
        tables = {
            f"A crawl of {arguments.clips:,} clips of {CLIP_S:g} s": [crawled],
            "The same crawl, killed": [killed],
        }
        print(rendered(tables, as_json=arguments.json))


if __name__ == "__main__":
    main()
