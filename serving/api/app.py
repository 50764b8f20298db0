"""The application: the routes, and what stands before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.api import commands, endpoints, health, lag, scoring, slow_clients, stream
from serving.api.authentication import (
    Authentication,
    KnownKeys,
    address_of_stranger,
    id_of_key,
)
from serving.api.bodies import BodyLimit
from serving.api.cache import AnswerCache
from serving.api.champions import Champions
from serving.api.commits import Commits
from serving.api.deadlines import Deadlines
from serving.api.gate import Gate
from serving.api.health import Health, unless
from serving.api.keys import ApiKeys
from serving.api.lag import LogAndLake
from serving.api.limits import Quota, RateLimits
from serving.api.live import LiveRows, is_running
from serving.api.observing import Observing
from serving.api.page import add_page
from serving.api.problems import Problem, answer_with_problems
from serving.api.published import Published
from serving.api.reading import Reader
from serving.commands.desk import CommandDesk

DESCRIPTION = """\
Merged market data over HTTP. Every row says its status and the log position up to which it is
exact; every answer says how fresh it is. Send an API key as `Authorization: Bearer lh_…`.

Rows come as JSON, CSV or an Arrow stream, by `Accept`; decimals in JSON are text with all their
digits, times ISO 8601 in UTC. Errors are problem details (RFC 9457).
"""


def create_app(
    settings: Settings, gate: Gate, keys: ApiKeys, live: LiveRows | None = None
) -> FastAPI:
    """Return the application.

    Args:
        settings: The home, and what the API allows.
        gate: The way to the SQL engine.
        keys: The API keys.
        live: The live tier's rows, already followed; None where there is none.
    """
    known = KnownKeys(keys)
    catalog = partial(load_catalog, settings)
    reader = Reader(gate, Commits(catalog), Published(catalog), AnswerCache(), live)
    condition = Health(
        needed={"keys": partial(_keys_answer, keys)},
        useful={
            "engine": gate.check,
            "live": unless(lambda: is_running(live), "the live tier tells of no progress"),
        },
    )

    desk = CommandDesk(settings, catalog=catalog)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await condition.look()
        watching = asyncio.create_task(condition.watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            desk.close()

    app = FastAPI(
        title="lakehouse",
        description=DESCRIPTION,
        version=version("lakehouse"),
        lifespan=lifespan,
        # Traces go where all of the platform's go; metrics are Prometheus'.
        telemetry={"metrics": False, "logs": False, "operation_spans": False},
        # Their pages load scripts of others', to which a key would be typed.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(endpoints.routes(reader))
    app.include_router(stream.routes(live, known))
    app.include_router(scoring.routes(Champions(settings), reader))
    app.include_router(commands.routes(desk))
    app.include_router(lag.routes(LogAndLake(settings, catalog)))
    app.include_router(health.routes(condition))
    app.add_route("/metrics", _metrics, include_in_schema=False)
    add_page(app)
    answer_with_problems(app)
    _describe(app)
    quota = Quota(settings.api_requests_at_once, settings.api_requests_per_second)
    # The last one added is asked first.
    app.add_middleware(Deadlines, longest_seconds=settings.api_longest_seconds)
    app.add_middleware(RateLimits, name="key", who=id_of_key, quota=quota)
    app.add_middleware(BodyLimit, most_bytes=settings.api_max_body_bytes)
    app.add_middleware(Authentication, keys=known)
    stranger = partial(address_of_stranger, known)
    app.add_middleware(RateLimits, name="address", who=stranger, quota=quota)
    app.add_middleware(slow_clients.SlowClients, seconds=slow_clients.PART_SECONDS)
    app.add_middleware(Observing)
    return app


async def _metrics(request: Request) -> Response:
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), media_type=media_type)


async def _keys_answer(keys: ApiKeys) -> None:
    await to_thread.run_sync(keys.find, "lh_nobody_nothing")


def _describe(app: FastAPI) -> None:
    """Add to the description what no route states: the model of problems."""
    made = app.openapi

    def described() -> dict[str, Any]:
        told = made()
        schemas = told["components"]["schemas"]
        schemas.setdefault(Problem.__name__, Problem.model_json_schema())
        return told

    app.openapi = described  # type: ignore[method-assign]
