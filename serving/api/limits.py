"""Rate limits: a token bucket for each key or address, told of as the IETF's draft has it.

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


@dataclass(frozen=True)
class Quota:
    """What each bucket allows.

    Attributes:
        capacity: Requests that may come at once.
        per_second: Requests that may come on and on.
    """

    capacity: int
    per_second: float

    @property
    def window_seconds(self) -> int:
        """Whole seconds in which an empty bucket fills up."""
        return math.ceil(self.capacity / self.per_second)


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
    """Refuses whoever asks too often.

    Args:
        app: What is asked.
        name: Of the policy, as headers have it.
        who: Tells whose bucket a request takes from; None for nobody's.
        quota: What each bucket allows.
        clock: Seconds, which never go back.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        who: Callable[[Scope], str | None],
        quota: Quota,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._name = name
        self._who = who
        self._quota = quota
        self._clock = clock
        self._buckets: LRUCache[str, TokenBucket] = LRUCache(MOST_BUCKETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_limited = scope["type"] == "http" and not scope["path"].startswith(UNLIMITED)
        who = self._who(scope) if is_limited else None
        if who is None:
            await self._app(scope, receive, send)
            return
        now, quota = self._clock(), self._quota
        full = TokenBucket(quota.capacity, quota.per_second, quota.capacity, now)
        bucket = self._buckets.setdefault(who, full)
        is_let_in = bucket.take(now)
        told = {
            "RateLimit-Policy": f'"{self._name}";q={quota.capacity};w={quota.window_seconds}',
            "RateLimit": f'"{self._name}";r={int(bucket.tokens)};t={bucket.seconds_to_full}',
        }
        if not is_let_in:
            metrics.REFUSED.labels("rate").inc()
            wait = bucket.seconds_to_one
            error = ProblemError(
                problems.RATE_LIMITED,
                f"{quota.capacity} requests at once and {quota.per_second:g} a second are let in: "
                f"come again in {wait} s",
                headers={**told, "Retry-After": str(wait)},
            )
            await problem_response(scope["path"], error)(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in told.items():
                    headers.setdefault(name, value)  # of a key that is new here, both count
            await send(message)

        await self._app(scope, receive, telling)
