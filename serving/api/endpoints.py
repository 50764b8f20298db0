"""The routes of the resources, made of their declarations."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel

from serving.api import problems
from serving.api.answers import Answer, Meta, page_model
from serving.api.asking import ask_of, parameters
from serving.api.authentication import reaching
from serving.api.deadlines import HEADER as DEADLINE_HEADER
from serving.api.examples import TEXTS
from serving.api.formats import Format, accepted, meta_headers, render
from serving.api.problems import documented
from serving.api.reading import Reader
from serving.api.relations import Resource
from serving.api.resources import RESOURCES
from serving.parameters import NAME_PATTERN

_PROBLEMS = (
    problems.INVALID_CURSOR,
    problems.UNAUTHENTICATED,
    problems.FORBIDDEN,
    problems.NOT_ACCEPTABLE,
    problems.INVALID_REQUEST,
    problems.NO_HISTORY,
    problems.RATE_LIMITED,
    problems.UNAVAILABLE,
    problems.DEADLINE_EXCEEDED,
)
DeadlineMs = Annotated[
    int | None,
    Header(
        alias=DEADLINE_HEADER,
        ge=0,
        description="Milliseconds that an answer is waited for; the query is ended then.",
        examples=[10_000],
    ),
]


def routes(reader: Reader) -> APIRouter:
    """Return a route for each resource."""
    router = APIRouter()
    for resource in RESOURCES:
        router.add_api_route(
            resource.path,
            _endpoint(resource, reader),
            name=resource.name,
            summary=resource.title,
            description=_description(resource),
            tags=[resource.dataset],
            response_model=page_model(resource),
            responses={
                200: {"content": {Format.CSV: {}, Format.ARROW: {}}, "headers": _HEADERS},
                **documented(*_PROBLEMS),
            },
            dependencies=[Depends(reaching(resource.dataset))],
        )
    return router


def _endpoint(resource: Resource, reader: Reader) -> Callable[..., Awaitable[Response]]:
    asked_of = parameters(resource)

    async def read(
        request: Request, asked: BaseModel, deadline_ms: DeadlineMs, owner: str | None
    ) -> Response:
        del deadline_ms  # read before the request came here, and documented by this
        format_ = accepted(request.headers.get("accept"))
        ask = ask_of(resource, asked, owner)
        answer = await reader.page(ask, request.state.deadline)
        return await respond(answer, format_, request)

    if resource.owner is None:

        async def of_all(
            request: Request,
            asked: Annotated[asked_of, Query()],  # type: ignore[valid-type]
            deadline_ms: DeadlineMs = None,
        ) -> Response:
            return await read(request, asked, deadline_ms, None)

        return of_all

    name, known = resource.path.partition("{")[2].rstrip("}"), TEXTS[resource.owner]

    async def of_one(
        request: Request,
        owner: Annotated[str, Path(alias=name, pattern=NAME_PATTERN, examples=[known])],
        asked: Annotated[asked_of, Query()],  # type: ignore[valid-type]
        deadline_ms: DeadlineMs = None,
    ) -> Response:
        return await read(request, asked, deadline_ms, owner)

    return of_one


async def respond(answer: Answer, format_: Format, request: Request) -> Response:
    """Return an answer in a format, with what it says of itself and the way to the next page."""
    headers = {**meta_headers(answer), "Vary": "Accept, Authorization", "Cache-Control": "private"}
    if answer.next is not None:
        following = request.url.include_query_params(cursor=answer.next)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    # Thousands of rows are some hundred milliseconds of Python.
    content = await to_thread.run_sync(render, answer, format_)
    return Response(content, media_type=format_.value, headers=headers)


def _description(resource: Resource) -> str:
    order = ", ".join(name.removeprefix("-") for name in resource.sample.order)
    said = f"{resource.title}\n\nRows are ordered by {order}."
    if resource.tiers:
        said += (
            "\n\nThe tier `merged` is exact as of each row's `last_offset`; `reconciled` is what "
            "batch has published"
        )
        said += "; `live` is newer still, of the last minutes." if "live" in resource.tiers else "."
    return said


def _stated(name: str) -> dict[str, Any]:
    return {
        "description": Meta.model_fields[name].description,
        "schema": {"type": "string"},
    }


_HEADERS = {
    "X-Freshness-Seconds": _stated("freshness_seconds"),
    "X-Seconds-Since-Commit": _stated("seconds_since_commit"),
    "X-Offsets": _stated("offsets"),
    "X-Status": _stated("status"),
    "X-Degraded": _stated("degraded"),
    "X-Next": {"description": "The cursor of the page that follows.", "schema": {"type": "string"}},
    "Link": {"description": "The page that follows.", "schema": {"type": "string"}},
}
