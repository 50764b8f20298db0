"""Clients that send or read too slowly are left, so that none holds a connection for long."""

from http import HTTPStatus

import structlog
from anyio import fail_after
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A part of a request or an answer is a few kilobytes: a telephone does that in a second.
PART_SECONDS = 20.0

_log = structlog.get_logger(__name__)


class _TooSlowError(Exception):
    """The client did not take what was sent."""


class SlowClients:
    """Gives clients so long for each part that they send or are sent.

    Args:
        app: What is asked.
        seconds: For each part.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._seconds)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            # A stream raises a group: ours, and what broke of its own when that ended it.
            if not exchange.is_left:
                raise
            # Without the end of the answer the server closes the connection.
            _log.info("a client was too slow for its answer", path=scope["path"])


class _Exchange:
    """One request and its answer, each part within its time.

    Attributes:
        is_left: Whether the client did not take what was sent.
    """

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive, self._send, self._seconds = receive, send, seconds
        self._is_all_here = self.is_left = False

    async def receive(self) -> Message:
        """Return a part of the request; after the last one, wait for the client to go away."""
        if self._is_all_here:
            return await self._receive()
        try:
            with fail_after(self._seconds):
                message = await self._receive()
        except TimeoutError as error:
            said = f"nothing came of the request's body for {self._seconds:g} s"
            # Of errors raised here, FastAPI lets none but these through. What may yet come of the
            # body is not waited for, either.
            close = {"Connection": "close"}
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, said, headers=close) from error
        self._is_all_here = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        try:
            with fail_after(self._seconds):
                await self._send(message)
        except TimeoutError as error:
            self.is_left = True
            raise _TooSlowError from error
