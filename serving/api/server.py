"""The API as a process: what it is made of, and the server that it runs in."""

import logging
import ssl
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import structlog
import uvicorn

from lakehouse.embedded import API
from lakehouse.errors import LakehouseError
from lakehouse.settings import NotRunningError, Settings
from lakehouse.telemetry import configure_logging, prepare_metrics
from lakehouse.tracing import configure_tracing
from serving.api.app import create_app
from serving.api.connections import allowed_connections, leave_who_takes_nothing
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.api.local_key import has_local_key, local_key
from serving.engines import sql_engine
from serving.live_rows.store import LiveStore

# A request of the API waits no longer for a server that is away; the breaker does the rest.
PATIENCE_SECONDS = 1.0
# Requests under way are finished, streams are ended.
STOP_SECONDS = 2

_log = structlog.get_logger(__name__)


class CertificateError(LakehouseError):
    """A file is no certificate with its key."""


class NotStartedError(LakehouseError):
    """The API could not begin to answer."""


def serve(settings: Settings, *, host: str, port: int, certificate: Path | None = None) -> None:
    """Answer HTTP until the process is told to stop.

    Args:
        settings: Of the role that it asks others as.
        host: Address to listen on.
        port: Where to listen.
        certificate: PEM file of a certificate and its key, to answer HTTPS; None for HTTP.

    Raises:
        CertificateError: The file holds something else.
        LakehouseError: The API keys cannot be kept, the engine's settings are wrong, or the server
            does not start.
    """
    if certificate is not None:
        _check(certificate)
    configure_logging(API, settings.log_level)
    logging.getLogger("uvicorn").setLevel(settings.log_level)
    configure_tracing(API, settings.otlp_endpoint)
    prepare_metrics()
    with ExitStack() as held:
        keys = held.enter_context(closing(ApiKeys.of(settings)))
        if has_local_key(settings):
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
        config = uvicorn.Config(
            create_app(settings, gate, keys, _followed(settings, held)),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=allowed_connections(),
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=certificate,
        )
        listening = held.enter_context(closing(config.bind_socket()))
        leave_who_takes_nothing(listening)
        server = uvicorn.Server(config)
        with suppress(KeyboardInterrupt):  # it has heeded it
            server.run(sockets=[listening])
        if not server.started:
            raise NotStartedError(f"the API on {host}:{port} did not start; its log tells why")


def _check(certificate: Path) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate)
    except ssl.SSLError as error:
        raise CertificateError(
            f"{certificate} is no PEM file of a certificate and its key: {error}"
        ) from error


def _followed(settings: Settings, held: ExitStack) -> LiveStore | None:
    try:
        return held.enter_context(LiveStore(settings))
    except NotRunningError as error:
        _log.warning("there is no live tier without a log", error=str(error))
        return None
