"""Where commands are asked for, and asked after."""

from collections.abc import Callable, Mapping
from functools import cached_property
from threading import Lock

from pydantic import BaseModel
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.dispatch import Message
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings
from schemas.registry import schema_registry
from schemas.wire import EventCodec
from serving.commands.corrections import correction_message
from serving.commands.erasures import erasure_message
from serving.commands.requests import ErasureRequest, TradeCorrection
from serving.commands.status import Standing, standing
from serving.commands.store import Command, CommandStore, Kind, Request


class CommandDesk:
    """Takes commands and tells how far they have come; threads may share it."""

    def __init__(self, settings: Settings, *, catalog: Callable[[], Catalog]) -> None:
        """Connect to nothing yet.

        Args:
            settings: Where the commands and the registry are.
            catalog: Loads the lake's catalog.
        """
        self._settings = settings
        self._catalog = catalog
        self._store = CommandStore.of(settings)
        self._one_at_a_time = Lock()

    def correct_trade(
        self,
        correction: TradeCorrection,
        *,
        requested_by: str,
        idempotency_key: str,
        trace: Mapping[str, str],
    ) -> Command:
        """Take a correction or cancellation of a trade.

        Args:
            correction: What is asked for.
            requested_by: Id of the API key.
            idempotency_key: Stands for this request, among those of the same API key.
            trace: Headers that carry on the trace of the request.

        Raises:
            KeyReusedError: The idempotency key stands for another request.
            schemas.wire.UnencodableError: A value does not fit the topic's schema.
            LakehouseError: The database or the registry does not answer.
        """
        headers = {name: text.encode() for name, text in trace.items()}
        with self._one_at_a_time:
            message = correction_message(correction, self._codec.encode, headers)
        asked = _request(Kind.TRADE_CORRECTION, correction, requested_by, idempotency_key, trace)
        return self._store.accept(asked, message)

    def erase(
        self,
        erasure: ErasureRequest,
        *,
        requested_by: str,
        idempotency_key: str,
        trace: Mapping[str, str],
    ) -> Command:
        """Take a request to forget a customer; arguments and errors as those of a correction."""
        headers = {name: text.encode() for name, text in trace.items()}
        message: Message = erasure_message(erasure.customer_id, headers)
        asked = _request(Kind.ERASURE, erasure, requested_by, idempotency_key, trace)
        return self._store.accept(asked, message)

    def find(self, command_id: str) -> Command | None:
        """Return a command; None if there is none of this id.

        Raises:
            CommandStoreError: The database does not answer.
        """
        return self._store.find(command_id)

    def standing(self, command: Command) -> Standing:
        """Tell how far a command has come."""
        return standing(command, self._catalog)

    def close(self) -> None:
        """Close the connections to the database."""
        self._store.close()

    @cached_property
    def _codec(self) -> EventCodec:
        limit = self._settings.max_payload_bytes
        registry = schema_registry(self._settings)
        return EventCodec(registry, limit, schemas.topics()[TRADES_TOPIC])


def _request(
    kind: Kind, body: BaseModel, requested_by: str, idempotency_key: str, trace: Mapping[str, str]
) -> Request:
    stated = body.model_dump(mode="json", exclude_none=True)
    return Request(kind, requested_by, idempotency_key, stated, trace.get("traceparent"))
