"""The API as a process: what it is made of, and the server that it runs in."""

import logging
from contextlib import ExitStack, closing

import structlog
import uvicorn
from prometheus_client import disable_created_metrics

from lakehouse.embedded import API
from lakehouse.settings import NotRunningError, Settings
from lakehouse.telemetry import configure_logging
from lakehouse.tracing import configure_tracing
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.api.local_key import local_key
from serving.engines import sql_engine
from serving.live_rows.store import LiveStore

# A request of the API waits no longer for a server that is away; the breaker does the rest.
PATIENCE_SECONDS = 1.0
# More connections than readers of the stream and their pages make.
MOST_CONNECTIONS = 4_000
# Requests under way are finished, streams are ended.
STOP_SECONDS = 2

_log = structlog.get_logger(__name__)


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Answer HTTP until the process is told to stop.

    Raises:
        LakehouseError: The API keys cannot be kept, or the engine's settings are wrong.
    """
    configure_logging(API, settings.log_level)
    logging.getLogger("uvicorn").setLevel(settings.log_level)
    configure_tracing(API, settings.otlp_endpoint)
    disable_created_metrics()  # type: ignore[no-untyped-call] # when a counter began, as a series of its own: nobody asks
    with ExitStack() as held:
        keys = held.enter_context(closing(ApiKeys.of(settings)))
        local_key(settings, keys)
        engine = held.enter_context(
            closing(
                sql_engine(
                    settings,
                    at_once=settings.api_queries_at_once,
                    patience_seconds=PATIENCE_SECONDS,
                )
            )
        )
        gate = Gate(engine, at_once=settings.api_queries_at_once)
        uvicorn.run(
            create_app(settings, gate, keys, _followed(settings, held)),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )


def _followed(settings: Settings, held: ExitStack) -> LiveStore | None:
    try:
        return held.enter_context(LiveStore(settings))
    except NotRunningError as error:
        _log.warning("there is no live tier without a log", error=str(error))
        return None
