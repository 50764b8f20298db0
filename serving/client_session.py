"""The client's connections: requests that fail in a way that may pass are sent again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util import Retry

from serving.client_answers import checked

ARROW, JSON = "application/vnd.apache.arrow.stream", "application/json"
# What passes by itself: too many requests, too many queries, an engine that restarts.
_PASSING = (429, 502, 503)
# A server that says to come back later than this is as good as away.
LONGEST_WAIT_SECONDS = 60


class _Patience(Retry):
    """Waits as long as it is told to, and not at all if that is too long to be waited for."""

    def increment(self, *args: Any, **asked: Any) -> Self:
        """Return what is left of the tries.

        Raises:
            MaxRetryError: The server says to come back later than anybody waits.
        """
        response = asked.get("response")
        wait = response and self.get_retry_after(response)
        if wait and wait > LONGEST_WAIT_SECONDS:
            raise MaxRetryError(asked["_pool"], args[1], ResponseError("told to wait"))
        return super().increment(*args, **asked)


class ClientSession:
    """Sends requests to one API; answers that are problems are raised as `ApiError`.

    Args:
        address: Such as ``http://127.0.0.1:8000``.
        key: An API key.
        deadline_seconds: How long an answer is waited for.
        tries: How often a request is sent at most.
    """

    def __init__(self, address: str, key: str, *, deadline_seconds: float, tries: int) -> None:
        self._address = address.rstrip("/")
        # A little longer than the API itself, whose word is better than none.
        self._timeout_seconds = deadline_seconds + 1.0
        self._session = requests.Session()
        self._session.headers.update(
            {
                "Authorization": f"Bearer {key}",
                "X-Deadline-Ms": str(int(deadline_seconds * 1000)),
            }
        )
        retry = _Patience(
            total=tries - 1,
            status_forcelist=_PASSING,
            # What is posted changes nothing, or is done once however often it comes, by its key.
            allowed_methods=("GET", "POST"),
            backoff_factor=0.2,
            backoff_jitter=0.2,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(
        self, path: str, parameters: Mapping[str, Any] | None = None, *, accept: str = JSON
    ) -> requests.Response:
        """Return the answer of a path, such as ``/v1/bars``; decimals and instants are spelled."""
        return checked(
            self._session.get(
                self._address + path,
                params={name: _spelled(value) for name, value in (parameters or {}).items()},
                headers={"Accept": accept},
                timeout=self._timeout_seconds,
            )
        )

    def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Return the answer to a body, sent as JSON: decimals and instants in it as text.

        Raises:
            TypeError: A value of the body is none that JSON can spell.
            ValueError: Likewise, a number that is not finite.
        """
        return checked(
            self._session.post(
                self._address + path,
                data=json.dumps(body, default=_as_json, allow_nan=False),
                headers={"Accept": JSON, "Content-Type": JSON, **(headers or {})},
                timeout=self._timeout_seconds,
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _spelled(value: Any) -> Any:
    match value:
        case date():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case _:
            return value


def _as_json(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if (spelled := _spelled(value)) is value:
        raise TypeError(f"{value!r} cannot be sent: it is of type {type(value).__name__}")
    return spelled
