"""OpenTelemetry traces, where its standard variables name a collector: a span a request, with its stages inside.

Nothing of the SDK is imported before that, and no request passes this module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

import audiorec
from audiorec.api.heads import method_of
from audiorec.api.logs import release_of
from audiorec.api.middleware import route_of
from audiorec.api.stages import trace_stages
from audiorec.errors import BadSetting

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTERS = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}
FLUSH_S = 3.0  # for the last spans; a collector that is away keeps nobody from stopping
SPAN_ATTRIBUTES = {"url.scheme": "scheme", "network.protocol.version": "http_version"}


def is_configured() -> bool:
    """Whether OTEL_EXPORTER_OTLP_ENDPOINT or its kin names a collector, and no other variable turns traces off."""
    is_off = _first(("OTEL_SDK_DISABLED",)).lower() == "true" or _first(("OTEL_TRACES_EXPORTER",)) == "none"
    return bool(_first(ENDPOINTS)) and not is_off


def _first(names: tuple[str, ...]) -> str:
    """The first of the variables that says something."""
    return next(filter(None, (os.environ.get(name, "").strip() for name in names)), "")


def make_provider() -> "TracerProvider":
    """Sends spans to the collector that the variables name. Raises BadSetting."""
    protocol = _first(PROTOCOLS) or "http/protobuf"
    if protocol not in EXPORTERS:
        raise BadSetting(f"got {protocol!r} for {PROTOCOLS[1]}, expected {' or '.join(EXPORTERS)}")
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = import_module(EXPORTERS[protocol]).OTLPSpanExporter()
    except ImportError:
        raise BadSetting(
            f"got a collector in {ENDPOINTS[1]}, expected OpenTelemetry to be installed: "
            f"pip install 'audiorec[otel]'{' opentelemetry-exporter-otlp-proto-grpc' * (protocol == 'grpc')}"
        ) from None
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    facts = {"service.version": audiorec.__version__, **({} if named else {"service.name": "audiorec"})}
    provider = TracerProvider(resource=Resource.create(facts))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@contextmanager
def tracing() -> Iterator["TracerProvider | None"]:
    """The provider for the block, None where none is configured. At the end the last spans are sent."""
    if not is_configured():
        yield None
        return
    provider: Any = make_provider()  # of the interface, which knows no shutdown
    trace_stages(provider.get_tracer("audiorec", audiorec.__version__))
    try:
        yield provider
    finally:
        trace_stages(None)
        flushing = Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)


class Traces:
    """A span a request, a child of the caller's where it sent a traceparent. It holds no query string and no header."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.app = app
        self._tracer = provider.get_tracer("audiorec", audiorec.__version__)
        self._kind = SpanKind.SERVER
        self._error = StatusCode.ERROR
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        parent = self._propagator.extract(carrier)
        with self._tracer.start_as_current_span(method_of(scope), parent, self._kind) as span:
            scope["state"]["trace_id"] = f"{span.get_span_context().trace_id:032x}"

            async def send_and_see(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:  # what is below is the client's fault
                        span.set_status(self._error)
                await send(message)

            try:
                await self.app(scope, receive, send_and_see)
            finally:
                _describe(span, scope)


def _describe(span: "Span", scope: Scope) -> None:
    """By OpenTelemetry's names for HTTP servers; what is ours begins with audiorec."""
    state, client, route = scope["state"], scope.get("client"), route_of(scope)
    key, error_code = state.get("key"), state.get("error_code")
    facts = {name: scope[field] for name, field in SPAN_ATTRIBUTES.items()}
    facts |= {
        "http.request.method": method_of(scope),
        "http.route": route,
        "url.path": scope["path"],
        "client.address": client[0] if client else None,
        "error.type": error_code,
        "audiorec.request_id": state["request_id"],
        "audiorec.key": key.name if key else None,
        "audiorec.release": release_of(scope),
    }
    span.update_name(f"{method_of(scope)} {route}")
    span.set_attributes({name: value for name, value in facts.items() if value is not None})
