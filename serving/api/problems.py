"""Errors as problem details (RFC 9457): what went wrong, on what, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from opentelemetry.trace import format_trace_id
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from lakehouse.errors import LakehouseError
from serving.history import HistoryError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: the end of its type's address, its title and its HTTP status."""

    slug: str
    title: str
    status: int

    @property
    def type(self) -> str:
        """The identifier of the kind: an address below this API's."""
        return f"/problems/{self.slug}"


INVALID_REQUEST = Kind("invalid-request", "The request is not valid", 422)
INVALID_CURSOR = Kind("invalid-cursor", "The cursor is not one of this query", 400)
NO_HISTORY = Kind("no-history", "The lake does not know what it held at that time", 422)
NOT_ACCEPTABLE = Kind("not-acceptable", "None of the accepted formats is there", 406)
UNAUTHENTICATED = Kind("unauthenticated", "A valid API key is needed", 401)
FORBIDDEN = Kind("forbidden", "The API key does not reach this", 403)
RATE_LIMITED = Kind("rate-limited", "Too many requests", 429)
DEADLINE_EXCEEDED = Kind(
    "deadline-exceeded", "The deadline passed before the answer was there", 504
)
TOO_SLOW = Kind("too-slow", "The request did not come in time", 408)
TOO_LARGE = Kind("too-large", "The request is too large", 413)
OVERLOADED = Kind("overloaded", "Too many queries wait already", 503)
UNAVAILABLE = Kind("unavailable", "What is needed for the answer is away", 503)
NO_LIVE_TIER = Kind("no-live-tier", "The live tier is not running", 503)
NO_LIVE_ROWS = Kind("no-live-rows", "The live tier does not keep this", 422)
NO_IDEMPOTENCY_KEY = Kind("no-idempotency-key", "The request needs an Idempotency-Key", 400)
IDEMPOTENCY_KEY_REUSED = Kind(
    "idempotency-key-reused", "The Idempotency-Key stands for another request", 422
)
NO_SUCH_COMMAND = Kind("no-such-command", "There is no such command", 404)
NO_FEATURES = Kind("no-features", "There are no features of this instrument", 404)
NO_CHAMPION = Kind("no-champion", "No model is champion", 404)
NO_MODELS = Kind("no-models", "The API is installed without models", 501)
UNEXPECTED = Kind("unexpected", "The API failed", 500)
KINDS: Mapping[str, Kind] = {
    kind.slug: kind for kind in list(globals().values()) if isinstance(kind, Kind)
}
# What goes wrong while a body is read comes as FastAPI's error, of which the status says the kind.
# 400 is its word for a body that is no text; one that is no JSON it calls invalid.
_OF_BODIES = {HTTPStatus.BAD_REQUEST: INVALID_REQUEST} | {
    HTTPStatus(kind.status): kind for kind in (TOO_SLOW, TOO_LARGE)
}


class ProblemError(LakehouseError):
    """What ends a request with a problem of a kind."""

    def __init__(
        self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        """Say what went wrong.

        Args:
            kind: What kind of problem it is.
            detail: What happened to this request, and what to do.
            headers: Added to the answer's.
            members: Further members of the problem's object.
        """
        super().__init__(detail)
        self.kind = kind
        self.headers = dict(headers or {})
        self.members = members


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=[INVALID_CURSOR.type])
    title: str = Field(examples=[INVALID_CURSOR.title])
    status: int = Field(examples=[INVALID_CURSOR.status])
    detail: str = Field(examples=["the cursor belongs to a query with other filters"])
    instance: str = Field(description="The path that was asked for.", examples=["/v1/bars"])
    trace_id: str | None = Field(default=None, description="By which operators find the request.")


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI is told of the problems that a route may answer with."""
    stated: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = stated.get(kind.status)
        title = f"{known['description']}; {kind.title}" if known else kind.title
        schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
        stated[kind.status] = {"description": title, "content": {MEDIA_TYPE: {"schema": schema}}}
    return stated


def answer_with_problems(app: FastAPI) -> None:
    """Let every error of an application be answered with a problem."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(HistoryError, _of_history)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_surprise)


def problem_response(path: str, error: ProblemError) -> Response:
    """Return the answer that a problem is, to whoever asked for a path."""
    kind = error.kind
    stated = {"type": kind.type, "title": kind.title, "status": kind.status}
    return _response({**stated, "detail": str(error), **error.members}, path, error.headers)


async def _of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - it is registered for nothing else
    return problem_response(request.url.path, error)


async def _of_history(request: Request, error: Exception) -> Response:
    return problem_response(request.url.path, ProblemError(NO_HISTORY, str(error)))


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    faults = [
        {"where": ".".join(map(str, fault["loc"])), "what": str(fault["msg"])}
        for fault in error.errors()
    ]
    told = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults)
    problem = ProblemError(INVALID_REQUEST, told, errors=faults)
    return problem_response(request.url.path, problem)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - likewise
    if kind := _OF_BODIES.get(HTTPStatus(error.status_code)):
        problem = ProblemError(kind, error.detail, headers=error.headers)
        return problem_response(request.url.path, problem)
    # Of no kind of ours: the status says it all (404, 405), which RFC 9457 calls about:blank.
    title = HTTPStatus(error.status_code).phrase
    told = {"type": "about:blank", "title": title, "status": error.status_code}
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _response({**told, "detail": detail}, request.url.path, dict(error.headers or {}))


async def _of_surprise(request: Request, error: Exception) -> Response:
    # What it says may name what a client is not to know; the log has it, by the trace's id.
    detail = f"{type(error).__name__}; the API's log has it"
    return problem_response(request.url.path, ProblemError(UNEXPECTED, detail))


def _response(members: dict[str, Any], path: str, headers: Mapping[str, str]) -> Response:
    context = trace.get_current_span().get_span_context()
    traced = {"trace_id": format_trace_id(context.trace_id)} if context.is_valid else {}
    return JSONResponse(
        {**members, "instance": path, **traced},
        status_code=members["status"],
        headers={**headers, "Cache-Control": "no-store"},
        media_type=MEDIA_TYPE,
    )
