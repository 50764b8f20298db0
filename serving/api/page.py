"""The market page: static files, and headers that keep everything foreign out of it."""

from collections.abc import MutableMapping
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

# Nothing but this server's own files, no script in the text, no frame around it, no form that
# leaves: the page holds a key.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A browser asks each time whether the file is still this one: an upgrade is seen at once.
    "Cache-Control": "no-cache",
}
FOLDER = files("serving") / "page"


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/``, and what it is made of below ``/page``.

    Not all at ``/``: such a mount would take what no route has, also a wrong method of a route.
    """

    async def index() -> FileResponse:
        return FileResponse(str(FOLDER / "index.html"), headers=HEADERS)

    app.add_api_route("/", index, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/page", _Files(directory=str(FOLDER)))


class _Files(StaticFiles):
    """Files with the page's headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(message)
            await send(message)

        await super().__call__(scope, receive, with_headers)


def _add(start: MutableMapping[str, Any]) -> None:
    headers = MutableHeaders(scope=start)
    for name, value in HEADERS.items():
        headers[name] = value
