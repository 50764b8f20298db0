"""What is measured of each request: how long it took to begin with the answer."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.metrics import REQUEST_SECONDS

# Paths that no route has are one series: anybody can think of more of them.
UNKNOWN = "unknown"
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")


class Observing:
    """Counts and times requests by route, method and status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", UNKNOWN)
                method = scope["method"] if scope["method"] in _METHODS else "other"
                observed = REQUEST_SECONDS.labels(route, method, str(message["status"]))
                observed.observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, timed)
