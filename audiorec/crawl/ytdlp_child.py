"""The child that runs yt-dlp: lists or fetches one URL, told by a line of JSON, and says what happens by such lines.

No connection of this process is made to an address that may not be reached, whichever part of yt-dlp asks for it:
an audit hook of the interpreter sees every one of them. No other program is started, but to run a site's JavaScript.
"""

import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any

from audiorec.crawl.addresses import is_public

JS_RUNTIMES = {"deno", "node", "bun", "qjs", "quickjs"}
SAID_OF_AN_ENTRY = (
    *("id", "ie_key", "title", "url", "webpage_url", "duration", "uploader", "channel", "upload_date", "view_count"),
)
SAID_OF_A_CLIP = (
    *("title", "uploader", "channel", "artist", "track", "album", "license", "extractor", "tags", "categories"),
    *("view_count", "like_count", "age_limit", "upload_date", "webpage_url"),
)
MAX_DEPTH = 3  # a channel has tabs, a tab has playlists
PRIVATE = "an address that is not public"
TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}

Info = dict[str, Any]


class TooLarge(Exception):
    pass


def main() -> None:
    request = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not speak for us
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_bytes"] + 2**20,) * 2)
    sys.addaudithook(_guard(request["allow_private"]))
    sys.modules["curl_cffi"] = None  # type: ignore[assignment]  # it connects where no hook can see it
    os.environ["YTDLP_NO_PLUGINS"] = "1"

    def say(message: Info) -> None:
        answers.write(json.dumps(message, default=str) + "\n")
        answers.flush()

    try:
        (_list if request["operation"] == "list" else _fetch)(request, say)
        say({"done": True})
    except Exception as error:  # whatever a site did to yt-dlp is an answer
        say({"failed": list(_reason(error))})


def _guard(allow_private: bool) -> Any:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and not allow_private:
            where = arguments[1]
            if not (isinstance(where, tuple) and is_public(str(where[0]))):
                raise PermissionError(PRIVATE)
        if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
            program = os.path.basename(str(arguments[0]))
            if program not in JS_RUNTIMES:
                raise PermissionError("another program")

    return hook


def _downloader(request: Info, **more: Any) -> Any:
    from yt_dlp import YoutubeDL  # type: ignore[import-untyped,import-not-found,unused-ignore]

    class Quiet:
        def debug(self, text: str) -> None: ...
        def warning(self, text: str) -> None: ...
        def error(self, text: str) -> None: ...

    return YoutubeDL(
        {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "logger": Quiet(),
            "color": "never",
            "cachedir": False,
            "proxy": "",  # through a proxy, nobody would check where it connects to
            "http_headers": {"User-Agent": request["user_agent"]},
            "socket_timeout": request["stall_s"],
            "retries": request["n_tries"],
            "extractor_retries": request["n_tries"],
            "sleep_interval_requests": request["interval_s"],
            "external_downloader": {"default": "native"},
            "hls_prefer_native": True,
            "fixup": "never",
            "check_formats": False,
            **more,
        }
    )


def _list(request: Info, say: Any) -> None:
    downloader = _downloader(request, download_archive=request["archive"])
    for entry in _entries(downloader, request["url"], None, 0, say):
        say(entry)


def _entries(downloader: Any, url: str, extractor: str | None, depth: int, say: Any) -> Iterator[Info]:
    """The clips behind a URL, playlists opened, none of them asked for yet. Leaves out what the archive names."""
    result = downloader.extract_info(url, download=False, process=False, ie_key=extractor) or {}
    while result.get("_type") in {"url", "url_transparent"}:
        extractor = result.get("ie_key")
        result = downloader.extract_info(result["url"], download=False, process=False, ie_key=extractor) or {}
    if result.get("_type", "video") == "video":
        yield _said(downloader, {**result, "ie_key": result.get("extractor_key") or extractor, "webpage_url": url}, url)
        return
    if depth == 0 and isinstance(result.get("playlist_count"), int):
        say({"n_expected": result["playlist_count"]})
    for entry in result.get("entries") or ():
        where = (entry or {}).get("url") or (entry or {}).get("webpage_url")
        if not where:
            continue
        if depth < MAX_DEPTH and _is_playlist(downloader, entry, where):
            yield from _entries(downloader, where, entry.get("ie_key"), depth + 1, say)
        elif not (entry.get("id") and entry.get("ie_key") and downloader.in_download_archive(entry)):
            yield _said(downloader, entry, where)


def _is_playlist(downloader: Any, entry: Info, url: str) -> bool:
    if entry.get("_type") in {"playlist", "multi_video"}:
        return True
    name = entry.get("ie_key")
    extractor = downloader.get_info_extractor(name) if name else None
    return extractor is not None and extractor.suitable(url) and extractor.is_single_video(url) is False


def _said(downloader: Any, entry: Info, url: str) -> Info:
    from yt_dlp.utils import make_archive_id  # type: ignore[import-untyped,import-not-found,unused-ignore]

    said = {name: entry[name] for name in SAID_OF_AN_ENTRY if entry.get(name) is not None}
    extractor = entry.get("ie_key") or entry.get("extractor_key")
    has_id = extractor and entry.get("id") and extractor != "Generic"  # whose ids are file names, on any site
    archive_id = make_archive_id(extractor, entry["id"]) if has_id else ""
    return {**said, "url": url, "archive_id": archive_id}


def _fetch(request: Info, say: Any) -> None:
    max_bytes = request["max_bytes"]

    def hear(progress: Info) -> None:
        n_bytes = progress.get("downloaded_bytes") or 0
        if max(n_bytes, progress.get("total_bytes") or 0) > max_bytes:
            raise TooLarge(f"got a file of more than {max_bytes:,} bytes, which is the limit: left alone")
        say({"n_bytes": n_bytes})

    downloader = _downloader(
        request,
        format="bestaudio/best",
        noplaylist=True,
        playlist_items="1",
        outtmpl={"default": os.path.join(request["folder"], "sound")},  # nothing of it from the network
        progress_hooks=[hear],
    )
    info = downloader.extract_info(request["url"], download=True) or {}
    if "entries" in info:
        info = next(iter(info["entries"] or ()), None) or {}
    say({"info": {name: info[name] for name in SAID_OF_A_CLIP if info.get(name) is not None}})


def _reason(error: BaseException) -> tuple[str, str, bool]:
    """(code, message, whether the same may work in a moment)."""
    causes = list(_causes(error))
    text = re.sub(r"^(ERROR: )?(\[[^\]]*\] )?", "", str(error))[:500]
    message = f"got no sound through yt-dlp ({text})"
    statuses = (getattr(cause, "status", None) for cause in causes)
    status = next((status for status in statuses if isinstance(status, int)), None)
    names = {type(cause).__name__ for cause in causes}
    if any(PRIVATE in str(cause) for cause in causes):
        return "private_address", f"got {PRIVATE}, expected a public one: --allow-private reaches others", False
    if "TooLarge" in names:
        return "too_large", str(next(cause for cause in causes if isinstance(cause, TooLarge))), False
    if status is not None:
        code = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}.get(status, "http_error")
        return code, message, status in TRANSIENT_STATUSES
    if "UnsupportedError" in names:
        return "unsupported_site", message, False
    if names & {"TransportError", "IncompleteRead", "SSLError"}:
        return "unreachable", message, True
    return "ytdlp_failed", message, False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        info = getattr(error, "exc_info", None)
        error = error.__cause__ or getattr(error, "cause", None) or (info[1] if info else None) or error.__context__
