"""Rate limits: a token bucket for each key, told of as the IETF's draft has it.

draft-ietf-httpapi-ratelimit-headers: ``RateLimit-Policy`` states quota and window, ``RateLimit``
what is left of the quota and when it is whole again.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api import metrics, problems
from serving.api.problems import ProblemError, problem_response

# Those used last; who was forgotten begins with a full bucket, as everybody does.
MOST_BUCKETS = 10_000
# Asked for by machines all the time, and cheap.
UNLIMITED = ("/health/", "/metrics")


@dataclass
class TokenBucket:
    """Holds tokens up to a number, and gets so many each second; a request takes one.

    Attributes:
        capacity: Tokens when full.
        per_second: Tokens that come back.
        tokens: Tokens now, as of ``at``.
        at: Seconds on a clock.
    """

    capacity: int
    per_second: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        """Take a token, if there is one; tell whether there was."""
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    @property
    def seconds_to_one(self) -> int:
        """Whole seconds after which there is a token again."""
        return max(1, math.ceil((1 - self.tokens) / self.per_second))

    @property
    def seconds_to_full(self) -> int:
        """Whole seconds after which the bucket is full."""
        return math.ceil((self.capacity - self.tokens) / self.per_second)


class RateLimits:
    """Refuses whoever asks too often: keys each by itself, others by their address.

    Args:
        app: What is asked.
        capacity: Requests that may come at once.
        per_second: Requests that may come on and on.
        clock: Seconds, which never go back.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        capacity: int,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self._buckets: LRUCache[str, TokenBucket] = LRUCache(MOST_BUCKETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(UNLIMITED):
            await self._app(scope, receive, send)
            return
        now = self._clock()
        bucket = self._buckets.setdefault(
            _who(scope), TokenBucket(self._capacity, self._per_second, self._capacity, now)
        )
        is_let_in = bucket.take(now)
        told = {
            "RateLimit-Policy": f'"key";q={self._capacity};w={self._window_seconds}',
            "RateLimit": f'"key";r={int(bucket.tokens)};t={bucket.seconds_to_full}',
        }
        if not is_let_in:
            metrics.REFUSED.labels("rate").inc()
            wait = bucket.seconds_to_one
            error = ProblemError(
                problems.RATE_LIMITED,
                f"{self._capacity} requests at once and {self._per_second:g} a second are let in: "
                f"come again in {wait} s",
                headers={**told, "Retry-After": str(wait)},
            )
            await problem_response(scope["path"], error)(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in told.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, telling)

    @property
    def _window_seconds(self) -> int:
        return math.ceil(self._capacity / self._per_second)


def _who(scope: Scope) -> str:
    key = scope.get("state", {}).get("key")
    if key is not None:
        return str(key.id)
    address, _ = scope.get("client") or ("unknown", 0)
    return f"from {address}"
