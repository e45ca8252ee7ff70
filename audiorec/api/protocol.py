"""HTTP connections of `audiorec serve`: a client that sends its request drop by drop does not keep one for ever."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from audiorec.settings import Settings

MAX_HEAD_BYTES = 65_536  # the request's line and headers: nginx takes at most 32 kB
MIN_BYTES_PER_S = 1_000


LENGTH_HEADERS = (b"content-length", b"transfer-encoding")


@cache
def _wait_s() -> float:
    return Settings.load().request_wait_s


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, which waits for the rest of a request as long as a client likes, and keeps a head of any size.

    A request has `request_wait_s` to arrive, and another second for each 1,000 bytes that have come. The clock runs
    while something is waited for: a request that comes in one piece, as nearly all do, never meets it. Who reads an
    answer more slowly than that is left as well: what he has not read yet is in our memory.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clock: asyncio.TimerHandle | None = None
        self._reader_clock: asyncio.TimerHandle | None = None
        self._since_s = 0.0
        self._n_bytes = 0
        self._in_head = self._in_request = False
        self._parsed = self._left = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._stop_reader_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._n_bytes += len(data)
        while data:
            self._parsed, self._left = data, b""
            super().data_received(data)
            data, self._parsed = self._left, b""
        if self.transport.is_closing():  # it was no HTTP
            self._stop_clock()
        elif self._in_head and self._n_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "head_too_large", f"got a request whose headers are longer than {MAX_HEAD_BYTES:,} bytes")
        elif self._in_request or self._is_idle():
            self._start_clock()
        else:
            self._stop_clock()

    def shutdown(self) -> None:
        """What has no end of its own is told to find one: events, and whoever waits for a job."""
        if self.cycle is not None:
            self.cycle.scope["state"]["is_stopping"] = True
        super().shutdown()

    def on_message_begin(self) -> None:
        self._in_head = self._in_request = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_request = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_reader_clock()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()  # which closes the connection when all is written
        self._watch_reader()

    def _watch_reader(self) -> None:
        if self._reader_clock is None:
            n_left = self.transport.get_write_buffer_size()
            self._reader_clock = self.loop.call_later(_wait_s(), self._look_at_reader, n_left)

    def _stop_reader_clock(self) -> None:
        if self._reader_clock is not None:
            self._reader_clock.cancel()
            self._reader_clock = None

    def _look_at_reader(self, n_left_before: int) -> None:
        self._reader_clock = None
        n_left = self.transport.get_write_buffer_size()
        if n_left > max(0.0, n_left_before - _wait_s() * MIN_BYTES_PER_S):
            self.transport.abort()
        elif n_left:
            self._watch_reader()

    def _unsupported_upgrade_warning(self) -> None:
        """That a client would rather speak something else is no news: it is answered all the same.

        The parser has left off after the head, where the other protocol was to begin. Here HTTP goes on, and what
        comes next may be the body of this very request.
        """
        upgrade = sys.exc_info()[1]
        assert isinstance(upgrade, HttpParserUpgrade)
        self._left = self._parsed[upgrade.args[0] :]
        lengths = [line for line in self.headers if line[0] in LENGTH_HEADERS and line[1] != b"0"]
        if not lengths:
            return
        head = _KnownHead(self)
        self.parser = HttpRequestParser(head)
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(b"%s: %s\r\n" % line for line in lengths))
        except HttpParserError:
            self._left = b""
            self.send_400_response("")
            return
        head.is_over = self.cycle.more_body = self._in_request = True

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word for what is not HTTP."""
        self._refuse(400, "bad_request", "got a request that is not HTTP, expected one of an HTTP library")

    def _is_idle(self) -> bool:
        """Also when something came that begins no request, as empty lines do, which stop uvicorn's own clock."""
        return self.cycle is None or self.cycle.response_complete

    def _start_clock(self) -> None:
        if self._clock is None:
            self._since_s = self.loop.time()
            self._clock = self.loop.call_later(_wait_s(), self._look_at_clock)

    def _stop_clock(self) -> None:
        self._n_bytes = 0
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _look_at_clock(self) -> None:
        left_s = self._since_s + _wait_s() + self._n_bytes / MIN_BYTES_PER_S - self.loop.time()
        if self.flow.read_paused:  # it is us who do not read
            left_s = max(left_s, _wait_s())
        if left_s > 0:
            self._clock = self.loop.call_later(left_s, self._look_at_clock)
        elif self._in_request:
            self._refuse(408, "too_slow", "got a request that did not arrive in time, expected it faster: try again")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """In the one shape, where no answer has begun, and ends the connection; the application hears that it ended."""
        from audiorec.api import metrics  # which must not be imported by whoever sets up its folder
        from audiorec.api.security import NOTHING, POLICY, SECURITY_HEADERS

        metrics.REFUSALS.labels(code).inc()
        request_id = os.urandom(16).hex()
        if self._is_idle() or not self.cycle.response_started:
            body = json.dumps({"error": {"code": code, "message": message, "request_id": request_id}})
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n"
            )
            lines = b"".join(b"%s: %s\r\n" % line for line in (*SECURITY_HEADERS, (POLICY, NOTHING)))
            self.transport.write(b"%s%s\r\n%s" % (head.encode(), lines, body.encode()))
        self.transport.close()


class _KnownHead:
    """What a parser tells that is first given the end of a head that its protocol has had: nothing until `is_over`."""

    def __init__(self, protocol: PatientProtocol) -> None:
        self.is_over = False
        self._protocol = protocol

    def __getattr__(self, name: str) -> Callable[..., None]:
        tell = getattr(self._protocol, name)

        def told(*arguments: Any) -> None:
            if self.is_over:
                tell(*arguments)

        return told
