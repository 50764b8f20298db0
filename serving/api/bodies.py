"""Requests that are too large are refused, before or while they come."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import problems
from serving.api.problems import ProblemError, problem_response


class BodyLimit:
    """Lets no more of a request's body in than so many bytes.

    Args:
        app: What is asked.
        most_bytes: Of a body.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = f"a request's body may have {self._most_bytes} bytes"
        stated = Headers(scope=scope).get("content-length", "")
        if stated.isdigit() and int(stated) > self._most_bytes:
            error = ProblemError(problems.TOO_LARGE, f"{said}; this one has {stated}")
            await problem_response(scope["path"], error)(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most_bytes:
                # Of errors raised here, FastAPI lets none but these through.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
            return message

        await self._app(scope, counted, send)
