"""Deadlines: how long a client is ready to wait, carried from ``X-Deadline-Ms`` to the engine."""

import time
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api import problems
from serving.api.problems import ProblemError, problem_response

HEADER = "X-Deadline-Ms"
# Longer is no answer to a request any more; who wants to know more asks for it page by page.
LONGEST_SECONDS = 30.0


class DeadlineExceededError(ProblemError):
    """A deadline has passed before there was an answer."""

    def __init__(self) -> None:
        said = f"nothing was found in the time given: allow more by {HEADER}, or ask for less"
        super().__init__(problems.DEADLINE_EXCEEDED, said)


@dataclass(frozen=True)
class Deadline:
    """The moment after which nobody waits for an answer any more.

    Attributes:
        at: On the monotonic clock.
        is_the_clients: The client has set it, and not the API.
    """

    at: float
    is_the_clients: bool = False

    @classmethod
    def after(cls, seconds: float, *, is_the_clients: bool = False) -> Self:
        """Return the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds, is_the_clients)

    @classmethod
    def read(cls, header: str | None, longest_seconds: float) -> Self:
        """Return what a client asks for, or the longest that there is.

        Raises:
            ProblemError: It is no number of milliseconds.
        """
        if header is None:
            return cls.after(longest_seconds)
        if not header.isascii() or not header.isdigit() or len(header) > len(str(2**31)):
            raise ProblemError(
                problems.INVALID_REQUEST, f"{HEADER}: {header!r} is no number of milliseconds"
            )
        seconds = int(header) / 1000
        if seconds >= longest_seconds:
            return cls.after(longest_seconds)
        return cls.after(seconds, is_the_clients=True)

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineExceededError: None are.
        """
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceededError
        return seconds


class Deadlines:
    """Gives each request its deadline, as ``request.state.deadline``."""

    def __init__(self, app: ASGIApp, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._app = app
        self._longest_seconds = longest_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            header = Headers(scope=scope).get(HEADER)
            try:
                deadline = Deadline.read(header, self._longest_seconds)
            except ProblemError as error:
                await problem_response(scope["path"], error)(scope, receive, send)
                return
            scope.setdefault("state", {})["deadline"] = deadline
        await self._app(scope, receive, send)
