"""What tells browsers to be careful, and which other web pages may ask.

HSTS is left to the proxy that speaks TLS: only it knows whether every name it serves does.
"""

import hashlib
import re
from base64 import b64encode

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from audiorec.api.errors import refuse
from audiorec.errors import Forbidden

OPENAPI_PATH = "/openapi.json"
STATIC_PATH = "/static-offline-docs"
PAGE_PATH = "/page"
POLICY = b"content-security-policy"
NOTHING = b"default-src 'none'; frame-ancestors 'none'"
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Last-Event-ID",
    "Range",
    "X-API-Key",
    "X-Caller-Token",
    "X-Request-Id",
)
CORS_ANSWER_HEADERS = (
    "X-Request-Id",
    "Location",
    "Content-Range",
    "Retry-After",
    "WWW-Authenticate",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "RateLimit-Policy",
)
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def documentation(title: str, prefix: str) -> HTMLResponse:
    """Swagger UI from our own files, under a policy that runs its one inline script and nothing from elsewhere.

    prefix: what a proxy serves us under.
    """
    static_url = prefix + STATIC_PATH
    page = get_swagger_ui_html(
        openapi_url=prefix + OPENAPI_PATH,
        title=title,
        swagger_js_url=f"{static_url}/swagger-ui-bundle.js",
        swagger_css_url=f"{static_url}/swagger-ui.css",
        swagger_favicon_url=f"{static_url}/favicon.png",
        oauth2_redirect_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # or it asks a service of the internet about the document
    )
    digests = (hashlib.sha256(script).digest() for script in INLINE_SCRIPT.findall(bytes(page.body)))
    hashes = " ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in digests)
    page.headers[POLICY.decode()] = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page


class Cors(CORSMiddleware):
    """Starlette's, with its refusals in the one shape."""

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("DELETE", "GET", "HEAD", "POST"),
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                answer = self.preflight_response(headers)
                if answer.status_code != 200:
                    message = f"got a request of another web page that is not allowed: {bytes(answer.body).decode()}"
                    error = Forbidden(f"{message}, expected what AUDIOREC_CORS_ORIGINS allows", code="cors")
                    await refuse(error, scope, receive, send)
                    return
        await super().__call__(scope, receive, send)
