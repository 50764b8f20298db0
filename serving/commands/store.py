"""Commands as they are accepted: each once for its idempotency key, with the message that it sends.

The command, the record of its key and its message are written in one transaction: there is no
command whose message is lost, and no message of a command that was not accepted.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Message, Sent
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from serving.commands.tables import COMMANDS, OUTBOX, STEPS, command_tables, moment, stored

# Somebody waits for the answer.
BUDGET_SECONDS = 2.0
# What `read_command` reads.
WITH_MESSAGES = select(COMMANDS, OUTBOX).join(OUTBOX, OUTBOX.c.command_id == COMMANDS.c.id)


class Kind(StrEnum):
    """What is asked for."""

    TRADE_CORRECTION = "trade-correction"
    ERASURE = "erasure"


class KeyReusedError(LakehouseError):
    """An idempotency key came with another request than the one that it stands for."""


@dataclass(frozen=True)
class Request:
    """A command that is asked for.

    Attributes:
        requested_by: Id of the API key.
        idempotency_key: Stands for this request, among those of the same API key.
        body: What is asked for, as JSON has it.
        trace_parent: The trace that it is part of, as W3C's ``traceparent``; None for none.
    """

    kind: Kind
    requested_by: str
    idempotency_key: str
    body: Mapping[str, Any]
    trace_parent: str | None = None

    @property
    def fingerprint(self) -> str:
        """What is the same of the same request."""
        told = json.dumps([self.kind, self.body], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class StepRecord:
    """What became of a step of a command that takes several.

    Attributes:
        outcome: One of `lakehouse.saga.Outcome`.
        tries: How often it was tried.
        detail: What went wrong the last time.
    """

    step: str
    outcome: str
    tries: int
    detail: str | None
    at: datetime


@dataclass(frozen=True)
class Command:
    """A command that was accepted, and how far it has come.

    Attributes:
        sent: Where its message stands in the log; None until that has acknowledged it.
        steps: Of those that were begun, what became of each.
    """

    id: str
    request: Request
    accepted_at: datetime
    topic: str
    sent: Sent | None = None
    sent_at: datetime | None = None
    steps: Mapping[str, StepRecord] = field(default_factory=dict)


class CommandStore:
    """Accepts and finds commands."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the store in the database that the settings name for the catalog."""
        return cls(command_tables(settings, budget_seconds=BUDGET_SECONDS))

    def accept(self, request: Request, message: Message) -> Command:
        """Keep a command and the message that it sends; the first one of its key counts.

        Returns:
            The command that the key stands for: a new one, or the one of the same request before.

        Raises:
            KeyReusedError: The key stands for another request.
            CommandStoreError: The database does not answer, or refuses.
        """
        new_id = str(uuid.uuid4())
        row = {
            "id": new_id,
            "kind": request.kind,
            "requested_by": request.requested_by,
            "idempotency_key": request.idempotency_key,
            "fingerprint": request.fingerprint,
            "request": json.dumps(request.body),
            "trace_parent": request.trace_parent,
            "accepted_at": stored(datetime.now(UTC)),
        }

        def accept(connection: Connection) -> tuple[str, Command]:
            if _inserted(connection, row):
                connection.execute(insert(OUTBOX).values(_outgoing(new_id, message)))
            mine = (
                COMMANDS.c.requested_by == request.requested_by,
                COMMANDS.c.idempotency_key == request.idempotency_key,
            )
            known = connection.execute(WITH_MESSAGES.where(*mine)).one()
            return known.fingerprint, read_command(connection, known)

        fingerprint, command = self._tables.in_transaction(accept)
        if fingerprint != request.fingerprint:
            raise KeyReusedError(
                f"the idempotency key {request.idempotency_key!r} stands for another request, of "
                f"command {command.id}: send a new one with a new request"
            )
        return command

    def find(self, command_id: str) -> Command | None:
        """Return a command; None if there is none of this id.

        Raises:
            CommandStoreError: The database does not answer.
        """

        def find(connection: Connection) -> Command | None:
            mine = WITH_MESSAGES.where(COMMANDS.c.id == command_id)
            row = connection.execute(mine).first()
            return None if row is None else read_command(connection, row)

        return self._tables.in_transaction(find)

    def close(self) -> None:
        """Close the connections to the database."""
        self._tables.close()


def read_command(connection: Connection, row: Row[Any]) -> Command:
    """Return the command of a row of commands joined with their messages."""
    steps = connection.execute(select(STEPS).where(STEPS.c.command_id == row.id)).all()
    is_sent = row.sent_at is not None
    return Command(
        id=row.id,
        request=Request(
            Kind(row.kind),
            row.requested_by,
            row.idempotency_key,
            json.loads(row.request),
            row.trace_parent,
        ),
        accepted_at=moment(row.accepted_at),
        topic=row.topic,
        sent=Sent(row.topic, row.partition, row.offset) if is_sent else None,
        sent_at=moment(row.sent_at) if is_sent else None,
        steps={
            one.step: StepRecord(one.step, one.outcome, one.tries, one.detail, moment(one.at))
            for one in steps
        },
    )


def _inserted(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Insert a command unless its key is there; one that is being inserted is waited for."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(COMMANDS).values(row).on_conflict_do_nothing()
    return connection.execute(statement).rowcount == 1


def _outgoing(command_id: str, message: Message) -> dict[str, Any]:
    headers = {name: value.decode() for name, value in message.headers.items()}
    # By it readers of the log know a message that is there twice.
    headers["command-id"] = command_id
    return {
        "command_id": command_id,
        "topic": message.topic,
        "message_key": message.key,
        "payload": message.payload,
        "headers": json.dumps(headers),
    }
