"""Who asks: the API key of a request, and whether it reaches what is asked for."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import structlog
from anyio import CapacityLimiter, to_thread
from cachetools import TTLCache
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lakehouse.errors import first_line
from serving.api import problems
from serving.api.keys import MOST_LETTERS, ApiKey, ApiKeyError, ApiKeys
from serving.api.problems import ProblemError
from serving.api.relations import Dataset

# The others are for anybody: no key is looked up for them.
KEYED = "/v1/"
# A revoked key is let in for so long.
REMEMBERED_SECONDS = 5.0
# While the database is away, keys that it knew are taken for valid for so long.
TRUSTED_SECONDS = 600.0
MOST_KEYS = 10_000
# Whatever the database makes of them: other threads are for other work.
LOOKUPS_AT_ONCE = 4

_log = structlog.get_logger(__name__)
_scheme = HTTPBearer(
    scheme_name="API key",
    description="A key from `lakehouse api keys create`, or the local one of the home.",
    auto_error=False,
)


class KnownKeys:
    """Keys as the database has them, remembered for a moment.

    Args:
        keys: The database.
        clock: Seconds, which never go back.
    """

    def __init__(self, keys: ApiKeys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._fresh: TTLCache[str, ApiKey | None] = TTLCache(MOST_KEYS, REMEMBERED_SECONDS, clock)
        self._trusted: TTLCache[str, ApiKey] = TTLCache(MOST_KEYS, TRUSTED_SECONDS, clock)
        self._lookups = CapacityLimiter(LOOKUPS_AT_ONCE)

    def has_known(self, key: str) -> bool:
        """Tell whether a key was valid lately, and is so still for all that is remembered."""
        known = self._trusted.get(key)
        return known is not None and known.is_valid(datetime.now(UTC))

    async def find(self, key: str) -> ApiKey | None:
        """Return what a key stands for; None if it opens nothing.

        Raises:
            ProblemError: The database does not answer, and did not know the key lately.
        """
        if len(key) > MOST_LETTERS:
            return None
        if key not in self._fresh:
            try:
                found = await to_thread.run_sync(self._keys.find, key, limiter=self._lookups)
            except ApiKeyError as error:
                _log.warning("a key cannot be looked up", error=first_line(error))
                if (found := self._trusted.get(key)) is None:
                    said = "keys cannot be checked at present"
                    raise ProblemError(
                        problems.UNAVAILABLE, said, headers={"Retry-After": "1"}
                    ) from error
                _log.warning("a key is taken for valid, unchecked", key=found.id)
            else:
                self._trusted.pop(key, None)
                if found is not None and found.is_valid(datetime.now(UTC)):
                    self._trusted[key] = found
            self._fresh[key] = found
        known = self._fresh.get(key)
        return known if known is not None and known.is_valid(datetime.now(UTC)) else None

    async def opens(self, key: str) -> bool:
        """Tell whether a key is known to open anything; not, if nobody can tell."""
        try:
            return await self.find(key) is not None
        except ProblemError:
            return False


class Authentication:
    """Gives each request below ``KEYED`` the key that it brought, as ``request.state.key``.

    Where there is none, ``request.state.refusal`` says why, to whoever needs one.
    """

    def __init__(self, app: ASGIApp, keys: KnownKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if scope["path"].startswith(KEYED):
            state["key"], state["refusal"] = await self._known(scope)
        await self._app(scope, receive, send)

    async def _known(self, scope: Scope) -> tuple[ApiKey | None, ProblemError]:
        brought = brought_key(scope)
        if brought is None:
            said = "send an API key: Authorization: Bearer lh_…"
            return None, ProblemError(problems.UNAUTHENTICATED, said, headers=_challenge())
        try:
            found = await self._keys.find(brought)
        except ProblemError as error:
            return None, error
        said = "the API key is unknown, expired or revoked"
        refusal = ProblemError(
            problems.UNAUTHENTICATED, said, headers=_challenge(' error="invalid_token"')
        )
        return found, refusal


def _challenge(said: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": f"Bearer{said}"}


def brought_key(scope: Scope) -> str | None:
    """Return the key in a request's ``Authorization``; None if there is none."""
    scheme, _, value = Headers(scope=scope).get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def address_of_stranger(keys: KnownKeys, scope: Scope) -> str | None:
    """Return the address that a request comes from; None if it brings a key known lately.

    So whoever guesses is told to wait before anything is looked up.
    """
    brought = brought_key(scope)
    if brought is not None and keys.has_known(brought):
        return None
    address, _ = scope.get("client") or ("unknown", 0)
    return str(address)


def id_of_key(scope: Scope) -> str | None:
    """Return the id of an authenticated request's key; None of any other request."""
    key: ApiKey | None = scope.get("state", {}).get("key")
    return None if key is None else key.id


def authenticated(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
) -> None:
    """Let in whoever brought a valid key; a dependency of routes.

    Raises:
        ProblemError: There is none.
    """
    if request.state.key is None:
        raise request.state.refusal


def check_reach(request: Request, dataset: Dataset) -> None:
    """See to it that the key of an authenticated request is scoped for a dataset.

    Raises:
        ProblemError: It is not.
    """
    key: ApiKey = request.state.key
    if dataset not in key.datasets:
        said = (
            f"key {key.id} is not scoped for {dataset}, but for {', '.join(sorted(key.datasets))}"
        )
        raise ProblemError(problems.FORBIDDEN, said)


def check_operates(request: Request, dataset: Dataset) -> None:
    """See to it that the key of an authenticated request may change what is in a dataset.

    Raises:
        ProblemError: It may not.
    """
    key: ApiKey = request.state.key
    if key.role != "operator":
        said = f"key {key.id} is a {key.role}'s; to ask for changes takes an operator's"
        raise ProblemError(problems.FORBIDDEN, said)
    check_reach(request, dataset)


def operating(dataset: Dataset) -> Callable[..., None]:
    """Return the dependency of a route that only operators' keys of a dataset reach."""

    def operated(request: Request, _: Annotated[None, Depends(authenticated)]) -> None:
        check_operates(request, dataset)

    return operated


def reaching(dataset: Dataset) -> Callable[..., None]:
    """Return the dependency of a route that only keys scoped for a dataset reach."""

    def reached(request: Request, _: Annotated[None, Depends(authenticated)]) -> None:
        check_reach(request, dataset)

    return reached
