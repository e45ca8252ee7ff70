"""A web server on loopback that behaves as sites do: in pages, with errors, slowly, without end, with bad intent."""

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from sounds import encoded, tone

from audiorec.audio.decoder import DecodeLimits
from audiorec.crawl import CrawlOptions

PER_PAGE = 25
QUICK = CrawlOptions(
    allow_private=True,
    requests_per_s=10_000,
    backoff_s=0.01,
    n_tries=3,
    stall_s=20,
    file_s=60,
    max_file_bytes=4 * 2**20,
    limits=DecodeLimits(max_s=60, wall_s=60, cpu_s=20),
)


@dataclass
class Resource:
    """What stands at a path. failures: statuses of the first answers. cut_at: where the first bodies break off."""

    body: bytes = b""
    content_type: str = "application/octet-stream"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    cut_at: list[int] = field(default_factory=list)
    ranges: bool = True
    endless: bool = False
    stalls: bool = False


@dataclass
class Request:
    path: str
    headers: dict[str, str]


class Site:
    """resources: by path and query. requests: what was asked, in order."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.coubs: dict[str, dict[str, Any]] = {}
        self.max_pages = 99
        self.url = ""

    def add(self, path: str, body: bytes | str = b"", **facts: Any) -> str:
        """Its URL."""
        self.resources[path] = Resource(body.encode() if isinstance(body, str) else body, **facts)
        return self.url + path

    def add_coub(self, permalink: str, sound: bytes | None = None, **facts: Any) -> dict[str, Any]:
        """A coub whose sound is `sound`; facts take the place of what the API says of it."""
        high = self.add(f"/media/{permalink}_high.mp3", sound, headers={"ETag": f'"{permalink}"'}) if sound else None
        self.coubs[permalink] = {
            "id": 1000 + len(self.coubs),
            "type": "Coub::Simple",
            "permalink": permalink,
            "title": f"Title of {permalink}",
            "created_at": "2019-02-12T16:33:32Z",
            "published_at": "2019-02-13T16:33:32Z",
            "is_done": True,
            "views_count": 4134,
            "likes_count": 6,
            "has_sound": False,
            "recoub_to": None,
            "age_restricted": False,
            "duration": 6.28,
            "channel": {"id": 7, "permalink": "some-channel", "title": "Some Channel"},
            "tags": [{"id": 1, "title": "cat; dog", "value": "cat"}, {"id": 2, "title": "loop", "value": "loop"}],
            "categories": [{"id": 32, "title": "Animals & Pets", "permalink": "animals-pets"}],
            "media_blocks": {"audio_track": {"title": "x", "meta": {"artist": "A Band", "title": "A Song"}}},
            "file_versions": {
                "html5": {
                    "video": {"high": {"url": f"{self.url}/mute.mp4", "size": 1}},
                    "audio": {"high": {"url": high, "size": 1}, "sample_duration": 12.0},
                },
                "mobile": {"video": f"{self.url}/mute.mp4", "audio": []},
                "share": {"default": None},
            },
            **facts,
        }
        return self.coubs[permalink]

    def n_requests(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    @property
    def options(self) -> dict[str, Any]:
        return {"coub_api": f"{self.url}/api/v2"}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Request(request.path_qs, dict(request.headers)))
        if request.path.startswith("/api/v2/"):
            return self._api(request)
        resource = self.resources.get(request.path_qs)
        if resource is None:
            raise web.HTTPNotFound
        if resource.failures:
            return web.Response(status=resource.failures.pop(0), headers=resource.headers)
        etag = resource.headers.get("ETag")
        if etag and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        if resource.endless or resource.stalls:
            return await _stream(request, resource)
        return await self._whole_or_range(request, resource)

    async def _whole_or_range(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        body, status, headers = resource.body, resource.status, dict(resource.headers)
        asked = request.headers.get("Range", "")
        same = request.headers.get("If-Range", "") == headers.get("ETag")
        if asked and resource.ranges and same:
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
            if begin >= len(body):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            body, status = body[begin:], 206
        headers |= {"Content-Type": resource.content_type, "Content-Length": str(len(body))}
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        if resource.cut_at:
            await response.write(body[: resource.cut_at.pop(0)])
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(body)
        return response

    def _api(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v2/")
        if path.startswith("coubs/"):
            coub = self.coubs.get(path.removeprefix("coubs/"))
            return _json(coub) if coub else _json({"error": "Coub not found"}, status=404)
        resource = self.resources.get(request.path_qs)
        if resource is not None and resource.failures:
            return web.Response(status=resource.failures.pop(0), headers=resource.headers)
        coubs = list(self.coubs.values())
        n_pages = max(1, -(-len(coubs) // PER_PAGE))
        page = int(request.query.get("page", "1"))
        page = page if page <= min(n_pages, self.max_pages) else 1  # as Coub does
        shown = coubs[(page - 1) * PER_PAGE : page * PER_PAGE]
        return _json({"page": page, "per_page": PER_PAGE, "total_pages": n_pages, "coubs": shown})


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type="application/json", status=status)


async def _stream(request: web.Request, resource: Resource) -> web.StreamResponse:
    """Bytes without end, or some and then nothing."""
    response = web.StreamResponse(headers={"Content-Type": resource.content_type, **resource.headers})
    await response.prepare(request)
    await response.write(resource.body)
    try:
        while resource.endless:
            await response.write(bytes(2**16))
        await asyncio.sleep(3600)
    except (ConnectionError, asyncio.CancelledError):
        pass
    return response


@contextmanager
def running_site() -> Iterator[Site]:
    """A site in a thread of its own, for the block."""
    site, started = Site(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", site.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, access_log=None)
        await runner.setup()
        where = web.TCPSite(runner, "127.0.0.1", 0)
        await where.start()
        port = runner.addresses[0][1]
        site.url = f"http://127.0.0.1:{port}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield site
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def mp3(length_s: float, hz: float = 440.0) -> bytes:
    return encoded(tone(length_s, hz, 44_100), 44_100, "MP3")


def gzip_bomb(n_bytes: int) -> bytes:
    return gzip.compress(bytes(n_bytes))


def table(out_dir: Path, name: str = "clips.tsv") -> list[dict[str, str]]:
    from audiorec.files.tsv import read_tsv

    return list(read_tsv(out_dir / name))
